/**
 * One process of the cluster as people see it: a name, a state, and what may be done to it. A process that was killed on
 * purpose stays dead, and one that ends by itself is not started again either: in a dev cluster a crash is something to
 * look at, and a drill that kills must find the thing dead.
 */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { HomeportError } from '../base/errors.ts';
import { machine } from '../base/machine.ts';
import type { Clock } from '../base/world.ts';
import { readJson, writeWhole } from './files.ts';
import type { Unit } from './launcher.ts';
import { clusterLimits } from './limits.ts';
import { endProcess, isRunning, type ProcessIdentity } from './process.ts';

export type MemberState = 'stopped' | 'starting' | 'running' | 'paused' | 'killed' | 'crashed';
export type MemberEvent = 'start' | 'started' | 'fail' | 'pause' | 'resume' | 'kill' | 'exit' | 'stop';

export const memberTable = machine<MemberState, MemberEvent>('member', [
  { from: 'stopped', on: 'start', to: 'starting', says: 'is being started' },
  { from: 'killed', on: 'start', to: 'starting', says: 'is being started after it was killed' },
  { from: 'crashed', on: 'start', to: 'starting', says: 'is being started after it had ended by itself' },
  { from: 'starting', on: 'started', to: 'running', says: 'is ready' },
  { from: 'starting', on: 'fail', to: 'crashed', says: 'could not be started' },
  { from: 'running', on: 'pause', to: 'paused', says: 'was stopped where it stood (SIGSTOP)' },
  { from: 'paused', on: 'resume', to: 'running', says: 'goes on (SIGCONT)' },
  { from: 'running', on: 'kill', to: 'killed', says: 'was killed on purpose (SIGKILL)' },
  { from: 'paused', on: 'kill', to: 'killed', says: 'was killed on purpose (SIGKILL) while it was paused' },
  { from: 'running', on: 'stop', to: 'stopped', says: 'was stopped in order' },
  { from: 'paused', on: 'stop', to: 'stopped', says: 'was stopped in order' },
  { from: 'running', on: 'exit', to: 'crashed', says: 'ended by itself; homeport dev start brings it back' },
  { from: 'paused', on: 'exit', to: 'crashed', says: 'ended while it was paused; homeport dev start brings it back' },
]);

export type MemberKind = 'postgres' | 'nats' | 'gateway' | 'links';

export interface MemberSpec {
  /** `eu-west/postgres`, or `links`. */
  readonly name: string;
  readonly kind: MemberKind;
  readonly region: string | undefined;
  readonly ports: Readonly<Record<string, number>>;
  readonly dataDir: string | undefined;
  readonly logFile: string;
  readonly start: (onProcess: (identity: ProcessIdentity) => void) => Promise<Unit>;
}

const recordSchema = z.object({
  name: z.string(),
  kind: z.enum(['postgres', 'nats', 'gateway', 'links']),
  state: z.string(),
  pid: z.number().optional(),
  startedAt: z.string().optional(),
});

export interface MemberStatus {
  readonly name: string;
  readonly kind: MemberKind;
  readonly region?: string;
  readonly state: MemberState;
  readonly pid?: number;
  readonly ports: Readonly<Record<string, number>>;
  readonly dataDir?: string;
  readonly logFile: string;
}

export class Member {
  readonly spec: MemberSpec;
  readonly #file: string;
  readonly #onChange: (text: string) => void;
  #state: MemberState = 'stopped';
  #identity: ProcessIdentity | undefined;
  #unit: Unit | undefined;
  #starting: Promise<void> | undefined;

  constructor(spec: MemberSpec, processesDir: string, onChange: (text: string) => void) {
    this.spec = spec;
    this.#file = join(processesDir, `${spec.name.replaceAll('/', '-')}.json`);
    this.#onChange = onChange;
  }

  get state(): MemberState {
    return this.#state;
  }

  status(): MemberStatus {
    const { name, kind, region, ports, dataDir, logFile } = this.spec;
    const pid = this.#identity?.pid;
    return {
      name,
      kind,
      ...(region === undefined ? {} : { region }),
      state: this.#state,
      ...(pid === undefined ? {} : { pid }),
      ports,
      ...(dataDir === undefined ? {} : { dataDir }),
      logFile,
    };
  }

