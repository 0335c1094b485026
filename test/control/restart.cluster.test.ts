/** A person works with the local cluster, stops it, and comes back: everything is as it was left. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { REGIONS, type Regions, startRegions } from '../cluster/regions.ts';

let regions: Regions;
const scratch = mkdtempSync(join(tmpdir(), 'hp-restart-'));

beforeAll(async () => {
  regions = await startRegions();
});
afterAll(async () => {
  await regions?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

test("one's own migrations run beside the sample data, and the next start has both, and the pins", async () => {
  const sql =
    'create table notes (tenant_id text not null, id int, primary key (tenant_id, id)); drop table order_lines';
  writeFileSync(join(scratch, '0001_notes.sql'), sql);
  for (const args of [
    ['migrate', scratch],
    ['enroll', 'notes'],
    ['pin', 'fresh', '--to', 'ap-south'],
  ]) {
    expect([args, (await regions.homeport(...args)).err]).toEqual([args, '']);
  }
  await regions.ask('us-east', 'fresh', 'insert into notes (id) values (7)');
  const before = await Promise.all(
    REGIONS.map(region => regions.onShard(region, 'select * from customers order by id')),
  );
  await regions.stop({ keep: true });
  regions = await startRegions({ dir: regions.cluster.dir });
  const after = await Promise.all(
    REGIONS.map(region => regions.onShard(region, 'select * from customers order by id')),
  );
  expect(after).toEqual(before);
  expect(await regions.ask('eu-west', 'fresh', 'select tenant_id, id from notes')).toEqual([
    { tenant_id: 'fresh', id: 7 },
  ]);
  expect(await regions.regionsWith('select from notes')).toEqual(['ap-south']);
  expect(await regions.regionsWith("select from pg_tables where tablename = 'order_lines'")).toEqual([]);
  expect((await regions.homeport('migrate', scratch)).code).toBe(0);
}, 60_000);
