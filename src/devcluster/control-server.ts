/** The launcher's side of control.ts. */
import { chmodSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { describe, HomeportError } from '../base/errors.ts';
import type { World } from '../base/world.ts';
import type { Cluster, ClusterStatus } from './cluster.ts';
import { type ControlReply, type ControlRequest, requestSchema } from './control.ts';
import { parseLink } from './faults.ts';
import { clusterLimits } from './limits.ts';

async function obey(cluster: Cluster, request: ControlRequest): Promise<ClusterStatus> {
  if (request.do === 'isolate') await cluster.isolate(request.region);
  else if (request.do === 'heal') await cluster.heal(request.region);
  else if (request.do === 'link') {
    const { bytesPerSecond, ...rest } = request.conditions;
    const rate = bytesPerSecond === undefined ? {} : { bytesPerSecond: bytesPerSecond ?? undefined };
    const given = Object.entries({ ...rest, ...rate }).filter(([name, value]) => value !== undefined || name in rate);
    await cluster.link(parseLink(request.link), Object.fromEntries(given));
  } else if (request.do === 'kill') await cluster.kill(request.target);
  else if (request.do === 'pause') await cluster.pause(request.target);
  else if (request.do === 'resume') await cluster.resume(request.target);
  else if (request.do === 'start') await cluster.start(request.target);
  return await cluster.status();
}

function refusal(error: unknown): ControlReply {
  const message = describe(error);
  if (!(error instanceof HomeportError)) return { ok: false, message };
  const params = Object.entries(error.params).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
  return { ok: false, code: error.code, params: Object.fromEntries(params), message };
}

async function answer(line: string, cluster: Cluster): Promise<ControlReply> {
  try {
    const request = requestSchema.parse(JSON.parse(line));
    const status = await obey(cluster, request);
    // the asker waits for the launcher's end, not for this reply
    if (request.do === 'stop') cluster.stop().catch((error: unknown) => process.emitWarning(describe(error)));
    return { ok: true, status };
  } catch (error) {
    return refusal(error);
  }
}

function serveOne(socket: Socket, cluster: () => Cluster): void {
  let text = '';
  socket.setEncoding('utf8');
  socket.on('error', () => socket.destroy());
  socket.on('data', (piece: string) => {
    text += piece;
    const end = text.indexOf('\n');
    if (end < 0 && text.length <= clusterLimits.controlLineBytes) return;
    socket.pause();
    if (end < 0) socket.destroy();
    else void answer(text.slice(0, end), cluster()).then(reply => socket.end(JSON.stringify(reply)));
  });
}

/** The lock is held: whatever socket lies there is a dead launcher's. */
export async function serveControl(
  path: string,
  world: World,
  cluster: () => Cluster,
): Promise<{ close(): Promise<void> }> {
  rmSync(path, { force: true });
  const sockets = new Set<Socket>();
  const server = world.network.createServer(socket => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    serveOne(socket, cluster);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
  return {
    close() {
      const closed = new Promise<void>(resolve => server.close(() => resolve()));
      for (const socket of sockets) socket.destroySoon();
      return closed;
    },
  };
}
