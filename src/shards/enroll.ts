/**
 * `homeport enroll`: makes tables safe to share between tenants and fit to be copied. Idempotent; says each thing it
 * does and why; refuses a table that can't be with every reason at once, before anything is changed.
 */
import type pg from 'pg';
import { HomeportError } from '../base/errors.ts';
import { inTransaction } from './admin.ts';
import { privilegedFunctions, readTable, type Table } from './enroll-catalog.ts';
import { copyDoor } from './enroll-copy.ts';
import { enrollmentReasons } from './enroll-rules.ts';
import { enrollmentSteps, ident, isStrided, type Step, type StepContext } from './enroll-steps.ts';
import { LOCK_CLASS, MAX_SHARDS, PUBLICATION } from './sql.ts';

export interface EnrollOptions {
  readonly dryRun?: boolean;
  /** The application roles: they get the rights. */
  readonly roles: readonly string[];
  /** Default `tenant_id`. */
  readonly tenantColumn?: string;
  /** Ids in use anywhere in the cluster, by sequence (see `sequenceFloors`): this shard's go on above them. */
  readonly floors?: ReadonlyMap<string, bigint>;
}

export interface EnrolledTable {
  readonly table: string;
  readonly steps: readonly Step[];
}

export interface EnrollReport {
  readonly tables: readonly EnrolledTable[];
  /** What enrolling can't judge and a person should: each with the reason. */
  readonly warnings: readonly string[];
}

async function readAll(admin: pg.ClientBase, names: readonly string[]): Promise<Table[]> {
  const missing: string[] = [];
  const tables: Table[] = [];
  for (const name of names) {
    const table = await readTable(admin, name, PUBLICATION);
    if (table) tables.push(table);
    else missing.push(name);
  }
  if (missing.length > 0) {
    throw new HomeportError('HP-S201', { tables: missing.join(', '), reasons: 'there is no such table on this shard' });
  }
  return [...new Map(tables.map(table => [table.sql, table])).values()];
}

interface Registered {
  readonly sql: string;
}

async function registered(admin: pg.ClientBase): Promise<Set<string>> {
  const { rows } = await admin.query<Registered>(
    `select format('%I.%I', schema_name, table_name) as sql from homeport.enrolled`,
  );
  return new Set(rows.map(row => row.sql));
}

function refuseUnfit(tables: readonly Table[], enrolled: ReadonlySet<string>, tenantColumn: string): void {
  const unfit = tables
    .map(table => ({ table: table.sql, reasons: enrollmentReasons(table, { tenantColumn, enrolled }) }))
    .filter(({ reasons }) => reasons.length > 0);
  if (unfit.length === 0) return;
  throw new HomeportError('HP-S201', {
    tables: unfit.map(({ table }) => table).join(', '),
    reasons: unfit.map(({ table, reasons }) => `${table}: ${reasons.join('; ')}`).join(' | '),
  });
}

const RIGHTS = `
  select coalesce(bool_and(
    has_table_privilege(r, $1, 'select') = $3 and has_table_privilege(r, $1, 'insert') = $3
    and has_table_privilege(r, $1, 'update') = $3 and has_table_privilege(r, $1, 'delete') = $3
    and not has_table_privilege(r, $1, 'truncate, references, trigger, maintain')), true) as fit
  from unnest($2::text[]) r`;

const SCHEMA_RIGHTS = `select coalesce(bool_and(has_schema_privilege(r, $1, 'usage')), true) as fit from unnest($2::text[]) r`;

async function rights(admin: pg.ClientBase, table: Table, roles: readonly string[]): Promise<Map<string, boolean>> {
  const known = new Map<string, boolean>();
  for (const name of [table.sql, ...table.partitions]) {
    const { rows } = await admin.query<{ fit: boolean }>(RIGHTS, [name, roles, name === table.sql]);
    known.set(name, rows[0]?.fit ?? false);
  }
  return known;
}

/**
 * Reading the largest id is a scan (the key starts with the tenant), so it is done only for a sequence to be set. One that
 * makes this shard's numbers already was set above all floors then, and meets no other shard's since.
 */
async function floorsOf(
  admin: pg.ClientBase,
  table: Table,
  ordinal: number,
  given: ReadonlyMap<string, bigint>,
): Promise<Map<string, bigint>> {
  const floors = new Map<string, bigint>();
  for (const sequence of table.sequences) {
    if (isStrided(sequence, ordinal, 0n)) continue;
    const floor = given.get(sequence.name) ?? 0n;
    floors.set(sequence.name, maximum(floor, await largest(admin, table, sequence.column)));
  }
  return floors;
}

async function copyMark(admin: pg.ClientBase, table: Table): Promise<string | undefined> {
  const { rows } = await admin.query<{ mark: string | null }>(
    `select obj_description(to_regclass($1), 'pg_class') as mark`,
    [copyDoor(table.schema, table.name)],
  );
  return rows[0]?.mark ?? undefined;
}

