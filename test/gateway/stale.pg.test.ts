/** The directory lies, the fence does not: nothing of that reaches the client, and nothing is lost or done twice. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { poll, realWorld } from '../../src/base/world.ts';
import { type Pair, startPair, type TestRegion } from './fixture.ts';
import { bind, close, execute, parse, query, run, sync, Wire } from './wire.ts';

let pair: Pair;
let epoch = 1;
let home: 'west' | 'east' = 'west';

beforeAll(async () => {
  pair = await startPair();
});
afterAll(() => pair?.stop());
beforeEach(async () => {
  home = 'west';
  await pair.settle('acme', 'west', ++epoch);
  for (const region of [pair.west, pair.east]) await region.admin.query('delete from items');
});

/** The home moves, and the gateways are not told. */
async function moveInSilence(): Promise<void> {
  home = home === 'west' ? 'east' : 'west';
  await pair.settleBehindTheirBacks('acme', home, ++epoch);
}

async function notes(region: TestRegion): Promise<string[]> {
  const { rows } = await region.admin.query<{ note: string }>('select note from items order by note');
  return rows.map(row => row.note);
}

const from = () => [pair.west, pair.east];
const insert = (note: string) => `insert into items (note) values ('${note}')`;

describe('a stale look-up', () => {
  const forms: [string, (wire: Wire) => Promise<readonly string[]>, readonly string[]][] = [
    ['a simple query', wire => wire.ask(insert('a')), ['C INSERT 0 1', 'Z I']],
    [
      'a string of several',
      wire => wire.ask(`${insert('a')}; select 1`),
      ['C INSERT 0 1', 'T', 'D 1', 'C SELECT 1', 'Z I'],
    ],
    [
      'the extended protocol',
      wire => wire.send(run('insert into items (note) values ($1)', 'a'), sync).ready(),
      ['1', '2', 'C INSERT 0 1', 'Z I'],
    ],
    [
      'a block at isolation level serializable',
      wire => wire.send(query('begin isolation level serializable'), query(insert('a')), query('commit')).ready(3),
      ['C BEGIN', 'Z T', 'C INSERT 0 1', 'Z T', 'C COMMIT', 'Z I'],
    ],
    [
      'a block with SET TRANSACTION',
      wire =>
        wire
          .send(query('begin; set transaction isolation level repeatable read'), query(insert('a')), query('end'))
          .ready(3),
      ['C BEGIN', 'C SET', 'Z T', 'C INSERT 0 1', 'Z T', 'C COMMIT', 'Z I'],
    ],
    [
      'a block in one string',
      wire => wire.ask(`begin; ${insert('a')}; commit`),
      ['C BEGIN', 'C INSERT 0 1', 'C COMMIT', 'Z I'],
    ],
    [
      'whole units and a query behind the first statement',
      wire =>
        wire
          .send(
            query('begin'),
            run(insert('a')),
            sync,
            run('select 1'),
            sync,
            query('select 2'),
            query('show homeport.tenant; select 3'),
          )
          .send(query('commit'))
          .ready(6),
      [
        ...['C BEGIN', 'Z T', '1', '2', 'C INSERT 0 1', 'Z T', '1', '2', 'D 1', 'C SELECT 1', 'Z T'],
        ...[
          'T',
          'D 2',
          'C SELECT 1',
          'Z T',
          'T',
          'D acme',
          'C SHOW',
          'T',
          'D 3',
          'C SELECT 1',
          'Z T',
          'C COMMIT',
          'Z I',
        ],
      ],
    ],
    [
      'units, and one that is still open',
      async wire => {
        wire.send(query('begin'), run(insert('a')), sync, run('select 1'));
        await wire.until(seen => seen.includes('D 1'));
        return wire.send(sync, query('commit')).ready(2);
      },
      ['Z T', 'C COMMIT', 'Z I'],
    ],
    [
      'a pipeline of BEGIN, statement and COMMIT in one unit',
      wire => wire.send(run('begin'), run(insert('a')), run('commit'), sync).ready(),
      ['1', '2', 'C BEGIN', '1', '2', 'C INSERT 0 1', '1', '2', 'C COMMIT', 'Z I'],
    ],
    [
      'a named Parse, its use and its Close in the refused batch',
      wire => wire.send(parse('s', insert('a')), bind('', 's'), execute(), close('S', 's'), sync).ready(),
      ['1', '2', 'C INSERT 0 1', '3', 'Z I'],
    ],
    [
      'a Bind larger than what is kept for a second try',
      wire =>
        wire
          .send(
            parse('', 'insert into items (note) select $1 where length($2) > 0'),
            bind('', '', 'a', 'x'.repeat(3_000_000)),
          )
          .send(execute(), sync)
          .ready(),
      ['1', '2', 'C INSERT 0 1', 'Z I'],
    ],
  ];

  test.each(forms)('is not noticed by %s', async (_, work, answers) => {
    for (const region of from()) {
      const wire = await Wire.open(region, { tenant: 'acme' });
      expect(await wire.ask('select 0')).toContain('D 0');
      await moveInSilence();
      expect(await work(wire)).toEqual(answers);
      expect(await notes(home === 'west' ? pair.west : pair.east)).toEqual(['a']);
      expect(await notes(home === 'west' ? pair.east : pair.west)).toEqual([]);
      expect(await wire.ask('delete from items')).toEqual(['C DELETE 1', 'Z I']);
      wire.end();
    }
  });

  test('of a statement that was prepared before, and closed in the refused batch', async () => {
    const wire = await Wire.open(pair.west, { tenant: 'acme' });
    await wire.send(parse('s', insert('a')), sync).ready();
    await moveInSilence();
    expect(await wire.send(bind('', 's'), execute(), close('S', 's'), sync).ready()).toEqual([
      '2',
      'C INSERT 0 1',
      '3',
      'Z I',
    ]);
    expect(await wire.send(bind('', 's'), sync).ready()).toEqual(['E 26000', 'Z I']);
    wire.end();
  });

  test('is held until the directory and the fence agree', async () => {
    await pair.fence('west', 'acme', ++epoch, 'closed');
    const clients = await Promise.all(from().map(region => Wire.open(region, { tenant: 'acme' })));
    const before = pair.west.locator.refreshes;
    const answers = clients.map((wire, i) => wire.ask(insert(`held ${i}`)));
    await poll(realWorld.clock, () => (pair.west.locator.refreshes > before + 3 ? true : undefined), {
      everyMs: 5,
      limitMs: 5_000,
    });
    await pair.settleBehindTheirBacks('acme', 'east', ++epoch);
    expect(await Promise.all(answers)).toEqual([
      ['C INSERT 0 1', 'Z I'],
      ['C INSERT 0 1', 'Z I'],
    ]);
    expect(await notes(pair.east)).toEqual(['held 0', 'held 1']);
    for (const wire of clients) wire.end();
  });

  test('ends in HP-G303 when they never do, and the block fails as a block', async () => {
    await pair.fence('west', 'acme', ++epoch, 'closed');
    const wire = await Wire.open(pair.west, { tenant: 'acme' });
    const block = await Wire.open(pair.west, { tenant: 'acme' });
    const [single, inBlock] = await Promise.all([
      wire.ask(insert('never')),
      block.send(query('begin'), query(insert('never')), query('select 1'), query('commit')).ready(4),
    ]);
    expect(single).toEqual(['E 08006', 'Z I']);
    expect(inBlock).toEqual(['C BEGIN', 'Z T', 'E 08006', 'Z E', 'E 25P02', 'Z E', 'C ROLLBACK', 'Z I']);
    wire.end();
    block.end();
  });

  test('is canceled while it is held', async () => {
    await pair.fence('west', 'acme', ++epoch, 'closed');
    const client = await pair.west.connect({ tenant: 'acme' });
    const before = pair.west.locator.refreshes;
    const held = client.query(insert('never'));
    await poll(realWorld.clock, () => (pair.west.locator.refreshes > before ? true : undefined), {
      everyMs: 2,
      limitMs: 5_000,
    });
    void pair.west.server.cancelHere(virtualPid(client), cancelKey(client));
    await expect(held).rejects.toMatchObject({ code: '57014' });
    await pair.settle('acme', 'west', ++epoch);
    expect((await client.query('select * from items')).rows).toEqual([]);
    await client.end();
  });

  test('of many clients at once', async () => {
    const clients = await Promise.all(
      Array.from({ length: 32 }, (_, i) => Wire.open(from()[i % 2] as TestRegion, { tenant: 'acme' })),
    );
    for (let round = 0; round < 4; round++) {
      await moveInSilence();
      const answers = await Promise.all(clients.map((wire, i) => wire.ask(insert(`${round}.${i}`))));
      for (const answer of answers) expect(answer).toEqual(['C INSERT 0 1', 'Z I']);
      expect(await notes(home === 'west' ? pair.west : pair.east)).toHaveLength(32 * (Math.floor(round / 2) + 1));
    }
    for (const wire of clients) wire.end();
  });
});

// casts: what the driver keeps of BackendKeyData, which its types do not show
const virtualPid = (client: object) => (client as { processID: number }).processID;
const cancelKey = (client: object) => {
  const key = Buffer.alloc(4);
  key.writeInt32BE((client as { secretKey: number }).secretKey);
  return key;
};
