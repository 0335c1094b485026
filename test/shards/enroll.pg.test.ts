import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { HomeportError } from '../../src/base/errors.ts';
import { enrollTables, listEnrolled, sequenceFloors } from '../../src/shards/enroll.ts';
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts';
import { asTenant, prepareShard, type Shard } from './shard.ts';

let server: TestPostgres;
let shard: Shard;
const ROLES = ['app', 'other'];
const ACME = { tenant: 'acme', placement: 'slot:global:7', epoch: 1 };
const GLOBEX = { tenant: 'globex', placement: 'slot:global:8', epoch: 1 };

beforeAll(async () => {
  server = await startTestPostgres();
  shard = await prepareShard(server);
  await shard.admin.query(
    `insert into homeport.fence (placement, epoch, role) values ('slot:global:7', 1, 'primary'), ('slot:global:8', 1, 'primary')`,
  );
});
afterAll(() => server.stop());

beforeEach(async () => {
  await shard.admin.query('drop schema if exists shop cascade; create schema shop; delete from homeport.enrolled');
});

async function refused(...tables: string[]): Promise<string> {
  const error = await enrollTables(shard.admin, tables, { roles: ROLES }).catch((e: unknown) => e);
  if (!(error instanceof HomeportError)) throw new Error(`not refused: ${JSON.stringify(error)}`);
  expect(error.code).toBe('HP-S201');
  return error.message;
}

const ORDERS = `create table shop.orders (
  tenant_id text not null, id bigint generated always as identity, item text, primary key (tenant_id, id))`;

describe('enrolling', () => {
  test('makes a table safe for two tenants, and says what it did and why', async () => {
    await shard.admin.query(ORDERS);
    const report = await enrollTables(shard.admin, ['shop.orders'], { roles: ROLES });
    expect(report.tables[0]?.steps.every(step => step.state !== 'planned' && step.why.length > 10)).toBe(true);
    const app = await shard.app();
    const insert = (item: string) => async () =>
      (await app.query('insert into shop.orders (item) values ($1) returning tenant_id, id', [item])).rows[0];
    const first = await asTenant(app, ACME, insert('a'));
    const second = await asTenant(app, GLOBEX, insert('g'));
    expect(first).toEqual({ tenant_id: 'acme', id: '1' });
    expect(second).toEqual({ tenant_id: 'globex', id: '1025' });
    const seen = await asTenant(app, ACME, async () => (await app.query('select item from shop.orders')).rows);
    expect(seen).toEqual([{ item: 'a' }]);
    await expect(app.query('select * from shop.orders')).rejects.toMatchObject({ code: 'HP004' });
    expect(await listEnrolled(shard.admin)).toEqual([
      { schema: 'shop', table: 'orders', tenantColumn: 'tenant_id', key: ['tenant_id', 'id'] },
    ]);
  });

  test('does nothing the second time, and nothing at all as a dry run', async () => {
    await shard.admin.query(ORDERS);
    const dry = await enrollTables(shard.admin, ['shop.orders'], { roles: ROLES, dryRun: true });
    expect(dry.tables[0]?.steps.some(step => step.state === 'planned')).toBe(true);
    expect(await listEnrolled(shard.admin)).toEqual([]);
    await enrollTables(shard.admin, ['shop.orders'], { roles: ROLES });
    const again = await enrollTables(shard.admin, ['shop.orders'], { roles: ROLES });
    expect(again.tables[0]?.steps.filter(step => step.state !== 'already')).toEqual([]);
  });

  test('goes on above ids that are there, with the remainder of the shard', async () => {
    await shard.admin.query(
      `${ORDERS}; insert into shop.orders (tenant_id, id, item) overriding system value values ('acme', 5000, 'old')`,
    );
    expect(await sequenceFloors(shard.admin, ['shop.orders'])).toEqual(new Map([['shop.orders_id_seq', 5000n]]));
    await enrollTables(shard.admin, ['shop.orders'], {
      roles: ROLES,
      floors: new Map([['shop.orders_id_seq', 9000n]]),
    });
    const { rows } = await shard.admin.query(`select nextval('shop.orders_id_seq')::int as id`);
    expect(rows[0]?.id).toBe(9217);
    // Ids with a stride meet nobody's: enrolling again moves nothing.
    expect(await sequenceFloors(shard.admin, ['shop.orders'])).toEqual(new Map());
    expect(rows[0]?.id % 1024).toBe(1);
  });

  test('takes partitioned tables, and keeps their partitions out of reach', async () => {
    await shard.admin.query(`create table shop.events (tenant_id text not null, id bigint, at date, primary key (tenant_id, id, at))
      partition by range (at); create table shop.events_26 partition of shop.events for values from ('2026-01-01') to ('2027-01-01')`);
    await enrollTables(shard.admin, ['shop.events'], { roles: ROLES });
    const again = await enrollTables(shard.admin, ['shop.events'], { roles: ROLES });
    expect(again.tables[0]?.steps.some(step => step.state === 'done')).toBe(true);
    const app = await shard.app();
    await asTenant(app, ACME, () => app.query(`insert into shop.events (id, at) values (1, '2026-05-01')`));
    const others = await asTenant(app, GLOBEX, () => app.query('select * from shop.events'));
    expect(others.rowCount).toBe(0);
    await expect(asTenant(app, ACME, () => app.query('select * from shop.events_26'))).rejects.toMatchObject({
      code: '42501',
    });
  });

  test('keeps its policy above permissive ones of the user', async () => {
    await shard.admin.query(`${ORDERS}; create policy mine on shop.orders using (true)`);
    await enrollTables(shard.admin, ['shop.orders'], { roles: ROLES });
    const app = await shard.app();
    await asTenant(app, ACME, () => app.query(`insert into shop.orders (item) values ('a')`));
    expect((await asTenant(app, GLOBEX, () => app.query('select * from shop.orders'))).rowCount).toBe(0);
  });
});

