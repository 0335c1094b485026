/** The user's schema on all shards: migrations and enrolment, with what they need of the configuration. */
import type pg from 'pg';
import type { ShardId } from '../base/ids.ts';
import type { World } from '../base/world.ts';
import type { Config } from '../config/schema.ts';
import { type EnrollReport, enrollTables, listEnrolled, sequenceFloors } from '../shards/enroll.ts';
import { copyDoor } from '../shards/enroll-copy.ts';
import { type MigrateProgress, type MigrateReport, migrateShards } from '../shards/migrate.ts';
import { ensureRoles } from '../shards/roles.ts';
import { adminTargets, reachShard } from './plane.ts';

export interface MigrateAll {
  readonly userMigrations?: string | undefined;
  readonly onProgress?: (event: MigrateProgress) => void;
}

/** All shards or none, and the application roles with them. `roles`: how many were made or changed. */
export async function migrateAll(
  config: Config,
  world: World,
  options: MigrateAll,
): Promise<{ readonly reports: MigrateReport[]; readonly roles: number }> {
  const shards = adminTargets(config);
  const reports = await migrateShards({ shards, clusterSecret: config.cluster.secret, ...options });
  const changed = await Promise.all(
    shards.map(async target => {
      const admin = await reachShard(target);
      try {
        const users = Object.keys(config.users);
        const roles = await ensureRoles(admin, { users, clusterSecret: config.cluster.secret, random: world.random });
        await forgetDropped(admin);
        if (reports.some(report => report.user.length > 0)) await enrollAgain(admin, users);
        return roles.length;
      } finally {
        await admin.end();
      }
    }),
  );
  return { reports, roles: changed.reduce((sum, count) => sum + count, 0) };
}

/** A table that a migration has dropped is looked into by nobody any more: not by pins, not by COPY. */
async function forgetDropped(admin: pg.Client): Promise<void> {
  const { rows } = await admin.query<{ schema: string; table: string }>(
    `delete from homeport.enrolled where to_regclass(format('%I.%I', schema_name, table_name)) is null
     returning schema_name as schema, table_name as table`,
  );
  for (const { schema, table } of rows) {
    const door = copyDoor(schema, table);
    await admin.query(`drop view if exists ${door}; drop function if exists ${door}()`);
  }
}

/** Brings what hangs on an enrolled table's columns up to date after a migration: its rights and its door for COPY. */
async function enrollAgain(admin: pg.Client, roles: readonly string[]): Promise<void> {
  for (const { schema, table, tenantColumn } of await listEnrolled(admin)) {
    const name = [schema, table].map(part => `"${part.replaceAll('"', '""')}"`).join('.');
    await enrollTables(admin, [name], { roles, tenantColumn });
  }
}

/**
 * Enrolls tables on every shard. All shards are asked first what would be done, so that a table that can't be enrolled
 * somewhere is refused before anything changed anywhere.
 */
export async function enrollAll(
  config: Config,
  tables: readonly string[],
  options: { readonly dryRun?: boolean; readonly tenantColumn?: string },
): Promise<Map<ShardId, EnrollReport>> {
  const roles = Object.keys(config.users);
  const shards = await Promise.all(
    adminTargets(config).map(async target => ({ id: target.id, admin: await reachShard(target) })),
  );
  try {
    const floors = new Map<string, bigint>();
    for (const { admin } of shards) {
      for (const [name, floor] of await sequenceFloors(admin, tables)) {
        if (floor > (floors.get(name) ?? -1n)) floors.set(name, floor);
      }
    }
    const rest = { roles, floors, ...(options.tenantColumn ? { tenantColumn: options.tenantColumn } : {}) };
    const reports = new Map<ShardId, EnrollReport>();
    for (const { id, admin } of shards) reports.set(id, await enrollTables(admin, tables, { ...rest, dryRun: true }));
    if (options.dryRun) return reports;
    for (const { id, admin } of shards) reports.set(id, await enrollTables(admin, tables, rest));
    return reports;
  } finally {
    await Promise.allSettled(shards.map(({ admin }) => admin.end()));
  }
}
