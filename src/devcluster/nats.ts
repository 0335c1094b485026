/**
 * One nats-server with JetStream, a node of the cluster of three. Nothing may pass by the links: routes are the fixed
 * list we give, client addresses are not gossiped (`no_advertise`), and since servers do tell each other of new routes
 * whatever that says, what they tell is an address where nobody listens (`advertise`).
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HomeportError } from '../base/errors.ts';
import { poll, type World } from '../base/world.ts';
import { logTail } from './files.ts';
import { clusterLimits } from './limits.ts';
import { type Exit, endProcess, type ProcessIdentity, startChild } from './process.ts';

export interface NatsOptions {
  /** The server's name, for people and for placement: the region. */
  readonly name: string;
  readonly binary: string;
  /** Holds the configuration file (0600, it has the password) and the JetStream store. */
  readonly dataDir: string;
  readonly logFile: string;
  readonly clientPort: number;
  readonly monitorPort: number;
  readonly user: string;
  readonly password: string;
  /** Left out: a server of its own, for tests that need no cluster. */
  readonly cluster?: {
    readonly routePort: number;
    /** Where the other servers' routes are reached from here. */
    readonly routes: readonly { readonly host: string; readonly port: number }[];
    /** What servers show each other; a client's password must not make anybody a server. */
    readonly password: string;
    /** A port where nobody listens. */
    readonly nowherePort: number;
  };
  readonly onProcess?: ((identity: ProcessIdentity) => void) | undefined;
  readonly world: World;
}

/** Without the binary: where a server's program comes from is the launcher's affair. */
export type NatsNodeOptions = Omit<NatsOptions, 'binary'>;

export interface RunningNats {
  readonly pid: number;
  readonly url: string;
  readonly monitorUrl: string;
  readonly identity: ProcessIdentity;
  readonly logFile: string;
  readonly exited: Promise<Exit>;
  /** Waits until JetStream has a leader and this server follows it (all of a cluster must have been started). */
  ready(limitMs?: number): Promise<void>;
  stop(): Promise<void>;
}

const HOST = '127.0.0.1';
const ROUTE_USER = 'route';

/** JSON strings are valid in NATS's configuration format, whatever they hold. */
function quoted(text: string): string {
  return JSON.stringify(text);
}

export function natsConfiguration(options: NatsNodeOptions): string {
  const { name, clientPort, monitorPort, user, password, dataDir, cluster } = options;
  const account = (name: string, word: string) => `authorization { user: ${quoted(name)}, password: ${quoted(word)} }`;
  const lines = [
    '# Written at every start.',
    `server_name: ${quoted(name)}`,
    `server_tags: [${quoted(`region:${name}`)}]`,
    `listen: "${HOST}:${clientPort}"`,
    `http: "${HOST}:${monitorPort}"`,
    account(user, password),
    'jetstream {',
    `  store_dir: ${quoted(join(dataDir, 'store'))}`,
    '  # an acknowledged write is on the disk: without it a coordinated loss of power loses two minutes of them',
    '  sync_interval: always',
    '  max_memory_store: 64MB',
    '  max_file_store: 20GB',
    '}',
  ];
  if (cluster) {
    const login = `${ROUTE_USER}:${encodeURIComponent(cluster.password)}`;
    const routes = cluster.routes.map(({ host, port }) => quoted(`nats-route://${login}@${host}:${port}`));
    lines.push(
      'cluster {',
      '  name: homeport',
      `  listen: "${HOST}:${cluster.routePort}"`,
      `  ${account(ROUTE_USER, cluster.password)}`,
      '  no_advertise: true',
      `  advertise: "${HOST}:${cluster.nowherePort}"`,
      `  routes: [${routes.join(', ')}]`,
      '}',
    );
  }
  return `${lines.join('\n')}\n`;
}

/** @returns undefined when nothing answers, or not within two seconds. */
export async function askMonitor(url: string): Promise<{ ok: boolean; body: unknown } | undefined> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(clusterLimits.monitorMs) });
    return { ok: response.ok, body: await response.json() };
  } catch {
    return undefined; // not up yet, paused, or gone: the caller asks again
  }
}

async function refusal(options: NatsNodeOptions, why: string): Promise<HomeportError> {
  const { name, logFile } = options;
  return new HomeportError('HP-L112', { name, why, logFile, tail: await logTail(logFile) });
}

type Waited = 'ok' | 'ended' | undefined;

/** Waits for a server that was started, as a process or otherwise. */
export class NatsWaiting {
  readonly #options: NatsNodeOptions;
  readonly #hasEnded: () => boolean;
  readonly #monitorUrl: string;

  constructor(options: NatsNodeOptions, hasEnded: () => boolean) {
    this.#options = options;
    this.#hasEnded = hasEnded;
    this.#monitorUrl = `http://${HOST}:${options.monitorPort}`;
  }

  #until(path: string, limitMs: number): Promise<Waited> {
    const state = async () => {
      if (this.#hasEnded()) return 'ended';
      return (await askMonitor(`${this.#monitorUrl}${path}`))?.ok ? 'ok' : undefined;
    };
    return poll(this.#options.world.clock, state, { everyMs: 25, limitMs });
  }

  async #demand(path: string, limitMs: number): Promise<void> {
    const waited = await this.#until(path, limitMs);
    if (waited === 'ended') throw await refusal(this.#options, 'the server ended');
    if (!waited) throw await refusal(this.#options, `not ready within ${limitMs / 1000} s`);
  }

  /** @throws HP-L112 with the end of the log. */
  async listens(): Promise<void> {
    await this.#demand('/varz', clusterLimits.natsStartMs);
  }

  /** Until JetStream has a leader that this server follows. @throws HP-L112 */
  async ready(limitMs: number = clusterLimits.natsReadyMs): Promise<void> {
    await this.#demand('/healthz?js-meta-only=true', limitMs);
    // streams elect leaders of their own; one that never gets well must not keep everything else from starting
    await this.#until('/healthz', clusterLimits.streamsReadyMs);
  }
}

/** @returns the file's path. */
export function writeNatsConfiguration(options: NatsNodeOptions): string {
  mkdirSync(options.dataDir, { recursive: true, mode: 0o700 });
  const configFile = join(options.dataDir, 'nats.conf');
  writeFileSync(configFile, natsConfiguration(options), { mode: 0o600 });
  return configFile;
}

/**
 * Starts a server and waits until it listens; `ready()` waits for the cluster.
 * @throws HP-L112 with the end of its log.
 */
export async function startNats(options: NatsOptions): Promise<RunningNats> {
  const { binary, dataDir, logFile, world, onProcess } = options;
  const args = ['--config', writeNatsConfiguration(options)];
  const child = await startChild({ command: binary, args, cwd: dataDir, logFile, deathSignal: 'TERM', onProcess });
  const stop = () => endProcess(world.clock, child.identity, [{ signal: 'SIGTERM', waitMs: clusterLimits.natsStopMs }]);
  const waiting = new NatsWaiting(options, () => child.exit !== undefined);
  try {
    await waiting.listens();
  } catch (error) {
    await stop();
    throw error;
  }
  const { identity, exited } = child;
  return {
    pid: identity.pid,
    url: `nats://${HOST}:${options.clientPort}`,
    monitorUrl: `http://${HOST}:${options.monitorPort}`,
    identity,
    logFile,
    exited,
    ready: limitMs => waiting.ready(limitMs),
    stop,
  };
}
