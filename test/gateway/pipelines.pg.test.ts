/** Pipelines and errors in them: what is answered, in which order, and what is not. */

import type { Server } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { realWorld } from '../../src/base/world.ts';
import type { TestPostgres } from '../support/postgres.ts';
import { type Pair, startPair } from './fixture.ts';
import { bind, close, describe as describing, execute, flush, parse, query, run, sync, Wire } from './wire.ts';

let pair: Pair;
/** The same, with a shard whose every byte comes by itself. */
let drop: Pair;
const dripping = new Map<number, Server>();
beforeAll(async () => {
  pair = await startPair({}, { backendStatements: 4 });
  drop = await startPair({}, { backendStatements: 4, shardAddress: dripFrom });
  for (const each of [pair, drop]) await each.settle('acme', 'west');
});
afterAll(async () => {
  await pair?.stop();
  await drop?.stop();
  for (const server of dripping.values()) server.close();
});

/** Stands between a gateway and its shard, and passes on what the shard says byte by byte. */
function dripFrom({ socketDir, port }: TestPostgres): { host: string; port: number } {
  // Above the ports that are handed out to tests.
  const at = port + 100 > 32_000 ? port - 10_000 : port + 100;
  if (dripping.has(at)) return { host: '127.0.0.1', port: at };
  const server = realWorld.network.createServer(client => {
    const shard = realWorld.network.connect(`${socketDir}/.s.PGSQL.${port}`);
    client.setNoDelay(true);
    client.on('data', chunk => shard.write(chunk));
    for (const [one, other] of [
      [client, shard],
      [shard, client],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
    let passing = Promise.resolve();
    const write = (byte: Buffer) => new Promise<void>(resolve => client.write(byte, () => resolve()));
    shard.on('data', (chunk: Buffer) => {
      passing = passing.then(async () => {
        for (const byte of chunk) await write(Buffer.from([byte]));
      });
    });
  });
  server.listen(at, '127.0.0.1');
  dripping.set(at, server);
  return { host: '127.0.0.1', port: at };
}
beforeEach(() => pair.west.admin.query('delete from items'));

type Case = [name: string, frames: Buffer[], answers: string[]];
const one = ['1', '2', 'D 1', 'C SELECT 1'];
const BAD = run('select 1/0');

const cases: Case[] = [
  [
    'several units in one chunk',
    [run('select 1'), sync, run('select 1'), sync, query('select 1')],
    [...one, 'Z I', ...one, 'Z I', 'T', 'D 1', 'C SELECT 1', 'Z I'],
  ],
  [
    'an error in the middle of a unit',
    [run('select 1'), BAD, run('select 1'), parse('skipped', 'select 1'), sync, bind('', 'skipped'), sync],
    [...one, '1', 'E 22012', 'Z I', 'E 26000', 'Z I'],
  ],
  [
    'an error in one of three units of a block',
    [query('begin'), run('select 1'), sync, BAD, sync, run('select 1'), sync, query('rollback')],
    ['C BEGIN', 'Z T', ...one, 'Z T', '1', 'E 22012', 'Z E', 'E 25P02', 'Z E', 'C ROLLBACK', 'Z I'],
  ],
  [
    'a query behind an open unit',
    [query('begin'), run('select 1'), query('select 1'), query('commit')],
    ['C BEGIN', 'Z T', ...one, 'T', 'D 1', 'C SELECT 1', 'Z T', 'C COMMIT', 'Z I'],
  ],
  [
    'a query that a failed batch swallows, and the Sync behind it',
    [query('begin'), BAD, query('select 1'), sync, query('rollback'), run('select 1'), sync],
    ['C BEGIN', 'Z T', '1', 'E 22012', 'Z E', 'C ROLLBACK', 'Z I', ...one, 'Z I'],
  ],
  [
    'statements that are answered here, skipped behind an error',
    [run('select 1'), BAD, run('show homeport.tenant'), sync, run('show homeport.tenant'), sync],
    [...one, '1', 'E 22012', 'Z I', '1', '2', 'D acme', 'C SHOW', 'Z I'],
  ],
  [
    'a Close that an error makes void',
    [
      parse('kept', 'select 1'),
      sync,
      BAD,
      close('S', 'kept'),
      sync,
      bind('', 'kept'),
      execute(),
      close('S', 'kept'),
      sync,
    ],
    ['1', 'Z I', '1', 'E 22012', 'Z I', '2', 'D 1', 'C SELECT 1', '3', 'Z I'],
  ],
  [
    'an unknown statement',
    [bind('', 'nobody'), execute(), sync, query('select 1')],
    ['E 26000', 'Z I', 'T', 'D 1', 'C SELECT 1', 'Z I'],
  ],
  [
    'an unknown statement in a block',
    [query('begin'), run('select 1'), bind('', 'nobody'), execute(), sync, query('select 1'), query('commit')],
    ['C BEGIN', 'Z T', ...one, 'E 26000', 'Z E', 'E 25P02', 'Z E', 'C ROLLBACK', 'Z I'],
  ],
  ['nothing but Syncs', [sync, sync, sync], ['Z I', 'Z I', 'Z I']],
  [
    'empty queries',
    [query(''), query(' ; ; '), query(';select 1;;'), run(''), sync],
    ['I', 'Z I', 'I', 'Z I', 'T', 'D 1', 'C SELECT 1', 'Z I', '1', '2', 'I', 'Z I'],
  ],
  [
    'the unnamed statement in the next unit',
    [parse('', 'select 1'), sync, bind('', ''), execute(), sync, describing('S', ''), sync],
    ['1', 'Z I', '2', 'D 1', 'C SELECT 1', 'Z I', 't', 'T', 'Z I'],
  ],
  [
    'the unnamed statement after a savepoint was rolled back to',
    [
      ...[
        query('begin'),
        query('savepoint a'),
        run('select 1'),
        sync,
        run('select 1'),
        BAD,
        parse('', 'select 3'),
        sync,
      ],
      ...[query('rollback to a'), parse('', 'select 1'), sync, bind('', ''), execute(), sync, query('commit')],
    ],
    [
      ...['C BEGIN', 'Z T', 'C SAVEPOINT', 'Z T', ...one, 'Z T', ...one, '1', 'E 22012', 'Z E', 'C ROLLBACK', 'Z T'],
      ...['1', 'Z T', '2', 'D 1', 'C SELECT 1', 'Z T', 'C COMMIT', 'Z I'],
    ],
  ],
  [
    'a Parse that fails, then the same name again',
    [parse('p', 'selekt'), sync, parse('p', 'select 1'), bind('', 'p'), execute(), close('S', 'p'), sync],
    ['E 42601', 'Z I', '1', '2', 'D 1', 'C SELECT 1', '3', 'Z I'],
  ],
  [
    'a name in use',
    [
      parse('n', 'select 1'),
      sync,
      parse('n', 'select 2'),
      sync,
      close('S', 'n'),
      parse('n', 'select 1'),
      bind('', 'n'),
      execute(),
      close('S', 'n'),
      sync,
    ],
    ['1', 'Z I', 'E 42P05', 'Z I', '3', '1', '2', 'D 1', 'C SELECT 1', '3', 'Z I'],
  ],
  [
    'DEALLOCATE of what the extended protocol prepared',
    [parse('d', 'select 1'), sync, query('deallocate d'), bind('', 'd'), sync, query('show homeport.pinned')],
    ['1', 'Z I', 'C DEALLOCATE', 'Z I', 'E 26000', 'Z I', 'T', 'D ', 'C SHOW', 'Z I'],
  ],
  [
    'DEALLOCATE ALL and DISCARD ALL',
    [
      parse('d', 'select 1'),
      sync,
      query('deallocate all'),
      bind('', 'd'),
      sync,
      parse('d', 'select 1'),
      sync,
      query('discard all'),
      bind('', 'd'),
      sync,
    ],
    ['1', 'Z I', 'C DEALLOCATE ALL', 'Z I', 'E 26000', 'Z I', '1', 'Z I', 'C DISCARD ALL', 'Z I', 'E 26000', 'Z I'],
  ],
  [
    'a portal read in parts',
    [
      ...[query('begin'), parse('', 'select generate_series(1, 3)'), bind('c', ''), execute('c', 2), sync],
      ...[execute('c', 2), sync, close('P', 'c'), execute('c', 1), sync, query('rollback')],
    ],
    [
      'C BEGIN',
      'Z T',
      '1',
      '2',
      'D 1',
      'D 2',
      's',
      'Z T',
      'D 3',
      'C SELECT 1',
      'Z T',
      '3',
      'E 34000',
      'Z E',
      'C ROLLBACK',
      'Z I',
    ],
  ],
  [
    'a portal on COMMIT that is executed in the next unit',
    [
      query('begin'),
      run('select 1'),
      parse('', 'commit'),
      bind('c', ''),
      sync,
      execute('c'),
      sync,
      run('select 1'),
      sync,
    ],
    ['C BEGIN', 'Z T', ...one, '1', '2', 'Z T', 'C COMMIT', 'Z I', ...one, 'Z I'],
  ],
  [
    'more statements than a backend keeps',
    Array.from({ length: 9 }, (_, i) => [parse(`m${i}`, `select 1 /* ${i} */`), bind('', `m${i}`), execute(), sync])
      .flat()
      .concat(Array.from({ length: 9 }, (_, i) => [bind('', `m${i}`), execute(), close('S', `m${i}`), sync]).flat()),
    [
      ...Array.from({ length: 9 }, () => [...one, 'Z I']).flat(),
      ...Array.from({ length: 9 }, () => ['2', 'D 1', 'C SELECT 1', '3', 'Z I']).flat(),
    ],
  ],
  [
    'BEGIN in the middle of a unit',
    [
      run('select 1'),
      run('begin'),
      run('select 1'),
      sync,
      run('commit and chain'),
      sync,
      run('select 1'),
      sync,
      query('rollback'),
    ],
    [...one, '1', '2', 'C BEGIN', ...one, 'Z T', '1', '2', 'C COMMIT', 'Z T', ...one, 'Z T', 'C ROLLBACK', 'Z I'],
  ],
];

const readies = (answers: string[]) => answers.filter(text => text.startsWith('Z')).length;

describe('a pipeline of', () => {
  test.each(cases)('%s is answered as Postgres would, from either region', async (_, frames, answers) => {
    for (const region of [pair.west, pair.east]) {
      const wire = await Wire.open(region, { tenant: 'acme' });
      expect(await wire.send(...frames).ready(readies(answers))).toEqual(answers);
      // nothing was left on the backend
      expect(await wire.ask('select 1')).toEqual(['T', 'D 1', 'C SELECT 1', 'Z I']);
      wire.end();
    }
  });

  test.each(cases)('%s is the same when it comes byte by byte', async (_, frames, answers) => {
    const wire = await Wire.open(pair.west, { tenant: 'acme' });
    await wire.drip(...frames);
    expect(await wire.ready(readies(answers))).toEqual(answers);
    wire.end();
  });

  test.each(cases)('%s is the same when the shard answers byte by byte', async (_, frames, answers) => {
    const wire = await Wire.open(drop.west, { tenant: 'acme' });
    expect(await wire.send(...frames).ready(readies(answers))).toEqual(answers);
    wire.end();
  });

  test('a description that comes in two pieces, with an answer of ours behind it, is not torn', async () => {
    const columns = Array.from({ length: 1600 }, (_, i) => `1 as column_with_a_long_name_${i}`).join(', ');
    const wire = await Wire.open(pair.west, { tenant: 'acme' });
    const text = parse('wide', `select ${columns}`);
    await wire.send(text, sync).ready();
    for (let i = 0; i < 5; i++) {
      const answers = await wire
        .send(
          describing('S', 'wide'),
          parse(`again${i}`, `select ${columns}`),
          close('S', `again${i}`),
          describing('S', 'wide'),
          sync,
        )
        .ready();
      expect(answers).toEqual(['t', 'T', '1', '3', 't', 'T', 'Z I']);
    }
    wire.end();
  });

  test('large texts, prepared and closed by one client after the other, do not pile up', async () => {
    const text = (i: number) => parse(`large${i}`, `select ${i} /* ${'x'.repeat(3_000_000)} */`);
    for (const region of [pair.west, pair.east]) {
      for (let i = 0; i < 12; i++) {
        const wire = await Wire.open(region, { tenant: 'acme' });
        expect(await wire.send(text(i), bind('', `large${i}`), execute(), sync).ready()).toEqual([
          '1',
          '2',
          `D ${i}`,
          'C SELECT 1',
          'Z I',
        ]);
        wire.end();
      }
    }
    const { rows } = await pair.west.admin.query<{ pid: number }>(
      "select pid from pg_stat_activity where usename = 'app'",
    );
    const { texts } = pair.west.gateway;
    expect(texts.bytes).toBeLessThan(rows.length * 9_500_000 + 1_000_000);
  });

  test('messages with Flush in the place of Sync comes back at once', async () => {
    const wire = await Wire.open(pair.east, { tenant: 'acme' });
    wire.send(parse('', "insert into items (note) values ('f') returning 1"), describing('S', ''), flush);
    await wire.until(seen => seen.includes('T'));
    wire.send(bind('', ''), execute(), flush);
    await wire.until(seen => seen.includes('C INSERT 0 1'));
    expect((await pair.west.admin.query('select * from items')).rows).toEqual([]);
    expect(await wire.send(sync).ready()).toEqual(['Z I']);
    expect((await pair.west.admin.query('select note from items')).rows).toEqual([{ note: 'f' }]);
    wire.end();
  });
});
