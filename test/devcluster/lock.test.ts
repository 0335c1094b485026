import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { lockDirectory, runningLauncher } from '../../src/devcluster/lock.ts';

const dir = mkdtempSync(join(tmpdir(), 'hp-lock-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Each waits for a byte, so that all try at the same moment, and keeps what it got until its input ends. */
const RACER = `
import { lockDirectory } from ${JSON.stringify(new URL('../../src/devcluster/lock.ts', import.meta.url).href)};
process.stdout.write('up\\n');
process.stdin.once('data', () => {
  try {
    lockDirectory(process.argv[1], '', '');
    process.stdout.write('won\\n');
  } catch (error) {
    process.stdout.write(error.code + '\\n');
  }
});`;

function racer() {
  const child = spawn(process.execPath, ['--input-type=module', '-e', RACER, dir], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  let heard: () => void = () => undefined;
  child.stdout.on('data', (text: Buffer) => {
    lines.push(...text.toString().trim().split('\n'));
    heard();
  });
  const said = async (count: number) => {
    while (lines.length < count) await new Promise<void>(resolve => (heard = resolve));
    return lines[count - 1];
  };
  const ended = new Promise(resolve => child.once('close', resolve));
  return { child, said, ended };
}

test.each([
  ['nobody was there', undefined],
  ['a dead launcher left its record', JSON.stringify({ pid: 1, startedAt: 'never', control: '', logFile: '' })],
  ['half a record lies there', '{"pid":'],
])('of launchers at the same moment exactly one gets the directory: %s', async (_, record) => {
  if (record !== undefined) writeFileSync(join(dir, 'launcher.json'), record);
  const racers = Array.from({ length: 6 }, racer);
  await Promise.all(racers.map(({ said }) => said(1)));
  for (const { child } of racers) child.stdin.write('go');
  const outcomes = await Promise.all(racers.map(({ said }) => said(2)));
  expect(outcomes.toSorted()).toEqual(['HP-L120', 'HP-L120', 'HP-L120', 'HP-L120', 'HP-L120', 'won']);
  expect(runningLauncher(dir)?.pid).toBe(racers[outcomes.indexOf('won')]?.child.pid);
  for (const { child } of racers) child.stdin.end();
  await Promise.all(racers.map(({ ended }) => ended));
  expect(readdirSync(dir)).toEqual(['launcher.json']);
  lockDirectory(dir, '', '')();
  expect(readdirSync(dir)).toEqual([]);
});
