import { once } from 'node:events';
import { expect, test } from 'vitest';
import { realWorld } from '../../src/base/world.ts';
import { allocatePorts } from '../../src/devcluster/ports.ts';

test('ports are different, below the range of outgoing connections, and free', async () => {
  const ports = await allocatePorts(20);
  expect(new Set(ports).size).toBe(20);
  for (const port of ports) {
    expect(port).toBeLessThan(32768);
    const server = realWorld.network.createServer().listen(port, '127.0.0.1');
    await once(server, 'listening');
    server.close();
  }
});

test('calls at the same time never get the same port', async () => {
  const lists = await Promise.all(Array.from({ length: 8 }, () => allocatePorts(10)));
  expect(new Set(lists.flat()).size).toBe(80);
});

test('a preferred port is used again when it is free and replaced when it is not', async () => {
  const [first = 0, second = 0] = await allocatePorts(2);
  const server = realWorld.network.createServer().listen(second, '127.0.0.1');
  await once(server, 'listening');
  const again = await allocatePorts(2, { prefer: [first, second] });
  server.close();
  expect(again[0]).toBe(first);
  expect(again[1]).not.toBe(second);
});
