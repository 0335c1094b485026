/** The processes of a gateway: several workers on one port, one that dies, and the orderly end of all. */
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { poll } from '../../src/base/world.ts';
import { descendants } from '../../src/devcluster/process.ts';
import { clock, LEDGER, type Regions, startRegions, within } from './regions.ts';

const WORKERS = 3;
/** For each worker; the whole gateway has three times as many. */
const PER_WORKER = { clients: 40, perShard: 4, perTenant: 2, queue: 4 };
const LIMITS = {
  HOMEPORT_WORKERS: String(WORKERS),
  HOMEPORT_LIMITS_CLIENTS: String(PER_WORKER.clients * WORKERS),
  HOMEPORT_LIMITS_PER_SHARD: String(PER_WORKER.perShard * WORKERS),
  HOMEPORT_LIMITS_PER_TENANT: String(PER_WORKER.perTenant * WORKERS),
  HOMEPORT_LIMITS_QUEUE: String(PER_WORKER.queue * WORKERS),
  HOMEPORT_LIMITS_QUEUE_MS: '1000',
};
const GATEWAY = 'eu-west/gateway';
let regions: Regions;
let tenant: string;

beforeAll(async () => {
  regions = await startRegions({ env: LIMITS, empty: true, sql: LEDGER });
  [tenant = ''] = await regions.freshTenants('eu-west', 1, 'drain');
});
afterAll(() => regions?.stop());

const put = (token: string): [string, string[]] => [
  'insert into ledger (token, tenant) values ($1, $2)',
  [token, tenant],
];
const stands = async (token: string) =>
  (await regions.regionsWith('select from ledger where token = $1', [token])).length;

/** The worker of a client, by the process id that it was given (see cancelkey.ts). */
async function workerOf(client: pg.Client & { processID?: number | null }): Promise<number> {
  const { decodeVirtualPid } = await import('../../src/pgwire/cancelkey.ts');
  return decodeVirtualPid(client.processID ?? 0)?.worker ?? -1;
}

/** Connects until every worker has so many clients. */
async function clientsOnAllWorkers(each: number): Promise<pg.Client[][]> {
  const byWorker: pg.Client[][] = Array.from({ length: WORKERS }, () => []);
  for (let tries = 0; tries < 200 && byWorker.some(list => list.length < each); tries++) {
    const client = await regions.connect('eu-west', { tenant });
    const list = byWorker[await workerOf(client)];
    if (list && list.length < each) list.push(client);
    else await client.end();
  }
  expect(byWorker.map(list => list.length)).toEqual(Array(WORKERS).fill(each));
  return byWorker;
}

const endAll = (clients: readonly pg.Client[]) => Promise.all(clients.map(client => client.end()));

/** Really asleep: between the messages of one statement the server ignores a cancel request. */
async function running(sql: string): Promise<number> {
  const rows = await regions.onShard(
    'eu-west',
    `select from pg_stat_activity where wait_event = 'PgSleep' and query like $1`,
    [sql],
  );
  return rows.length;
}

const until = async (what: string, probe: () => Promise<boolean>) => {
  const seen = await poll(clock, async () => ((await probe()) ? true : undefined), within(15_000));
  if (!seen) throw new Error(`it did not come to pass: ${what}`);
};

test('three workers share one port, and clients come to all of them', async () => {
  const byWorker = await clientsOnAllWorkers(1);
  for (const [client] of byWorker) expect((await client?.query('select 1 as one'))?.rows).toEqual([{ one: 1 }]);
  await endAll(byWorker.flat());
  const page = await (await fetch(`${regions.cluster.regions['eu-west'].http}/metrics`)).text();
  expect(page).toMatch(new RegExp(`workers\\{[^}]*\\} ${WORKERS}\\n`));
});

test('a second gateway on the ports of one that runs is refused, and takes no connection from it', async () => {
  for (const [args, setting] of [
    [[], 'http'],
    [['--set', 'listen.http=127.0.0.1:0'], 'pg'],
  ] as const) {
    const { code, out, err } = await regions.homeport('serve', ...args);
    const { error } = JSON.parse(err.trimEnd().split('\n').at(-1) ?? '');
    expect([code, out, error.code]).toEqual([1, '', 'HP-A109']);
    expect(error.message).toContain(`listen.${setting}`);
  }
  await endAll((await clientsOnAllWorkers(1)).flat());
});

