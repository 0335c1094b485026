/**
 * `npm run bench`: the same pgbench load on the same Postgres 18, directly, through Debian's pgbouncer and through
 * Homeport, in turn and in short runs, so that whatever else the machine does hits all of them alike.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { arch, availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from '../src/base/errors.ts';
import { ownedDirectory, postgresUser } from '../src/devcluster/user.ts';
import { type IdleCost, measureIdle } from './lib/idle.ts';
import { type Cell, type Measurement, measure } from './lib/load.ts';
import { type BenchOptions, readOptions, USAGE } from './lib/options.ts';
import { type Result, renderIdle, renderTable, toRows } from './lib/report.ts';
import { checkpoint, type Shard, startShard } from './lib/shard.ts';
import type { Target } from './lib/target.ts';
import { startTarget } from './lib/targets.ts';
import { findTool } from './lib/tools.ts';

/**
 * The same for both proxies, and more than the clients of any run: pgbench prepares statements synchronously, in its only
 * thread, so that a client which waits for a backend would hold up those that have one.
 */
const BACKENDS = 40;

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function cellsOf({ scripts, modes, clients }: BenchOptions): Cell[] {
  return scripts.flatMap(script => modes.flatMap(mode => clients.map(count => ({ script, mode, clients: count }))));
}

/** All targets in every round, each round starting with another one. */
async function runCells(
  targets: readonly Target[],
  context: { options: BenchOptions; shard: Shard; directory: string },
): Promise<Result[]> {
  const { options } = context;
  const results: Result[] = [];
  for (const cell of cellsOf(options)) {
    const taking = targets.filter(target => target.leavesOut(cell.mode) === undefined);
    const runs = new Map<Target, Measurement[]>(taking.map(target => [target, []]));
    await checkpoint(context.shard);
    for (let round = 0; round < options.rounds; round++) {
      const first = round % Math.max(1, taking.length);
      for (const target of [...taking.slice(first), ...taking.slice(0, first)]) {
        const run = await measure(target, cell, { ...context, seconds: options.seconds, scale: options.scale });
        runs.get(target)?.push(run);
        say(
          `${cell.script} ${cell.mode} ${cell.clients} clients, round ${round + 1}: ${target.name} ${run.tps.toFixed(0)} tps`,
        );
      }
    }
    for (const target of taking) results.push({ cell, target: target.name, runs: runs.get(target) ?? [] });
  }
  return results;
}

async function bench(options: BenchOptions, directory: string, stops: (() => Promise<void>)[]): Promise<void> {
  const shard = await startShard(directory, options.scale);
  stops.push(() => shard.stop());
  const targets: Target[] = [];
  for (const name of options.targets) {
    const place = { shard, directory, scale: options.scale, backends: BACKENDS, idle: options.idle };
    const target = await startTarget(name, place);
    stops.push(() => target.stop());
    targets.push(target);
    for (const mode of options.modes) {
      const why = target.leavesOut(mode);
      if (why) say(`left out: ${name} with -M ${mode}: ${why}`);
    }
  }
  // First, on processes without a past: the garbage of a run would be collected meanwhile, and be counted as a gain.
  const idle: { target: Target; cost: IdleCost }[] = [];
  for (const target of targets) {
    const cost = await measureIdle(target, options.idle);
    if (cost) idle.push({ target, cost });
  }
  const rows = toRows(await runCells(targets, { options, shard, directory }));
  if (options.json) {
    const machine = { arch: arch(), cores: availableParallelism(), model: cpus()[0]?.model, node: process.version };
    const memory = idle.map(({ target, cost }) => ({ target: target.name, ...cost }));
    process.stdout.write(`${JSON.stringify({ machine, options, rows, idle: memory }, undefined, 2)}\n`);
    return;
  }
  const seconds = `${options.rounds} × ${options.seconds} s, medians`;
  process.stdout.write(
    `\n${renderTable(rows)}\n(${seconds}; added latency against direct; ${availableParallelism()} cores)\n`,
  );
  for (const { target, cost } of idle) process.stdout.write(`${renderIdle(target.label, cost)}\n`);
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (!options) {
    process.stdout.write(USAGE);
    return 0;
  }
  findTool('pgbench');
  if (options.targets.includes('pgbouncer')) findTool('pgbouncer');
  const directory = mkdtempSync(join(tmpdir(), 'homeport-bench-'));
  ownedDirectory(directory, postgresUser(), 0o755);
  const stops: (() => Promise<void>)[] = [];
  const interrupted = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => reject(new Error(signal)));
  });
  try {
    await Promise.race([bench(options, directory, stops), interrupted]);
    return 0;
  } finally {
    for (const stop of stops.reverse()) await stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  say(`bench: ${describe(error)}`);
  process.exitCode = 1;
}
