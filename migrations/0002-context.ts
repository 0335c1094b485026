import { type Kysely, sql } from 'kysely';

/**
 * `enter`, which gateways call with a proof, and the tenant context, which nobody else can set. Everything is named with its schema and operators are called as functions where the
 * caller's search_path could otherwise choose them: a SET clause would cost 0.8 µs in every call. Why it looks as it
 * does, with the figures: src/shards/SPEC.md.
 */

/** HMAC-SHA-256 of a bytea expression, as hexadecimal text. */
const mac = (message: string) =>
  `pg_catalog.encode(pg_catalog.sha256(pg_catalog.byteacat(homeport.key_outer(),
     pg_catalog.sha256(pg_catalog.byteacat(homeport.key_inner(), ${message})))), 'hex')`;

const PROOF = mac(`pg_catalog.convert_to(pg_catalog.format(E'enter\\n%s\\n%s\\n%s\\n%s',
     pg_catalog.pg_backend_pid(), enter.epoch, enter.placement, enter.tenant), 'UTF8')`);

/**
 * Where the tenant stands: a parameter that only a superuser may set and everybody may read, local to the transaction.
 * It has no other effect but on errors raised by a C function of that name, and takes letters, digits and underscores.
 */
const CONTEXT = 'backtrace_functions';
const PREFIX = 'homeport_';
const contextTenant = (context: string) =>
  `pg_catalog.convert_from(pg_catalog.decode(pg_catalog.substr(${context}, ${PREFIX.length + 1}), 'hex'), 'UTF8')`;

/** 'HOME' in ASCII: the first half of every advisory lock of ours. */
const LOCK_CLASS = 0x484f4d45;

async function keys(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table homeport.signing_key (
      only_one boolean primary key default true check (only_one),
      inner_pad bytea not null check (pg_catalog.length(inner_pad) = 64),
      outer_pad bytea not null check (pg_catalog.length(outer_pad) = 64)
    )`.execute(db);
  for (const pad of ['inner', 'outer']) {
    await sql
      .raw(`
      create function homeport.key_${pad}() returns bytea language plpgsql immutable as $$
      begin
        -- Said to be immutable so that plans hold the key and no call reads it. A plan that holds it must not be shown.
        if pg_catalog.current_setting('debug_print_plan')::pg_catalog.bool then
          raise exception 'debug_print_plan must be off here' using errcode = 'HP003';
        end if;
        return (select k.${pad}_pad from homeport.signing_key k);
      end $$`)
      .execute(db);
    await sql.raw(`revoke execute on function homeport.key_${pad}() from public`).execute(db);
  }
}

async function enter(db: Kysely<unknown>): Promise<void> {
  await sql`
    create function homeport.admit(tenant text, placement text, epoch bigint, here_epoch bigint, here_role text)
    returns void language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
    declare
      found_at text := admit.placement;
      found_epoch bigint := coalesce(here_epoch, 0);
      found_role text := coalesce(here_role, 'absent');
    begin
      if here_epoch = admit.epoch and here_role = 'primary' then
        select pin.placement, pin.epoch, pin.role into found_at, found_epoch, found_role from homeport.fence pin
        where pin.placement = 'tenant:' || admit.tenant and pin.through = admit.placement;
        if not found then
          return;
        end if;
      end if;
      raise exception 'this shard takes no transactions of % under epoch %', admit.placement, admit.epoch
        using errcode = 'HP001',
          detail = json_build_object('placement', found_at, 'epoch', found_epoch, 'role', found_role),
          hint = 'Nothing has run. Look up where the tenant lives and send the transaction there.';
    end $$`.execute(db);
  await sql`revoke execute on function homeport.admit(text, text, bigint, bigint, text) from public`.execute(db);
  await sql
    .raw(`
    create function homeport.enter(tenant text, placement text, epoch bigint, proof text)
    returns void language plpgsql volatile security definer parallel unsafe as $$
    declare
      here_epoch pg_catalog.int8;
      here_role pg_catalog.text;
      here_overrides pg_catalog.int4;
    begin
      if pg_catalog.texteq(enter.proof, ${PROOF}) is not true then
        raise exception 'the proof of the gateway is not good for this backend' using errcode = 'HP003',
          hint = 'Only gateways of this cluster enter transactions. After a change of the cluster secret, migrate and reconnect.';
      end if;
      -- An assignment to nothing would run the executor; a test of the result is evaluated in place.
      if pg_catalog.pg_advisory_xact_lock_shared(${LOCK_CLASS}, pg_catalog.hashtext(enter.placement)) is null then
        return;
      end if;
      if pg_catalog.texteq(pg_catalog.current_setting('transaction_isolation'), 'read committed') then
        -- A statement of its own: its snapshot is taken now, after the lock was granted.
        select f.epoch, f.role, f.overrides into here_epoch, here_role, here_overrides
        from homeport.fence f where f.placement operator(pg_catalog.=) enter.placement;
      elsif pg_catalog.texteq(pg_catalog.current_setting('transaction_read_only'), 'on') then
        select f.epoch, f.role, f.overrides into here_epoch, here_role, here_overrides
        from homeport.fence f where f.placement operator(pg_catalog.=) enter.placement;
      else
        -- The snapshot may be older than the lock: locking the row fails with 40001 when it has changed since.
        select f.epoch, f.role, f.overrides into here_epoch, here_role, here_overrides
        from homeport.fence f where f.placement operator(pg_catalog.=) enter.placement for share;
      end if;
      if here_epoch operator(pg_catalog.=) enter.epoch and pg_catalog.texteq(here_role, 'primary')
        and here_overrides operator(pg_catalog.=) 0 then
        null;
      else
        perform homeport.admit(enter.tenant, enter.placement, enter.epoch, here_epoch, here_role);
      end if;
      if pg_catalog.set_config('${CONTEXT}', pg_catalog.textcat('${PREFIX}',
          pg_catalog.encode(pg_catalog.convert_to(enter.tenant, 'UTF8'), 'hex')), true) is null then
        return;
      end if;
    end $$`)
    .execute(db);
  await sql`revoke execute on function homeport.enter(text, text, bigint, text) from public`.execute(db);
}

async function context(db: Kysely<unknown>): Promise<void> {
  await sql
    .raw(`
    create function homeport.tenant() returns text language plpgsql stable parallel safe cost 1000 as $$
    declare
      context pg_catalog.text := pg_catalog.current_setting('${CONTEXT}');
    begin
      if pg_catalog.starts_with(context, '${PREFIX}') then
        return ${contextTenant('context')};
      end if;
      raise exception 'HP-S601 no tenant: this transaction has not been entered for one' using errcode = 'HP004',
        hint = 'Connect through a Homeport gateway and say whose data it is about, for example: SET homeport.tenant = ''acme''. '
          'After a COMMIT inside one query string, send what follows as a query of its own.';
    end $$`)
    .execute(db);
  await sql`revoke execute on function homeport.tenant() from public`.execute(db);
  // Per row of an insert, so it is an expression that the planner puts in place; the policy is what checks.
  await sql
    .raw(`
    create function homeport.claimed_tenant() returns text language sql stable parallel safe
    return ${contextTenant(`pg_catalog.current_setting('${CONTEXT}')`)}`)
    .execute(db);
}

export async function up(db: Kysely<unknown>): Promise<void> {
  await keys(db);
  await enter(db);
  await context(db);
}
