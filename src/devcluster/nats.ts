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
import { type Child, type Exit, endProcess, type ProcessIdentity, startChild } from './process.ts';

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

export function natsConfiguration(options: NatsOptions): string {
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

async function refusal(options: NatsOptions, why: string): Promise<HomeportError> {
  const { name, logFile } = options;
  return new HomeportError('HP-L112', { name, why, logFile, tail: await logTail(logFile) });
}

type Waited = 'ok' | 'ended' | undefined;

function waitFor(child: Child, options: NatsOptions, url: string, limitMs: number): Promise<Waited> {
  const state = async () => {
    if (child.exit) return 'ended';
    return (await askMonitor(url))?.ok ? 'ok' : undefined;
  };
  return poll(options.world.clock, state, { everyMs: 25, limitMs });
}

async function demand(waited: Waited, options: NatsOptions, limitMs: number): Promise<void> {
  if (waited === 'ended') throw await refusal(options, 'the server ended');
  if (!waited) throw await refusal(options, `not ready within ${limitMs / 1000} s`);
}

/**
 * Starts a server and waits until it listens; `ready()` waits for the cluster.
 * @throws HP-L112 with the end of its log.
 */
export async function startNats(options: NatsOptions): Promise<RunningNats> {
  const { binary, dataDir, logFile, world } = options;
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const configFile = join(dataDir, 'nats.conf');
  writeFileSync(configFile, natsConfiguration(options), { mode: 0o600 });
  const args = ['--config', configFile];
  const { onProcess } = options;
  const child = await startChild({ command: binary, args, cwd: dataDir, logFile, deathSignal: 'TERM', onProcess });
  const stop = () => endProcess(world.clock, child.identity, [{ signal: 'SIGTERM', waitMs: clusterLimits.natsStopMs }]);
  const monitorUrl = `http://${HOST}:${options.monitorPort}`;
  try {
    const waited = await waitFor(child, options, `${monitorUrl}/varz`, clusterLimits.natsStartMs);
    await demand(waited, options, clusterLimits.natsStartMs);
  } catch (error) {
    await stop();
    throw error;
  }
  const { identity, exited } = child;
  return {
    pid: identity.pid,
    url: `nats://${HOST}:${options.clientPort}`,
    monitorUrl,
    identity,
    logFile,
    exited,
    async ready(limitMs = clusterLimits.natsReadyMs) {
      const health = `${monitorUrl}/healthz`;
      await demand(await waitFor(child, options, `${health}?js-meta-only=true`, limitMs), options, limitMs);
      // streams elect leaders of their own; one that never gets well must not keep everything else from starting
      await waitFor(child, options, health, clusterLimits.streamsReadyMs);
    },
    stop,
  };
}
