/**
 * Children of the dev cluster as the operating system sees them. Two rules:
 * - a child is known by pid *and* start time, so that a number the system has given to somebody else is never signalled;
 * - a child has a session of its own (Ctrl-C reaches the launcher alone, which stops things in order) and asks the
 *   kernel to be told when its parent dies (Linux, through setpriv), so that a SIGKILLed launcher leaves nothing behind.
 *   Where that does not exist, the next start ends what the state files name.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, fstatSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { type Clock, poll } from '../base/world.ts';
import { clusterLimits } from './limits.ts';
import type { RunAs } from './user.ts';

export interface ProcessIdentity {
  readonly pid: number;
  /** Opaque; equal only for the same process. */
  readonly startedAt: string;
}

const isLinux = process.platform === 'linux';

interface StatLine {
  readonly ppid: number;
  readonly state: string;
  readonly startedAt: string;
}

function isMissing(error: unknown): boolean {
  // cast: errors of node:fs and process.kill carry a code
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ESRCH';
}

/** The fields after the command name, which may itself hold spaces and parentheses. */
function readStat(pid: number): StatLine | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0] ?? '', ppid: Number(fields[1]), startedAt: fields[19] ?? '' };
}

function ps(...args: string[]): string {
  try {
    return execFileSync('ps', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return ''; // ps ends with 1 when no process matched
  }
}

/** @returns undefined when no such process runs (a zombie does not run). */
export function identify(pid: number): ProcessIdentity | undefined {
  if (!isLinux) {
    const startedAt = ps('-o', 'lstart=', '-p', String(pid));
    return startedAt ? { pid, startedAt } : undefined;
  }
  const stat = readStat(pid);
  return stat && stat.state !== 'Z' && stat.state !== 'X' ? { pid, startedAt: stat.startedAt } : undefined;
}

export function isRunning(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.startedAt === identity.startedAt;
}

export function isStopped(pid: number): boolean {
  if (!isLinux) return ps('-o', 'state=', '-p', String(pid)).startsWith('T');
  return readStat(pid)?.state === 'T';
}

function parents(): Map<number, number> {
  if (!isLinux) {
    const rows = ps('-axo', 'pid=,ppid=').split('\n');
    return new Map(rows.map(row => row.trim().split(/\s+/).map(Number)).map(([pid = 0, ppid = 0]) => [pid, ppid]));
  }
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger);
  return new Map(pids.map(pid => [pid, readStat(pid)?.ppid ?? 0]));
}

/** All processes below `pid`, nearest first. Postgres gives each backend a group of its own, so groups don't help. */
export function descendants(pid: number): number[] {
  const ppids = parents();
  const found: number[] = [];
  for (let level = [pid]; level.length > 0; ) {
    level = [...ppids].filter(([, ppid]) => level.includes(ppid)).map(([child]) => child);
    found.push(...level);
  }
  return found;
}

/** @returns false when the process is gone already. */
export function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/** Stops a whole tree, parents before children: a stopped parent can't fork another child behind our back. */
export function pauseTree(root: number): void {
  for (let seen = 0, tree = [root]; tree.length > seen; tree = [root, ...descendants(root)]) {
    seen = tree.length;
    for (const pid of tree) sendSignal(pid, 'SIGSTOP');
  }
}

/** Children first, so that a parent finds them alive. */
export function resumeTree(root: number): void {
  for (const pid of [root, ...descendants(root)].reverse()) sendSignal(pid, 'SIGCONT');
}

/** SIGKILL for a whole tree at one instant, as a loss of power would do it. */
export function killTree(root: number): void {
  pauseTree(root);
  for (const pid of [root, ...descendants(root)]) sendSignal(pid, 'SIGKILL');
}

let setprivWorks: boolean | undefined;

function canSetpriv(): boolean {
  if (!isLinux) return false;
  if (setprivWorks === undefined) {
    try {
      execFileSync('setpriv', ['--pdeathsig', 'TERM', 'true'], { stdio: 'ignore' });
      setprivWorks = true;
    } catch {
      setprivWorks = false; // not installed, or busybox's, which lacks the option
    }
  }
  return setprivWorks;
}

export interface ChildOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly runAs?: RunAs | undefined;
  /** Standard output and error are appended here. */
  readonly logFile: string;
  /** A channel for messages of structured clones. */
  readonly ipc?: boolean;
  /** Sent by the kernel when this process dies, or undefined for a child that is to outlive it. */
  readonly deathSignal: 'INT' | 'TERM' | undefined;
  /** Called as soon as it exists, long before it is ready: whoever keeps state files writes them then. */
  readonly onProcess?: ((identity: ProcessIdentity) => void) | undefined;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Child {
  readonly identity: ProcessIdentity;
  /** Where its part of the log begins. */
  readonly logOffset: number;
  readonly process: ChildProcess;
  /** Resolves once, when it has ended and its end was collected. */
  readonly exited: Promise<Exit>;
  exit: Exit | undefined;
}

/** @throws the system's error when the command can't be run at all. */
export async function startChild(options: ChildOptions): Promise<Child> {
  const { runAs, deathSignal } = options;
  const prefix: string[] = [];
  if (deathSignal && canSetpriv()) {
    prefix.push('setpriv', '--pdeathsig', deathSignal);
    // setpriv itself changes the user: a change of credentials after the death signal was set would clear it
    if (runAs) prefix.push('--reuid', String(runAs.uid), '--regid', String(runAs.gid), '--clear-groups');
    prefix.push('--');
  }
  const [command = options.command, ...args] = [...prefix, options.command, ...options.args];
  const log = openSync(options.logFile, 'a', 0o600);
  const logOffset = fstatSync(log).size;
  try {
    const child = spawn(command, args, {
      detached: true,
      env: options.env ?? process.env,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(runAs && prefix.length === 0 ? { uid: runAs.uid, gid: runAs.gid } : {}),
      stdio: options.ipc ? ['ignore', log, log, 'ipc'] : ['ignore', log, log],
      serialization: 'advanced',
    });
    const handle = await started(child, logOffset);
    options.onProcess?.(handle.identity);
    return handle;
  } finally {
    closeSync(log);
  }
}

function started(child: ChildProcess, logOffset: number): Promise<Child> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('spawn', () => {
      const pid = child.pid ?? 0;
      const exited = new Promise<Exit>(done => {
        child.once('exit', (code, signal) => {
          handle.exit = { code, signal };
          done(handle.exit);
        });
      });
      // one that ended within this instant still has a start time: it is a zombie until its exit is collected
      const startedAt = isLinux ? (readStat(pid)?.startedAt ?? '') : (identify(pid)?.startedAt ?? '');
      const handle: Child = { identity: { pid, startedAt }, logOffset, process: child, exited, exit: undefined };
      resolve(handle);
    });
  });
}

/** Sends each signal in turn to what still runs and waits up to its bound; at last the whole tree is killed. */
export async function endProcess(
  clock: Clock,
  identity: ProcessIdentity,
  steps: readonly { signal: NodeJS.Signals; waitMs: number }[],
): Promise<void> {
  const gone = () => (isRunning(identity) ? undefined : true);
  for (const { signal, waitMs } of steps) {
    if (gone()) return;
    resumeTree(identity.pid); // a stopped process would sit on the signal
    sendSignal(identity.pid, signal);
    if (await poll(clock, gone, { everyMs: 10, limitMs: waitMs })) return;
  }
  if (!gone()) killTree(identity.pid);
  await poll(clock, gone, { everyMs: 10, limitMs: clusterLimits.killedMs });
}
