/**
 * The user's migrations: *.sql files, in the order of their names, each in one transaction that is committed only when
 * it has run on every shard. What has run is kept with its checksum, so that an edited file is noticed.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { HomeportError } from '../base/errors.ts';
import type { ShardId } from '../base/ids.ts';

export interface UserMigration {
  readonly file: string;
  readonly sql: string;
  readonly sha256: string;
  /** False when the first line is `-- homeport: no-transaction`: one statement, run shard by shard. */
  readonly transactional: boolean;
}

const NO_TRANSACTION = /^--\s*homeport:\s*no-transaction\s*$/m;

export async function readUserMigrations(directory: string): Promise<UserMigration[]> {
  const files = (await readdir(directory)).filter(name => name.endsWith('.sql')).sort();
  return Promise.all(
    files.map(async file => {
      const sql = await readFile(join(directory, file), 'utf8');
      const sha256 = createHash('sha256').update(sql).digest('hex');
      return { file, sql, sha256, transactional: !NO_TRANSACTION.test(sql.slice(0, sql.indexOf('\n') + 1)) };
    }),
  );
}

export interface Applied {
  readonly name: string;
  readonly sha256: string;
}

export async function readApplied(admin: pg.ClientBase): Promise<Applied[]> {
  const { rows } = await admin.query<Applied>('select name, sha256 from homeport.user_migration order by name');
  return rows;
}

/**
 * What is left to run on a shard.
 * @throws HP-S103 when a file that ran has changed; HP-S104 when one is gone, or a new one sorts before one that ran.
 */
export function pending(shard: ShardId, files: readonly UserMigration[], applied: readonly Applied[]): UserMigration[] {
  const ran = new Map(applied.map(row => [row.name, row.sha256]));
  const known = new Set(files.map(file => file.file));
  for (const { name } of applied) {
    if (!known.has(name)) throw new HomeportError('HP-S104', { shard, why: `${name} ran there and its file is gone` });
  }
  const last =
    applied
      .map(row => row.name)
      .sort()
      .at(-1) ?? '';
  const left: UserMigration[] = [];
  for (const file of files) {
    const sha256 = ran.get(file.file);
    if (sha256 === undefined) {
      if (file.file < last) {
        throw new HomeportError('HP-S104', { shard, why: `${file.file} is new but sorts before ${last}, which ran` });
      }
      left.push(file);
    } else if (sha256 !== file.sha256) {
      throw new HomeportError('HP-S103', { shard, file: file.file });
    }
  }
  return left;
}

async function note(admin: pg.ClientBase, migration: UserMigration): Promise<void> {
  await admin.query('insert into homeport.user_migration (name, sha256) values ($1, $2)', [
    migration.file,
    migration.sha256,
  ]);
}

/** Runs a file in a transaction and leaves it open, for the caller to commit on all shards or on none. */
async function prepare(admin: pg.ClientBase, shard: ShardId, migration: UserMigration): Promise<void> {
  const xid = async () => (await admin.query<{ xid: string }>('select pg_current_xact_id()::text as xid')).rows[0]?.xid;
  await admin.query('begin');
  const before = await xid();
  await admin.query(migration.sql);
  await note(admin, migration);
  if ((await xid()) !== before) throw new HomeportError('HP-S105', { shard, file: migration.file });
}

export interface OpenShard {
  readonly id: ShardId;
  readonly admin: pg.ClientBase;
}

export interface FileFailure {
  readonly shard: ShardId;
  readonly error: unknown;
}

/** On all shards or on none. @returns the failures; empty when the file is committed everywhere. */
export async function applyEverywhere(shards: readonly OpenShard[], migration: UserMigration): Promise<FileFailure[]> {
  const each = async (work: (shard: OpenShard) => Promise<unknown>): Promise<FileFailure[]> => {
    const settled = await Promise.allSettled(shards.map(work));
    return settled.flatMap((result, i) => {
      const shard = shards[i];
      return result.status === 'rejected' && shard ? [{ shard: shard.id, error: result.reason }] : [];
    });
  };
  if (!migration.transactional) {
    return each(async ({ admin }) => {
      await admin.query(migration.sql);
      await note(admin, migration);
    });
  }
  const failures = await each(({ id, admin }) => prepare(admin, id, migration));
  if (failures.length === 0) return each(({ admin }) => admin.query('commit'));
  // A shard whose connection is gone has rolled back by that.
  await each(({ admin }) => admin.query('rollback'));
  return failures;
}
