import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { poll, realWorld } from '../../src/base/world.ts';
import type { ClusterStatus, RegionAddresses } from '../../src/devcluster/cluster.ts';
import { runningLauncher } from '../../src/devcluster/lock.ts';
import { identify } from '../../src/devcluster/process.ts';

const { clock } = realWorld;
const fixture = fileURLToPath(new URL('./dev-fixture.ts', import.meta.url));
let dir: string;
const launchers: ChildProcess[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'hp-cli-'));
  chmodSync(dir, 0o755); // Postgres may run as another user
});
afterEach(async () => {
  await homeport('stop');
  for (const launcher of launchers.splice(0)) launcher.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});

interface Run {
  readonly child: ChildProcess;
  out: string;
  err: string;
  readonly ended: Promise<number | null>;
}

function launch(...args: string[]): Run {
  return launchWith(process.env.PATH, ...args);
}

function launchWith(path: string | undefined, ...args: string[]): Run {
  const child = spawn(process.execPath, [fixture, 'dev', ...args, '--dir', dir], {
    env: { ...process.env, PATH: path },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  launchers.push(child);
  const run: Run = { child, out: '', err: '', ended: new Promise(resolve => child.once('close', resolve)) };
  child.stdout.on('data', text => {
    run.out += text;
  });
  child.stderr.on('data', text => {
    run.err += text;
  });
  return run;
}

async function homeport(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const run = launch(...args, '--json');
  return { code: await run.ended, out: run.out, err: run.err };
}

interface Ready {
  ready: boolean;
  pid: number;
  regions: RegionAddresses[];
}

async function ready(run: Run): Promise<Ready> {
  const line = await poll(clock, () => (run.out.includes('\n') ? run.out : undefined), {
    everyMs: 20,
    limitMs: 60_000,
  });
  if (!line) throw new Error(`not ready: ${run.err}`);
  expect(line.trimEnd().split('\n')).toHaveLength(1);
  return JSON.parse(line);
}

async function status(): Promise<ClusterStatus> {
  return JSON.parse((await homeport('status')).out);
}

async function onShard(url: string | undefined, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url ?? '' });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

function pidsOf({ processes }: ClusterStatus): number[] {
  return processes.flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
}

function shard(info: Ready, region: string): string | undefined {
  return info.regions.find(({ name }) => name === region)?.shards[0]?.pg;
}

const up = ['--no-gateways', '--empty', '--json'];

test.each([
  ['the kernel ends the children', process.env.PATH],
  ['nobody does (no setpriv)', '/nowhere'],
])(
  'after SIGKILL of the launcher the next start ends what is left and finds the data: %s',
  async (_, path) => {
    const first = launchWith(path, ...up);
    const info = await ready(first);
    await onShard(shard(info, 'us-east'), 'create table kept as select 1 as n');
    expect((await homeport('pause', 'us-east/postgres')).code).toBe(0);
    const old = pidsOf(await status());
    expect(old.length).toBe(7);
    first.child.kill('SIGKILL');
    await first.ended;
    const second = launch(...up);
    const again = await ready(second);
    expect(again.pid).not.toBe(info.pid);
    expect(old.filter(pid => identify(pid))).toEqual([]);
    expect(await onShard(shard(again, 'us-east'), 'select n from kept')).toEqual([{ n: 1 }]);
  },
  60_000,
);

test.each(['SIGINT', 'SIGTERM'] as const)(
  '%s stops everything in order and leaves nothing running',
  async signal => {
    const run = launch(...up);
    await ready(run);
    const pids = pidsOf(await status());
    run.child.kill(signal);
    expect(await run.ended).toBe(0);
    expect(pids.filter(pid => identify(pid))).toEqual([]);
    expect(runningLauncher(dir)).toBeUndefined();
    const logs = join(dir, 'logs');
    for (const file of readdirSync(logs).filter(name => name.includes('postgres'))) {
      expect(readFileSync(join(logs, file), 'utf8')).toContain('database system is shut down');
    }
  },
  60_000,
);

test('Ctrl-C while it still starts ends what was begun', async () => {
  const run = launch('--no-gateways', '--empty', '--verbose');
  const begun = () => (run.err.includes('postgres is being started') ? true : undefined);
  expect(await poll(clock, begun, { everyMs: 5, limitMs: 10_000 })).toBe(true);
  run.child.kill('SIGINT');
  expect(await run.ended).toBe(130);
  expect(runningLauncher(dir)).toBeUndefined();
  const left = readdirSync(join(dir, 'processes')).map(file =>
    JSON.parse(readFileSync(join(dir, 'processes', file), 'utf8')),
  );
  expect(left.filter(({ pid }) => pid !== undefined)).toEqual([]);
}, 120_000);

test('detached it stays behind, takes faults and is stopped by command', async () => {
  const started = await homeport('--detach', '--no-gateways', '--empty', '--rtt', 'eu-west:us-east=80ms');
  expect(started.err).toBe('');
  const info: Ready = JSON.parse(started.out);
  expect(info.ready).toBe(true);
  expect(info.regions.map(({ name }) => name)).toEqual(['eu-west', 'us-east', 'ap-south']);
  const second = await homeport('--detach', '--no-gateways');
  expect([second.code, JSON.parse(second.err).error.code]).toEqual([3, 'HP-L120']);
  expect((await homeport('kill', 'us-east')).code).toBe(0);
  expect((await homeport('link', 'us-east:ap-south', '--both', '--cut', '--throttle', '10k')).code).toBe(0);
  expect((await homeport('isolate', 'eu-west')).code).toBe(0);
  const { processes, links, isolated } = await status();
  const killed = processes.filter(({ state }) => state === 'killed').map(({ name }) => name);
  expect(killed).toEqual(['us-east/postgres', 'us-east/nats']);
  expect(isolated).toEqual(['eu-west']);
  const link = (from: string, to: string) => links.find(each => each.from === from && each.to === to);
  expect(link('us-east', 'eu-west')).toMatchObject({ delayMs: 40, blackhole: true, cut: false });
  expect(link('ap-south', 'us-east')).toMatchObject({
    delayMs: 0,
    blackhole: false,
    cut: true,
    bytesPerSecond: 10_000,
  });
  expect((await homeport('stop')).code).toBe(0);
  expect(identify(info.pid)).toBeUndefined();
  expect((await homeport('status')).code).toBe(5);
  expect((await homeport('stop')).code).toBe(0);
}, 120_000);

test('what is secret is readable by its owner alone', async () => {
  await ready(launch(...up));
  const secrets = readdirSync(join(dir, 'secrets')).map(name => join(dir, 'secrets', name));
  const others = [join(dir, 'control.sock'), join(dir, 'regions/eu-west/nats/nats.conf')];
  for (const file of [...secrets, ...others]) expect([file, statSync(file).mode & 0o077]).toEqual([file, 0]);
}, 120_000);
