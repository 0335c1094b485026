import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { poll, realWorld } from '../../src/base/world.ts';
import type { Cluster } from '../../src/devcluster/cluster.ts';
import { ask } from '../../src/devcluster/control.ts';
import { askMonitor } from '../../src/devcluster/nats.ts';
import type { DevRegion } from '../../src/devcluster/plan.ts';
import { startCluster } from '../../src/devcluster/start.ts';

const { clock } = realWorld;
const dir = mkdtempSync(join(tmpdir(), 'hp-dev-'));
chmodSync(dir, 0o755); // Postgres may run as another user
const options = { dir, serve: false, world: realWorld };
let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster(options);
});
afterAll(async () => {
  await cluster.stop();
  rmSync(dir, { recursive: true, force: true });
});

function shardUrl(region: DevRegion): string {
  return cluster.regions[region].shards[0]?.pg ?? '';
}

async function withShard<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined); // killed servers end connections: what was asked for
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function natsOf(region: DevRegion) {
  const url = new URL(cluster.regions[region].nats);
  const nc = await connect({ servers: url.host, user: url.username, pass: url.password, ignoreClusterUpdates: true });
  return { nc, js: jetstream(nc, { timeout: 1_000 }), jsm: await jetstreamManager(nc, { timeout: 5_000 }) };
}

test('every region has its Postgres with what shards need, reached by password alone', async () => {
  for (const region of ['eu-west', 'us-east', 'ap-south'] as const) {
    const settings = await withShard(shardUrl(region), async client => {
      const names = ['wal_level', 'fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums', 'cluster_name'];
      const { rows } = await client.query('select name, setting from pg_settings where name = any($1)', [names]);
      return Object.fromEntries(rows.map(row => [row.name, row.setting]));
    });
    expect(settings).toEqual({
      wal_level: 'logical',
      fsync: 'on',
      full_page_writes: 'on',
      synchronous_commit: 'on',
      data_checksums: 'on',
      cluster_name: `homeport/${region}`,
    });
  }
  const wrong = new URL(shardUrl('eu-west'));
  wrong.password = 'wrong';
  await expect(withShard(wrong.href, async () => undefined)).rejects.toMatchObject({ code: '28P01' });
});

test('a second launcher on the directory is refused', async () => {
  await expect(startCluster(options)).rejects.toMatchObject({ code: 'HP-L120' });
  expect((await ask(realWorld, dir, { do: 'status' })).ready).toBe(true);
});

test('names that do not exist and what a process can not do now are refused with the choices', async () => {
  await expect(cluster.kill('eu-west/gateway')).rejects.toMatchObject({ code: 'HP-L122' });
  await expect(cluster.isolate('mars')).rejects.toMatchObject({ code: 'HP-L122' });
  await expect(cluster.resume('eu-west/postgres')).rejects.toMatchObject({ code: 'HP-L123' });
  const refused = ask(realWorld, dir, { do: 'start', target: 'eu-west/nats' });
  await expect(refused).rejects.toMatchObject({ code: 'HP-L123' });
});

/** The routes that a server holds, by the other server's name. */
async function routesOf(monitorPort: number | undefined): Promise<string[]> {
  const answer = await askMonitor(`http://127.0.0.1:${monitorPort}/routez`);
  // cast: the documented shape of /routez
  const body = answer?.body as { routes: { remote_name: string }[] } | undefined;
  return (body?.routes ?? []).map(route => route.remote_name);
}

async function linkedRoutes(): Promise<number | undefined> {
  const { processes, links } = await cluster.status();
  const monitors = processes.filter(({ kind }) => kind === 'nats').map(({ ports }) => ports.monitor);
  const routes = await Promise.all(monitors.map(routesOf));
  const connections = links.reduce((sum, link) => sum + link.connections, 0);
  const isWhole = routes.every(names => new Set(names).size === 2);
  // each route has two ends; while the cluster forms, doubled ones are still being given up
  return isWhole && routes.flat().length === 2 * connections ? connections : undefined;
}

/** As many connections through links as there are routes, and each server has both others: none passes by. */
async function expectLinkedRoutes(): Promise<void> {
  expect(await poll(clock, linkedRoutes, { everyMs: 50, limitMs: 15_000 })).toBeGreaterThanOrEqual(3);
}

test('all NATS routes run through links', () => expectLinkedRoutes());

test('NATS syncs every write and lets nobody in without the password', async () => {
  const { processes } = await cluster.status();
  const ports = processes.find(({ name }) => name === 'eu-west/nats')?.ports;
  const answer = await askMonitor(`http://127.0.0.1:${ports?.monitor}/jsz`);
  expect(answer?.body).toMatchObject({ config: { sync_always: true } });
  const servers = `127.0.0.1:${ports?.client}`;
  await expect(connect({ servers, maxReconnectAttempts: 0 })).rejects.toThrow(/[Aa]uthorization/);
  await expect(connect({ servers, user: 'homeport', pass: 'wrong' })).rejects.toThrow(/[Aa]uthorization/);
});

