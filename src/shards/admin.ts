/**
 * The way in for administration: the `pg` driver as the shard's owner. Not the data path (backend.ts), where it would
 * cost twice the CPU.
 */
import pg from 'pg';
import type { ShardId } from '../base/ids.ts';
import { limits } from '../base/limits.ts';

export interface AdminTarget {
  readonly id: ShardId;
  /** 0..1023, this shard's alone in the whole cluster and for ever: the remainder of the ids that are made here. */
  readonly ordinal: number;
  /** A host that starts with "/" is a directory with a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly admin: { readonly user: string; readonly password: string };
  readonly tls: boolean;
}

export function adminConfig(target: Omit<AdminTarget, 'id' | 'ordinal'>): pg.ClientConfig {
  return {
    host: target.host,
    port: target.port,
    database: target.database,
    user: target.admin.user,
    password: target.admin.password,
    ssl: target.tls ? { rejectUnauthorized: true } : false,
    connectionTimeoutMillis: limits.connectMs,
    application_name: 'homeport admin',
    // A session that lost its network must not hold fence locks for ever.
    keepAlive: true,
  };
}

/** The caller ends the client. Notices and a lost connection go to the statement that was running, or the next one. */
export async function connectAdmin(target: Omit<AdminTarget, 'id' | 'ordinal'>): Promise<pg.Client> {
  const client = new pg.Client(adminConfig(target));
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** BEGIN … COMMIT around `work`, ROLLBACK when it throws. What is read after a lock is never older than the lock. */
export async function inTransaction<T>(client: pg.ClientBase, work: () => Promise<T>): Promise<T> {
  await client.query('begin isolation level read committed');
  try {
    const result = await work();
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback').catch((rollback: unknown) => {
      // The connection is gone, and with it the transaction; the first error says more.
      if (error instanceof Error && error.cause === undefined) error.cause = rollback;
    });
    throw error;
  }
}

/** The SQLSTATE of an error of the driver's, if it is one. */
export function sqlstateOf(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}

export function why(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(why).join('; ');
  return error instanceof Error ? error.message : String(error);
}
