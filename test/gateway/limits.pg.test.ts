/** Bounds of the pools and how they are told, and the end of a gateway's service. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { poll, realWorld } from '../../src/base/world.ts';
import { type Pair, startPair } from './fixture.ts';
import { query, Wire } from './wire.ts';

const open: Wire[] = [];
async function client(pair: Pair, tenant: string, user = 'app'): Promise<Wire> {
  const wire = await Wire.open(pair.west, { tenant, user });
  open.push(wire);
  return wire;
}
/** A client in the middle of a block: it has a backend. */
async function busy(pair: Pair, tenant: string, user = 'app'): Promise<Wire> {
  const wire = await client(pair, tenant, user);
  await wire.send(query('begin'), query('select 1')).ready(2);
  return wire;
}
const poolOf = (pair: Pair) => {
  const [pool] = pair.west.gateway.shards.values();
  if (!pool) throw new Error('no pool');
  return pool;
};
const until = async (condition: () => boolean) =>
  expect(await poll(realWorld.clock, () => (condition() ? true : undefined), { everyMs: 2, limitMs: 5_000 })).toBe(
    true,
  );
afterEach(() => {
  for (const wire of open.splice(0)) wire.end();
});

describe('a pool', () => {
  let pair: Pair;
  beforeAll(async () => {
    pair = await startPair({ max: 4, perTenant: 2, perUser: 3, queue: 3, queueMs: 300 });
    for (const tenant of ['acme', 'bolt', 'other-1']) await pair.settle(tenant, 'west');
  });
  afterAll(() => pair?.stop());

  test('gives one tenant no more than its share, and the others theirs meanwhile', async () => {
    const held = [await busy(pair, 'acme'), await busy(pair, 'acme')];
    const third = await client(pair, 'acme');
    const waits = third.ask('select 3');
    await until(() => poolOf(pair).stats.waiting === 1);
    expect(await (await client(pair, 'bolt')).ask('select 1')).toContain('D 1');
    await held[0]?.ask('commit');
    expect(await waits).toContain('D 3');
  });

  test('gives one user no more than its share', async () => {
    await busy(pair, 'acme');
    await busy(pair, 'acme');
    await busy(pair, 'bolt');
    expect(await (await client(pair, 'bolt')).ask('select 1')).toEqual(['E 53300', 'Z I']);
    expect(await (await client(pair, 'other-1', 'other')).ask('select 1')).toContain('D 1');
  });

  test('lets nobody wait longer than queueMs, in a block or not', async () => {
    await busy(pair, 'acme');
    await busy(pair, 'acme');
    const [single, block] = [await client(pair, 'acme'), await client(pair, 'acme')];
    expect(await single.ask('select 1')).toEqual(['E 53300', 'Z I']);
    expect(await block.send(query('begin'), query('select 1'), query('rollback')).ready(3)).toEqual([
      'C BEGIN',
      'Z T',
      'E 53300',
      'Z E',
      'C ROLLBACK',
      'Z I',
    ]);
  });

  test('refuses at once who comes to a full queue', async () => {
    await busy(pair, 'acme');
    await busy(pair, 'acme');
    const waiting = await Promise.all([1, 2, 3].map(() => client(pair, 'acme')));
    const answers = waiting.map(wire => wire.ask('select 1'));
    await until(() => poolOf(pair).stats.waiting === 3);
    const late = pair.west.connect({ tenant: 'acme' });
    const error = await (await late).query('select 1').catch((cause: unknown) => cause);
    expect(String(error)).toMatch(/too many transactions wait/);
    await (await late).end();
    for (const answer of answers) expect(await answer).toEqual(['E 53300', 'Z I']);
  });

  test('forgets who leaves while waiting, and serves the next', async () => {
    const holder = await busy(pair, 'acme');
    await busy(pair, 'acme');
    const leaver = await client(pair, 'acme');
    leaver.send(query('select 1'));
    await until(() => poolOf(pair).stats.waiting === 1);
    const stayer = (await client(pair, 'acme')).ask('select 2');
    await until(() => poolOf(pair).stats.waiting === 2);
    leaver.end();
    await leaver.closed;
    await holder.ask('commit');
    expect(await stayer).toContain('D 2');
  });

  test('full of pinned sessions says so to those who wait', async () => {
    for (const wire of [await client(pair, 'acme'), await client(pair, 'acme')]) await wire.ask('listen news');
    expect(await (await client(pair, 'acme')).ask('select 1')).toEqual(['E 53300', 'Z I']);
  });

  test('makes room for another user by closing what is idle', async () => {
    for (const tenant of ['acme', 'acme', 'bolt']) await busy(pair, tenant);
    for (const wire of open) await wire.ask('commit');
    const others = await Promise.all([1, 2].map(() => client(pair, 'other-1', 'other')));
    for (const wire of others) expect(await wire.ask('select 1')).toContain('D 1');
    expect(poolOf(pair).stats.idle + poolOf(pair).stats.busy).toBeLessThanOrEqual(4);
  });
});

describe('a shard that cannot be reached', () => {
  test('is tried again for some seconds, then the client is told', async () => {
    let port = 1;
    const pair = await startPair(
      {},
      {
        shardAddress: postgres => ({
          host: port === 0 ? postgres.socketDir : '127.0.0.1',
          port: port === 0 ? postgres.port : port,
        }),
      },
    );
    await pair.settle('acme', 'west');
    const wire = await client(pair, 'acme');
    expect(await wire.ask('select 1')).toEqual(['E 08006', 'Z I']);
    const answer = wire.ask('select 2');
    port = 0;
    expect(await answer).toContain('D 2');
    wire.end();
    await pair.stop();
  }, 20_000);
});

describe('a gateway that is told to end', () => {
  test('lets what runs finish, tells the idle, and refuses the new', async () => {
    const pair = await startPair();
    await pair.settle('acme', 'west');
    const idle = await client(pair, 'acme');
    const running = await busy(pair, 'acme');
    const begun = await client(pair, 'acme');
    await begun.ask('begin');
    const single = await client(pair, 'acme');
    single.send(query('select pg_sleep(0.3), 1 as done'));
    await until(() => poolOf(pair).stats.busy === 2);
    const drained = pair.west.server.drain(5_000);
    expect(await idle.closed).toEqual(['E 57P01']);
    expect(await single.closed).toEqual(['T', 'D |1', 'C SELECT 1', 'Z I', 'E 57P01']);
    expect(await begun.send(query('select 1')).closed).toEqual(['E 57P01']);
    await expect(Wire.open(pair.west, { tenant: 'acme' })).rejects.toThrow();
    expect(await running.ask("insert into items (note) values ('last')")).toEqual(['C INSERT 0 1', 'Z T']);
    expect(await running.send(query('commit')).closed).toEqual(['C COMMIT', 'Z I', 'E 57P01']);
    expect(await drained).toBe(0);
    expect((await pair.west.admin.query('select note from items')).rows).toEqual([{ note: 'last' }]);
    await pair.stop();
  });
});
