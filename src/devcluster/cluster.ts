/**
 * Three regions on this machine, as the command line and the tests use them: started together, treated badly by name,
 * stopped in order. What is where: places.ts; who listens where: plan.ts; one process: member.ts; the links: faults.ts.
 */
import { HomeportError } from '../base/errors.ts';
import type { World } from '../base/world.ts';
import { type LinkFaults, type LinkName, parseRegion, type Rtt } from './faults.ts';
import type { Launcher } from './launcher.ts';
import type { LinkConditions } from './link.ts';
import type { LinkStatus } from './links.ts';
import type { Member, MemberEvent, MemberKind, MemberStatus } from './member.ts';
import type { Handles } from './members.ts';
import { type DevRegion, isDevRegion, REGIONS } from './plan.ts';

export interface ShardAddress {
  readonly id: string;
  /** As the owner, past the gateway: for looking, not for applications. */
  readonly pg: string;
}

export interface RegionAddresses {
  readonly name: DevRegion;
  /** For applications; the tenant is theirs to add. */
  readonly pg: string;
  readonly http: string;
  readonly shards: readonly ShardAddress[];
  readonly nats: string;
  readonly configFile: string;
}

export interface PrepareInput {
  readonly regions: Readonly<Record<DevRegion, RegionAddresses>>;
  /** The user of the connection strings. */
  readonly appUser: string;
  /** No sample data was asked for. */
  readonly empty: boolean;
  /** True until a preparation has gone through once. */
  readonly firstStart: boolean;
  readonly progress: (text: string) => void;
  readonly world: World;
}

/**
 * What makes shards and directory fit to be served: migrations, roles, fences, sample data. Runs at every start, when
 * Postgres and NATS are up and no gateway is; it must not mind finding its own work done.
 */
export type Prepare = (input: PrepareInput) => Promise<void>;

export interface ClusterOptions {
  readonly dir: string;
  readonly rtt?: readonly Rtt[];
  readonly prepare?: Prepare;
  readonly empty?: boolean;
  /** False leaves the gateways out. */
  readonly serve?: boolean;
  /** What is run as `<entry> serve --config <file>`; default bin/homeport.mjs. */
  readonly serveEntry?: string;
  /** postgresql.conf settings for all shards, over ours. */
  readonly postgresSettings?: Readonly<Record<string, string>>;
  readonly launcher?: Launcher;
  readonly env?: NodeJS.ProcessEnv;
  readonly onProgress?: (text: string) => void;
  /** Aborted while it still starts: everything is stopped in order, and the start fails. */
  readonly signal?: AbortSignal;
  readonly world: World;
}

export interface ClusterStatus {
  readonly dir: string;
  readonly ready: boolean;
  readonly regions: readonly RegionAddresses[];
  readonly processes: readonly MemberStatus[];
  readonly isolated: readonly DevRegion[];
  readonly links: readonly LinkStatus[];
}

export interface ClusterParts {
  readonly dir: string;
  readonly regions: Readonly<Record<DevRegion, RegionAddresses>>;
  readonly members: readonly Member[];
  readonly handles: Handles;
  readonly faults: LinkFaults;
  readonly progress: (text: string) => void;
  /** Called last, when everything has ended. */
  readonly release: () => Promise<void>;
}

const STOP_ORDER: readonly (readonly MemberKind[])[] = [['gateway'], ['nats'], ['postgres'], ['links']];
const START_ORDER: readonly (readonly MemberKind[])[] = [['links'], ['postgres', 'nats'], ['gateway']];

/** All are tried; then the first failure is thrown, so that nothing goes on starting behind a refusal. */
export async function settleAll(work: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find(result => result.status === 'rejected');
  if (failed) throw failed.reason;
}

export class Cluster {
  readonly dir: string;
  readonly regions: Readonly<Record<DevRegion, RegionAddresses>>;
  /** Resolves when it has been stopped, by whomever. */
  readonly stopped: Promise<void>;
  ready = false;
  readonly #parts: ClusterParts;
  readonly #markStopped: () => void;
  #stopping: Promise<void> | undefined;

  constructor(parts: ClusterParts) {
    this.#parts = parts;
    this.dir = parts.dir;
    this.regions = parts.regions;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.stopped = promise;
    this.#markStopped = resolve;
  }

  /** Starts all that are down among `kinds`, each kind when those it needs are up. */
  async startMembers(kinds: readonly MemberKind[]): Promise<void> {
    await this.#startInOrder(this.#parts.members.filter(({ spec }) => kinds.includes(spec.kind)));
  }

