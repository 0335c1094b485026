/**
 * What one can ask the launcher of a cluster, over a Unix socket that only its owner may open: one line of JSON each
 * way per connection. The types are the schemas, on both sides.
 */
import * as z from 'zod';
import { HomeportError } from '../base/errors.ts';
import { poll, type World } from '../base/world.ts';
import type { ClusterStatus } from './cluster.ts';
import { clusterLimits } from './limits.ts';
import { runningLauncher } from './lock.ts';
import { isRunning } from './process.ts';

const conditions = z.strictObject({
  delayMs: z.number().min(0).optional(),
  /** null takes a limit away. */
  bytesPerSecond: z.number().min(1).nullable().optional(),
  blackhole: z.boolean().optional(),
  cut: z.boolean().optional(),
});
export type LinkChange = z.output<typeof conditions>;

export const requestSchema = z.discriminatedUnion('do', [
  z.strictObject({ do: z.literal('status') }),
  z.strictObject({ do: z.enum(['kill', 'pause', 'resume', 'start']), target: z.string() }),
  z.strictObject({ do: z.enum(['isolate', 'heal']), region: z.string() }),
  z.strictObject({ do: z.literal('link'), link: z.string(), conditions }),
  z.strictObject({ do: z.literal('stop') }),
]);
export type ControlRequest = z.output<typeof requestSchema>;

export const replySchema = z.union([
  z.strictObject({ ok: z.literal(true), status: z.unknown() }),
  z.strictObject({
    ok: z.literal(false),
    code: z.string().optional(),
    params: z.record(z.string(), z.union([z.string(), z.number()])).optional(),
    message: z.string(),
  }),
]);
export type ControlReply = z.output<typeof replySchema>;

function exchange(world: World, path: string, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = world.network.connect(path, () => socket.write(`${line}\n`));
    let text = '';
    const timer = world.clock.after(clusterLimits.controlAnswerMs, () => socket.destroy(new Error('no answer')), {
      keepAlive: true,
    });
    socket.setEncoding('utf8');
    socket.on('data', (piece: string) => {
      text += piece;
    });
    socket.on('error', reject);
    socket.on('close', () => {
      timer.cancel();
      resolve(text);
    });
  });
}

/**
 * Asks the launcher of `dir`.
 * @returns the status after what was asked for has been done.
 * @throws HP-L121 when none runs, HP-L127 when it does not answer, and what the launcher itself refused with.
 */
export async function ask(world: World, dir: string, request: ControlRequest): Promise<ClusterStatus> {
  const launcher = runningLauncher(dir);
  if (!launcher) throw new HomeportError('HP-L121', { dir });
  const silent = (why: string, cause?: unknown) =>
    new HomeportError('HP-L127', { dir, why, pid: launcher.pid }, { cause });
  let reply: ControlReply;
  try {
    reply = replySchema.parse(JSON.parse(await exchange(world, launcher.control, JSON.stringify(request))));
  } catch (cause) {
    throw silent(cause instanceof Error ? cause.message : String(cause), cause);
  }
  // cast: the launcher is our own code, of the same version
  if (reply.ok) return reply.status as ClusterStatus;
  throw reply.code ? remembered(reply.code, reply.params ?? {}) : silent(reply.message);
}

/** The launcher's refusal, as if it had been thrown here. */
function remembered(code: string, params: Record<string, string | number>): HomeportError {
  // cast: it comes from a HomeportError of the same version
  return new HomeportError(code as ConstructorParameters<typeof HomeportError>[0], params);
}

/**
 * Stops the cluster of `dir` and waits until its launcher is gone.
 * @returns false when none was running.
 */
export async function stopCluster(world: World, dir: string): Promise<boolean> {
  const launcher = runningLauncher(dir);
  if (!launcher) return false;
  try {
    await ask(world, dir, { do: 'stop' });
  } catch (error) {
    if (!(error instanceof HomeportError)) throw error;
    process.kill(launcher.pid, 'SIGTERM'); // it still starts, or its socket is gone: it ends in the same order
  }
  const isFree = () => (runningLauncher(dir) ? undefined : true);
  const limitMs = clusterLimits.launcherStopMs;
  if (!(await poll(world.clock, isFree, { everyMs: 20, limitMs }))) {
    const why = `still there after ${limitMs / 1000} s`;
    throw new HomeportError('HP-L127', { dir, why, pid: launcher.pid });
  }
  // a program that had the cluster inside itself lives on; a launcher has nothing left to do
  const isGone = () => (isRunning(launcher) ? undefined : true);
  await poll(world.clock, isGone, { everyMs: 20, limitMs: clusterLimits.launcherExitMs });
  return true;
}