describe('a table is refused', () => {
  test('with every reason at once', async () => {
    await shard.admin.query(`create unlogged table shop.t (id serial primary key, email text unique)`);
    const message = await refused('shop.t');
    for (const part of ['unlogged', 'no column tenant_id', 't_pkey', 't_email_key', 'not bigint'])
      expect(message).toContain(part);
  });

  test.each([
    [
      'an integer tenant column',
      'create table shop.t (tenant_id int, id bigint, primary key (tenant_id, id))',
      'is integer, not text',
    ],
    ['no primary key', 'create table shop.t (tenant_id text not null)', 'no primary key'],
    [
      'a unique index without the tenant',
      'create table shop.t (tenant_id text, id bigint, email text, primary key (tenant_id, id)); create unique index on shop.t (lower(email))',
      'find out by inserting',
    ],
    [
      'a unique index that only includes the tenant',
      'create table shop.t (tenant_id text, id bigint, primary key (tenant_id, id)); create unique index on shop.t (id) include (tenant_id)',
      'find out by inserting',
    ],
    [
      'a unique index of one partition',
      `create table shop.t (tenant_id text, id bigint, primary key (tenant_id, id)) partition by hash (id);
      create table shop.t0 partition of shop.t for values with (modulus 1, remainder 0); create unique index on shop.t0 (id)`,
      'unique index t0_id_idx',
    ],
    [
      'an exclusion constraint that sets tenants apart by <>',
      'create extension if not exists btree_gist; create table shop.t (tenant_id text, id bigint, r int4range, primary key (tenant_id, id), exclude using gist (tenant_id with <>, r with &&))',
      'exclusion constraint',
    ],
    [
      'a foreign key without the tenant',
      'create table shop.p (tenant_id text, id bigint, primary key (tenant_id, id)); create table shop.t (tenant_id text, id bigint, p_tenant text, p bigint, primary key (tenant_id, id), foreign key (p_tenant, p) references shop.p)',
      "another tenant's row",
    ],
    [
      'a foreign key that forgets the tenant',
      'create table shop.p (tenant_id text, id bigint, primary key (tenant_id, id)); create table shop.t (tenant_id text, id bigint, p bigint, primary key (tenant_id, id), foreign key (tenant_id, p) references shop.p on delete set null)',
      'would reset tenant_id',
    ],
    [
      'a foreign key from outside',
      `${ORDERS.replace('shop.orders', 'shop.t')}; create table shop.x (a text, b bigint, foreign key (a, b) references shop.t)`,
      'is not enrolled: enroll it too',
    ],
    [
      'a view with its owner’s rights',
      `${ORDERS.replace('shop.orders', 'shop.t')}; create view shop.v as select * from shop.t`,
      'security_invoker = true',
    ],
    [
      'a materialized view',
      `${ORDERS.replace('shop.orders', 'shop.t')}; create materialized view shop.v as select * from shop.t`,
      'rows of all tenants',
    ],
    [
      'a rule',
      `${ORDERS.replace('shop.orders', 'shop.t')}; create rule r as on delete to shop.t do also select 1`,
      'use a trigger',
    ],
    [
      'a sequence of its own that is not its own',
      `create sequence shop.s; create table shop.t (tenant_id text, id bigint default nextval('shop.s'), primary key (tenant_id, id))`,
      'owned by',
    ],
    [
      'a collation under which tenants are equal',
      `create collation shop.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false); create table shop.t (tenant_id text collate shop.ci, id bigint, primary key (tenant_id, id))`,
      'compare as equal',
    ],
    [
      'a partition',
      `create table shop.e (tenant_id text, id bigint, primary key (tenant_id, id)) partition by hash (id); create table shop.t partition of shop.e for values with (modulus 1, remainder 0)`,
      'enroll the table that it belongs to',
    ],
    ['a view', 'create view shop.t as select 1', 'it is a view'],
  ])('for %s', async (_, sql, part) => {
    await shard.admin.query(sql);
    const tables = sql.includes('shop.p (') ? ['shop.t', 'shop.p'] : ['shop.t'];
    expect(await refused(...tables)).toContain(part);
    expect(await listEnrolled(shard.admin)).toEqual([]);
  });

  test('when it is not there', async () => {
    expect(await refused('shop.nothing')).toContain('no such table');
  });

  test('and is told of functions that it can not judge', async () => {
    await shard.admin.query(
      `${ORDERS}; create function shop.all_orders() returns bigint language sql security definer return 1`,
    );
    const { warnings } = await enrollTables(shard.admin, ['shop.orders'], { roles: ROLES });
    expect(warnings.join()).toContain('shop.all_orders()');
  });
});
