/**
 * Homeport's own migrations, by Kysely's migrator, and the two rows that every shard needs before it can be entered:
 * the signing key and which shard it is.
 */
import { Kysely, PostgresDialect } from 'kysely';
import { type Migration, Migrator } from 'kysely/migration';
import pg from 'pg';
import * as fences from '../../migrations/0001-fences.ts';
import * as context from '../../migrations/0002-context.ts';
import * as registry from '../../migrations/0003-registry.ts';
import * as copy from '../../migrations/0004-copy.ts';
import { HomeportError } from '../base/errors.ts';
import { deriveKey } from '../base/keys.ts';
import { type AdminTarget, adminConfig, inTransaction } from './admin.ts';
import { signingPads } from './proof.ts';

/** In the order in which they run. Once released, a migration is never edited. */
const OWN: Readonly<Record<string, Migration>> = {
  '0001-fences': fences,
  '0002-context': context,
  '0003-registry': registry,
  '0004-copy': copy,
};

export type OwnProgress = (migration: string) => void;

/** @returns the names of the migrations that ran now. */
export async function migrateOwn(target: AdminTarget, onProgress: OwnProgress): Promise<string[]> {
  const pool = new pg.Pool({ ...adminConfig(target), max: 1 });
  // An idle connection that is lost shows at the next query.
  pool.on('error', () => undefined);
  const db = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }) });
  try {
    const migrator = new Migrator({
      db,
      provider: { getMigrations: async () => ({ ...OWN }) },
      migrationTableSchema: 'homeport',
    });
    const { error, results } = await migrator.migrateToLatest();
    const applied = (results ?? []).filter(result => result.status === 'Success').map(result => result.migrationName);
    for (const name of applied) onProgress(name);
    if (error) throw error;
    return applied;
  } finally {
    await db.destroy();
  }
}

/**
 * Writes the signing key. Backends keep the key of their first entry in their plans: after a change of the cluster
 * secret every gateway connection has to be made anew, and entering says so (HP003).
 */
export async function ensureSigningKey(admin: pg.ClientBase, clusterSecret: Buffer): Promise<boolean> {
  const { inner, outer } = signingPads(deriveKey(clusterSecret, 'shard-signing'));
  return inTransaction(admin, async () => {
    // Parameters are logged with statements, slow ones and failed ones; the key belongs into no log.
    await admin.query(`
      set local log_statement = 'none'; set local log_min_duration_statement = -1; set local log_duration = off;
      set local log_parameter_max_length = 0; set local log_parameter_max_length_on_error = 0;
      set local log_min_duration_sample = -1; set local log_transaction_sample_rate = 0`);
    const { rowCount } = await admin.query(
      `insert into homeport.signing_key as k (inner_pad, outer_pad) values ($1, $2)
       on conflict (only_one) do update set inner_pad = excluded.inner_pad, outer_pad = excluded.outer_pad
       where k.inner_pad <> excluded.inner_pad`,
      [inner, outer],
    );
    return rowCount === 1;
  });
}

/** @throws HP-S202 when the database is another shard. */
export async function ensureIdentity(admin: pg.ClientBase, target: Pick<AdminTarget, 'id' | 'ordinal'>): Promise<void> {
  await admin.query('insert into homeport.shard (id, ordinal) values ($1, $2) on conflict do nothing', [
    target.id,
    target.ordinal,
  ]);
  const { rows } = await admin.query<{ id: string; ordinal: number }>('select id, ordinal from homeport.shard');
  const found = rows[0];
  if (found?.id === target.id && found.ordinal === target.ordinal) return;
  throw new HomeportError('HP-S202', {
    shard: target.id,
    ordinal: target.ordinal,
    found: found?.id,
    foundOrdinal: found?.ordinal,
  });
}
