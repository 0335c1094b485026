/**
 * Why a table can't be enrolled, all reasons at once, each with what to change. Pure. What is at stake in each: a row
 * that another tenant could see, or whose existence it could find out (I8), or a change that could not be replicated.
 */
import type { Column, ForeignKey, Table } from './enroll-catalog.ts';

export interface RuleContext {
  readonly tenantColumn: string;
  /** Tables, qualified and quoted, that are enrolled or will be in this run. */
  readonly enrolled: ReadonlySet<string>;
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function kindReasons(table: Table): string[] {
  const reasons: string[] = [];
  if (table.kind === 'v' || table.kind === 'm') reasons.push('it is a view; enroll the tables under it');
  else if (table.kind !== 'r' && table.kind !== 'p') reasons.push('it is not a table of this database');
  if (table.persistence === 'u') {
    reasons.push(`it is unlogged and can't be replicated: alter table ${table.sql} set logged`);
  }
  if (table.persistence === 't') reasons.push('it is a temporary table');
  if (table.isPartition) reasons.push('it is a partition; enroll the table that it belongs to');
  if (table.inherits) reasons.push('it inherits or is inherited from; use partitions, or tables of their own');
  return reasons;
}

function tenantColumnReasons(table: Table, column: Column | undefined, name: string): string[] {
  const col = quoted(name);
  if (!column) {
    return [`it has no column ${name}: alter table ${table.sql} add column ${col} text, fill it, then set not null`];
  }
  const reasons: string[] = [];
  if (column.type !== 'text') {
    reasons.push(`${name} is ${column.type}, not text: alter table ${table.sql} alter column ${col} type text`);
  }
  if (!column.notNull) {
    reasons.push(`${name} may be null: alter table ${table.sql} alter column ${col} set not null`);
  }
  if (!column.deterministic) {
    reasons.push(`${name} has a collation under which different tenants compare as equal: give it collate "C"`);
  }
  return reasons;
}

function uniqueReasons(table: Table, tenantColumn: string): string[] {
  const reasons: string[] = [];
  if (!table.uniques.some(index => index.primary)) {
    reasons.push(`it has no primary key: alter table ${table.sql} add primary key (${quoted(tenantColumn)}, …)`);
  }
  for (const index of table.uniques) {
    if (index.columns.includes(tenantColumn)) continue;
    const what = index.primary ? 'the primary key' : index.exclusion ? 'exclusion constraint' : 'unique index';
    const columns = [tenantColumn, ...index.columns.map(column => column ?? '(expression)')].join(', ');
    const change = index.exclusion ? `add ${tenantColumn} with =` : `make it over (${columns})`;
    reasons.push(
      `${what} ${index.name} is without ${tenantColumn}, so a tenant could find out by inserting what others have: ${change}`,
    );
  }
  return reasons;
}

function foreignKeyReasons(table: Table, key: ForeignKey, context: RuleContext): string[] {
  const inside = context.enrolled.has(key.from) && context.enrolled.has(key.to);
  if (!inside) {
    return key.to === table.sql && key.from !== table.sql
      ? [`${key.from} refers to it (${key.name}) and is not enrolled: enroll it too, or drop the foreign key`]
      : [];
  }
  // Seen from both ends; told once.
  if (key.from !== table.sql) return [];
  const at = key.columns.indexOf(context.tenantColumn);
  if (at < 0 || key.referenced[at] !== context.tenantColumn) {
    const columns = key.columns.filter(column => column !== context.tenantColumn).join(', ');
    const referenced = key.referenced.filter(column => column !== context.tenantColumn).join(', ');
    return [
      `foreign key ${key.name} could refer to another tenant's row: make it foreign key (${context.tenantColumn}, ${columns}) ` +
        `references ${key.to} (${context.tenantColumn}, ${referenced})`,
    ];
  }
  if (!key.resets.includes(context.tenantColumn)) return [];
  const rest = key.columns.filter(column => column !== context.tenantColumn).join(', ');
  return [
    `foreign key ${key.name} would reset ${context.tenantColumn} too: say set null (${rest}), or set default (${rest})`,
  ];
}

function sequenceReasons(table: Table): string[] {
  return table.sequences.flatMap(sequence => {
    const wide = sequence.columnType === 'bigint' && sequence.sequenceType === 'bigint';
    if (wide && !sequence.cycles) return [];
    const column = quoted(sequence.column);
    return wide
      ? [`sequence ${sequence.name} starts over at its end: alter sequence ${sequence.name} no cycle`]
      : [
          `${sequence.column} takes its numbers from ${sequence.name} and is not bigint, which every shard's share of the numbers ` +
            `needs: alter table ${table.sql} alter column ${column} type bigint; alter sequence ${sequence.name} as bigint`,
        ];
  });
}

/** A sequence that belongs to no column would keep its stride of one, and shards would make the same ids. */
function defaultReasons(table: Table): string[] {
  const owned = new Set(table.sequences.map(sequence => sequence.column));
  return table.columns
    .filter(column => column.defaultSql?.includes('nextval(') && !owned.has(column.name))
    .map(column => {
      const sequence = /nextval\('(.+?)'/.exec(column.defaultSql ?? '')?.[1] ?? '…';
      return `${column.name} takes its numbers from a sequence that is not its own: alter sequence ${sequence} owned by ${table.sql}.${quoted(column.name)}`;
    });
}

function readerReasons(table: Table): string[] {
  return table.readers.flatMap(reader => {
    if (reader.kind === 'view' && reader.securityInvoker) return [];
    if (reader.kind === 'view') {
      return [
        `view ${reader.name} reads it with its owner's rights, past the policy: alter view ${reader.name} set (security_invoker = true)`,
      ];
    }
    if (reader.kind === 'rule') {
      return [`a rule on ${reader.name} reads or writes it with its owner's rights: use a trigger instead`];
    }
    return [`materialized view ${reader.name} holds rows of all tenants: drop it, or keep them in an enrolled table`];
  });
}

/** @returns nothing when the table can be enrolled. */
export function enrollmentReasons(table: Table, context: RuleContext): string[] {
  const kind = kindReasons(table);
  if (kind.some(reason => reason.startsWith('it is not a table') || reason.startsWith('it is a view'))) return kind;
  const column = table.columns.find(candidate => candidate.name === context.tenantColumn);
  return [
    ...kind,
    ...tenantColumnReasons(table, column, context.tenantColumn),
    ...uniqueReasons(table, context.tenantColumn),
    ...table.foreignKeys.flatMap(key => foreignKeyReasons(table, key, context)),
    ...sequenceReasons(table),
    ...defaultReasons(table),
    ...readerReasons(table),
  ];
}
