/**
 * `homeport migrate`: brings every shard to the same schema, ours and the user's, or says which ones are not there and
 * why. Run again after a failure it goes on where it stopped; run twice at once the second waits, then gives up.
 */
import type pg from 'pg';
import { describe, HomeportError } from '../base/errors.ts';
import type { ShardId } from '../base/ids.ts';
import { type AdminTarget, connectAdmin, sqlstateOf, why } from './admin.ts';
import { ensureIdentity, ensureSigningKey, migrateOwn } from './migrate-own.ts';
import { applyEverywhere, pending, readApplied, readUserMigrations, type UserMigration } from './migrate-user.ts';
import { LOCK_CLASS } from './sql.ts';

/** Shards worked on at a time: a migration is bound by the shards, but connections and memory here are not free. */
const PARALLEL_SHARDS = 8;
const LOCK_WAIT_MS = 10_000;
const LOCK_NOT_AVAILABLE = '55P03';

export type MigrateProgress =
  | { readonly kind: 'connected'; readonly shard: ShardId }
  | { readonly kind: 'own'; readonly shard: ShardId; readonly migration: string }
  | { readonly kind: 'user'; readonly migration: string; readonly shards: readonly ShardId[] }
  | { readonly kind: 'current'; readonly shard: ShardId };

export interface MigrateOptions {
  readonly shards: readonly AdminTarget[];
  readonly clusterSecret: Buffer;
  /** A directory of *.sql files; none when undefined. */
  readonly userMigrations?: string | undefined;
  readonly onProgress?: ((event: MigrateProgress) => void) | undefined;
  readonly lockWaitMs?: number;
}

export interface MigrateReport {
  readonly shard: ShardId;
  /** What ran now. */
  readonly own: readonly string[];
  readonly user: readonly string[];
}

interface Open {
  readonly target: AdminTarget;
  readonly id: ShardId;
  readonly admin: pg.Client;
  readonly own: string[];
  readonly user: string[];
}

async function bounded<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL_SHARDS, items.length) }, worker));
}

/** A session lock: it is held over many transactions, and gone with the connection. */
async function lock(shard: ShardId, admin: pg.Client, waitMs: number): Promise<void> {
  try {
    await admin.query(`set lock_timeout = ${Math.max(1, Math.round(waitMs))}`);
    await admin.query(`select pg_advisory_lock(${LOCK_CLASS}, hashtext('migrate'))`);
    await admin.query('reset lock_timeout');
  } catch (cause) {
    if (sqlstateOf(cause) !== LOCK_NOT_AVAILABLE) throw cause;
    throw new HomeportError('HP-S102', { shard, waitedMs: waitMs }, { cause });
  }
}

async function open(target: AdminTarget): Promise<Open> {
  try {
    return { target, id: target.id, admin: await connectAdmin(target), own: [], user: [] };
  } catch (cause) {
    throw new HomeportError('HP-S106', { shard: target.id, why: why(cause) }, { cause });
  }
}

function failed(shards: readonly Open[], failures: ReadonlyMap<ShardId, unknown>): HomeportError {
  const reasons = [...failures].map(([id, error]) => `${id}: ${describe(error).split('\n')[0]}`).join('; ');
  const done = shards.filter(shard => !failures.has(shard.id)).map(shard => shard.id);
  const params = { failed: failures.size, total: shards.length, why: reasons, done: done.join(', ') || 'none' };
  return new HomeportError('HP-S101', params, { cause: [...failures.values()][0] });
}

/** Own migrations depend on nothing but themselves: a shard that fails does not keep the others from being done. */
async function ownEverywhere(shards: readonly Open[], options: MigrateOptions): Promise<void> {
  const failures = new Map<ShardId, unknown>();
  await bounded(shards, async shard => {
    try {
      const note = (migration: string) => options.onProgress?.({ kind: 'own', shard: shard.id, migration });
      shard.own.push(...(await migrateOwn(shard.target, note)));
      await ensureIdentity(shard.admin, shard.target);
      await ensureSigningKey(shard.admin, options.clusterSecret);
    } catch (error) {
      failures.set(shard.id, error);
    }
  });
  if (failures.size > 0) throw failed(shards, failures);
}

async function userEverywhere(shards: readonly Open[], options: MigrateOptions): Promise<void> {
  // Without a directory nothing is said about the user's migrations: what ran stays as it is.
  if (options.userMigrations === undefined) return;
  const files = await readUserMigrations(options.userMigrations);
  const left = new Map<ShardId, Set<UserMigration>>();
  // All are checked before the first is changed.
  for (const shard of shards) left.set(shard.id, new Set(pending(shard.id, files, await readApplied(shard.admin))));
  for (const file of files) {
    const behind = shards.filter(shard => left.get(shard.id)?.has(file));
    if (behind.length === 0) continue;
    const failures = await applyEverywhere(behind, file);
    if (failures.length > 0) {
      throw failed(
        shards,
        new Map(
          failures.map(({ shard, error }) => [shard, new Error(`${file.file}: ${describe(error)}`, { cause: error })]),
        ),
      );
    }
    for (const shard of behind) shard.user.push(file.file);
    options.onProgress?.({ kind: 'user', migration: file.file, shards: behind.map(shard => shard.id) });
  }
}

/**
 * @throws HP-S106 when a shard is out of reach and HP-S102 when somebody else migrates (both before anything was
 *   changed), HP-S103 and HP-S104 when the user's files contradict what ran, HP-S101 with what failed where.
 */
export async function migrateShards(options: MigrateOptions): Promise<MigrateReport[]> {
  const shards: Open[] = [];
  try {
    const opened = await Promise.allSettled(options.shards.map(open));
    for (const result of opened) if (result.status === 'fulfilled') shards.push(result.value);
    for (const result of opened) if (result.status === 'rejected') throw result.reason;
    // One after the other in one order, or two migrators could each hold half of the locks.
    for (const { id, admin } of [...shards].sort((a, b) => (a.id < b.id ? -1 : 1))) {
      await lock(id, admin, options.lockWaitMs ?? LOCK_WAIT_MS);
      options.onProgress?.({ kind: 'connected', shard: id });
    }
    await ownEverywhere(shards, options);
    await userEverywhere(shards, options);
    for (const { id } of shards) options.onProgress?.({ kind: 'current', shard: id });
    return shards.map(({ id, own, user }) => ({ shard: id, own, user }));
  } finally {
    await Promise.allSettled(shards.map(({ admin }) => admin.end()));
  }
}