  can(event: MemberEvent): boolean {
    return memberTable.find(this.#state, event) !== undefined;
  }

  /** @throws HP-L123 when it is not down, or what its own start throws. */
  async start(): Promise<void> {
    this.#step('start');
    this.#starting = this.#start();
    await this.#starting;
  }

  async #start(): Promise<void> {
    try {
      const unit = await this.spec.start(identity => {
        this.#identity = identity;
        this.#save();
      });
      this.#unit = unit;
      this.#step('started');
      void unit.exited.then(() => this.#ended(unit));
    } catch (error) {
      this.#identity = undefined;
      this.#step('fail');
      throw error;
    }
  }

  async pause(): Promise<void> {
    await this.#act('pause', unit => unit.pause());
  }
  async resume(): Promise<void> {
    await this.#act('resume', unit => unit.resume());
  }
  /** The state changes first: its end is then one that was asked for. */
  async kill(): Promise<void> {
    await this.#act('kill', unit => unit.kill());
  }
  /** Nothing to do when it is down; what is still starting is let finish first. */
  async stop(): Promise<void> {
    if (this.#state === 'starting') await this.#starting?.catch(() => undefined); // whoever started it hears of it
    if (this.can('stop')) await this.#act('stop', unit => unit.stop());
  }

  async #act(event: MemberEvent, what: (unit: Unit) => Promise<void>): Promise<void> {
    this.#step(event);
    if (this.#unit) await what(this.#unit);
    if (this.#state === 'killed' || this.#state === 'stopped') this.#forget();
  }

  #ended(unit: Unit): void {
    if (this.#unit !== unit || !this.can('exit')) return;
    this.#forget();
    this.#step('exit');
  }

  #forget(): void {
    this.#unit = undefined;
    this.#identity = undefined;
    this.#save();
  }

  #step(event: MemberEvent): void {
    const row = memberTable.find(this.#state, event);
    const { name } = this.spec;
    if (!row) throw new HomeportError('HP-L123', { process: name, action: event, state: this.#state });
    this.#state = row.to;
    this.#save();
    this.#onChange(`${name} ${row.says}`);
  }

  #save(): void {
    const { startedAt } = this.#identity ?? {};
    writeWhole(this.#file, `${JSON.stringify({ ...this.status(), startedAt }, null, 2)}\n`);
  }
}

const ENDINGS: Record<MemberKind, { order: number; signal: NodeJS.Signals; waitMs: number }> = {
  gateway: { order: 0, signal: 'SIGTERM', waitMs: clusterLimits.serveDrainMs },
  nats: { order: 1, signal: 'SIGTERM', waitMs: clusterLimits.natsStopMs },
  postgres: { order: 2, signal: 'SIGINT', waitMs: clusterLimits.postgresStopMs },
  links: { order: 3, signal: 'SIGTERM', waitMs: clusterLimits.linksStopMs },
};

/**
 * Ends what a launcher that was killed has left running, in order. Nothing is adopted: its links and channels are gone,
 * and data is safe in a clean stop.
 * @returns the names of what was still there.
 */
export async function endLeftovers(processesDir: string, clock: Clock): Promise<string[]> {
  const found: { name: string; kind: MemberKind; identity: ProcessIdentity }[] = [];
  const files = readdirSync(processesDir).filter(name => name.endsWith('.json'));
  for (const file of files) {
    const parsed = recordSchema.safeParse(readJson(join(processesDir, file)));
    const { name, kind, pid, startedAt } = parsed.data ?? {};
    if (!name || !kind || pid === undefined || startedAt === undefined) continue;
    if (isRunning({ pid, startedAt })) found.push({ name, kind, identity: { pid, startedAt } });
  }
  for (const order of [0, 1, 2, 3]) {
    const now = found.filter(({ kind }) => ENDINGS[kind].order === order);
    await Promise.all(now.map(({ kind, identity }) => endProcess(clock, identity, [ENDINGS[kind]])));
  }
  for (const file of files) rmSync(join(processesDir, file), { force: true });
  return found.map(({ name }) => name);
}
