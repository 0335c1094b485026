/** Settings go with their client from backend to backend, and nothing of one client is seen by the next. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Pair, startPair } from './fixture.ts';
import { run, sync, Wire } from './wire.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await startPair({ max: 2 });
  await pair.settle('acme', 'west');
});
afterAll(() => pair?.stop());

const shown = async (wire: Wire, name: string) =>
  (await wire.ask(`select current_setting('${name}', true)`)).find(text => text.startsWith('D'))?.slice(2);
const say = async (wire: Wire, ...sql: string[]) => {
  for (const text of sql) await wire.ask(text);
};

type Case = [name: string, sql: string[], setting: string, expected: string];
const kept: Case[] = [
  ['SET', ["set statement_timeout = '3s'"], 'statement_timeout', '3s'],
  ['SET SESSION', ['set session work_mem to 1234'], 'work_mem', '1234kB'],
  ['SET of a list', ['set search_path to "$user", public, pg_temp'], 'search_path', '"$user", public, pg_temp'],
  ['SET TIME ZONE', ["set time zone 'Asia/Tokyo'"], 'timezone', 'Asia/Tokyo'],
  ['SET in a string', ["select 1; set work_mem to 1235; set lock_timeout to '4s'"], 'lock_timeout', '4s'],
  ['SET in a committed block', ['begin', 'set work_mem to 1236', 'commit'], 'work_mem', '1236kB'],
  [
    'SET in a block that recovered from an error',
    ['begin', 'savepoint a', 'select 1/0', 'rollback to a', 'set work_mem to 1237', 'commit'],
    'work_mem',
    '1237kB',
  ],
  [
    'SET before a savepoint that was rolled back to',
    ['begin', 'set work_mem to 1238', 'savepoint a', 'set work_mem to 99', 'rollback to a', 'commit'],
    'work_mem',
    '1238kB',
  ],
  [
    'SET SESSION CHARACTERISTICS',
    ['set session characteristics as transaction isolation level serializable'],
    'default_transaction_isolation',
    'serializable',
  ],
  [
    'RESET to what it came with',
    ["set application_name to 'other'", 'reset application_name'],
    'application_name',
    'mine',
  ],
  [
    'RESET ALL to what it came with',
    ["set application_name to 'other'", 'set work_mem to 77', 'reset all'],
    'application_name',
    'mine',
  ],
  ['DISCARD ALL to what it came with', ["set application_name to 'other'", 'discard all'], 'application_name', 'mine'],
  [
    'more than can be carried, with its backend',
    [`set app.claims to '${'x'.repeat(5000)}'`, "set work_mem to '66'"],
    'app.claims',
    'x'.repeat(5000),
  ],
  ['a value of no simple form, with its backend', ["set application_name to E'a\\'b'"], 'application_name', "a'b"],
];
const gone: Case[] = [
  ['SET in a block that was rolled back', ['begin', 'set work_mem to 55', 'rollback'], 'work_mem', '4MB'],
  ['SET in a block that failed', ['begin', 'set work_mem to 55', 'select 1/0', 'commit'], 'work_mem', '4MB'],
  ['SET in a string that failed', ['set work_mem to 55; select 1/0'], 'work_mem', '4MB'],
  ['SET LOCAL', ['begin', 'set local work_mem to 55', 'commit'], 'work_mem', '4MB'],
  ['set_config', ["select set_config('work_mem', '55', false)"], 'work_mem', '4MB'],
];

describe('a setting', () => {
  test.each([...kept, ...gone])('%s', async (_, sql, setting, expected) => {
    for (const region of [pair.west, pair.east]) {
      const mine = await Wire.open(region, { tenant: 'acme', application_name: 'mine' });
      const other = await Wire.open(region, { tenant: 'acme' });
      const before = await shown(other, setting);
      await say(mine, ...sql);
      // whichever backends the two get
      for (let i = 0; i < 4; i++) {
        const [a, b] = await Promise.all([shown(mine, setting), shown(other, setting)]);
        expect([a, b]).toEqual([expected, before]);
      }
      expect(await shown(mine, setting)).toBe(expected);
      mine.end();
      other.end();
      const next = await Wire.open(region, { tenant: 'acme' });
      for (let i = 0; i < 3; i++) expect(await shown(next, setting)).toBe(before);
      next.end();
    }
  });

  test('in the extended protocol, bound to a portal of its own', async () => {
    const wire = await Wire.open(pair.west, { tenant: 'acme' });
    await wire.send(run('set work_mem to 4321'), run('select 1'), sync).ready();
    expect(await shown(wire, 'work_mem')).toBe('4321kB');
    wire.end();
  });

  test('that the shard refuses is told at the first statement, and the connection ends', async () => {
    const wire = await Wire.open(pair.west, { tenant: 'acme', TimeZone: 'Nowhere/AtAll' });
    wire.send(run('select 1'), sync);
    expect((await wire.closed).filter(text => text.startsWith('E'))).toEqual(['E 22023', 'E 22023']);
  });
});

describe('a session', () => {
  const pinning: [string, string[]][] = [
    ['LISTEN', ['listen news']],
    ['PREPARE', ['prepare p as select 1']],
    ['an advisory lock', ['select pg_advisory_lock(7)']],
    ['a cursor WITH HOLD', ['begin', 'declare c cursor with hold for select 1', 'commit']],
    ['LISTEN in a string', ['select 1; listen news']],
  ];
  test.each(pinning)('is pinned by %s, says so, and is free again after DISCARD ALL', async (_, sql) => {
    for (const region of [pair.west, pair.east]) {
      const wire = await Wire.open(region, { tenant: 'acme' });
      await say(wire, ...sql);
      expect(await wire.ask('show homeport.pinned')).toContain('D something of the session');
      const pid = await wire.ask('select pg_backend_pid()');
      expect(await wire.ask('select pg_backend_pid()')).toEqual(pid);
      await wire.ask('discard all');
      expect(await wire.ask('show homeport.pinned')).toContain('D ');
      wire.end();
    }
  });

  test('hears what it listens for', async () => {
    const wire = await Wire.open(pair.west, { tenant: 'acme' });
    await wire.ask('listen news');
    await pair.west.admin.query("notify news, 'hello'");
    expect(await wire.until(seen => seen.includes('A'))).toEqual(['A']);
    wire.end();
  });

  test('with homeport.pool_mode=session keeps its backend', async () => {
    const client = await pair.east.connect({ options: '-c homeport.tenant=acme -c homeport.pool_mode=session' });
    await client.query("select set_config('work_mem', '1111', false)");
    expect((await client.query('show work_mem')).rows).toEqual([{ work_mem: '1111kB' }]);
    expect((await client.query('show homeport.pool_mode')).rows).toEqual([{ 'homeport.pool_mode': 'session' }]);
    await client.end();
  });
});
