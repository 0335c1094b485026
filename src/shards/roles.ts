/**
 * Application roles, and what a database must refuse them (I8). A role owns nothing, is a member of nothing and can be
 * nothing else, so row-level security holds for whatever it sends. All tenants of a user share one role: what Postgres
 * shows a role of *its own* sessions and objects would show a tenant the others', and is taken away here too.
 */
import type pg from 'pg';
import { HomeportError } from '../base/errors.ts';
import { rolePassword } from '../base/keys.ts';
import type { Random } from '../base/world.ts';
import { buildVerifier, deriveKeys, parseVerifier, sameBytes } from '../pgwire/scram-keys.ts';
import { inTransaction } from './admin.ts';

const SALT_BYTES = 16;

/** What a gateway and a client's SQL need of ours; everything else in the schema is the owner's alone. */
const GRANTED_FUNCTIONS = [
  'homeport.enter(text, text, bigint, text)',
  'homeport.tenant()',
  'homeport.claimed_tenant()',
  'homeport.slot(text, integer)',
];

/** Each with the hole that it would be. `set_config` stays: drivers use it, and the context is safe from it. */
const REVOKED_FUNCTIONS: Readonly<Record<string, string>> = {
  // The two-key advisory locks are ours: held by a client, they would block changes of home and everybody's writes.
  // The one-key locks, another space, stay for applications.
  'pg_advisory_lock(int, int)': 'lock',
  'pg_advisory_lock_shared(int, int)': 'lock',
  'pg_advisory_unlock(int, int)': 'lock',
  'pg_advisory_unlock_shared(int, int)': 'lock',
  'pg_advisory_xact_lock(int, int)': 'lock',
  'pg_advisory_xact_lock_shared(int, int)': 'lock',
  'pg_try_advisory_lock(int, int)': 'lock',
  'pg_try_advisory_lock_shared(int, int)': 'lock',
  'pg_try_advisory_xact_lock(int, int)': 'lock',
  'pg_try_advisory_xact_lock_shared(int, int)': 'lock',
  // A role sees the statements of its own sessions, which are other tenants'.
  'pg_stat_get_activity(int)': 'statements of other tenants',
  'pg_stat_get_backend_activity(int)': 'statements of other tenants',
  'pg_prepared_statement()': 'statements of other tenants',
  // A role may end its own sessions, which are other tenants'. Cancel requests of the protocol still work.
  'pg_cancel_backend(int)': 'sessions of other tenants',
  'pg_terminate_backend(int, bigint)': 'sessions of other tenants',
  // Large objects belong to a role, not to a tenant, and no policy guards them.
  'lo_creat(int)': 'large objects',
  'lo_create(oid)': 'large objects',
  'lo_from_bytea(oid, bytea)': 'large objects',
  // A message that looks like ours in the change stream would have to be told apart by everyone who reads it.
  'pg_logical_emit_message(boolean, text, text, boolean)': 'messages in the log',
  'pg_logical_emit_message(boolean, text, bytea, boolean)': 'messages in the log',
};

