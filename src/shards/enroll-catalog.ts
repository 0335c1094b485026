/** What the catalogs say about a table that is to be enrolled: read in a few queries, judged elsewhere. */
import type pg from 'pg';

export interface Column {
  readonly name: string;
  readonly type: string;
  readonly notNull: boolean;
  readonly deterministic: boolean;
  readonly defaultSql: string | null;
  readonly generated: boolean;
}

export interface UniqueIndex {
  readonly name: string;
  readonly primary: boolean;
  readonly exclusion: boolean;
  /** Names of plain key columns; an expression is null. */
  readonly columns: readonly (string | null)[];
}

export interface ForeignKey {
  readonly name: string;
  readonly from: string;
  readonly to: string;
  readonly columns: readonly string[];
  readonly referenced: readonly string[];
  /** Columns that ON DELETE/UPDATE SET NULL or SET DEFAULT would write, when it has such an action. */
  readonly resets: readonly string[];
}

export interface OwnedSequence {
  /** Qualified and quoted. */
  readonly name: string;
  readonly column: string;
  readonly columnType: string;
  readonly sequenceType: string;
  readonly increment: string;
  readonly start: string;
  readonly cycles: boolean;
  /** The last value given out, 0 when none was. */
  readonly last: string;
}

export interface Reader {
  readonly name: string;
  readonly kind: 'view' | 'materialized view' | 'rule';
  readonly securityInvoker: boolean;
}

export interface Table {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** Qualified and quoted. */
  readonly sql: string;
  readonly kind: string;
  readonly persistence: string;
  readonly rowSecurity: boolean;
  readonly forced: boolean;
  readonly replicaIdentity: string;
  readonly owner: string;
  readonly partitions: readonly string[];
  readonly isPartition: boolean;
  readonly inherits: boolean;
  readonly published: boolean;
  readonly columns: readonly Column[];
  readonly uniques: readonly UniqueIndex[];
  readonly foreignKeys: readonly ForeignKey[];
  readonly sequences: readonly OwnedSequence[];
  readonly readers: readonly Reader[];
  readonly policies: readonly { name: string; permissive: boolean; using: string | null; check: string | null }[];
}

const TABLE = `
  select c.oid::int as oid, n.nspname as schema, c.relname as name, format('%I.%I', n.nspname, c.relname) as sql,
    c.relkind as kind, c.relpersistence as persistence, c.relrowsecurity as "rowSecurity",
    c.relforcerowsecurity as forced, c.relreplident as "replicaIdentity", pg_get_userbyid(c.relowner) as owner,
    c.relispartition as "isPartition",
    exists (select from pg_inherits i where c.oid in (i.inhrelid, i.inhparent)) and c.relkind = 'r' and not c.relispartition as inherits,
    array(select format('%I.%I', pn.nspname, p.relname) from pg_partition_tree(c.oid) t join pg_class p on p.oid = t.relid
      join pg_namespace pn on pn.oid = p.relnamespace where p.oid <> c.oid order by t.level, p.relname) as partitions,
    exists (select from pg_publication_rel pr join pg_publication pub on pub.oid = pr.prpubid
      where pr.prrelid = c.oid and pub.pubname = $2) as published
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass($1)`;

const COLUMNS = `
  select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as "notNull",
    coalesce(co.collisdeterministic, true) as deterministic, pg_get_expr(d.adbin, d.adrelid) as "defaultSql",
    a.attgenerated <> '' as generated
  from pg_attribute a left join pg_collation co on co.oid = a.attcollation
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped order by a.attnum`;

const UNIQUES = `
  select c.relname as name, i.indisprimary as "primary", i.indisexclusion as exclusion,
    array(select a.attname from unnest(i.indkey::int2[]) with ordinality k(attnum, at)
      left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum and k.attnum > 0
      where k.at <= i.indnkeyatts
        -- A column of an exclusion constraint keeps tenants apart only when it is compared with "=".
        and (not i.indisexclusion or exists (select from pg_constraint x join pg_operator o on o.oid = x.conexclop[k.at]
          where x.conindid = i.indexrelid and x.contype = 'x' and o.oprname = '='))
      order by k.at)::text[] as columns
  from pg_index i join pg_class c on c.oid = i.indexrelid
  where (i.indrelid = $1 or i.indrelid in (select relid from pg_partition_tree($1)))
    and (i.indisunique or i.indisexclusion)
    -- An index of a partition that is part of its parent's is judged there.
    and not exists (select from pg_inherits h where h.inhrelid = i.indexrelid and i.indrelid <> $1)
  order by c.relname`;

