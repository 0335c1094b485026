/**
 * `homeport serve`: the process tree of one region. The parent holds the workers and the status page; each worker is a
 * gateway of its own on the same port.
 */
import { fileURLToPath } from 'node:url';
import { describe, HomeportError } from './base/errors.ts';
import { limits } from './base/limits.ts';
import { realWorld, type World } from './base/world.ts';
import { loadConfig } from './config/load.ts';
import type { Config, HostPort } from './config/schema.ts';
import { PassedCancels } from './gateway/cancels.ts';
import { type FromWorker, type ToWorker, Workers } from './gateway/workers.ts';
import { type StatusSource, serveStatus } from './http/status.ts';
import { createLogger, type Logger } from './observe/log.ts';
import { Metrics, mergeSnapshots } from './observe/metrics.ts';

export interface Serving {
  readonly pg: number;
  readonly peer: number;
  readonly http: number;
  /** Drains and ends. Resolves when nothing of it runs any more. */
  stop(): Promise<void>;
}

function statusOf(config: Config, workers: Workers): StatusSource {
  const own = new Metrics({ region: config.region }).withProcessMetrics();
  own.observed({ name: 'workers', help: 'Gateway processes that run.' }, () => workers.alive);
  return {
    async readiness() {
      const reports = await workers.reports();
      const missing = config.workers - reports.length;
      return missing > 0 ? [`${missing} of ${config.workers} workers do not answer`] : [];
    },
    async metrics() {
      const reports = await workers.reports();
      return mergeSnapshots([await own.snapshot(), ...reports.map(report => report.metrics)]).metrics();
    },
    about: () => ({ name: 'homeport', cluster: config.cluster.name, region: config.region, listen: config.listen.pg }),
  };
}

/**
 * Workers share their ports with anybody who asks for it, so a second gateway would silently take half of the
 * connections of one that runs. @throws HP-A109 when somebody listens there
 */
async function mustBeFree(setting: 'pg' | 'peer', at: HostPort, world: World): Promise<void> {
  const server = world.network.createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(at.port, at.host, resolve);
  }).catch((cause: unknown) => Promise.reject(cannotListen(setting, at, cause)));
  await new Promise(resolve => server.close(resolve));
}

function cannotListen(setting: string, { host, port }: HostPort, cause: unknown): HomeportError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new HomeportError('HP-A109', { setting, address: `${host}:${port}`, why }, { cause });
}

async function startWorkers(workers: Workers, { listen }: Config, world: World) {
  await mustBeFree('pg', listen.pg, world);
  await mustBeFree('peer', listen.peer, world);
  return workers.start();
}

/** @param args what a worker needs to read the same configuration again. */
export async function serve(config: Config, args: readonly string[], world: World, log: Logger): Promise<Serving> {
  const entry = fileURLToPath(import.meta.url);
  const { listen } = config;
  const workers = new Workers({ count: config.workers, entry, args, world, log });
  // Its page is up before the workers are, and says that they are not.
  const { server, port: http } = await serveStatus(listen.http, statusOf(config, workers)).catch((cause: unknown) =>
    Promise.reject(cannotListen('http', listen.http, cause)),
  );
  const { pg, peer } = await startWorkers(workers, config, world).catch(async (error: unknown) => {
    server.close();
    throw error;
  });
  log.info({ region: config.region, pg, peer, http, workers: config.workers }, 'serving');
  return {
    pg,
    peer,
    http,
    async stop() {
      await workers.stop();
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}

// ---- a worker's process

interface WorkerArguments {
  readonly worker: number;
  readonly file: string | undefined;
  readonly overrides: Record<string, unknown>;
}

/** The parent's own words, not a person's: `--config <file> --overrides <json> --worker <n>`. */
function workerArguments(argv: readonly string[]): WorkerArguments {
  const after = (flag: string) => {
    const at = argv.indexOf(flag);
    return at < 0 ? undefined : argv[at + 1];
  };
  const overrides = JSON.parse(after('--overrides') ?? '{}') as Record<string, unknown>; // cast: written by `serve`
  return { worker: Number(after('--worker')), file: after('--config'), overrides };
}

/** Without a parent there is nobody to hear it, and this process is about to end. */
function say(message: FromWorker): void {
  if (process.connected) process.send?.(message);
}

async function runWorker(argv: readonly string[]): Promise<void> {
  const { worker, file, overrides } = workerArguments(argv);
  const config = loadConfig({ ...(file === undefined ? {} : { file }), env: process.env, overrides });
  const log = createLogger({ level: config.log.level, component: `gateway-${worker}` });
  const { composeWorker } = await import('./compose.ts');
  const passed = new PassedCancels(realWorld, say);
  const passCancel = (to: number, pid: number, key: Buffer) => passed.pass(to, pid, key);
  const parts = await composeWorker({ config, worker, world: realWorld, log, passCancel });
  let ending = false;
  const end = async () => {
    if (ending) return;
    ending = true;
    const cut = await parts.server.drain(limits.drainMs);
    if (cut > 0) log.warn({ cut }, 'sessions were cut: their transactions did not end in time');
    await parts.close();
    process.exit(0);
  };
  const cancelFor = async ({ from, id, pid, key }: Extract<ToWorker, { kind: 'cancel' }>) => {
    await parts.server.cancelHere(pid, Buffer.from(key, 'hex'));
    say({ kind: 'cancelled', from, id });
  };
  const hear = (message: ToWorker) => {
    if (message.kind === 'cancel') void cancelFor(message);
    else if (message.kind === 'cancelled') passed.landed(message.id);
    else if (message.kind === 'drain') void end();
    else void parts.report().then(report => say({ kind: 'report', id: message.id, report }));
  };
  process.on('message', message => hear(message as ToWorker)); // cast: our own parent, our own protocol
  // A terminal's Ctrl-C reaches the whole group; the parent decides. Without a parent there is nothing to serve for.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => void end());
  process.on('disconnect', () => void end());
  say({ kind: 'ready', ...(await parts.server.listen()) });
}

if (process.argv.includes('--worker')) {
  runWorker(process.argv).catch((error: unknown) => {
    process.stderr.write(`${describe(error)}\n`);
    const end = () => process.exit(1);
    if (!process.send || !process.connected) return end();
    const [why = ''] = describe(error).split('\n');
    process.send({ kind: 'failed', why } satisfies FromWorker, end);
  });
}