function ident(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

interface RoleRow {
  oid: number;
  reasons: string[];
  canlogin: boolean;
  inherits: boolean;
  verifier: string | null;
}

/** What disqualifies a role: attributes, memberships, possessions. */
const ROLE_STATE = `
  select r.oid::int as oid, r.rolcanlogin as canlogin, r.rolinherit as inherits, a.rolpassword as verifier,
    array_remove(array[
      case when r.rolsuper then 'it is a superuser' end,
      case when r.rolbypassrls then 'it has BYPASSRLS' end,
      case when r.rolcreatedb then 'it has CREATEDB' end,
      case when r.rolcreaterole then 'it has CREATEROLE' end,
      case when r.rolreplication then 'it has REPLICATION' end,
      (select 'it is a member of ' || string_agg(m.roleid::regrole::text, ', ') from pg_auth_members m where m.member = r.oid),
      -- Who may set this can be any tenant.
      case when has_parameter_privilege(r.oid, 'backtrace_functions', 'set') then 'it may set backtrace_functions' end,
      (select 'it owns ' || count(*) || ' objects' from pg_shdepend d
        where d.refclassid = 'pg_authid'::regclass and d.refobjid = r.oid and d.deptype = 'o' having count(*) > 0),
      (select 'it owns database ' || string_agg(datname, ', ') from pg_database where datdba = r.oid)
    ], null) as reasons
  from pg_roles r join pg_authid a on a.oid = r.oid where r.rolname = $1`;

async function passwordFits(verifier: string | null, password: string): Promise<boolean> {
  const known = verifier === null ? undefined : parseVerifier(verifier);
  if (!known) return false;
  const keys = await deriveKeys(password, known.salt, known.iterations);
  return sameBytes(keys.storedKey, known.storedKey) && sameBytes(keys.serverKey, known.serverKey);
}

/** The plain password never reaches the server, so no log of its can hold it. */
async function ensureRole(admin: pg.ClientBase, role: string, password: string, random: Random): Promise<boolean> {
  const { rows } = await admin.query<RoleRow>(ROLE_STATE, [role]);
  const known = rows[0];
  if (known && known.reasons.length > 0) {
    throw new HomeportError('HP-S301', { role, reasons: known.reasons.join('; ') });
  }
  const fits = known ? await passwordFits(known.verifier, password) : false;
  if (known?.canlogin && !known.inherits && fits) return false;
  const verifier =
    fits && known?.verifier ? known.verifier : await buildVerifier(password, { salt: random.bytes(SALT_BYTES) });
  const attributes = 'login nosuperuser nobypassrls noinherit nocreatedb nocreaterole noreplication';
  await admin.query(`${known ? 'alter' : 'create'} role ${ident(role)} ${attributes} password ${literal(verifier)}`);
  return true;
}

async function closeDatabase(admin: pg.ClientBase): Promise<void> {
  const { rows } = await admin.query<{ name: string }>('select current_database() as name');
  const database = ident(rows[0]?.name ?? '');
  await admin.query(`revoke all on database ${database} from public`);
  await admin.query('revoke create on schema public from public');
  const functions = Object.keys(REVOKED_FUNCTIONS).map(name => `pg_catalog.${name}`);
  await admin.query(`revoke execute on function ${functions.join(', ')} from public`);
  // Roles of Postgres' own for people who watch and end sessions keep what they are for.
  await admin.query(
    'grant execute on function pg_stat_get_activity(int), pg_stat_get_backend_activity(int) to pg_monitor',
  );
  await admin.query(
    'grant execute on function pg_cancel_backend(int), pg_terminate_backend(int, bigint) to pg_signal_backend',
  );
}

async function grant(admin: pg.ClientBase, roles: readonly string[]): Promise<void> {
  const { rows } = await admin.query<{ name: string }>('select current_database() as name');
  const to = roles.map(ident).join(', ');
  await admin.query(`revoke all on database ${ident(rows[0]?.name ?? '')} from ${to}`);
  await admin.query(`grant connect on database ${ident(rows[0]?.name ?? '')} to ${to}`);
  await admin.query(`revoke all on schema homeport, homeport_copy, public from ${to}`);
  await admin.query(`grant usage on schema homeport, homeport_copy, public to ${to}`);
  await admin.query(`revoke all on all tables in schema homeport from ${to}, public`);
  await admin.query(`grant execute on function ${GRANTED_FUNCTIONS.join(', ')} to ${to}`);
}

export interface RolesOptions {
  readonly users: readonly string[];
  readonly clusterSecret: Buffer;
  readonly random: Random;
}

/**
 * Makes the application roles, or sees that they are as they must be, in one transaction. Idempotent.
 * @returns the roles that were made or changed.
 * @throws HP-S301 with every reason why a role that is there already can't be one.
 */
export async function ensureRoles(admin: pg.ClientBase, options: RolesOptions): Promise<string[]> {
  return inTransaction(admin, async () => {
    // Roles belong to the whole server: two shards of one server must not both create them.
    await admin.query(`select pg_advisory_xact_lock(hashtext('homeport roles'))`);
    const changed: string[] = [];
    for (const role of options.users) {
      const password = rolePassword(options.clusterSecret, role);
      if (await ensureRole(admin, role, password, options.random)) changed.push(role);
    }
    await closeDatabase(admin);
    if (options.users.length > 0) await grant(admin, options.users);
    return changed;
  });
}
