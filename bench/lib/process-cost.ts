/** What a process and its children have cost so far: processor time and memory, as Linux counts them. */
import { readFileSync } from 'node:fs';
import { descendants } from '../../src/devcluster/process.ts';

/** USER_HZ is 100 on every Linux that Node runs on. */
const TICK_US = 10_000;

/** The file's text, or undefined when the process has gone since it was listed. */
function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch (error) {
    // cast: errors of node:fs carry a code
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}

/** Looks for a moment in which no process comes or goes. */
const TRIES = 50;

/**
 * User and system time of a process, of all below it, and of the children that have ended and been collected: what a
 * postmaster's backends took is there after they are gone. One that ends while we read would count twice or not at all,
 * so the reading is repeated until none does.
 */
export function cpuMicros(root: number): number {
  let ticks = 0;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const before = descendants(root);
    ticks = ticksOf([root, ...before]);
    const after = descendants(root);
    if (after.length === before.length && after.every((pid, index) => pid === before[index])) break;
  }
  return ticks * TICK_US;
}

function ticksOf(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const stat = readProc(pid, 'stat');
    if (stat === undefined) continue;
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    for (const index of [11, 12, 13, 14]) ticks += Number(fields[index]); // utime, stime, cutime, cstime
  }
  return ticks;
}

/** Resident memory of a process and all below it; pages that they share are counted once (PSS). */
export function residentBytes(root: number): number {
  let kib = 0;
  for (const pid of [root, ...descendants(root)]) {
    kib += Number(/^Pss:\s+(\d+) kB/m.exec(readProc(pid, 'smaps_rollup') ?? '')?.[1] ?? 0);
  }
  return kib * 1024;
}
