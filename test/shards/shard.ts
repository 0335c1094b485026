/** A migrated shard with application roles, and transactions on it that are entered as a gateway enters them. */
import type pg from 'pg';
import type { PlacementKey, ShardId, TenantKey } from '../../src/base/ids.ts';
import { deriveKey, rolePassword } from '../../src/base/keys.ts';
import { realWorld } from '../../src/base/world.ts';
import type { AdminTarget } from '../../src/shards/admin.ts';
import { migrateShards } from '../../src/shards/migrate.ts';
import { enterProof } from '../../src/shards/proof.ts';
import { ensureRoles } from '../../src/shards/roles.ts';
import { ENTER } from '../../src/shards/sql.ts';
import { PASSWORD, SUPERUSER, type TestPostgres } from '../support/postgres.ts';

export const SECRET = Buffer.alloc(32, 7);
export const SIGNING_KEY = deriveKey(SECRET, 'shard-signing');

export function target(server: TestPostgres, database = 'app', id = 'eu-west-1', ordinal = 1): AdminTarget {
  return {
    id: id as ShardId, // cast: a name of the test's
    ordinal,
    host: server.socketDir,
    port: server.port,
    database,
    admin: { user: SUPERUSER, password: PASSWORD },
    tls: false,
  };
}

export interface Shard {
  readonly admin: pg.Client;
  /** A connection as an application role. */
  app(role?: string): Promise<pg.Client>;
}

export async function prepareShard(server: TestPostgres, at: AdminTarget = target(server)): Promise<Shard> {
  await migrateShards({ shards: [at], clusterSecret: SECRET });
  const admin = await server.connect({ database: at.database });
  await ensureRoles(admin, { users: ['app', 'other'], clusterSecret: SECRET, random: realWorld.random });
  return {
    admin,
    app: (role = 'app') => server.connect({ database: at.database, user: role, password: rolePassword(SECRET, role) }),
  };
}

export async function backendPid(client: pg.ClientBase): Promise<number> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return rows[0]?.pid ?? 0;
}

export interface As {
  readonly tenant: string;
  readonly placement: string;
  readonly epoch: number;
}

/** The parameters of ENTER, with a good proof. */
export function entry(pid: number, as: As): [string, string, number, string] {
  // casts: keys of the test's
  const tenant = as.tenant as TenantKey;
  const placement = as.placement as PlacementKey;
  return [
    tenant,
    placement,
    as.epoch,
    enterProof(SIGNING_KEY, { backendPid: pid, tenant, placement, epoch: as.epoch }),
  ];
}

export async function enter(client: pg.ClientBase, as: As): Promise<void> {
  await client.query({ name: 'enter', text: ENTER, values: entry(await backendPid(client), as) });
}

/** BEGIN, enter, `work`, COMMIT; ROLLBACK when it throws. */
export async function asTenant<T>(client: pg.ClientBase, as: As, work: () => Promise<T>, begin = 'begin'): Promise<T> {
  const values = entry(await backendPid(client), as);
  await client.query(begin);
  try {
    await client.query({ name: 'enter', text: ENTER, values });
    const result = await work();
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback');
    throw error;
  }
}