function maximum(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

async function largest(admin: pg.ClientBase, table: Table, column: string): Promise<bigint> {
  const { rows } = await admin.query<{ max: string }>(
    `select coalesce(max(${ident(column)}), 0)::text as max from ${table.sql}`,
  );
  return BigInt(rows[0]?.max ?? '0');
}

/**
 * The largest id that each table's sequences have given out or that stands in the table, for sequences that don't have a
 * stride yet. Taken over all shards before the first is enrolled, it keeps ids of before from meeting new ones of another
 * shard's. Once all have their stride it is empty, so that enrolling again moves no sequence.
 */
export async function sequenceFloors(admin: pg.ClientBase, names: readonly string[]): Promise<Map<string, bigint>> {
  const floors = new Map<string, bigint>();
  for (const table of await readAll(admin, names)) {
    for (const sequence of table.sequences) {
      if (sequence.increment === String(MAX_SHARDS)) continue;
      floors.set(sequence.name, maximum(BigInt(sequence.last), await largest(admin, table, sequence.column)));
    }
  }
  return floors;
}

function warningsOf(tables: readonly Table[], enrolled: ReadonlySet<string>, functions: readonly string[]): string[] {
  const outside = tables.flatMap(table =>
    table.foreignKeys
      .filter(key => key.from === table.sql && !enrolled.has(key.to))
      .map(
        key =>
          `${table.sql} refers to ${key.to} (${key.name}), which is not enrolled: its rows must be the same on every shard`,
      ),
  );
  const privileged = functions.map(
    name =>
      `function ${name} runs with the rights of an owner whom no policy binds: it must choose the tenant by itself`,
  );
  return [...outside, ...privileged];
}

async function plan(admin: pg.ClientBase, names: readonly string[], options: EnrollOptions): Promise<EnrollReport> {
  const tenantColumn = options.tenantColumn ?? 'tenant_id';
  const tables = await readAll(admin, names);
  const known = await registered(admin);
  const enrolled = new Set([...known, ...tables.map(table => table.sql)]);
  refuseUnfit(tables, enrolled, tenantColumn);
  const shard = await admin.query<{ ordinal: number }>('select ordinal from homeport.shard');
  const ordinal = shard.rows[0]?.ordinal ?? 0;
  const publication = await admin.query('select from pg_publication where pubname = $1', [PUBLICATION]);
  const planned: EnrolledTable[] = [];
  for (const table of tables) {
    const inPlace = await rights(admin, table, options.roles);
    const usable = await admin.query<{ fit: boolean }>(SCHEMA_RIGHTS, [table.schema, options.roles]);
    const context: StepContext = {
      tenantColumn,
      roles: options.roles,
      ordinal,
      publicationExists: publication.rowCount === 1,
      schemaUsable: usable.rows[0]?.fit ?? false,
      registered: known.has(table.sql),
      copyMark: await copyMark(admin, table),
      rightsInPlace: name => inPlace.get(name) ?? false,
      floors: await floorsOf(admin, table, ordinal, options.floors ?? new Map()),
    };
    planned.push({ table: table.sql, steps: enrollmentSteps(table, context) });
  }
  return { tables: planned, warnings: warningsOf(tables, enrolled, await privilegedFunctions(admin, options.roles)) };
}

/**
 * All tables in one transaction.
 * @throws HP-S201 with every reason for every table that can't be enrolled; nothing was changed then.
 */
export async function enrollTables(
  admin: pg.ClientBase,
  names: readonly string[],
  options: EnrollOptions,
): Promise<EnrollReport> {
  return inTransaction(admin, async () => {
    await admin.query(`select pg_advisory_xact_lock(${LOCK_CLASS}, hashtext('enroll'))`);
    const report = await plan(admin, names, options);
    if (options.dryRun) return report;
    const tables: EnrolledTable[] = [];
    for (const { table, steps } of report.tables) {
      const done: Step[] = [];
      for (const step of steps) {
        if (step.state === 'planned') await admin.query(step.sql);
        done.push(step.state === 'planned' ? { ...step, state: 'done' } : step);
      }
      tables.push({ table, steps: done });
    }
    return { ...report, tables };
  });
}

export interface Enrollment {
  readonly schema: string;
  readonly table: string;
  readonly tenantColumn: string;
  readonly key: readonly string[];
}

export async function listEnrolled(admin: pg.ClientBase): Promise<Enrollment[]> {
  const { rows } = await admin.query<Enrollment>(
    `select schema_name as schema, table_name as "table", tenant_column as "tenantColumn", key
     from homeport.enrolled order by 1, 2`,
  );
  return rows;
}
