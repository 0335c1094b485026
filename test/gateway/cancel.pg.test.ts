/** Cancel requests: they reach the statement that they are meant for, or none. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { poll, realWorld } from '../../src/base/world.ts';
import { cancelRequest, encodeVirtualPid } from '../../src/pgwire/cancelkey.ts';
import { type Pair, startPair, type TestRegion } from './fixture.ts';
import { query, Wire } from './wire.ts';

let pair: Pair;
/** Cancel requests for another worker, until the test says that they have landed. */
const passed: { worker: number; pid: number; landed: () => void }[] = [];
const passCancel = (worker: number, pid: number) =>
  new Promise<void>(landed => {
    passed.push({ worker, pid, landed });
  });
beforeAll(async () => {
  pair = await startPair({ max: 4, perTenant: 4, perUser: 4 }, { passCancel });
  await pair.settle('acme', 'west');
});
afterAll(() => pair?.stop());

/** As a driver cancels: on a connection of its own, which the server closes when it has landed. */
function cancel(
  region: TestRegion,
  { pid, key }: Pick<Wire, 'pid' | 'key'>,
  how: 'end' | 'write' = 'end',
): Promise<void> {
  return new Promise(resolve => {
    const socket = realWorld.network.connect(region.port, '127.0.0.1', () => socket[how](cancelRequest(pid, key)));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => resolve());
    socket.resume();
  });
}

const running = (what: string) =>
  poll(
    realWorld.clock,
    async () => {
      const { rowCount } = await pair.west.admin.query(
        "select 1 from pg_stat_activity where state = 'active' and query like $1 and pid <> pg_backend_pid()",
        [what],
      );
      return rowCount === 0 ? undefined : true;
    },
    { everyMs: 5, limitMs: 5_000 },
  );

describe('a cancel request', () => {
  test('ends the statement, from the home region and from the other', async () => {
    for (const region of [pair.west, pair.east]) {
      const wire = await Wire.open(region, { tenant: 'acme' });
      wire.send(query('select pg_sleep(60)'));
      await running('%pg_sleep(60)%');
      await cancel(region, wire);
      expect((await wire.ready()).slice(-2)).toEqual(['E 57014', 'Z I']);
      expect(await wire.ask('select 1')).toContain('D 1');
      wire.end();
    }
  });

  test('with a wrong key ends nothing', async () => {
    const wire = await Wire.open(pair.west, { tenant: 'acme' });
    wire.send(query('select pg_sleep(0.2), 1 as done'));
    await running('%as done%');
    await cancel(pair.west, { pid: wire.pid, key: Buffer.alloc(4) });
    expect(await wire.ready()).toContain('D |1');
    wire.end();
  });

  test('takes a client out of the queue for a backend', async () => {
    const busy = await Promise.all(Array.from({ length: 4 }, () => Wire.open(pair.west, { tenant: 'acme' })));
    for (const wire of busy) await wire.send(query('begin'), query('select 1')).ready(2);
    const waiting = await Wire.open(pair.west, { tenant: 'acme' });
    const answer = waiting.ask('select 2');
    const [pool] = pair.west.gateway.shards.values();
    await poll(realWorld.clock, () => (pool?.stats.waiting === 1 ? true : undefined), { everyMs: 2, limitMs: 5_000 });
    await cancel(pair.west, waiting);
    expect(await answer).toEqual(['E 57014', 'Z I']);
    for (const wire of busy) expect(await wire.ask('commit')).toEqual(['C COMMIT', 'Z I']);
    expect(await waiting.ask('select 2')).toContain('D 2');
    for (const wire of [...busy, waiting]) wire.end();
  });

  test('of 500 against short statements never hits another client', async () => {
    for (const region of [pair.west, pair.east]) {
      const victims = await Promise.all(Array.from({ length: 4 }, () => Wire.open(region, { tenant: 'acme' })));
      const targets = await Promise.all(Array.from({ length: 4 }, () => Wire.open(region, { tenant: 'acme' })));
      let cancels = 250;
      let wrong = 0;
      const work = async (wire: Wire, isVictim: boolean) => {
        while (cancels > 0) {
          const answer = await wire.ask('select pg_sleep(0.0005)');
          if (isVictim && answer.some(text => text.startsWith('E'))) wrong++;
        }
      };
      const shoot = async (wire: Wire) => {
        while (cancels-- > 0) await cancel(region, wire);
      };
      await Promise.all([
        ...victims.map(wire => work(wire, true)),
        ...targets.flatMap(wire => [work(wire, false), shoot(wire)]),
      ]);
      expect(wrong).toBe(0);
      for (const wire of [...victims, ...targets]) {
        expect(await wire.ask('select 1')).toContain('D 1');
        wire.end();
      }
    }
  });

  test('keeps its connection until it has landed, whether the client has ended its half or not', async () => {
    const pid = encodeVirtualPid({ gateway: 0, worker: 2, session: 5 });
    for (const how of ['end', 'write'] as const) {
      let over = false;
      const eof = cancel(pair.west, { pid, key: Buffer.alloc(4) }, how).then(() => {
        over = true;
      });
      const request = await poll(realWorld.clock, () => passed.shift(), { everyMs: 2, limitMs: 5_000 });
      expect(request).toMatchObject({ worker: 2, pid });
      // more than one turn of this process, which is the server's too
      const wire = await Wire.open(pair.west, { tenant: 'acme' });
      expect(await wire.ask('select 1')).toContain('D 1');
      wire.end();
      expect(over).toBe(false);
      request?.landed();
      await eof;
    }
  });

  test('never hits the next statement of a client that waits for its end', async () => {
    for (const region of [pair.west, pair.east]) {
      const wire = await Wire.open(region, { tenant: 'acme' });
      let hits = 0;
      for (let round = 0; round < 60; round++) {
        await wire.send(query('begin'), query('select 1')).ready(2);
        // on the same backend, and over at about the time when the cancel comes
        const answer = wire.ask(`select pg_sleep(${(round % 6) * 0.0005})`);
        const [first] = await Promise.all([answer, cancel(region, wire)]);
        const hit = first.includes('E 57014');
        if (hit) hits++;
        const next = await wire.ask(hit ? 'rollback' : 'select pg_sleep(0.003), 7');
        expect(next).toContain(hit ? 'C ROLLBACK' : 'D |7');
        if (!hit) await wire.ask('commit');
      }
      expect(hits).toBeLessThan(60);
      wire.end();
    }
  });

  test('is what a client that leaves does to its statement', async () => {
    const wire = await Wire.open(pair.east, { tenant: 'acme' });
    wire.send(query('select pg_sleep(61)'));
    await running('%pg_sleep(61)%');
    wire.end();
    const gone = async () => {
      const { rowCount } = await pair.west.admin.query(
        "select 1 from pg_stat_activity where state = 'active' and query like '%pg_sleep(61)%' and pid <> pg_backend_pid()",
      );
      return rowCount === 0 ? true : undefined;
    };
    expect(await poll(realWorld.clock, gone, { everyMs: 10, limitMs: 5_000 })).toBe(true);
  });
});
