import { type Kysely, sql } from 'kysely';

/**
 * The fence: which epoch of a placement may write here, if any (I1, I6). The triggers hold what no code may get wrong:
 * an epoch never goes back, a fence is never forgotten, and a slot knows how many of its tenants are pinned past it.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  // The MAC is over UTF-8 bytes, and text is never converted on its way into it.
  await sql`
    do $$ begin
      if pg_catalog.getdatabaseencoding() <> 'UTF8' then
        raise exception 'a shard''s database must be encoded in UTF8, this one is %', pg_catalog.getdatabaseencoding();
      end if;
    end $$`.execute(db);
  await sql`
    create table homeport.fence (
      placement text primary key check (placement ~ '^(slot:[a-z][a-z0-9-]*:[0-9]+|tenant:.+)$'),
      epoch bigint not null check (epoch > 0),
      role text not null check (role in ('primary', 'replica', 'closed')),
      -- Of a pinned tenant: the slot that it would otherwise live in, which must not be written through for it.
      through text check (through is null or (placement like 'tenant:%' and through like 'slot:%')),
      -- Of a slot: how many fences name it in "through"; kept by the trigger, so that entering reads one row.
      overrides integer not null default 0,
      changed_at timestamptz not null default pg_catalog.now()
    )`.execute(db);
  await sql`create index fence_through on homeport.fence (through) where through is not null`.execute(db);
  await sql`
    create function homeport.fence_guard() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
    begin
      if tg_op = 'DELETE' then
        raise exception 'I1: the fence of % is closed, never deleted, because its epoch would be forgotten', old.placement
          using errcode = 'check_violation';
      end if;
      if tg_op = 'UPDATE' and new.epoch < old.epoch then
        raise exception 'I1: the fence of % stands at epoch % and can''t go back to %', old.placement, old.epoch, new.epoch
          using errcode = 'check_violation';
      end if;
      if new.placement like 'slot:%' then
        new.overrides := (select count(*) from homeport.fence f where f.through = new.placement);
      end if;
      return new;
    end $$`.execute(db);
  await sql`
    create trigger fence_guard before insert or update or delete on homeport.fence
    for each row execute function homeport.fence_guard()`.execute(db);
  // The slot's row is written even when the count stays: a transaction with an older snapshot then fails on FOR SHARE.
  await sql`
    create function homeport.fence_overrides() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
    begin
      update homeport.fence f set changed_at = now()
      where f.placement = new.through or (tg_op = 'UPDATE' and f.placement = old.through);
      return null;
    end $$`.execute(db);
  await sql`
    create trigger fence_overrides after insert or update on homeport.fence
    for each row when (new.placement like 'tenant:%') execute function homeport.fence_overrides()`.execute(db);
  await sql`revoke execute on function homeport.fence_guard(), homeport.fence_overrides() from public`.execute(db);
}
