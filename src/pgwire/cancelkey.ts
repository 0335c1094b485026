/**
 * What BackendKeyData gives a client and CancelRequest brings back. The process ids are ours: any worker that gets a
 * cancel request reads from the id where the session lives, and only the key proves that it may be cancelled.
 */
import { timingSafeEqual } from 'node:crypto';
import { assert } from '../base/assert.ts';
import type { Random } from '../base/world.ts';
import type { ProtocolMinor } from './startup.ts';

/**
 * Bit 30 is always set: no real process id is that high (Linux' most is 2²²), so that a client's
 * `pg_cancel_backend(pid)` can't hit a stranger's backend. Then 6 bits gateway, 5 bits worker, 19 bits session.
 */
const VIRTUAL = 2 ** 30;
const SESSION_BITS = 19;
const WORKER_BITS = 5;
export const MAX_GATEWAYS = 2 ** 6;
export const MAX_WORKERS = 2 ** WORKER_BITS;
export const MAX_SESSIONS = 2 ** SESSION_BITS;

export interface VirtualPid {
  readonly gateway: number;
  readonly worker: number;
  readonly session: number;
}

export function encodeVirtualPid({ gateway, worker, session }: VirtualPid): number {
  assert(gateway >= 0 && gateway < MAX_GATEWAYS, 'a gateway number fits its bits');
  assert(worker >= 0 && worker < MAX_WORKERS, 'a worker number fits its bits');
  assert(session >= 0 && session < MAX_SESSIONS, 'a session number fits its bits');
  return VIRTUAL | (gateway << (SESSION_BITS + WORKER_BITS)) | (worker << SESSION_BITS) | session;
}

/** Undefined for a process id that isn't ours. */
export function decodeVirtualPid(pid: number): VirtualPid | undefined {
  if ((pid & VIRTUAL) === 0 || pid < 0) return undefined;
  return {
    gateway: (pid >>> (SESSION_BITS + WORKER_BITS)) & (MAX_GATEWAYS - 1),
    worker: (pid >>> SESSION_BITS) & (MAX_WORKERS - 1),
    session: pid & (MAX_SESSIONS - 1),
  };
}

/** 4 bytes is all that protocol 3.0 carries; 32, as Postgres 18, where the client speaks 3.2. */
export function newCancelKey(random: Random, minor: ProtocolMinor): Buffer {
  return random.bytes(minor === 2 ? 32 : 4);
}

/** In a time that says nothing about how much of it fits. */
export function sameCancelKey(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

export function backendKeyData(pid: number, key: Buffer): Buffer {
  const message = Buffer.alloc(9 + key.length);
  message.write('K', 0, 'latin1');
  message.writeInt32BE(8 + key.length, 1);
  message.writeInt32BE(pid, 5);
  key.copy(message, 9);
  return message;
}

/** What is sent on a connection of its own, to a shard or to another gateway. */
export function cancelRequest(pid: number, key: Buffer): Buffer {
  const message = Buffer.alloc(12 + key.length);
  message.writeInt32BE(message.length, 0);
  message.writeUInt32BE(80877102, 4);
  message.writeInt32BE(pid, 8);
  key.copy(message, 12);
  return message;
}
