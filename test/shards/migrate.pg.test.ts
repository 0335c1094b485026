import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { parseTenantKey } from '../../src/base/ids.ts';
import { slotOf } from '../../src/directory/hash.ts';
import type { AdminTarget } from '../../src/shards/admin.ts';
import { type MigrateProgress, migrateShards } from '../../src/shards/migrate.ts';
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts';
import { SECRET, target } from './shard.ts';

let server: TestPostgres;
let directory: string;
let shards: AdminTarget[];
let round = 0;

beforeAll(async () => {
  server = await startTestPostgres();
});
afterAll(() => server.stop());

beforeEach(async () => {
  round += 1;
  directory = mkdtempSync(join(tmpdir(), 'hp-sql-'));
  shards = [];
  for (const ordinal of [0, 1]) {
    shards.push(target(server, await server.database(`m${round}_${ordinal}`), `eu-west-${ordinal}`, ordinal));
  }
  return () => rmSync(directory, { recursive: true, force: true });
});

const file = (name: string, sql: string) => writeFileSync(join(directory, name), sql);
const migrate = (more: { onProgress?: (event: MigrateProgress) => void; lockWaitMs?: number } = {}) =>
  migrateShards({ shards, clusterSecret: SECRET, userMigrations: directory, ...more });

async function query(at: number, sql: string): Promise<Record<string, unknown>[]> {
  const client = await server.connect({ database: shards[at]?.database ?? '' });
  const { rows } = await client.query<Record<string, unknown>>(sql);
  await client.end();
  return rows;
}

describe('migrating', () => {
  test('brings all shards to one schema, tells of it, and does nothing the second time', async () => {
    file('001_a.sql', 'create table a (x int)');
    file('002_b.sql', 'create table b (x int); insert into b values (1)');
    const events: MigrateProgress[] = [];
    const reports = await migrate({ onProgress: event => events.push(event) });
    expect(reports.map(report => report.user)).toEqual([
      ['001_a.sql', '002_b.sql'],
      ['001_a.sql', '002_b.sql'],
    ]);
    expect(events.filter(event => event.kind === 'user').map(event => event.migration)).toEqual([
      '001_a.sql',
      '002_b.sql',
    ]);
    expect(await query(1, 'select id, ordinal from homeport.shard')).toEqual([{ id: 'eu-west-1', ordinal: 1 }]);
    for (const report of await migrate()) expect([...report.own, ...report.user]).toEqual([]);
  });

  test('keeps a file off all shards when one refuses it, and goes on from there', async () => {
    file('001_a.sql', 'create table a (x int)');
    file('002_b.sql', 'create table b (x int)');
    await migrateShards({ shards, clusterSecret: SECRET });
    await query(1, 'create table b (in_the_way int)');
    await expect(migrate()).rejects.toMatchObject({
      code: 'HP-S101',
      message: expect.stringMatching(/eu-west-1: 002_b.sql: .*already exists/),
    });
    expect(await query(0, `select to_regclass('a') is not null as a, to_regclass('b') as b`)).toEqual([
      { a: true, b: null },
    ]);
    await query(1, 'drop table b');
    expect((await migrate()).map(report => report.user)).toEqual([['002_b.sql'], ['002_b.sql']]);
  });

  test('refuses files that contradict what ran', async () => {
    file('005_a.sql', 'create table a (x int)');
    await migrate();
    file('005_a.sql', 'create table a (x bigint)');
    await expect(migrate()).rejects.toMatchObject({ code: 'HP-S103' });
    file('005_a.sql', 'create table a (x int)');
    file('001_late.sql', 'select 1');
    await expect(migrate()).rejects.toMatchObject({ code: 'HP-S104' });
    rmSync(join(directory, '001_late.sql'));
    rmSync(join(directory, '005_a.sql'));
    await expect(migrate()).rejects.toMatchObject({ code: 'HP-S104' });
  });

  test('runs a marked statement outside of a transaction, and notices a file that ends its own', async () => {
    file('001_a.sql', 'create table a (x int)');
    file('002_i.sql', '-- homeport: no-transaction\ncreate index concurrently if not exists a_x on a (x)');
    await migrate();
    expect(await query(0, `select to_regclass('a_x') is not null as there`)).toEqual([{ there: true }]);
    file('003_c.sql', 'create table c (x int); commit; begin');
    await expect(migrate()).rejects.toMatchObject({
      code: 'HP-S101',
      message: expect.stringContaining('ended its transaction'),
    });
  });

  test('gives up when somebody else migrates', async () => {
    await migrate();
    const other = await server.connect({ database: shards[1]?.database ?? '' });
    await other.query(`select pg_advisory_lock(${0x484f4d45}, hashtext('migrate'))`);
    await expect(migrate({ lockWaitMs: 30 })).rejects.toMatchObject({ code: 'HP-S102' });
    await other.end();
    await migrate();
  });

  test('changes nothing when a shard is out of reach or another one', async () => {
    const [first, second] = shards;
    if (!first || !second) throw new Error('two shards were made');
    const gone = { ...second, port: 1 };
    await expect(migrateShards({ shards: [first, gone], clusterSecret: SECRET })).rejects.toMatchObject({
      code: 'HP-S106',
    });
    expect(await query(0, `select to_regnamespace('homeport') as schema`)).toEqual([{ schema: null }]);
    await migrate();
    const mistaken = migrateShards({ shards: [{ ...first, ordinal: 5 }], clusterSecret: SECRET });
    await expect(mistaken).rejects.toMatchObject({ code: 'HP-S101', message: expect.stringContaining('HP-S202') });
  });

  test('two at once both end well', async () => {
    file('001_a.sql', 'create table a (x int)');
    await Promise.all([migrate(), migrate()]);
    expect(await query(0, 'select count(*)::int as n from homeport.user_migration')).toEqual([{ n: 1 }]);
  });

  test('the slots of SQL are the directory’s', async () => {
    await migrate();
    for (const tenant of ['acme', 'eu/acme', '日本', 'x'.repeat(200), 'o’neil']) {
      const { key } = parseTenantKey(tenant);
      const client = await server.connect({ database: shards[0]?.database ?? '' });
      const { rows } = await client.query<{ slot: number }>('select homeport.slot($1) as slot', [key]);
      expect(rows[0]?.slot).toBe(slotOf(key, 1024));
      await client.end();
    }
  });
});