test('latency between two regions is felt between them alone', async () => {
  await cluster.rtt({ from: 'eu-west', to: 'us-east', rttMs: 80 });
  const status = await cluster.status();
  const ports = status.processes.find(({ kind }) => kind === 'links')?.ports ?? {};
  const through = (link: string) => {
    const url = new URL(shardUrl('us-east'));
    url.port = String(ports[link]);
    return url.href;
  };
  const roundTripMs = (url: string) =>
    withShard(url, async client => {
      const startedMs = clock.monotonicMs();
      await client.query('select 1');
      return clock.monotonicMs() - startedMs;
    });
  expect(await roundTripMs(through('eu-west:us-east/postgres'))).toBeGreaterThanOrEqual(79);
  expect(await roundTripMs(through('ap-south:us-east/postgres'))).toBeLessThan(60);
  await cluster.rtt({ from: 'eu-west', to: 'us-east', rttMs: 0 });
});

test('an isolated region loses the quorum, the others go on, and healing brings it back', async () => {
  const [inside, outside] = [await natsOf('eu-west'), await natsOf('us-east')];
  await outside.jsm.streams.add({ name: 'iso', subjects: ['iso'], num_replicas: 3 });
  /** Undefined as long as no leader answers it. */
  const publish = (js: typeof inside.js) => async () => {
    try {
      return await js.publish('iso', 'x');
    } catch {
      return undefined; // no leader, or none that can be seen from there yet
    }
  };
  const within = (ms: number) => ({ everyMs: 100, limitMs: ms });
  expect(await poll(clock, publish(inside.js), within(10_000))).toBeDefined();
  await ask(realWorld, dir, { do: 'isolate', region: 'eu-west' });
  expect(await poll(clock, publish(outside.js), within(25_000))).toBeDefined();
  expect(await poll(clock, publish(inside.js), within(2_000))).toBeUndefined();
  expect((await cluster.status()).isolated).toEqual(['eu-west']);
  await cluster.heal('eu-west');
  expect(await poll(clock, publish(inside.js), within(25_000))).toBeDefined();
  await inside.nc.close();
  await outside.nc.close();
}, 90_000);

test('a paused Postgres answers nobody and goes on where it was', async () => {
  await withShard(shardUrl('us-east'), async client => {
    await client.query('create table if not exists kept(n int)');
    await cluster.pause('us-east/postgres');
    let answered = false;
    const insert = client.query('insert into kept values (1)').then(() => {
      answered = true;
    });
    const seen = await poll(clock, () => (answered ? true : undefined), { everyMs: 20, limitMs: 300 });
    expect(seen).toBeUndefined();
    await cluster.resume('us-east/postgres');
    await insert;
  });
});

test('a killed region stays dead until it is started, and has its data', async () => {
  await cluster.kill('us-east');
  const states = async () =>
    (await cluster.status()).processes.filter(({ region }) => region === 'us-east').map(({ state }) => state);
  expect(await states()).toEqual(['killed', 'killed']);
  await expect(withShard(shardUrl('us-east'), async () => undefined)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  await cluster.start('us-east');
  await expectLinkedRoutes();
  expect(await states()).toEqual(['running', 'running']);
  const { rows } = await withShard(shardUrl('us-east'), client => client.query('select count(*)::int as n from kept'));
  expect(rows).toEqual([{ n: 1 }]);
}, 60_000);

test('what ends by itself is shown as crashed and left so', async () => {
  const pid = (await cluster.status()).processes.find(({ name }) => name === 'ap-south/postgres')?.pid;
  process.kill(pid ?? 0, 'SIGQUIT');
  const crashed = async () => {
    const { processes } = await cluster.status();
    return processes.find(({ name, state }) => name === 'ap-south/postgres' && state === 'crashed');
  };
  expect(await poll(clock, crashed, { everyMs: 20, limitMs: 10_000 })).toBeDefined();
  await cluster.start('ap-south/postgres');
});

test('the next start has the data and the ports of the last, except ports that are taken', async () => {
  const before = cluster.regions;
  await cluster.stop();
  await cluster.stopped;
  const taken = realWorld.network.createServer();
  const port = Number(new URL(before['ap-south'].shards[0]?.pg ?? '').port);
  taken.listen(port, '127.0.0.1');
  await once(taken, 'listening');
  try {
    cluster = await startCluster(options);
  } finally {
    taken.close();
  }
  expect(cluster.regions['us-east']).toEqual(before['us-east']);
  expect(cluster.regions['ap-south'].shards).not.toEqual(before['ap-south'].shards);
  const { rows } = await withShard(shardUrl('us-east'), client => client.query('select count(*)::int as n from kept'));
  expect(rows).toEqual([{ n: 1 }]);
}, 60_000);
