import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { poll, realWorld } from '../../src/base/world.ts';
import { connectBus, isNewEnough, reconnectWaitMs } from '../../src/bus/connect.ts';
import { memoryLog, testBus } from '../support/directory.ts';
import { NATS_USER, type NatsCluster, startNatsCluster } from '../support/nats.ts';

const world = realWorld;
let cluster: NatsCluster;
beforeAll(async () => {
  cluster = await startNatsCluster({ size: 1 });
});
afterAll(() => cluster?.stop());

test.each([
  ['2.14.0', true],
  ['2.14.7', true],
  ['2.15.0-beta.1', true],
  ['3.0.0', true],
  ['2.14.0-RC.1', false],
  ['2.13.9', false],
  ['2.9.10', false],
  ['unknown', false],
])('server version %s: %s', (version, expected) => expect(isNewEnough(version)).toBe(expected));

test('waits grow to a cap, with jitter', () => {
  const waits = Array.from({ length: 40 }, (_, attempt) => reconnectWaitMs(attempt, world.random));
  expect(waits[0]).toBeLessThanOrEqual(100);
  expect(Math.max(...waits)).toBeLessThanOrEqual(2_000);
  expect(Math.min(...waits.slice(10))).toBeGreaterThanOrEqual(1_000);
  expect(new Set(waits).size).toBeGreaterThan(20);
});

test('connects with credentials, and a restart of the server is only a pause', async () => {
  const bus = await testBus(cluster.urls);
  await bus.nc.flush();
  const [node] = cluster.nodes;
  await node?.kill();
  await node?.start();
  const back = () =>
    bus.nc.flush().then(
      () => true,
      () => undefined,
    );
  expect(await poll(world.clock, back, { everyMs: 20, limitMs: 20_000 })).toBe(true);
  expect(bus.refused()).toBeUndefined();
  await bus.close();
});

test('wrong credentials and servers that are not there are told apart from nothing: HP-D301 with the cause', async () => {
  const context = { name: 'test', log: memoryLog(), world };
  const wrong = connectBus({ servers: cluster.urls, user: NATS_USER, password: 'wrong' }, context);
  await expect(wrong).rejects.toMatchObject({ code: 'HP-D301', cause: expect.anything() });
  await expect(connectBus({ servers: ['127.0.0.1:1'] }, context)).rejects.toMatchObject({ code: 'HP-D301' });
});

/** Says hello as an older server does, and answers pings. */
function oldServer(version: string): Promise<{ server: Server; port: number }> {
  const info = {
    server_id: 'x',
    version,
    proto: 1,
    go: 'go',
    host: '127.0.0.1',
    port: 0,
    headers: true,
    max_payload: 1e6,
  };
  const server = createServer(socket => {
    socket.on('error', () => socket.destroy());
    socket.write(`INFO ${JSON.stringify(info)}\r\n`);
    socket.on('data', data => data.includes('PING') && socket.write('PONG\r\n'));
  });
  return new Promise(resolve => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve({ server, port: typeof address === 'object' && address ? address.port : 0 });
    });
  });
}

test('an older server is refused with the reason, at once', async () => {
  const { server, port } = await oldServer('2.9.10');
  const context = { name: 'test', log: memoryLog(), world, waitMs: 60_000 };
  const error = await connectBus({ servers: [`127.0.0.1:${port}`] }, context).catch(e => e);
  server.close();
  expect(error).toMatchObject({ code: 'HP-D302' });
  expect(error.message).toContain('2.9.10');
  expect(error.detail).toContain('compare-and-set');
});
