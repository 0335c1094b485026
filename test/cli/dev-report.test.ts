/** What `homeport dev` tells people to type is what works where they are. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { commandName, readyText } from '../../src/cli/dev-report.ts';

const scratch = mkdtempSync(join(tmpdir(), 'hp-report-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function page(dir: string): string {
  const region = {
    name: 'eu-west',
    configFile: join(dir, 'eu-west.yaml'),
    ...{
      pg: 'postgresql://app@127.0.0.1:1/app',
      peer: '127.0.0.1:2',
      http: 'http://127.0.0.1:3',
      nats: 'nats://127.0.0.1:4',
      shards: [],
    },
  } as const;
  const status = { dir, ready: true, regions: [region], processes: [], links: [], isolated: [] };
  return readyText({ status, seconds: 1, gateways: true, command: 'npx homeport', background: true });
}

test.each([
  ['.homeport', ''],
  ['other', ' --dir other'],
  ['/srv/the cluster', " --dir '/srv/the cluster'"],
])('the cluster in %s is spoken to with "%s"', (dir, flag) => {
  const text = page(resolve(dir));
  for (const words of ['status', 'kill us-east', 'start us-east', 'isolate ap-south', 'heal ap-south', 'stop']) {
    expect(text).toMatch(new RegExp(`npx homeport dev ${words}${flag}( brings it back)?$`, 'm'));
  }
});

test('the name of the command is one that the shell finds', () => {
  writeFileSync(join(scratch, 'homeport'), '');
  expect(commandName({ PATH: scratch })).toBe('homeport');
  expect(commandName({ PATH: `/nowhere:${scratch}`, npm_lifecycle_event: 'start' })).toBe('npx homeport');
  expect(commandName({ PATH: '/nowhere' })).toBe('npx homeport');
  expect(commandName({})).toBe('npx homeport');
});