test('a cancel request reaches the session on whatever worker it is', async () => {
  const byWorker = await clientsOnAllWorkers(1);
  for (const [client] of byWorker) {
    if (!client) continue;
    // each goes over a connection of its own, and the kernel chooses the worker that it comes to
    for (let n = 0; n < WORKERS; n++) {
      // told from the last round's, which the server may still call active when its error has come
      const statement = `select pg_sleep(60), ${n}, ${await workerOf(client)}`;
      const cancelled = expect(client.query(statement)).rejects.toMatchObject({ code: '57014' });
      await until('the statement runs', async () => (await running(statement)) === 1);
      await cancelOnce(client);
      await cancelled;
    }
  }
  await endAll(byWorker.flat());
});

test('a cancel request has landed when its connection ends, on whatever worker: the next statement is out of its reach', async () => {
  const byWorker = await clientsOnAllWorkers(1);
  for (const client of byWorker.flat()) {
    for (let round = 0; round < 30; round++) {
      // in a block, so that the next statement runs on the backend that the request is sent to
      await client.query('begin; select 1');
      const first = client.query(`select pg_sleep(${(round % 6) * 0.0005})`).then(
        () => 'done',
        error => error.code,
      );
      const [outcome] = await Promise.all([first, cancelOnce(client)]);
      expect(['done', '57014']).toContain(outcome);
      if (outcome === 'done') {
        expect((await client.query('select pg_sleep(0.003), 7 as seven')).rows).toMatchObject([{ seven: 7 }]);
      }
      await client.query('rollback');
    }
  }
  await endAll(byWorker.flat());
});

/** As libpq does it: a connection with one message, closed by the server. */
function cancelOnce(client: pg.Client & { processID?: number | null; secretKey?: number | null }): Promise<void> {
  const message = Buffer.alloc(16);
  for (const [n, value] of [16, 80877102, client.processID ?? 0].entries()) message.writeInt32BE(value, n * 4);
  message.writeInt32BE(client.secretKey ?? 0, 12);
  const url = new URL(regions.cluster.regions['eu-west'].pg);
  return new Promise((resolve, reject) => {
    import('node:net').then(({ connect }) => {
      const socket = connect(Number(url.port), url.hostname, () => socket.end(message));
      socket.once('error', reject);
      socket.once('close', () => resolve());
      socket.resume();
    }, reject);
  });
}

