/**
 * Postgres refuses COPY FROM wherever a policy applies. So each enrolled table has a door: a view in `homeport_copy` with
 * its columns and defaults and no rows, whose trigger inserts what is copied into the table, as the role that copies, under
 * the policy. A gateway only exchanges the name. The view depends on nothing of the table's, which can be altered and
 * dropped as before; enrolling again brings the door up to date.
 */
import { createHash } from 'node:crypto';
import type { Table } from './enroll-catalog.ts';

export const COPY_SCHEMA = 'homeport_copy';
const MAX_IDENTIFIER_BYTES = 63;

function ident(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Of `schema.table`; a name too long for Postgres is replaced by its hash. Unquoted. */
export function copyDoorName(schema: string, table: string): string {
  const name = `${schema}.${table}`;
  if (Buffer.byteLength(name) <= MAX_IDENTIFIER_BYTES) return name;
  return createHash('sha256').update(name).digest('hex').slice(0, MAX_IDENTIFIER_BYTES);
}

/** What goes into COPY … FROM in the table's place, qualified and quoted. */
export function copyDoor(schema: string, table: string): string {
  return `${COPY_SCHEMA}.${ident(copyDoorName(schema, table))}`;
}

/** A default that holds on to no sequence of the table's. */
function looseDefault(table: Table, column: Table['columns'][number], tenantColumn: string): string | undefined {
  if (column.name === tenantColumn) return 'homeport.claimed_tenant()';
  const sequence = table.sequences.find(candidate => candidate.column === column.name);
  if (sequence) return `nextval('${sequence.name.replaceAll("'", "''")}'::text)`;
  return column.defaultSql?.replaceAll('::regclass', '::text');
}

export interface CopyDoor {
  readonly sql: string;
  /** Stands as the view's comment: the door is up to date when it is there with this one. */
  readonly mark: string;
}

export function copyDoorOf(table: Table, tenantColumn: string, roles: readonly string[]): CopyDoor {
  const door = copyDoor(table.schema, table.name);
  const columns = table.columns.filter(column => !column.generated);
  const list = columns.map(column => ident(column.name)).join(', ');
  const statements = [
    `drop view if exists ${door}`,
    `create view ${door} as select ${columns.map(column => `null::${column.type} as ${ident(column.name)}`).join(', ')} where false`,
    `create or replace function ${door}() returns trigger language plpgsql as $copy$ begin
  insert into ${table.sql} (${list}) overriding system value values (${columns.map(column => `new.${ident(column.name)}`).join(', ')});
  return new;
end $copy$`,
    `create trigger copy instead of insert on ${door} for each row execute function ${door}()`,
    `revoke all on function ${door}() from public`,
  ];
  for (const column of columns) {
    const value = looseDefault(table, column, tenantColumn);
    if (value !== undefined)
      statements.push(`alter view ${door} alter column ${ident(column.name)} set default ${value}`);
  }
  if (roles.length > 0) statements.push(`grant insert on ${door} to ${roles.map(ident).join(', ')}`);
  const mark = createHash('sha256').update(statements.join(';\n')).digest('hex');
  statements.push(`comment on view ${door} is '${mark}'`);
  return { sql: statements.join(';\n'), mark };
}
