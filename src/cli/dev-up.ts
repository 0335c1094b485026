/** Bringing the local cluster up and down: in this process, or in one that stays behind. */
import { resolve } from 'node:path';
import { HomeportError } from '../base/errors.ts';
import type { Cluster, ClusterStatus } from '../devcluster/cluster.ts';
import { ask, stopCluster } from '../devcluster/control.ts';
import { parseRtt } from '../devcluster/faults.ts';
import { readFrom } from '../devcluster/files.ts';
import { runningLauncher } from '../devcluster/lock.ts';
import { Places } from '../devcluster/places.ts';
import { type Child, startChild } from '../devcluster/process.ts';
import { cleanUp, startCluster } from '../devcluster/start.ts';
import { postgresUser } from '../devcluster/user.ts';
import type { Cli } from './context.ts';
import type { DevOptions } from './dev-options.ts';
import { prepare } from './dev-prepare.ts';
import { commandName, readyText } from './dev-report.ts';
import { exitCodes } from './exit.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** The first signal asks for an orderly end; a second one means it. */
function listenForEnd(onFirst: (signal: string) => void): () => void {
  let count = 0;
  const listener = (signal: string) => {
    count += 1;
    if (count === 1) onFirst(signal);
    else process.exit(exitCodes.interrupted.code); // the kernel ends the children (see process.ts)
  };
  for (const signal of SIGNALS) process.on(signal, listener);
  return () => {
    for (const signal of SIGNALS) process.off(signal, listener);
  };
}

interface Ready {
  readonly ready: true;
  readonly dir: string;
  readonly pid: number;
  readonly regions: ClusterStatus['regions'];
}

function showReady(cli: Cli, status: ClusterStatus, pid: number, options: DevOptions, startedMs: number): void {
  const result: Ready = { ready: true, dir: status.dir, pid, regions: status.regions };
  const seconds = (cli.world.clock.monotonicMs() - startedMs) / 1000;
  const { gateways } = options;
  const background = options.detach ?? false;
  cli.output.result(result, () => readyText({ status, seconds, gateways, command: commandName(cli.env), background }));
}

/** Runs it here until somebody stops it. */
export async function up(cli: Cli, options: DevOptions): Promise<void> {
  const startedMs = cli.world.clock.monotonicMs();
  const progress = (text: string) => {
    if (text.endsWith('is being started') && !cli.options.verbose) return;
    const seconds = ((cli.world.clock.monotonicMs() - startedMs) / 1000).toFixed(1);
    cli.output.note(`${seconds.padStart(6)} s  ${text}`);
  };
  const ended = new AbortController();
  const forget = listenForEnd(signal => {
    progress(`stopping (${signal}); once more ends it at once`);
    ended.abort();
  });
  let cluster: Cluster;
  try {
    cluster = await startCluster({
      dir: options.dir,
      rtt: (options.rtt ?? []).map(parseRtt),
      prepare,
      empty: options.empty ?? false,
      serve: options.gateways,
      env: cli.env,
      onProgress: progress,
      signal: ended.signal,
      world: cli.world,
    });
  } catch (error) {
    forget();
    if (!ended.signal.aborted) throw error;
    process.exitCode = exitCodes.interrupted.code; // what failed, failed because it was being stopped
    return;
  }
  if (!options.background) showReady(cli, await cluster.status(), process.pid, options, startedMs);
  // a failed stop is thrown by the stop below; the listener only begins it
  ended.signal.addEventListener('abort', () => void cluster.stop().catch(() => undefined));
  if (ended.signal.aborted) await cluster.stop();
  await cluster.stopped;
  forget();
  await cluster.stop();
}

/** Shows what the background process writes, until the cluster is ready or the process is gone. */
async function follow(cli: Cli, child: Child, dir: string, logFile: string): Promise<ClusterStatus | undefined> {
  let seen = child.logOffset;
  for (;;) {
    const fresh = readFrom(logFile, seen);
    seen += Buffer.byteLength(fresh);
    if (fresh.trim() !== '') cli.output.note(fresh.trimEnd());
    if (child.exit) return undefined;
    if (runningLauncher(dir)?.pid === child.identity.pid) {
      const status = await ask(cli.world, dir, { do: 'status' }).catch(() => undefined); // not listening yet
      if (status?.ready) return status;
    }
    await cli.world.clock.sleep(100);
  }
}

/** Runs it in a process of its own and returns when it is ready. */
export async function detach(cli: Cli, options: DevOptions): Promise<void> {
  const startedMs = cli.world.clock.monotonicMs();
  const dir = resolve(options.dir);
  const holder = runningLauncher(dir);
  if (holder) throw new HomeportError('HP-L120', { dir, pid: holder.pid });
  for (const rtt of options.rtt ?? []) parseRtt(rtt); // a slip of the finger is refused here, not in a log
  const logFile = new Places(dir, postgresUser(cli.env)).log('launcher');
  const args = [process.argv[1] ?? '', 'dev', '--background', '--dir', dir];
  if (options.empty) args.push('--empty');
  if (!options.gateways) args.push('--no-gateways');
  for (const rtt of options.rtt ?? []) args.push('--rtt', rtt);
  const child = await startChild({ command: process.execPath, args, env: cli.env, logFile, deathSignal: undefined });
  const status = await follow(cli, child, dir, logFile);
  if (!status) throw new HomeportError('HP-L130', { dir, logFile });
  child.process.unref();
  showReady(cli, status, child.identity.pid, options, startedMs);
}

export async function stop(cli: Cli, directory: string): Promise<void> {
  const dir = resolve(directory);
  const stopped = await stopCluster(cli.world, dir);
  const ended = stopped ? [] : await cleanUp(dir, cli.world);
  cli.output.result({ stopped, leftovers: ended, dir }, () => {
    if (stopped) return 'stopped; the data stays';
    return ended.length > 0 ? `ended what was left behind: ${ended.join(', ')}` : `nothing runs in ${dir}`;
  });
}
