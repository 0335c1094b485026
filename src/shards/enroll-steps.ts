/** What enrolling a table takes, as a list of statements with their reasons, some of which are in place already. Pure. */
import type { OwnedSequence, Table } from './enroll-catalog.ts';
import { copyDoorOf } from './enroll-copy.ts';
import { MAX_SHARDS, PUBLICATION } from './sql.ts';

export interface Step {
  readonly sql: string;
  readonly why: string;
  readonly state: 'planned' | 'done' | 'already';
}

export interface StepContext {
  readonly tenantColumn: string;
  readonly roles: readonly string[];
  readonly ordinal: number;
  readonly publicationExists: boolean;
  /** Does every role have USAGE on the table's schema? */
  readonly schemaUsable: boolean;
  readonly registered: boolean;
  /** The mark of the table's door for COPY, when it has one. */
  readonly copyMark: string | undefined;
  /** Of a table or partition, by its SQL name: does every role have just the rights it should? */
  readonly rightsInPlace: (table: string) => boolean;
  /** Above which a sequence has to go on, by its name. */
  readonly floors: ReadonlyMap<string, bigint>;
}

const TENANT_POLICY = 'homeport_tenant';
const ROWS_POLICY = 'homeport_rows';
const DEFAULT = 'homeport.tenant()';

