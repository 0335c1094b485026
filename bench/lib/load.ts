/** One run of pgbench against one target, and what it cost everyone. */
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Mode, Script } from './options.ts';
import { cpuMicros } from './process-cost.ts';
import type { Shard } from './shard.ts';
import type { Target } from './target.ts';
import { findTool } from './tools.ts';

const run = promisify(execFile);

/** pgbench's own scripts, word for word; as files, because for built-in ones it first asks the server about itself. */
const SQL: Readonly<Record<Script, string>> = {
  select: `\\set aid random(1, 100000 * :scale)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
`,
  tpcb: `\\set aid random(1, 100000 * :scale)
\\set bid random(1, 1 * :scale)
\\set tid random(1, 10 * :scale)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
`,
};

export interface Cell {
  readonly script: Script;
  readonly mode: Mode;
  readonly clients: number;
}

export interface Measurement {
  readonly tps: number;
  readonly transactions: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** Per transaction; undefined where there is no proxy. */
  readonly proxyUs: number | undefined;
  readonly postgresUs: number;
}

/** Of a sorted list. */
export function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

/** Latencies in µs, sorted: the third word of each line of the transaction log. */
function readLatencies(directory: string): number[] {
  const latencies: number[] = [];
  for (const file of readdirSync(directory).filter(name => name.startsWith('log'))) {
    for (const line of readFileSync(join(directory, file), 'utf8').split('\n')) {
      const us = Number(line.split(' ')[2]);
      if (us > 0) latencies.push(us);
    }
  }
  return latencies.sort((a, b) => a - b);
}

export async function measure(
  target: Target,
  cell: Cell,
  options: { shard: Shard; directory: string; seconds: number; scale: number },
): Promise<Measurement> {
  const { shard, seconds, scale } = options;
  const directory = join(options.directory, 'run');
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `${cell.script}.sql`);
  writeFileSync(file, SQL[cell.script]);
  const args = ['-n', '-f', file, '-D', `scale=${scale}`, '-M', cell.mode, '-c', `${cell.clients}`, '-j', '1'];
  args.push('-T', `${seconds}`, '-l', '--log-prefix', join(directory, 'log'), '--sampling-rate', '0.25');
  args.push('-h', target.host, '-p', `${target.port}`, '-U', target.user, target.database);
  const env = { ...process.env, PGPASSWORD: target.password, PGOPTIONS: target.options, PGSSLMODE: 'disable' };

  const cpu = () => ({ proxy: target.proxyPid ? cpuMicros(target.proxyPid) : 0, postgres: cpuMicros(shard.pid) });
  const before = cpu();
  const { stdout } = await run(findTool('pgbench').path, args, { env, cwd: directory, maxBuffer: 16 * 1024 * 1024 });
  const after = cpu();

  const tps = Number(/^tps = ([\d.]+) \(without/m.exec(stdout)?.[1]);
  const transactions = Number(/^number of transactions actually processed: (\d+)/m.exec(stdout)?.[1]);
  if (!(tps > 0) || !(transactions > 0)) throw new Error(`pgbench on ${target.label} did nothing:\n${stdout}`);
  const latencies = readLatencies(directory);
  return {
    tps,
    transactions,
    p50Us: quantile(latencies, 0.5),
    p99Us: quantile(latencies, 0.99),
    proxyUs: target.proxyPid ? (after.proxy - before.proxy) / transactions : undefined,
    postgresUs: (after.postgres - before.postgres) / transactions,
  };
}
