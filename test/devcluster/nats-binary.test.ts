import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { findNatsServer, isOlder } from '../../src/devcluster/nats-binary.ts';

const dir = mkdtempSync(join(tmpdir(), 'hp-natsbin-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function fake(name: string, says: string): string {
  const file = join(dir, name);
  writeFileSync(file, `#!/bin/sh\necho '${says}'\n`);
  chmodSync(file, 0o755);
  return file;
}

test('NATS_SERVER_BIN wins, and a new enough server is taken', async () => {
  const binary = fake('new', 'nats-server: v2.15.1');
  expect(await findNatsServer({ NATS_SERVER_BIN: binary }, dir)).toBe(binary);
});

test.each(['nats-server: v2.9.10', 'nats-server: v2.13.9', 'something else'])('%s is refused', async says => {
  const binary = fake('old', says);
  await expect(findNatsServer({ NATS_SERVER_BIN: binary }, dir)).rejects.toMatchObject({ code: 'HP-L111' });
});

test('versions are compared by their numbers', () => {
  expect(isOlder('2.9.10', '2.14.0')).toBe(true);
  expect(isOlder('2.14.0', '2.14.0')).toBe(false);
  expect(isOlder('2.14.0-RC.1', '2.14.0')).toBe(false);
  expect(isOlder('3.0.0', '2.14.0')).toBe(false);
});
