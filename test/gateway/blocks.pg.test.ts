/** Transaction blocks in all their forms, and statements that Postgres wants outside of any. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Pair, startPair } from './fixture.ts';
import { query, run, sync, Wire } from './wire.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await startPair();
  await pair.settle('acme', 'west');
  await pair.settle('bolt', 'east');
  await pair.west.admin.query(`
    create table parent (id int primary key);
    create table child (id int references parent deferrable initially deferred);
    grant select, insert, delete on parent, child to app`);
});
afterAll(() => pair?.stop());
beforeEach(() => pair.west.admin.query('delete from items'));

const ins = (note: string) => `insert into items (note) values ('${note}')`;
const INS = 'C INSERT 0 1';

const cases: [name: string, sql: string[], answers: string[], left: string[]][] = [
  [
    'COMMIT AND CHAIN',
    [
      'begin isolation level serializable',
      ins('a'),
      'commit and chain',
      'show transaction_isolation',
      ins('b'),
      'rollback',
    ],
    [
      'C BEGIN',
      'Z T',
      INS,
      'Z T',
      'C COMMIT',
      'Z T',
      'T',
      'D serializable',
      'C SHOW',
      'Z T',
      INS,
      'Z T',
      'C ROLLBACK',
      'Z I',
    ],
    ['a'],
  ],
  [
    'ROLLBACK AND CHAIN of a failed block',
    ['begin', 'select 1/0', 'rollback and chain', ins('a'), 'commit'],
    ['C BEGIN', 'Z T', 'E 22012', 'Z E', 'C ROLLBACK', 'Z T', INS, 'Z T', 'C COMMIT', 'Z I'],
    ['a'],
  ],
  [
    'AND CHAIN outside of a block',
    ['commit and chain', 'select 1'],
    ['E 25P01', 'Z I', 'T', 'D 1', 'C SELECT 1', 'Z I'],
    [],
  ],
  [
    'a COMMIT AND CHAIN that fails',
    ['begin', 'insert into child values (7)', 'commit and chain', 'select 1'],
    ['C BEGIN', 'Z T', INS, 'Z T', 'E 23503', 'Z I', 'T', 'D 1', 'C SELECT 1', 'Z I'],
    [],
  ],
  [
    'savepoints',
    [
      'begin',
      ins('a'),
      'savepoint s',
      ins('b'),
      'select 1/0',
      'rollback to savepoint s',
      ins('c'),
      'release s',
      'commit',
    ],
    [
      ...[
        'C BEGIN',
        'Z T',
        INS,
        'Z T',
        'C SAVEPOINT',
        'Z T',
        INS,
        'Z T',
        'E 22012',
        'Z E',
        'C ROLLBACK',
        'Z T',
        INS,
        'Z T',
      ],
      ...['C RELEASE', 'Z T', 'C COMMIT', 'Z I'],
    ],
    ['a', 'c'],
  ],
  [
    'a deferred constraint at COMMIT',
    ['begin', 'insert into child values (7)', 'commit'],
    ['C BEGIN', 'Z T', INS, 'Z T', 'E 23503', 'Z I'],
    [],
  ],
  ['a deferred constraint at the end of one statement', ['insert into child values (7)'], [INS, 'E 23503', 'Z I'], []],
  ['a deferred constraint in a string', [`${ins('x')}; insert into child values (7)`], [INS, 'E 23503', 'Z I'], []],
  [
    'COMMIT of a failed block',
    ['begin', 'select 1/0', 'commit'],
    ['C BEGIN', 'Z T', 'E 22012', 'Z E', 'C ROLLBACK', 'Z I'],
    [],
  ],
  [
    'an inner COMMIT',
    [`begin; ${ins('a')}; commit; select 1`],
    ['C BEGIN', INS, 'C COMMIT', 'T', 'D 1', 'C SELECT 1', 'Z I'],
    ['a'],
  ],
  [
    'BEGIN in a string of its own statements',
    [`select 1; begin; ${ins('a')}`, 'commit'],
    ['T', 'D 1', 'C SELECT 1', 'C BEGIN', INS, 'Z T', 'C COMMIT', 'Z I'],
    ['a'],
  ],
  [
    'empty blocks',
    ['begin', 'begin', 'commit', 'commit'],
    ['C BEGIN', 'Z T', 'N 25001', 'C BEGIN', 'Z T', 'C COMMIT', 'Z I', 'N 25P01', 'C COMMIT', 'Z I'],
    [],
  ],
  [
    'an unknown setting of ours',
    ['begin', 'set homeport.nonsense = 1', ins('a'), 'commit'],
    ['C BEGIN', 'Z T', 'E 42704', 'Z E', 'E 25P02', 'Z E', 'C ROLLBACK', 'Z I'],
    [],
  ],
];

describe('a block with', () => {
  test.each(cases)('%s', async (_, sql, answers, left) => {
    for (const region of [pair.west, pair.east]) {
      await pair.west.admin.query('delete from items');
      const wire = await Wire.open(region, { tenant: 'acme' });
      expect(await wire.send(...sql.map(text => query(text))).ready(sql.length)).toEqual(answers);
      const { rows } = await pair.west.admin.query<{ note: string }>('select note from items order by 1');
      expect(rows.map(row => row.note)).toEqual(left);
      wire.end();
    }
  });

  test('its tenant set in the same string runs for that one', async () => {
    const wire = await Wire.open(pair.west);
    const text = (tenant: string) =>
      `begin; set local homeport.tenant = '${tenant}'; insert into items (note) values ('mine') returning tenant_id; commit`;
    expect(await wire.ask(text('acme'))).toEqual(['C BEGIN', 'C SET', 'T', 'D acme', INS, 'C COMMIT', 'Z I']);
    expect(await wire.ask(text('bolt'))).toEqual(['C BEGIN', 'C SET', 'T', 'D bolt', INS, 'C COMMIT', 'Z I']);
    expect(await wire.ask('select * from items')).toContain('E HP004');
    wire.end();
  });

  test('a serialization failure reports it and leaves the session fit for the next try', async () => {
    await pair.west.admin.query("insert into items (tenant_id, id, n) values ('acme', 1, 0)");
    const [a, b] = await Promise.all([pair.west, pair.east].map(region => Wire.open(region, { tenant: 'acme' })));
    if (!a || !b) throw new Error('no clients');
    for (const wire of [a, b])
      await wire.send(query('begin isolation level serializable'), query('select n from items where id = 1')).ready(2);
    expect(await a.send(query('update items set n = n + 1 where id = 1'), query('commit')).ready(2)).toContain(
      'C COMMIT',
    );
    expect(await b.send(query('update items set n = n + 1 where id = 1'), query('commit')).ready(2)).toEqual([
      'E 40001',
      'Z E',
      'C ROLLBACK',
      'Z I',
    ]);
    expect(await b.ask('select n from items where id = 1')).toContain('D 1');
    a.end();
    b.end();
  });

  test.each([
    'vacuum',
    'create index concurrently i on items (n)',
    'reindex (verbose) table concurrently items',
    'alter system set work_mem = 1',
  ])('%s is refused before it reaches the shard', async sql => {
    const wire = await Wire.open(pair.west, { tenant: 'acme' });
    expect(await wire.ask(sql)).toEqual(['E 25001', 'Z I']);
    expect(await wire.send(run('select 1'), run(sql), sync).ready()).toEqual([
      '1',
      '2',
      'D 1',
      'C SELECT 1',
      'E 25001',
      'Z I',
    ]);
    expect(await wire.ask('select 1')).toContain('D 1');
    wire.end();
  });
});