test('limits: a tenant waits for its own backends, is told when it waited too long, and leaves room for others', async () => {
  const [other = ''] = await regions.freshTenants('eu-west', 1, 'other');
  const [clients = []] = await clientsOnAllWorkers(PER_WORKER.perTenant + PER_WORKER.queue + 1);
  const holders = clients.slice(0, PER_WORKER.perTenant);
  for (const holder of holders) await holder.query('begin; select 1');
  const [last, ...waiters] = clients.slice(PER_WORKER.perTenant);
  const wait = (waiter: pg.Client) =>
    expect(waiter.query('select 1')).rejects.toMatchObject({
      code: '53300',
      message: expect.stringContaining('HP-G201'),
    });
  const waiting = [waiters.slice(0, 1).map(wait)];
  const free = await regions.connect('eu-west', { tenant: other });
  expect((await free.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  waiting.push(waiters.slice(1).map(wait));
  await expect(last?.query('select 1')).rejects.toMatchObject({
    code: '53300',
    message: expect.stringContaining('HP-G202'),
  });
  await Promise.all(waiting.flat());
  for (const holder of holders) await holder.query('commit');
  expect((await waiters[0]?.query('select 1 as one'))?.rows).toEqual([{ one: 1 }]);
  await endAll([free]);
});

test('limits: one client too many is refused, and served when another has gone', async () => {
  const clients: pg.Client[] = [];
  let refusal: unknown;
  for (let n = 0; refusal === undefined && n <= PER_WORKER.clients * WORKERS; n++) {
    await regions.connect('eu-west', { tenant }).then(
      client => clients.push(client),
      error => {
        refusal = error;
      },
    );
  }
  expect(refusal).toMatchObject({ code: '53300', message: expect.stringContaining('HP-G203') });
  await endAll(clients);
  expect(await regions.ask('eu-west', tenant, 'select 1 as one')).toEqual([{ one: 1 }]);
});

test('a worker that is killed is started again, and the others go on', async () => {
  const byWorker = await clientsOnAllWorkers(1);
  const parent = await regions.pid(GATEWAY);
  const [victim = 0] = descendants(parent);
  expect(descendants(parent).length).toBe(WORKERS);
  const ends = byWorker.flat().map(client => {
    const lost = { client, lost: false };
    client.once('error', () => {
      lost.lost = true;
    });
    return lost;
  });
  process.kill(victim, 'SIGKILL');
  await until('one client is cut off', async () => ends.some(({ lost }) => lost));
  for (const { client } of ends.filter(({ lost }) => !lost)) {
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  }
  expect(ends.filter(({ lost }) => lost).length).toBe(1);
  const ready = `${regions.cluster.regions['eu-west'].http}/readyz`;
  await until('it is ready again', async () => (await fetch(ready)).status === 200);
  await endAll(byWorker.flat());
  await endAll((await clientsOnAllWorkers(1)).flat());
  expect(descendants(parent).length).toBe(WORKERS);
});

test('SIGTERM lets running transactions finish, refuses new ones with 57P01, and ends the process', async () => {
  const [runs, idle, begun] = await Promise.all([1, 2, 3].map(() => regions.connect('eu-west', { tenant })));
  const far = await regions.connect('us-east', { tenant });
  if (!runs || !idle || !begun) throw new Error('three clients');
  const told = new Promise<unknown>(resolve => idle.once('error', resolve));
  for (const [n, client] of [runs, far].entries()) {
    await client.query('begin');
    await client.query(...put(`before ${n}`));
  }
  const statement = runs.query(`select pg_sleep(0.5), 'slow' as how`);
  await begun.query('begin');
  const pid = await regions.pid(GATEWAY);
  process.kill(pid, 'SIGTERM');
  // a client between transactions is told at once
  expect(await told).toMatchObject({ code: '57P01' });
  // what runs goes on, statement after statement, to its commit
  expect((await statement).rows).toMatchObject([{ how: 'slow' }]);
  for (const [n, client] of [runs, far].entries()) {
    await client.query(...put(`after ${n}`));
    await client.query('commit');
    expect([await stands(`before ${n}`), await stands(`after ${n}`)]).toEqual([1, 1]);
  }
  // one that had begun and run nothing has nothing to finish
  await expect(begun.query(...put('never'))).rejects.toMatchObject({ code: '57P01' });
  // and no new ones
  await expect(regions.connect('eu-west', { tenant })).rejects.toThrow(/ECONNREFUSED|57P01|shutting down|terminated/);
  await regions.untilState(GATEWAY, 'crashed');
  expect(await stands('never')).toBe(0);
  await regions.cluster.start(GATEWAY);
  expect(await regions.ask('eu-west', tenant, 'select 1 as one')).toEqual([{ one: 1 }]);
  expect((await far.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  await endAll([far]);
}, 60_000);

test('a killed gateway loses its clients and nothing that was acknowledged; from elsewhere its tenants wait for it', async () => {
  const near = await regions.connect('eu-west', { tenant });
  await near.query(...put('acknowledged'));
  const far = await regions.connect('ap-south', { tenant });
  await far.query('select 1');
  await regions.cluster.kill(GATEWAY);
  await expect(near.query('select 1')).rejects.toThrow();
  // 08007 only of what was sent before the other gateway heard of the end, and 08006 only of what was not
  const told = await far.query('select 1').then(String, error => `${error.code} ${error.message}`);
  expect(told).toMatch(/^(08006 HP-G302 |08007 HP-G305 )/);
  await regions.cluster.start(GATEWAY);
  expect((await far.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  expect(await stands('acknowledged')).toBe(1);
  await endAll([far]);
}, 60_000);
