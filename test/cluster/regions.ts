/**
 * Three real regions for one test file: started as `homeport dev` starts them, reached as applications and as owners,
 * and administered by real processes of the command line.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { parse, stringify } from 'yaml';
import { slotPlacement, type TenantKey } from '../../src/base/ids.ts';
import { poll, realWorld } from '../../src/base/world.ts';
import { prepare } from '../../src/cli/dev-prepare.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/schema.ts';
import { ControlPlane } from '../../src/control/plane.ts';
import type { Cluster, PrepareInput } from '../../src/devcluster/cluster.ts';
import type { DevRegion } from '../../src/devcluster/plan.ts';
import { startCluster } from '../../src/devcluster/start.ts';
import { slotOf } from '../../src/directory/hash.ts';
import { silentLogger } from '../../src/observe/log.ts';

export const REGIONS = ['eu-west', 'us-east', 'ap-south'] as const;
const HOMEPORT = fileURLToPath(new URL('../../bin/homeport.mjs', import.meta.url));
/** The number of slots that `homeport dev` makes. */
const SLOTS = 1024;

export const { clock } = realWorld;
export const within = (limitMs: number, everyMs = 20) => ({ everyMs, limitMs });

export interface RegionsOptions {
  /** Over the file, as an operator would: `{ HOMEPORT_WORKERS: '3' }`. */
  readonly env?: NodeJS.ProcessEnv;
  /** Written into every region's file before anything reads it. */
  readonly settings?: (settings: Record<string, unknown>) => void;
  readonly empty?: boolean;
  /** Where an earlier cluster was; a new directory otherwise. */
  readonly dir?: string;
  /** SQL that the owner runs on every shard once. */
  readonly sql?: string;
}

export interface ClientOptions extends pg.ClientConfig {
  readonly tenant?: string;
}

export interface Said {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

/** An application's table without tenants, so that a tenant can write and still have no data that keeps it in place. */
export const LEDGER = `
  create table if not exists ledger (
    token text primary key, tenant text not null, at timestamptz not null default clock_timestamp());
  grant usage on schema public to app; grant select, insert on ledger to app`;

export class Regions {
  readonly cluster: Cluster;
  readonly #owners = new Map<DevRegion, pg.Client>();
  readonly #clients = new Set<pg.Client>();
  readonly #children = new Set<ChildProcess>();

  constructor(cluster: Cluster) {
    this.cluster = cluster;
  }

  config(region: DevRegion = 'eu-west'): Config {
    return loadConfig({ file: this.cluster.regions[region].configFile, env: {} });
  }