const COLUMN_NAMES = (oid: string, numbers: string) =>
  `array(select a.attname::text from unnest(${numbers}) with ordinality u(n, at) join pg_attribute a on a.attrelid = ${oid} and a.attnum = u.n order by u.at)`;

const FOREIGN_KEYS = `
  select k.conname as name, format('%I.%I', fn.nspname, f.relname) as "from", format('%I.%I', tn.nspname, t.relname) as "to",
    ${COLUMN_NAMES('k.conrelid', 'k.conkey')} as columns, ${COLUMN_NAMES('k.confrelid', 'k.confkey')} as referenced,
    case when k.confupdtype in ('n', 'd') then ${COLUMN_NAMES('k.conrelid', 'k.conkey')}
      when k.confdeltype in ('n', 'd') then ${COLUMN_NAMES('k.conrelid', 'coalesce(k.confdelsetcols, k.conkey)')}
      else '{}' end as resets
  from pg_constraint k join pg_class f on f.oid = k.conrelid join pg_namespace fn on fn.oid = f.relnamespace
    join pg_class t on t.oid = k.confrelid join pg_namespace tn on tn.oid = t.relnamespace
  where k.contype = 'f' and k.conparentid = 0 and $1 in (k.conrelid, k.confrelid) order by k.conname`;

const SEQUENCES = `
  select s.oid::regclass::text as name, a.attname as column, format_type(a.atttypid, null) as "columnType",
    format_type(q.seqtypid, null) as "sequenceType", q.seqincrement::text as increment, q.seqstart::text as start,
    q.seqcycle as cycles,
    coalesce(pg_sequence_last_value(s.oid), 0)::text as last
  from pg_depend d join pg_class s on s.oid = d.objid and s.relkind = 'S' join pg_sequence q on q.seqrelid = s.oid
    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
  where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = $1
    and d.deptype in ('a', 'i') order by a.attnum`;

const READERS = `
  select distinct v.oid::regclass::text as name,
    case v.relkind when 'v' then 'view' when 'm' then 'materialized view' else 'rule' end as kind,
    coalesce(v.reloptions && array['security_invoker=true', 'security_invoker=on', 'security_invoker=1', 'security_invoker=yes'], false) as "securityInvoker"
  from pg_depend d join pg_rewrite r on r.oid = d.objid join pg_class v on v.oid = r.ev_class
  where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
    and (d.refobjid = $1 or d.refobjid in (select relid from pg_partition_tree($1))) order by 1`;

const POLICIES = `
  select polname as name, polpermissive as permissive, pg_get_expr(polqual, polrelid) as using,
    pg_get_expr(polwithcheck, polrelid) as check
  from pg_policy where polrelid = $1 order by polname`;

/** @returns undefined when there is no such relation. */
export async function readTable(admin: pg.ClientBase, name: string, publication: string): Promise<Table | undefined> {
  const { rows } = await admin.query<
    Omit<Table, 'columns' | 'uniques' | 'foreignKeys' | 'sequences' | 'readers' | 'policies'>
  >(TABLE, [name, publication]);
  const table = rows[0];
  if (!table) return undefined;
  const list = async <T extends object>(sql: string): Promise<T[]> => (await admin.query<T>(sql, [table.oid])).rows;
  return {
    ...table,
    columns: await list<Column>(COLUMNS),
    uniques: await list<UniqueIndex>(UNIQUES),
    foreignKeys: await list<ForeignKey>(FOREIGN_KEYS),
    sequences: await list<OwnedSequence>(SEQUENCES),
    readers: await list<Reader>(READERS),
    policies: await list<Table['policies'][number]>(POLICIES),
  };
}

/** SECURITY DEFINER functions that an application role could call, and whose owner no policy binds. */
export async function privilegedFunctions(admin: pg.ClientBase, roles: readonly string[]): Promise<string[]> {
  const { rows } = await admin.query<{ name: string }>(
    `select p.oid::regprocedure::text as name from pg_proc p join pg_roles o on o.oid = p.proowner
     join pg_namespace n on n.oid = p.pronamespace
     where p.prosecdef and (o.rolsuper or o.rolbypassrls) and n.nspname not in ('homeport', 'pg_catalog', 'information_schema')
       and exists (select from unnest($1::text[]) r where has_function_privilege(r, p.oid, 'execute')) order by 1`,
    [roles],
  );
  return rows.map(row => row.name);
}
