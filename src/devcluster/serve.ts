/** The `homeport serve` of one region: started like any other child, ready when it says so in its log. */
import { HomeportError } from '../base/errors.ts';
import { poll, type World } from '../base/world.ts';
import { logTail, readFrom } from './files.ts';
import { processUnit, type Unit } from './launcher.ts';
import { clusterLimits } from './limits.ts';
import { endProcess, type ProcessIdentity, startChild } from './process.ts';

const READY_LINE = /^\{.*"ready"\s*:\s*true/m;

export interface ServeOptions {
  readonly region: string;
  /** The script: bin/homeport.mjs. */
  readonly entry: string;
  readonly configFile: string;
  readonly logFile: string;
  readonly env: NodeJS.ProcessEnv;
  readonly onProcess?: (identity: ProcessIdentity) => void;
  readonly world: World;
}

/**
 * Waits for the line `{"ready":true,…}` on its standard output, which goes to the log.
 * @throws HP-L124 with the end of the log.
 */
export async function startServe(options: ServeOptions): Promise<Unit> {
  const { region, configFile, logFile, env, onProcess, world } = options;
  const args = [options.entry, 'serve', '--config', configFile];
  const child = await startChild({ command: process.execPath, args, env, logFile, deathSignal: 'TERM', onProcess });
  const stop = () =>
    endProcess(world.clock, child.identity, [{ signal: 'SIGTERM', waitMs: clusterLimits.serveDrainMs }]);
  const state = () => {
    if (child.exit) return 'ended' as const;
    return READY_LINE.test(readFrom(logFile, child.logOffset)) ? ('ready' as const) : undefined;
  };
  const outcome = await poll(world.clock, state, { everyMs: 20, limitMs: clusterLimits.serveStartMs });
  if (outcome !== 'ready') {
    await stop();
    const { code, signal } = child.exit ?? {};
    const why =
      outcome === 'ended' ? `it ended (${signal ?? code})` : `not ready within ${clusterLimits.serveStartMs / 1000} s`;
    throw new HomeportError('HP-L124', { region, why, logFile, tail: await logTail(logFile) });
  }
  return processUnit({ identity: child.identity, exited: child.exited, stop });
}