  /** As an application connects. */
  async connect(region: DevRegion, { tenant, ...options }: ClientOptions = {}): Promise<pg.Client> {
    const url = new URL(this.cluster.regions[region].pg);
    const client = new pg.Client({
      host: url.hostname,
      port: Number(url.port),
      database: 'app',
      user: url.username,
      password: url.password,
      ...(tenant === undefined ? {} : { options: `-c homeport.tenant=${tenant}` }),
      ...options,
    });
    client.on('error', () => undefined); // gateways are ended under clients: what the tests are about
    await client.connect();
    this.#clients.add(client);
    client.once('end', () => this.#clients.delete(client));
    return client;
  }

  /** One statement on a connection of its own. */
  async ask(region: DevRegion, tenant: string | undefined, sql: string, values: unknown[] = []) {
    const client = await this.connect(region, tenant === undefined ? {} : { tenant });
    try {
      return (await client.query(sql, values)).rows;
    } finally {
      await client.end();
    }
  }

  /** The shard's owner, past the gateway: sees all rows. */
  async owner(region: DevRegion): Promise<pg.Client> {
    const known = this.#owners.get(region);
    if (known) return known;
    const client = new pg.Client({ connectionString: this.cluster.regions[region].shards[0]?.pg ?? '' });
    client.on('error', () => undefined); // the shard ends before this connection does
    await client.connect();
    this.#owners.set(region, client);
    return client;
  }

  async onShard<Row extends pg.QueryResultRow>(region: DevRegion, sql: string, values: unknown[] = []): Promise<Row[]> {
    return (await (await this.owner(region)).query<Row>(sql, values)).rows;
  }

  /** In which regions the statement finds something. */
  async regionsWith(sql: string, values: unknown[] = []): Promise<DevRegion[]> {
    const found: DevRegion[] = [];
    for (const region of REGIONS) if ((await this.onShard(region, sql, values)).length > 0) found.push(region);
    return found;
  }

  async withPlane<T>(work: (plane: ControlPlane) => Promise<T>): Promise<T> {
    const author = { who: 'the test', why: 'to see what happens' };
    const plane = await ControlPlane.open({ config: this.config(), world: realWorld, log: silentLogger, author });
    try {
      return await work(plane);
    } finally {
      await plane.close();
    }
  }

  /** Tenants that nobody has used, whose slots live in the region. */
  async freshTenants(region: DevRegion, count: number, prefix: string): Promise<string[]> {
    const slots = new Set(
      (
        await this.onShard<{ placement: string }>(
          region,
          `select placement from homeport.fence where role = 'primary' and placement like 'slot:global:%'`,
        )
      ).map(row => row.placement),
    );
    const found: string[] = [];
    for (let n = 0; found.length < count; n++) {
      const name = `${prefix}${n}`;
      // casts: the name is a tenant key as it stands, and the domain is the default one
      const slot = slotPlacement('global' as never, slotOf(name as TenantKey, SLOTS));
      if (slots.delete(slot)) found.push(name);
    }
    return found;
  }

  /** Another tenant of the same slot. */
  neighbourOf(tenant: string): string {
    // casts: the names are tenant keys as they stand
    for (let n = 0; ; n++)
      if (slotOf(`n${n}` as TenantKey, SLOTS) === slotOf(tenant as TenantKey, SLOTS)) return `n${n}`;
  }

  /** `homeport …` as a process of its own, with this cluster's configuration. */
  start(args: readonly string[], env: NodeJS.ProcessEnv = {}): { child: ChildProcess; ended: Promise<Said> } {
    return this.startScript(HOMEPORT, [...args, '--config', this.cluster.regions['eu-west'].configFile, '--json'], env);
  }

  startScript(script: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    const child = spawn(process.execPath, [script, ...args], {
      // tests start many: the sources are read and stripped of their types once
      env: { ...process.env, NODE_COMPILE_CACHE: join(this.cluster.dir, 'compiled'), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#children.add(child);
    let [out, err] = ['', ''];
    child.stdout.on('data', text => {
      out += text;
    });
    child.stderr.on('data', text => {
      err += text;
    });
    const ended = new Promise<Said>(resolve => {
      child.once('close', (code, signal) => {
        this.#children.delete(child);
        resolve({ code, signal, out, err });
      });
    });
    return { child, ended };
  }

  homeport(...args: string[]): Promise<Said> {
    return this.start(args).ended;
  }

  async pid(process: string): Promise<number> {
    const found = (await this.cluster.status()).processes.find(({ name }) => name === process);
    if (found?.pid === undefined) throw new Error(`${process} does not run`);
    return found.pid;
  }

  /** Until the named process is in this state. */
  async untilState(process: string, state: string): Promise<void> {
    const reached = async () => {
      const { processes } = await this.cluster.status();
      return processes.some(each => each.name === process && each.state === state) ? true : undefined;
    };
    if (!(await poll(clock, reached, within(20_000)))) throw new Error(`${process} did not become ${state}`);
  }

  /** @param keep leaves the directory for another start. */
  async stop({ keep = false } = {}): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    await Promise.allSettled([...this.#clients].map(client => client.end()));
    await Promise.allSettled([...this.#owners.values()].map(client => client.end()));
    await this.cluster.stop();
    if (!keep) rmSync(this.cluster.dir, { recursive: true, force: true });
  }
}

async function prepareWith(input: PrepareInput, options: RegionsOptions): Promise<void> {
  for (const region of REGIONS) {
    const file = input.regions[region].configFile;
    const settings = parse(readFileSync(file, 'utf8'));
    options.settings?.(settings);
    writeFileSync(file, stringify(settings));
  }
  await prepare(input);
  if (options.sql === undefined) return;
  for (const region of REGIONS) {
    const owner = new pg.Client({ connectionString: input.regions[region].shards[0]?.pg ?? '' });
    await owner.connect();
    try {
      await owner.query(options.sql);
    } finally {
      await owner.end();
    }
  }
}

export async function startRegions(options: RegionsOptions = {}): Promise<Regions> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'hp-regions-'));
  chmodSync(dir, 0o755); // Postgres may run as another user
  const cluster = await startCluster({
    dir,
    empty: options.empty ?? false,
    env: { ...process.env, ...options.env },
    prepare: input => prepareWith(input, options),
    world: realWorld,
  });
  return new Regions(cluster);
}