export function ident(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

function step(already: boolean, sql: string, why: string): Step {
  return { sql, why, state: already ? 'already' : 'planned' };
}

/** The smallest number above `floor` that leaves `ordinal` as remainder. */
export function firstId(floor: bigint, ordinal: number): bigint {
  const stride = BigInt(MAX_SHARDS);
  const base = floor < 0n ? 0n : floor;
  const first = (base / stride) * stride + BigInt(ordinal);
  return first > base ? first : first + stride;
}

/** Does it make this shard's numbers already, and only ones above the floor? */
export function isStrided(sequence: OwnedSequence, ordinal: number, floor: bigint): boolean {
  const stride = BigInt(MAX_SHARDS);
  const last = BigInt(sequence.last);
  const next = last > 0n ? last + stride : BigInt(sequence.start);
  return BigInt(sequence.increment) === stride && next % stride === BigInt(ordinal) && next > floor;
}

function rightsSteps(table: Table, context: StepContext): Step[] {
  if (context.roles.length === 0) return [];
  const to = context.roles.map(ident).join(', ');
  const steps = [
    step(
      context.schemaUsable,
      `grant usage on schema ${ident(table.schema)} to ${to}`,
      'a table is reached through its schema',
    ),
    step(
      context.rightsInPlace(table.sql),
      `revoke all on ${table.sql} from public, ${to}; grant select, insert, update, delete on ${table.sql} to ${to}`,
      'applications read and write rows; TRUNCATE, REFERENCES and TRIGGER would go past the policy',
    ),
  ];
  for (const partition of table.partitions) {
    steps.push(
      step(
        context.rightsInPlace(partition),
        `revoke all on ${partition} from public, ${to}`,
        'partitions are reached through their parent alone',
      ),
    );
  }
  return steps;
}

function policySteps(table: Table, column: string): Step[] {
  // Reading: a call in place costs the planner 13 µs less per statement than a sub-select, and becomes the index's key, so
  // it is evaluated once per scan (its COST keeps the planner from calling it per row). Writing: per row, so sub-select.
  const seen = `${ident(column)} = homeport.tenant()`;
  const written = `${ident(column)} = (select homeport.tenant())`;
  const has = (name: string) => table.policies.some(policy => policy.name === name);
  const others = table.policies.some(policy => policy.permissive && policy.name !== ROWS_POLICY);
  const steps: Step[] = [];
  for (const name of [table.sql, ...table.partitions]) {
    const whole = name === table.sql;
    // A partition is not inspected: its policies are made with the parent's, and these statements can be repeated.
    steps.push(
      step(
        whole && table.rowSecurity && table.forced && table.partitions.length === 0,
        `alter table ${name} enable row level security, force row level security`,
        'a policy binds everybody, the owner of the table too',
      ),
      step(
        whole && has(TENANT_POLICY),
        `drop policy if exists ${TENANT_POLICY} on ${name}; create policy ${TENANT_POLICY} on ${name} as restrictive ` +
          `using (${seen}) with check (${written})`,
        'a tenant sees and writes its own rows; restrictive, so that no other policy can widen it',
      ),
    );
    if (others) continue;
    steps.push(
      step(
        whole && has(ROWS_POLICY),
        `drop policy if exists ${ROWS_POLICY} on ${name}; create policy ${ROWS_POLICY} on ${name} using (true) with check (true)`,
        'restrictive policies need one that permits; yours can take its place',
      ),
    );
  }
  return steps;
}

function sequenceSteps(table: Table, context: StepContext): Step[] {
  const to = context.roles.map(ident).join(', ');
  return table.sequences.flatMap(sequence => {
    const floor = context.floors.get(sequence.name) ?? 0n;
    const last = BigInt(sequence.last);
    const first = firstId(floor > last ? floor : last, context.ordinal);
    const steps = [
      step(
        isStrided(sequence, context.ordinal, floor),
        `alter sequence ${sequence.name} increment by ${MAX_SHARDS} start with ${first} restart with ${first}`,
        `ids made here leave ${context.ordinal} when divided by ${MAX_SHARDS}: no other shard makes the same ones, so a tenant can move`,
      ),
    ];
    if (context.roles.length > 0) {
      const sql = `revoke all on sequence ${sequence.name} from public, ${to}; grant usage on sequence ${sequence.name} to ${to}`;
      steps.push(
        step(context.rightsInPlace(table.sql), sql, 'applications take numbers, and do not see how many others took'),
      );
    }
    return steps;
  });
}

export function enrollmentSteps(table: Table, context: StepContext): Step[] {
  const column = ident(context.tenantColumn);
  const inPlace = table.columns.find(candidate => candidate.name === context.tenantColumn)?.defaultSql === DEFAULT;
  const key = table.uniques.find(index => index.primary)?.columns ?? [];
  const door = copyDoorOf(table, context.tenantColumn, context.roles);
  return [
    ...rightsSteps(table, context),
    step(
      inPlace,
      `alter table ${table.sql} alter column ${column} set default ${DEFAULT}`,
      'an insert that names no tenant is the current one’s; the policy verifies it',
    ),
    ...policySteps(table, context.tenantColumn),
    step(
      table.replicaIdentity === 'd' || table.replicaIdentity === 'f',
      `alter table ${table.sql} replica identity default`,
      'copies find the row to change by its primary key',
    ),
    ...sequenceSteps(table, context),
    step(
      context.copyMark === door.mark,
      door.sql,
      'COPY FROM is refused under a policy; gateways send it through this door',
    ),
    step(
      context.publicationExists,
      `do $$ begin if not exists (select from pg_publication where pubname = ${literal(PUBLICATION)}) then ` +
        `create publication ${PUBLICATION} with (publish_via_partition_root = true); end if; end $$`,
      'what the capturer reads',
    ),
    step(table.published, `alter publication ${PUBLICATION} add table ${table.sql}`, 'its changes go into the log'),
    step(
      context.registered,
      `insert into homeport.enrolled (schema_name, table_name, tenant_column, key, policy) values (${literal(table.schema)}, ` +
        `${literal(table.name)}, ${literal(context.tenantColumn)}, array[${key.map(part => literal(part ?? '')).join(', ')}], ` +
        `${literal(TENANT_POLICY)}) on conflict (schema_name, table_name) do update set tenant_column = excluded.tenant_column, ` +
        'key = excluded.key, policy = excluded.policy',
      'moves, copies and checks go by this list',
    ),
  ];
}
