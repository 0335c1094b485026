/** Memory per idle connection: real logins, then nothing more is said. */
import type { Socket } from 'node:net';
import { poll, realWorld } from '../../src/base/world.ts';
import { Intake } from '../../src/pgwire/handshake-intake.ts';
import { NONCE_BYTES, SCRAM, ScramClient } from '../../src/pgwire/scram.ts';
import { ClientKeyCache } from '../../src/pgwire/scram-keys.ts';
import { residentBytes } from './process-cost.ts';
import type { Target } from './target.ts';

/** How many log in at the same time. */
const LOGINS_AT_ONCE = 50;
/** Both sides are given this long to put away what the logins took. */
const SETTLE_MS = 3_000;

const keys = new ClientKeyCache();

function message(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

function startup({ user, database, options }: Target): Buffer {
  const parameters = [`user\0${user}\0database\0${database}\0`, ...(options ? [`options\0${options}\0`] : []), '\0'];
  const body = Buffer.from(parameters.join(''));
  const head = Buffer.alloc(8);
  head.writeInt32BE(8 + body.length);
  head.writeInt32BE(0x30000, 4);
  return Buffer.concat([head, body]);
}

async function nextMessage(intake: Intake): Promise<{ type: string; body: Buffer }> {
  const head = await intake.take(5);
  const body = head && (head.readInt32BE(1) > 4 ? await intake.take(head.readInt32BE(1) - 4) : Buffer.alloc(0));
  if (!head || !body) throw new Error('the connection ended during login');
  const type = String.fromCharCode(head[0] ?? 0);
  if (type === 'E') throw new Error(`login refused: ${body.toString('utf8').replaceAll('\0', ' ')}`);
  return { type, body };
}

async function login(target: Target): Promise<Socket> {
  const socket = realWorld.network.connect(target.port, target.host);
  const intake = new Intake(socket);
  socket.write(startup(target));
  const offer = await nextMessage(intake);
  if (offer.body.readInt32BE(0) !== 10) throw new Error('expected a SASL login');
  const nonce = realWorld.random.bytes(NONCE_BYTES);
  const scram = new ScramClient({ password: target.password, nonce, offered: [SCRAM], keys });
  const first = scram.first();
  const text = Buffer.from(first.ok ? first.message : '');
  const length = Buffer.alloc(4);
  length.writeInt32BE(text.length);
  socket.write(message('p', Buffer.concat([Buffer.from(`${SCRAM}\0`), length, text])));
  const answer = await scram.answer((await nextMessage(intake)).body.toString('utf8', 4));
  if (!answer.ok) throw new Error(answer.why);
  socket.write(message('p', Buffer.from(answer.message)));
  while ((await nextMessage(intake)).type !== 'Z');
  intake.release();
  socket.on('error', () => socket.destroy());
  return socket;
}

export interface IdleCost {
  readonly connections: number;
  readonly beforeBytes: number;
  readonly afterBytes: number;
  readonly bytesPerConnection: number;
}

async function settled(pid: number): Promise<number> {
  await realWorld.clock.sleep(SETTLE_MS);
  // Two equal looks in a row, within 1 %.
  let last = residentBytes(pid);
  const steady = await poll(
    realWorld.clock,
    () => {
      const now = residentBytes(pid);
      const same = Math.abs(now - last) <= last / 100;
      last = now;
      return same ? now : undefined;
    },
    { everyMs: 1_000, limitMs: 10_000 },
  );
  return steady ?? last;
}

/** @returns undefined for a target without a proxy: Postgres forks a process for each, which is another matter. */
export async function measureIdle(target: Target, connections: number): Promise<IdleCost | undefined> {
  const pid = target.proxyPid;
  if (pid === undefined || connections === 0) return undefined;
  const sockets: Socket[] = [];
  const openMore = async (wanted: number) => {
    while (sockets.length < wanted) {
      const some = Math.min(LOGINS_AT_ONCE, wanted - sockets.length);
      sockets.push(...(await Promise.all(Array.from({ length: some }, () => login(target)))));
    }
  };
  try {
    // The first hundred pay for code and tables that are made once.
    await openMore(100);
    const beforeBytes = await settled(pid);
    await openMore(connections + 100);
    const afterBytes = await settled(pid);
    const bytesPerConnection = (afterBytes - beforeBytes) / connections;
    return { connections, beforeBytes, afterBytes, bytesPerConnection };
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}
