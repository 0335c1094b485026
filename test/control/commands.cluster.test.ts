/** What scripts rely on: one line of JSON, exit codes that say what kind of failure it was, and nothing done half. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { REGIONS, type Regions, startRegions } from '../cluster/regions.ts';

let regions: Regions;
const scratch = mkdtempSync(join(tmpdir(), 'hp-commands-'));

beforeAll(async () => {
  regions = await startRegions({ empty: true });
});
afterAll(async () => {
  await regions?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

/** The command's answer, which is one line on one of the two streams. */
async function told(...args: string[]) {
  const { code, out, err } = await regions.homeport(...args);
  const lines = `${out}${err}`.trimEnd().split('\n');
  expect([args, lines.length, code === 0 ? err : out]).toEqual([args, 1, '']);
  const answer = JSON.parse(lines[0] ?? '');
  return { code, answer, error: answer.error?.code };
}

test('what is right answers with 0 and one line of JSON, and doing it again changes nothing', async () => {
  expect(await told('init')).toMatchObject({ code: 0, answer: { directoryRecords: 0, fences: 0 } });
  expect(await told('tenants', 'add', 'one', 'eu/two')).toMatchObject({
    code: 0,
    answer: [{ added: true }, { added: true }],
  });
  expect(await told('tenants', 'add', 'one')).toMatchObject({ code: 0, answer: [{ tenant: 'one', added: false }] });
  expect(await told('tenants', 'list')).toMatchObject({
    code: 0,
    answer: { tenants: [{ tenant: 'eu/two' }, { tenant: 'one' }], missing: [], more: false },
  });
  expect(await told('tenants', 'list', '--limit', '1')).toMatchObject({
    code: 0,
    answer: { tenants: [{ tenant: 'eu/two' }], more: true },
  });
  expect(await told('tenants', 'show', 'eu/two')).toMatchObject({
    code: 0,
    answer: { region: 'eu-west', pinned: false },
  });
  const { answer } = await told('explain', 'one');
  expect(await told('pin', 'one', '--to', answer.home.region)).toMatchObject({
    code: 0,
    answer: { outcome: 'pinned', epoch: 1 },
  });
  expect(await told('pin', 'one', '--to', answer.home.shard)).toMatchObject({
    code: 0,
    answer: { outcome: 'unchanged' },
  });
  expect(await told('unpin', 'one', '--dry-run')).toMatchObject({ code: 0, answer: { outcome: 'would unpin' } });
  expect(await told('unpin', 'one')).toMatchObject({ code: 0, answer: { outcome: 'unpinned' } });
  expect(await told('pin', 'one', '--to', 'eu-west', '--dry-run')).toMatchObject({
    answer: { outcome: 'would pin', epoch: 3 },
  });
});

test.each([
  [5, 'HP-A101', ['pin', 'one', '--to', 'mars']],
  [5, 'HP-A104', ['unpin', 'nobody']],
  [3, 'HP-D103', ['pin', 'eu/two', '--to', 'us-east', '--dry-run']],
  [5, 'HP-G102', ['explain', 'mars/one']],
  [2, 'HP-D101', ['tenants', 'add', 'a/b/c']],
  [2, 'HP-A110', ['migrate', '/there/is/no/such/directory']],
  [3, 'HP-S201', ['enroll', 'nothing']],
])('exit code %i with %s: homeport %j', async (code, error, args) => {
  expect(await told(...args)).toMatchObject({ code, error });
});

test('a migration runs on every shard or on none, and its table is enrolled on all of them', async () => {
  writeFileSync(
    join(scratch, '0001_notes.sql'),
    'create table notes (tenant_id text not null, id int, primary key (tenant_id, id))',
  );
  writeFileSync(join(scratch, '0002_wrong.sql'), 'create table half (id int); select 1 / 0');
  expect(await told('migrate', scratch)).toMatchObject({ code: 1, error: 'HP-S101' });
  expect(await regions.regionsWith("select from pg_tables where tablename = 'half'")).toEqual([]);
  expect(await regions.regionsWith("select from pg_tables where tablename = 'notes'")).toEqual([...REGIONS]);
  rmSync(join(scratch, '0002_wrong.sql'));
  expect((await told('migrate', scratch)).code).toBe(0);
  expect((await told('enroll', 'notes', '--dry-run')).answer).toHaveLength(3);
  expect(await regions.regionsWith("select from homeport.enrolled where table_name = 'notes'")).toEqual([]);
  expect((await told('enroll', 'notes')).code).toBe(0);
  expect(await regions.regionsWith("select from homeport.enrolled where table_name = 'notes'")).toEqual([...REGIONS]);
  await regions.ask('ap-south', 'one', 'insert into notes (id) values (1)');
  expect(await regions.ask('us-east', 'one', 'select tenant_id, id from notes')).toEqual([{ tenant_id: 'one', id: 1 }]);
});

test('a shard that is down is named, with exit code 4, and what was asked for is not half done', async () => {
  await regions.cluster.kill('ap-south/postgres');
  // a list is worth having without the tenants that live there, as long as nobody takes it for the whole
  const list = await regions.homeport('tenants', 'list');
  expect([list.code, JSON.parse(list.out)]).toMatchObject([
    4,
    { tenants: expect.arrayContaining([expect.objectContaining({ tenant: 'eu/two' })]), more: false },
  ]);
  expect(JSON.parse(list.out).missing).toMatchObject([
    { shard: 'ap-south-1', why: expect.stringContaining('ap-south-1') },
  ]);
  const { code, out } = await regions.homeport('explain', 'one');
  expect([code, JSON.parse(out).tenant]).toEqual([0, 'one']);
  const added = await told('migrate');
  expect([4, 1]).toContain(added.code);
  await regions.cluster.start('ap-south/postgres');
  expect((await told('tenants', 'list')).code).toBe(0);
});
