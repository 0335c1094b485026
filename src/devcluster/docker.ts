/**
 * The cluster's Postgres and NATS in containers of the official images (HOMEPORT_TEST=docker): the same tests, against
 * the builds that people run. Gateways and links stay processes of this machine.
 */
import { mkdirSync } from 'node:fs';
import pg from 'pg';
import { HomeportError } from '../base/errors.ts';
import { poll } from '../base/world.ts';
import { type Container, endContainers, startContainer } from './docker-unit.ts';
import { logTail } from './files.ts';
import type { Launcher, NatsUnit, Unit } from './launcher.ts';
import { clusterLimits } from './limits.ts';
import { type NatsNodeOptions, NatsWaiting, writeNatsConfiguration } from './nats.ts';
import { type PostgresOptions, SETTINGS } from './postgres.ts';

export const POSTGRES_IMAGE = 'postgres:18';
/** The variant with a shell: the compose file asks it for its health. */
export const NATS_IMAGE = 'nats:2.14-alpine';

const HOST = '127.0.0.1';
const SHARED_MEMORY_BYTES = 256 * 1024 * 1024;

/** The image's server that fills the data directory listens on its local socket alone: an answer here is the real one's. */
async function answers({ port, superuser: user, password, database = 'app' }: PostgresOptions): Promise<boolean> {
  const client = new pg.Client({ host: HOST, port, user, password, database });
  client.on('error', () => undefined); // a connection that breaks while it is made also rejects
  try {
    await client.connect();
    await client.end();
    return true;
  } catch {
    return false; // not up yet; the container's end is looked at beside this
  }
}

async function waitForPostgres(container: Container, options: PostgresOptions, logFile: string): Promise<void> {
  const state = async () => {
    if (container.hasEnded()) return 'ended' as const;
    return (await answers(options)) ? ('ready' as const) : undefined;
  };
  const outcome = await poll(options.world.clock, state, { everyMs: 50, limitMs: clusterLimits.postgresStartMs });
  if (outcome === 'ready') return;
  const why =
    outcome === 'ended' ? 'the container ended' : `not ready within ${clusterLimits.postgresStartMs / 1000} s`;
  throw new HomeportError('HP-L102', { dataDir: options.dataDir, why, logFile, tail: await logTail(logFile) });
}

/** Ends what was begun when waiting for it fails. */
async function orStop(container: Container, wait: () => Promise<void>): Promise<void> {
  try {
    await wait();
  } catch (error) {
    await container.stop();
    throw error;
  }
}

async function postgres(cluster: string, options: PostgresOptions): Promise<Unit> {
  const { dataDir, socketDir, port, superuser, password, database = 'app', settings, onProcess } = options;
  const logFile = options.logFile ?? `${dataDir}.log`;
  for (const directory of [dataDir, socketDir]) mkdirSync(directory, { recursive: true, mode: 0o755 });
  const flags = { ...SETTINGS, listen_addresses: HOST, port: String(port), ...settings };
  const container = await startContainer({
    cluster,
    image: POSTGRES_IMAGE,
    command: ['postgres', ...Object.entries(flags).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    environment: {
      POSTGRES_USER: superuser,
      POSTGRES_PASSWORD: password,
      POSTGRES_DB: database,
      POSTGRES_INITDB_ARGS:
        '--data-checksums --encoding=UTF8 --locale-provider=builtin --locale=C.UTF-8 --auth=scram-sha-256',
      // for the server that fills the data directory, and the client that talks to it
      PGPORT: String(port),
    },
    mounts: { [dataDir]: '/var/lib/postgresql', [socketDir]: '/var/run/postgresql' },
    sharedMemoryBytes: SHARED_MEMORY_BYTES,
    logFile,
    stopMs: clusterLimits.postgresStopMs,
    onProcess,
  });
  await orStop(container, () => waitForPostgres(container, options, logFile));
  return container;
}

async function nats(cluster: string, options: NatsNodeOptions): Promise<NatsUnit> {
  const { dataDir, logFile, onProcess } = options;
  const container = await startContainer({
    cluster,
    image: NATS_IMAGE,
    command: ['nats-server', '--config', writeNatsConfiguration(options)],
    mounts: { [dataDir]: dataDir },
    logFile,
    stopMs: clusterLimits.natsStopMs,
    onProcess,
  });
  const waiting = new NatsWaiting(options, container.hasEnded);
  await orStop(container, () => waiting.listens());
  return { ...container, ready: () => waiting.ready() };
}

/** @param cluster the cluster's directory: containers carry it. */
export function dockerLauncher(cluster: string): Launcher {
  return {
    linkHost: HOST,
    /** Finds the engine, fetches what images it lacks, and ends what an earlier start has left. */
    async check() {
      const { getContainerRuntimeClient, ImageName } = await import('testcontainers');
      const { image } = await getContainerRuntimeClient();
      await Promise.all([POSTGRES_IMAGE, NATS_IMAGE].map(name => image.pull(ImageName.fromString(name))));
      await endContainers(cluster);
    },
    postgres: options => postgres(cluster, options),
    nats: options => nats(cluster, options),
  };
}
