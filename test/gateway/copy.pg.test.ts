/** COPY in both directions and protocols, its failures, and large rows past slow readers in bounded memory. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { poll, realWorld } from '../../src/base/world.ts';
import { type Pair, startPair } from './fixture.ts';
import { copyData, copyDone, copyFail, query, run, sync, Wire } from './wire.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await startPair({ max: 2 });
  await pair.settle('acme', 'west');
});
afterAll(() => pair?.stop());
beforeEach(() => pair.west.admin.query('delete from items'));

const COPY = 'copy items (note, n) from stdin';
const rows = async () =>
  (await pair.west.admin.query('select note, n from items order by n')).rows.map(row => `${row.note}${row.n}`);
const MiB = 1024 * 1024;

async function both(work: (wire: Wire) => Promise<void>): Promise<void> {
  for (const region of [pair.west, pair.east]) {
    await pair.west.admin.query('delete from items');
    const wire = await Wire.open(region, { tenant: 'acme' });
    await work(wire);
    // the backend is as good as new, for this client and for others
    expect(await wire.ask('select 1')).toEqual(['T', 'D 1', 'C SELECT 1', 'Z I']);
    wire.end();
    const next = await Promise.all([1, 2, 3].map(() => Wire.open(region, { tenant: 'acme' })));
    for (const other of next) expect(await other.ask('select 1')).toEqual(['T', 'D 1', 'C SELECT 1', 'Z I']);
    for (const other of next) other.end();
  }
}

describe('COPY FROM', () => {
  test('in the simple protocol, as a transaction by itself and in a block', () =>
    both(async wire => {
      expect(await wire.send(query(COPY)).until(seen => seen.includes('G'))).toEqual(['G']);
      expect(await wire.send(copyData('a\t1\n'), copyData('a\t2\n'), copyDone).ready()).toEqual(['C COPY 2', 'Z I']);
      expect(await rows()).toEqual(['a1', 'a2']);
      await wire.send(query('begin'), query(COPY)).until(seen => seen.includes('G'));
      expect(await wire.send(copyData('b\t3\n'), copyDone, query('commit')).ready(2)).toEqual([
        'C COPY 1',
        'Z T',
        'C COMMIT',
        'Z I',
      ]);
      expect(await rows()).toEqual(['a1', 'a2', 'b3']);
    }));

  test('in the extended protocol, the Sync sent with it and again behind the data', () =>
    both(async wire => {
      expect(await wire.send(run(COPY), sync).until(seen => seen.includes('G'))).toEqual(['1', '2', 'G']);
      expect(await wire.send(copyData('a\t1\n'), copyDone, sync).ready()).toEqual(['C COPY 1', 'Z I']);
      expect(await rows()).toEqual(['a1']);
    }));

  test('ended by CopyFail', () =>
    both(async wire => {
      await wire.send(query(COPY)).until(seen => seen.includes('G'));
      expect(await wire.send(copyData('a\t1\n'), copyFail('no more')).ready()).toEqual(['E 57014', 'Z I']);
      await wire.send(run(COPY), sync).until(seen => seen.includes('G'));
      expect(await wire.send(copyFail('no more'), sync).ready()).toEqual(['E 57014', 'Z I']);
      expect(await rows()).toEqual([]);
    }));

  test('that fails in the middle, with data still coming', () =>
    both(async wire => {
      await wire.send(query(COPY)).until(seen => seen.includes('G'));
      wire.send(copyData('a\tnot a number\n'));
      expect(await wire.ready()).toEqual(['E 22P02', 'Z I']);
      expect(await wire.send(copyData('a\t1\n'), copyDone, query('select 1')).ready()).toEqual([
        'T',
        'D 1',
        'C SELECT 1',
        'Z I',
      ]);
      await wire.send(run(COPY), sync).until(seen => seen.includes('G'));
      wire.send(copyData('a\tnot a number\n'));
      await wire.until(seen => seen.includes('E 22P02'));
      expect(await wire.send(copyData('a\t1\n'), copyDone, sync).ready()).toEqual(['Z I']);
    }));

  test('that fails while a large frame is under way', () =>
    both(async wire => {
      const large = copyData(`${'x'.repeat(2 * MiB)}\t1\n`);
      for (const start of [[query(COPY)], [query('begin'), query(COPY)]]) {
        await wire.send(...start).until(seen => seen.includes('G'));
        wire.send(copyData('a\tnot a number\n'), large.subarray(0, MiB));
        await wire.until(seen => seen.includes('E 22P02'));
        wire.send(large.subarray(MiB), copyDone, query('rollback'));
        await wire.until(seen => seen.includes('C ROLLBACK') && (seen.at(-1) ?? '').startsWith('Z I'));
      }
      expect(await rows()).toEqual([]);
    }));

  test('whose client leaves in the middle', () =>
    both(async wire => {
      const gone = await Wire.open(pair.west, { tenant: 'acme' });
      await gone.send(query(COPY)).until(seen => seen.includes('G'));
      gone.send(copyData('a\t1\n'), copyData('x'.repeat(MiB)).subarray(0, 1000));
      gone.socket.end();
      await gone.closed;
      expect(await wire.ask('select count(*) from items')).toContain('D 0');
    }));

  test('of one row of 20 MiB', () =>
    both(async wire => {
      await wire.send(query(COPY)).until(seen => seen.includes('G'));
      expect(await wire.send(copyData(`${'x'.repeat(20 * MiB)}\t1\n`), copyDone).ready()).toEqual(['C COPY 1', 'Z I']);
      expect(await wire.ask('select length(note) from items')).toContain(`D ${20 * MiB}`);
      wire.counting = true;
      await wire.ask('select note from items');
      expect(wire.counted).toBeGreaterThan(20 * MiB);
      await wire.ask('copy items to stdout');
      expect(wire.counted).toBeGreaterThan(40 * MiB);
      wire.counting = false;
    }));
});

describe('a slow reader', () => {
  test('holds its backend back instead of filling memory, and what it gave back serves others', async () => {
    const clients = await Promise.all([1, 2].map(() => Wire.open(pair.west, { tenant: 'acme' })));
    const before = process.memoryUsage().rss;
    for (const wire of clients) {
      wire.counting = true;
      wire.socket.pause();
      wire.send(query("select repeat('x', 10000) from generate_series(1, 20000)"));
    }
    const waiting = async () => {
      const { rows: found } = await pair.west.admin.query(
        "select 1 from pg_stat_activity where wait_event = 'ClientWrite'",
      );
      return found.length === 2 ? true : undefined;
    };
    expect(await poll(realWorld.clock, waiting, { everyMs: 20, limitMs: 10_000 })).toBe(true);
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * MiB);
    for (const wire of clients) wire.socket.resume();
    for (const wire of clients) {
      await wire.ready();
      expect(wire.counted).toBeGreaterThan(200_000_000);
      wire.end();
    }
  });

  test('that leaves its last piece unread does not keep its backend paused for the next client', async () => {
    // Results of every size around the backlog's limit, unread, on both backends of the pool.
    const slow = await Promise.all(Array.from({ length: 24 }, () => Wire.open(pair.west, { tenant: 'acme' })));
    for (const [i, wire] of slow.entries()) {
      wire.socket.pause();
      wire.send(query(`select repeat('x', 8000) from generate_series(1, ${300 + 20 * i})`));
    }
    const next = await Wire.open(pair.west, { tenant: 'acme' });
    const answer = next.ask('select 1');
    for (const wire of slow) wire.socket.resume();
    for (const wire of slow) await wire.ready();
    expect(await answer).toContain('D 1');
    for (const wire of [...slow, next]) wire.end();
  });
});
