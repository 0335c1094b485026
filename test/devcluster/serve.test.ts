import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { realWorld } from '../../src/base/world.ts';
import { startServe } from '../../src/devcluster/serve.ts';

const dir = mkdtempSync(join(tmpdir(), 'hp-serve-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function start(name: string, script: string) {
  const entry = join(dir, `${name}.mjs`);
  const logFile = join(dir, `${name}.log`);
  writeFileSync(entry, script);
  const options = { region: 'eu-west', entry, configFile: 'eu.yaml', env: process.env, world: realWorld };
  return { logFile, serving: startServe({ ...options, logFile }) };
}

const GOOD = `
console.log(JSON.stringify({ level: 'info', args: process.argv.slice(2) }));
console.log(JSON.stringify({ ready: true }));
process.on('SIGTERM', () => { console.log('drained'); process.exit(0); });
setInterval(() => undefined, 1000);`;

test('it is ready when it says so, is told to drain, and an old line in the log counts for nothing', async () => {
  writeFileSync(join(dir, 'good.log'), '{"ready":true}\n');
  const { logFile, serving } = start('good', GOOD);
  const unit = await serving;
  const log = () => readFileSync(logFile, 'utf8');
  expect(log()).toContain('["serve","--config","eu.yaml"]');
  await unit.stop();
  expect(log()).toContain('drained');
  expect(await unit.exited).toEqual({ code: 0, signal: null });
});

test('one that ends before it is ready is refused with what it last said', async () => {
  const { serving } = start('bad', "console.error('HP-C101 the configuration is not valid'); process.exit(2);");
  const refused = expect.objectContaining({ code: 'HP-L124', detail: expect.stringContaining('HP-C101') });
  await expect(serving).rejects.toThrow(refused);
});
