/** Backends that die at every moment, and a Postgres that is killed under load: told once, with the right code. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { poll, realWorld } from '../../src/base/world.ts';
import { type Pair, startPair } from './fixture.ts';
import { bind, execute, parse, query, run, sync, Wire } from './wire.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await startPair();
  await pair.settle('acme', 'west');
  await pair.west.admin.query(`
    create table slow (id int);
    create function wait_at_commit() returns trigger language plpgsql as 'begin perform pg_sleep(60); return null; end';
    create constraint trigger late after insert on slow deferrable initially deferred for each row execute function wait_at_commit();
    grant select, insert on slow to app`);
});
afterAll(() => pair?.stop());
beforeEach(() => pair.west.admin.query('delete from items'));

const APP = "usename = 'app' and pid <> pg_backend_pid()";

/** Ends the application's backends once `many` of them are in that state. */
async function terminate(where: string): Promise<void> {
  const done = await poll(
    realWorld.clock,
    async () => {
      const { rowCount } = await pair.west.admin.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where ${APP} and ${where}`,
      );
      return rowCount === 0 ? undefined : true;
    },
    { everyMs: 5, limitMs: 5_000 },
  );
  expect(done).toBe(true);
}

async function fromBoth(work: (wire: Wire) => Promise<void>): Promise<void> {
  for (const region of [pair.west, pair.east]) {
    const wire = await Wire.open(region, { tenant: 'acme' });
    await work(wire);
    expect(await wire.ask('select 1')).toEqual(['T', 'D 1', 'C SELECT 1', 'Z I']);
    wire.end();
  }
}

describe('a backend that dies', () => {
  test('idle in the pool is not noticed', () =>
    fromBoth(async wire => {
      await wire.ask('select 1');
      await terminate("state = 'idle'");
      await poll(
        realWorld.clock,
        () => ([...pair.west.gateway.shards.values()][0]?.stats.busy === 0 ? true : undefined),
        { everyMs: 5, limitMs: 1_000 },
      );
      await wire.ask('select 1');
    }));

  test('idle in a transaction fails the block with 08006', () =>
    fromBoth(async wire => {
      await wire.send(query('begin'), query('select 1')).ready(2);
      await terminate("state = 'idle in transaction'");
      const answers = await wire.send(query('select 1'), query('select 1')).ready(2);
      expect(answers[0]).toMatch(/^E (08006|25P02)$/);
      expect(answers.slice(1)).toEqual(['Z E', 'E 25P02', 'Z E']);
      expect(await wire.ask('commit')).toEqual(['C ROLLBACK', 'Z I']);
    }));

  test('during a statement of a block, with more behind it, gives each its error and one ReadyForQuery', () =>
    fromBoth(async wire => {
      await wire.send(query('begin'), query('select 1')).ready(2);
      wire.send(query('select pg_sleep(60)'), query('select 2'), query('show homeport.tenant'), run('select 3'));
      await terminate("query like '%pg_sleep(60)%'");
      const answers = await wire.send(sync, query('rollback')).ready(5);
      expect(answers.filter(text => text.length > 1)).toEqual([
        'E 08006',
        'Z E',
        'E 25P02',
        'Z E',
        'E 25P02',
        'Z E',
        'E 25P02',
        'Z E',
        'C ROLLBACK',
        'Z I',
      ]);
    }));

  test('during a statement that is a transaction by itself has not committed', () =>
    fromBoth(async wire => {
      wire.send(query('select pg_sleep(60)'));
      await terminate("query like '%pg_sleep(60)%'");
      expect((await wire.ready()).filter(text => text !== 'T')).toEqual(['E 08006', 'Z I']);
    }));

  test('while such a one commits: 08007', () =>
    fromBoth(async wire => {
      wire.send(query('insert into slow values (1)'));
      await terminate("wait_event = 'PgSleep'");
      expect(await wire.ready()).toEqual(['C INSERT 0 1', 'E 08007', 'Z I']);
    }));

  test('in an open unit, before its Sync, has not committed', () =>
    fromBoth(async wire => {
      wire.send(parse('', 'select pg_sleep(60)'), bind('', ''), execute());
      wire.send(Buffer.from('H\0\0\0\x04', 'latin1'));
      await terminate("query like '%pg_sleep(60)%'");
      await wire.until(seen => seen.includes('E 08006'));
      expect(await wire.send(run('select 1'), sync).ready()).toEqual(['Z I']);
    }));

  test('during COMMIT: 08007', () =>
    fromBoth(async wire => {
      wire.send(query('begin'), query('insert into slow values (1)'), query('commit'));
      await terminate("query ~* 'commit' and wait_event = 'PgSleep'");
      expect(await wire.ready(3)).toEqual(['C BEGIN', 'Z T', 'C INSERT 0 1', 'Z T', 'E 08007', 'Z I']);
    }));

  test('during ROLLBACK TO, or anything that can commit nothing: 08006', () =>
    fromBoth(async wire => {
      await wire.send(query('begin'), query('select 1')).ready(2);
      wire.send(query("do 'begin perform pg_sleep(60); end'"));
      await terminate("query like '%pg_sleep(60)%'");
      expect(await wire.ready()).toEqual(['E 08006', 'Z E']);
      await wire.ask('rollback');
    }));

  test('while enter waits for its lock is replaced', () =>
    fromBoth(async wire => {
      await pair.west.admin.query(`begin; select pg_advisory_xact_lock(${0x484f4d45}, hashtext('tenant:acme'))`);
      const answer = wire.ask("insert into items (note) values ('once')");
      await terminate("wait_event_type = 'Lock'");
      await pair.west.admin.query('commit');
      expect(await answer).toEqual(['C INSERT 0 1', 'Z I']);
      expect((await pair.west.admin.query('delete from items')).rowCount).toBe(1);
    }));

  test('of a pinned session ends that session', async () => {
    const wire = await Wire.open(pair.west, { tenant: 'acme' });
    await wire.ask('listen news');
    expect(await wire.ask('show homeport.pinned')).toContain('D something of the session');
    await terminate("state = 'idle'");
    expect((await wire.closed).at(-1)).toBe('E 08006');
  });
});

describe('a connection between gateways that is cut', () => {
  test('fails what runs on it once, and the next statement takes another', async () => {
    const wire = await Wire.open(pair.east, { tenant: 'acme' });
    await wire.send(query('begin'), query("insert into items (note) values ('gone')")).ready(2);
    const [peers] = pair.east.gateway.peers.values();
    // The gateway of the west hangs up on everybody, and goes on.
    const server = pair.west.server as unknown as {
      sessions: Map<number, { session: { socket: { destroy(): void } } }>;
    }; // cast: a fault from within
    for (const { session } of server.sessions.values()) session.socket.destroy();
    await poll(realWorld.clock, () => (peers?.stats.busy === 0 ? true : undefined), { everyMs: 2, limitMs: 5_000 });
    expect(await wire.send(query('select 1'), query('commit')).ready(2)).toEqual([
      'E 25P02',
      'Z E',
      'C ROLLBACK',
      'Z I',
    ]);
    expect(await wire.ask('select count(*) from items')).toContain('D 0');
    wire.end();
  });
});

describe('Postgres that is killed under load', () => {
  test('loses no acknowledged write, doubles none, and is served again', async () => {
    const clients = await Promise.all(
      Array.from({ length: 16 }, (_, i) => Wire.open(i % 2 ? pair.west : pair.east, { tenant: 'acme' })),
    );
    const acknowledged: number[] = [];
    const unknown: number[] = [];
    const codes = new Set<string>();
    let next = 0;
    let ending = false;
    const work = async (wire: Wire) => {
      while (!ending && !wire.ended) {
        const n = next++;
        const answer = await wire.ask(`insert into items (n) values (${n})`);
        const error = answer.find(text => text.startsWith('E'));
        if (error) codes.add(error);
        if (answer.includes('C INSERT 0 1') && !error) acknowledged.push(n);
        else if (error === 'E 08007' || wire.ended) unknown.push(n);
      }
    };
    const all = clients.map(work);
    await poll(realWorld.clock, () => (acknowledged.length > 300 ? true : undefined), { everyMs: 5, limitMs: 5_000 });
    // The server kills and restarts all of its processes when one of them dies like this.
    const { rows } = await pair.west.admin.query<{ pid: number }>(
      `select pid from pg_stat_activity where ${APP} limit 1`,
    );
    process.kill(rows[0]?.pid ?? 0, 'SIGKILL');
    const before = acknowledged.length;
    await poll(realWorld.clock, () => (acknowledged.length > before + 300 ? true : undefined), {
      everyMs: 5,
      limitMs: 15_000,
    });
    ending = true;
    await Promise.all(all);
    for (const wire of clients) wire.end();
    const admin = await pair.west.postgres.connect();
    const found = (await admin.query<{ n: number }>('select n from items')).rows.map(row => row.n);
    expect(acknowledged.length).toBeGreaterThan(before + 300);
    expect(new Set(found).size).toBe(found.length);
    expect(acknowledged.filter(n => !found.includes(n))).toEqual([]);
    expect(found.filter(n => !acknowledged.includes(n) && !unknown.includes(n))).toEqual([]);
    for (const code of codes) expect(code).toMatch(/^E (08|57P0)/);
  });
});
