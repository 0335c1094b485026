import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { poll, realWorld } from '../../src/base/world.ts';
import { endLeftovers } from '../../src/devcluster/member.ts';
import {
  descendants,
  identify,
  isRunning,
  isStopped,
  killTree,
  pauseTree,
  resumeTree,
  startChild,
} from '../../src/devcluster/process.ts';

const { clock } = realWorld;
const dir = mkdtempSync(join(tmpdir(), 'hp-proc-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A shell with two children in groups of their own, as Postgres's backends are. */
async function tree() {
  const args = ['-c', 'setsid sleep 300 & setsid sleep 300 & wait'];
  const child = await startChild({ command: 'sh', args, logFile: join(dir, 'log'), deathSignal: 'TERM' });
  const { pid } = child.identity;
  const full = () => (descendants(pid).length >= 2 ? true : undefined);
  expect(await poll(clock, full, { everyMs: 5, limitMs: 5_000 })).toBe(true);
  return { child, pids: [pid, ...descendants(pid)] };
}

test('pausing, resuming and killing reach the whole tree', async () => {
  const { child, pids } = await tree();
  const { pid } = child.identity;
  pauseTree(pid);
  const stopped = () => (pids.every(isStopped) ? true : undefined);
  expect(await poll(clock, stopped, { everyMs: 5, limitMs: 2_000 })).toBe(true);
  resumeTree(pid);
  const going = () => (pids.some(isStopped) ? undefined : true);
  expect(await poll(clock, going, { everyMs: 5, limitMs: 2_000 })).toBe(true);
  killTree(pid);
  expect((await child.exited).signal).toBe('SIGKILL');
  const gone = () => (pids.some(each => identify(each)) ? undefined : true);
  expect(await poll(clock, gone, { everyMs: 5, limitMs: 2_000 })).toBe(true);
});

test('leftovers named by state files are ended, also paused ones; a pid that now means another process is not', async () => {
  const start = () =>
    startChild({ command: 'sleep', args: ['300'], logFile: join(dir, 'log'), deathSignal: undefined });
  const [left, paused, other] = await Promise.all([start(), start(), start()]);
  pauseTree(paused.identity.pid);
  const files = mkdtempSync(join(dir, 'processes-'));
  const record = (name: string, kind: string, pid: number, startedAt: string) =>
    writeFileSync(join(files, `${name}.json`), JSON.stringify({ name, kind, state: 'running', pid, startedAt }));
  record('left', 'gateway', left.identity.pid, left.identity.startedAt);
  record('paused', 'postgres', paused.identity.pid, paused.identity.startedAt);
  record('other', 'nats', other.identity.pid, '1');
  expect((await endLeftovers(files, clock)).toSorted()).toEqual(['left', 'paused']);
  expect(isRunning(left.identity)).toBe(false);
  expect(isRunning(paused.identity)).toBe(false);
  expect(isRunning(other.identity)).toBe(true);
  expect(readdirSync(files)).toEqual([]);
  killTree(other.identity.pid);
  await other.exited;
});
