import { type Kysely, sql } from 'kysely';

/** Who lives here, which tables are theirs, which shard this is, and which of the user's migrations have run. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table homeport.tenant (
      tenant text primary key check (pg_catalog.octet_length(tenant) between 1 and 200),
      created_at timestamptz not null default pg_catalog.now(),
      created_by text not null,
      durability text not null default 'local' check (durability in ('local', 'quorum', 'remote')),
      isolation text not null default 'shared' check (isolation in ('shared', 'dedicated'))
    )`.execute(db);
  await sql`
    create table homeport.enrolled (
      schema_name text not null,
      table_name text not null,
      tenant_column text not null,
      key text[] not null,
      policy text not null,
      enrolled_at timestamptz not null default pg_catalog.now(),
      primary key (schema_name, table_name)
    )`.execute(db);
  await sql`
    create table homeport.shard (
      only_one boolean primary key default true check (only_one),
      id text not null,
      -- The remainder that this shard's generated ids leave; see enroll.
      ordinal integer not null check (ordinal between 0 and 1023)
    )`.execute(db);
  await sql`
    create table homeport.user_migration (
      name text primary key,
      sha256 text not null,
      applied_at timestamptz not null default pg_catalog.now()
    )`.execute(db);
  // The same hash as the directory's slotOf; test/directory/vectors.json holds both.
  await sql`
    create function homeport.slot(tenant text, slots integer default 1024) returns integer
    language sql immutable strict parallel safe
    return (('x' || pg_catalog.encode(pg_catalog.substr(pg_catalog.sha256(pg_catalog.convert_to(tenant, 'UTF8')), 1, 4), 'hex'))::bit(32)::bigint
      & 4294967295) % slots`.execute(db);
}
