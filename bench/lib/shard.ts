/**
 * The Postgres of the comparison: one server, durable as in earnest, with the pgbench tables twice. Database `plain` has
 * them as pgbench makes them, for those who go there without tenants; database `app` has them with a tenant column, for
 * Homeport. Same rows, same indexes but for the column in front.
 */
import { join } from 'node:path';
import pg from 'pg';
import { realWorld } from '../../src/base/world.ts';
import { allocatePorts } from '../../src/devcluster/ports.ts';
import { startPostgres } from '../../src/devcluster/postgres.ts';

export const ADMIN = { user: 'homeport_admin', password: 'bench-admin' } as const;
export const BENCH_USER = { user: 'bench', password: 'bench-password' } as const;
export const TENANT = 'bench';
const ACCOUNTS_PER_SCALE = 100_000;
const TELLERS_PER_SCALE = 10;

export interface Shard {
  readonly pid: number;
  readonly port: number;
  readonly socketDir: string;
  stop(): Promise<void>;
}

/** Room for direct connections, and no checkpoint in the middle of a run. */
const SETTINGS = { max_connections: '150', shared_buffers: '256MB', max_wal_size: '8GB', checkpoint_timeout: '1h' };

function tables(tenant: boolean): string {
  const column = tenant ? 'tenant_id text not null,' : '';
  const key = (name: string) => (tenant ? `primary key (tenant_id, ${name})` : `primary key (${name})`);
  // pgbench's history has no key; an enrolled table needs one.
  const history = tenant ? ', id bigint generated always as identity, primary key (tenant_id, id)' : '';
  return `
    create table pgbench_branches (${column} bid int not null, bbalance int, filler char(88), ${key('bid')});
    create table pgbench_tellers (${column} tid int not null, bid int, tbalance int, filler char(84), ${key('tid')});
    create table pgbench_accounts (${column} aid int not null, bid int, abalance int, filler char(84), ${key('aid')});
    create table pgbench_history (${column} tid int, bid int, aid int, delta int, mtime timestamp, filler char(22)${history});`;
}

/** @param tenant the value of the tenant column, or undefined for tables without one */
function rows(scale: number, tenant: string | undefined): string {
  const column = tenant === undefined ? '' : 'tenant_id,';
  const value = tenant === undefined ? '' : `${pg.escapeLiteral(tenant)},`;
  const accounts = scale * ACCOUNTS_PER_SCALE;
  return `
    insert into pgbench_branches (${column} bid, bbalance) select ${value} n, 0 from generate_series(1, ${scale}) n;
    insert into pgbench_tellers (${column} tid, bid, tbalance)
      select ${value} n, (n - 1) / ${TELLERS_PER_SCALE} + 1, 0 from generate_series(1, ${scale * TELLERS_PER_SCALE}) n;
    insert into pgbench_accounts (${column} aid, bid, abalance, filler)
      select ${value} n, (n - 1) / ${ACCOUNTS_PER_SCALE} + 1, 0, '' from generate_series(1, ${accounts}) n;`;
}

async function asAdmin(port: number, database: string, run: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client({ host: '127.0.0.1', port, ...ADMIN, database });
  await client.connect();
  try {
    await run(client);
  } finally {
    await client.end();
  }
}

/** The tables without tenants, and the role for those who use them. */
async function fillPlain(port: number, scale: number): Promise<void> {
  const { user, password } = BENCH_USER;
  await asAdmin(port, 'app', async client => {
    await client.query(`create role ${user} login password ${client.escapeLiteral(password)}`);
    await client.query('create database plain');
  });
  await asAdmin(port, 'plain', async client => {
    await client.query(tables(false) + rows(scale, undefined));
    await client.query(`grant select, insert, update, delete on all tables in schema public to ${user}`);
    await client.query('vacuum analyze');
  });
}

/** The tables with tenants, not yet enrolled and without rows. */
export function makeTenantTables(port: number): Promise<void> {
  return asAdmin(port, 'app', async client => {
    await client.query(tables(true));
  });
}

/** After enrolment: as the superuser, whom row-level security does not hold. */
export function fillTenantTables(port: number, scale: number): Promise<void> {
  return asAdmin(port, 'app', async client => {
    await client.query(rows(scale, TENANT));
    await client.query('vacuum analyze');
  });
}

/** Empties the write-ahead log's debts between rounds, so that no target pays for what another has written. */
export function checkpoint(shard: Shard): Promise<void> {
  return asAdmin(shard.port, 'plain', async client => {
    await client.query('checkpoint');
  });
}

export async function startShard(directory: string, scale: number): Promise<Shard> {
  const [port = 0] = await allocatePorts(1);
  const socketDir = join(directory, 'socket');
  const server = await startPostgres({
    dataDir: join(directory, 'postgres'),
    port,
    socketDir,
    superuser: ADMIN.user,
    password: ADMIN.password,
    settings: SETTINGS,
    world: realWorld,
  });
  await fillPlain(port, scale);
  return { pid: server.pid, port, socketDir, stop: () => server.stop() };
}
