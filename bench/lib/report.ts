/** From many runs to one table: medians, ratios, and what a proxy adds. */
import type { IdleCost } from './idle.ts';
import { type Cell, type Measurement, quantile } from './load.ts';
import type { TargetName } from './options.ts';

export interface Result {
  readonly cell: Cell;
  readonly target: TargetName;
  readonly runs: readonly Measurement[];
}

export interface Row {
  readonly script: string;
  readonly mode: string;
  readonly clients: number;
  readonly target: TargetName;
  readonly tps: number;
  readonly ofDirect: number | undefined;
  readonly ofPgbouncer: number | undefined;
  readonly proxyUs: number | undefined;
  readonly postgresUs: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly addedP50Us: number | undefined;
  readonly addedP99Us: number | undefined;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 ? quantile(sorted, 0.5) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

function medians(runs: readonly Measurement[]) {
  const proxied = runs.flatMap(run => (run.proxyUs === undefined ? [] : [run.proxyUs]));
  return {
    tps: median(runs.map(run => run.tps)),
    proxyUs: proxied.length > 0 ? median(proxied) : undefined,
    postgresUs: median(runs.map(run => run.postgresUs)),
    p50Us: median(runs.map(run => run.p50Us)),
    p99Us: median(runs.map(run => run.p99Us)),
  };
}

export function toRows(results: readonly Result[]): Row[] {
  return results.map(({ cell, target, runs }) => {
    const own = medians(runs);
    const other = (name: TargetName) => {
      const found = results.find(result => result.target === name && result.cell === cell);
      return found && medians(found.runs);
    };
    const direct = other('direct');
    const pgbouncer = other('pgbouncer');
    return {
      ...cell,
      target,
      ...own,
      ofDirect: direct && own.tps / direct.tps,
      ofPgbouncer: pgbouncer && own.tps / pgbouncer.tps,
      addedP50Us: direct && target !== 'direct' ? own.p50Us - direct.p50Us : undefined,
      addedP99Us: direct && target !== 'direct' ? own.p99Us - direct.p99Us : undefined,
    };
  });
}

const whole = (value: number | undefined) => (value === undefined ? '' : Math.round(value).toLocaleString('en-US'));
const ratio = (value: number | undefined) => (value === undefined ? '' : value.toFixed(2));
const tenths = (value: number | undefined) => (value === undefined ? '' : value.toFixed(1));

const COLUMNS: readonly (readonly [title: string, cell: (row: Row) => string])[] = [
  ['script', row => row.script],
  ['mode', row => row.mode],
  ['clients', row => `${row.clients}`],
  ['target', row => row.target],
  ['tps', row => whole(row.tps)],
  ['x direct', row => ratio(row.ofDirect)],
  ['x pgb', row => ratio(row.ofPgbouncer)],
  ['proxy µs/tx', row => tenths(row.proxyUs)],
  ['pg µs/tx', row => tenths(row.postgresUs)],
  ['p50 µs', row => whole(row.p50Us)],
  ['p99 µs', row => whole(row.p99Us)],
  ['+p50', row => whole(row.addedP50Us)],
  ['+p99', row => whole(row.addedP99Us)],
];

export function renderTable(rows: readonly Row[]): string {
  const lines = [COLUMNS.map(([title]) => title), ...rows.map(row => COLUMNS.map(([, cell]) => cell(row)))];
  const widths = COLUMNS.map((_, column) => Math.max(...lines.map(line => (line[column] ?? '').length)));
  // Words to the left, figures to the right.
  const pad = (text: string, column: number) =>
    column < 4 && column !== 2 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0);
  return lines.map(line => line.map(pad).join('  ').trimEnd()).join('\n');
}

export function renderIdle(label: string, cost: IdleCost): string {
  const kib = (bytes: number) => `${(bytes / 1024).toFixed(1)} KiB`;
  return `${label}: ${kib(cost.bytesPerConnection)} for each of ${cost.connections} idle connections`;
}