  /** Until JetStream has its leader on every node. */
  async natsReady(): Promise<void> {
    await settleAll([...this.#parts.handles.nats.values()].map(unit => unit.ready()));
  }

  async status(): Promise<ClusterStatus> {
    const { dir, members, faults, handles, regions } = this.#parts;
    const isUp = members.some(({ spec, state }) => spec.kind === 'links' && state === 'running');
    const links = isUp ? await handles.links?.status() : undefined;
    return {
      dir,
      ready: this.ready,
      regions: REGIONS.map(region => regions[region]),
      processes: members.map(member => member.status()),
      isolated: faults.isolated,
      links: links ?? [],
    };
  }

  /** SIGKILL for a process (`eu-west/postgres`) or all of a region, children too; they stay dead. */
  async kill(target: string): Promise<void> {
    const members = this.#targets(target, 'kill');
    // a region goes at one instant: nobody in it sees another die
    await Promise.all(members.map(member => (member.can('pause') ? member.pause() : undefined)));
    await settleAll(members.map(member => member.kill()));
  }

  /** SIGSTOP, for all of its processes. */
  async pause(target: string): Promise<void> {
    await settleAll(this.#targets(target, 'pause').map(member => member.pause()));
  }

  async resume(target: string): Promise<void> {
    await settleAll(this.#targets(target, 'resume').map(member => member.resume()));
  }

  /** Brings back what was killed or has crashed, on its data, and waits until it is ready. */
  async start(target: string): Promise<void> {
    await this.#startInOrder(this.#targets(target, 'start'));
  }

  /** Nothing flows between the region and the others; connections stay open. */
  async isolate(region: string): Promise<void> {
    this.#parts.faults.isolate(parseRegion(region));
    await this.#applyLinks();
  }

  /** Ends isolation, black holes and cuts of the region's links; latency and bandwidth stay as they were set. */
  async heal(region: string): Promise<void> {
    this.#parts.faults.heal(parseRegion(region));
    await this.#applyLinks();
  }

  /** Changes the bytes that travel one way. */
  async link(name: LinkName, conditions: Partial<LinkConditions>): Promise<void> {
    this.#parts.faults.set(name, conditions);
    await this.#applyLinks();
  }

  async rtt(rtt: Rtt): Promise<void> {
    this.#parts.faults.rtt(rtt);
    await this.#applyLinks();
  }

  /** Gateways, then NATS, then Postgres. Safe to call twice; failures of single processes do not keep it from the rest. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const { members, release, progress } = this.#parts;
    this.ready = false;
    const failures: unknown[] = [];
    for (const kinds of STOP_ORDER) {
      const work = members.filter(({ spec }) => kinds.includes(spec.kind)).map(member => member.stop());
      await settleAll(work).catch((error: unknown) => failures.push(error));
    }
    await release();
    progress('everything has stopped');
    this.#markStopped();
    if (failures.length > 0) throw failures[0];
  }

  async #startInOrder(members: readonly Member[]): Promise<void> {
    for (const kinds of START_ORDER) {
      if (this.#stopping) throw new HomeportError('HP-L129', { dir: this.dir });
      const now = members.filter(({ spec }) => kinds.includes(spec.kind));
      await settleAll(now.map(member => member.start()));
    }
  }

  async #applyLinks(): Promise<void> {
    const { handles, faults } = this.#parts;
    await settleAll(faults.all().map(async ({ from, to, conditions }) => handles.links?.change(from, to, conditions)));
  }

  /** A process by its name; or those of a region that the event can happen to, at least one. */
  #targets(target: string, event: MemberEvent): Member[] {
    const { members } = this.#parts;
    const named = members.filter(({ spec }) => spec.name === target);
    if (named.length > 0) return named;
    const choices = [...REGIONS, ...members.map(({ spec }) => spec.name)].join(', ');
    if (!isDevRegion(target)) throw new HomeportError('HP-L122', { what: 'region or process', name: target, choices });
    const ofRegion = members.filter(({ spec }) => spec.region === target);
    const able = ofRegion.filter(member => member.can(event));
    if (able.length > 0) return able;
    const state = ofRegion.map(({ spec, state }) => `${spec.kind} ${state}`).join(', ');
    throw new HomeportError('HP-L123', { process: target, action: event, state });
  }
}
