import { once } from 'node:events';
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { afterAll, expect, test } from 'vitest';
import { realWorld } from '../../src/base/world.ts';
import { Places } from '../../src/devcluster/places.ts';
import { allocatePorts } from '../../src/devcluster/ports.ts';
import { type RunningPostgres, startPostgres } from '../../src/devcluster/postgres.ts';
import { postgresUser } from '../../src/devcluster/user.ts';

const root = mkdtempSync(join(tmpdir(), 'hp-pg-'));
chmodSync(root, 0o755); // Postgres may run as another user
afterAll(() => rmSync(root, { recursive: true, force: true }));

const [port = 0] = await allocatePorts(1);
const options = {
  dataDir: join(root, 'data'),
  socketDir: join(root, 'run'),
  port,
  superuser: 'homeport_admin',
  password: "it's secret",
  world: realWorld,
};

async function query(sql: string, host = options.socketDir, password = options.password): Promise<unknown[]> {
  const client = new pg.Client({ host, port, user: options.superuser, password, database: 'app' });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

async function withPostgres<T>(work: (server: RunningPostgres) => Promise<T>, more = {}): Promise<T> {
  const server = await startPostgres({ ...options, ...more });
  try {
    return await work(server);
  } finally {
    await server.stop();
  }
}

test('an initdb that was interrupted is begun again, and a restart keeps data and takes new settings', async () => {
  mkdirSync(`${options.dataDir}.new/base`, { recursive: true });
  await withPostgres(() => query('create table kept as select 1 as n'));
  expect(existsSync(`${options.dataDir}.new`)).toBe(false);
  await withPostgres(
    async () => {
      expect(await query('select n from public.kept', '127.0.0.1')).toEqual([{ n: 1 }]);
      expect(await query('show search_path')).toEqual([{ search_path: "a, 'b'" }]);
    },
    { settings: { search_path: "a, 'b'" } },
  );
});

test('a password is asked for on TCP and on the local socket', async () => {
  await withPostgres(async () => {
    for (const host of ['127.0.0.1', options.socketDir]) {
      await expect(query('select 1', host, 'wrong')).rejects.toMatchObject({ code: '28P01' });
    }
    expect(await query('select user')).toEqual([{ user: 'homeport_admin' }]);
  });
});

test('a stopped server has written its checkpoint; after a crash it recovers what was committed', async () => {
  const server = await startPostgres(options);
  await query('create table crashed as select 2 as n');
  process.kill(server.pid, 'SIGKILL');
  await server.exited;
  await withPostgres(async () => expect(await query('select n from crashed')).toEqual([{ n: 2 }]));
});

test('a port that is taken is said with the end of the log, and nothing is left running', async () => {
  const other = realWorld.network.createServer().listen(port, '127.0.0.1');
  await once(other, 'listening');
  const refused = expect.objectContaining({
    code: 'HP-L102',
    detail: expect.stringContaining('Address already in use'),
  });
  await expect(startPostgres(options)).rejects.toThrow(refused);
  other.close();
  await once(other, 'close');
  await withPostgres(() => query('select 1'));
});

test('a socket directory that is too long is refused before anything is made', async () => {
  const socketDir = join(root, 'x'.repeat(100));
  await expect(startPostgres({ ...options, socketDir })).rejects.toMatchObject({ code: 'HP-L105' });
  expect(existsSync(socketDir)).toBe(false);
});

test('a state directory that Postgres can not reach, or whose name is too long for sockets, works all the same', async () => {
  const hidden = join(root, `hidden-${'x'.repeat(90)}`, '.homeport');
  mkdirSync(hidden, { recursive: true });
  chmodSync(join(hidden, '..'), 0o700);
  const places = new Places(hidden, postgresUser());
  const [dataDir, socketDir] = [places.postgresData('eu-west'), places.postgresSockets('eu-west')];
  await withPostgres(() => query('select 1', socketDir), { dataDir, socketDir });
  expect(new Places(hidden, postgresUser()).postgresData('eu-west')).toBe(dataDir);
  const link = join(hidden, 'elsewhere');
  const elsewhere = lstatSync(link, { throwIfNoEntry: false }) ? realpathSync(link) : undefined;
  if (elsewhere) {
    rmSync(link);
    writeFileSync(join(elsewhere, 'stale'), '');
    const again = new Places(hidden, postgresUser());
    expect(existsSync(again.postgresData('eu-west'))).toBe(false);
    expect(existsSync(join(elsewhere, 'stale'))).toBe(false);
    rmSync(elsewhere, { recursive: true });
  }
  expect(places.controlSocket.length).toBeLessThan(104);
  for (const short of [dirname(places.controlSocket), dirname(socketDir)]) {
    if (!short.startsWith(hidden)) rmSync(short, { recursive: true, force: true });
  }
});
