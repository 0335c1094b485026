/**
 * The keys of SCRAM-SHA-256 (RFC 5802, RFC 7677): the verifier that Postgres stores as `rolpassword`, made, read and
 * made up; and the client's keys, kept, because PBKDF2 costs milliseconds and a pool logs in again and again.
 */
import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { LRUCache } from 'lru-cache';
import { saslPrep } from './saslprep.ts';

export const KEY_BYTES = 32;
/** What Postgres takes by default; mock verifiers show the same so as not to stand out. */
export const DEFAULT_ITERATIONS = 4096;
const DEFAULT_SALT_BYTES = 16;
/** A server that asks for more wants our processor, not our password. */
export const MAX_ITERATIONS = 1_000_000;
const MAX_SALT_BYTES = 1024;

export interface ScramVerifier {
  readonly iterations: number;
  readonly salt: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

export interface ClientKeys {
  readonly clientKey: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

const derive = promisify(pbkdf2);

export function hmac(key: Buffer, data: string | Buffer): Buffer {
  return createHmac('sha256', key).update(data).digest();
}

export function sha256(data: Buffer): Buffer {
  return createHash('sha256').update(data).digest();
}

/** Constant-time for equal lengths; the length is no secret. */
export function sameBytes(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Base64 as RFC 4648 means it, canonical: Node's own decoder takes nearly anything. */
export function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

/** PBKDF2 runs in the thread pool, not on the event loop. */
export async function deriveKeys(password: string, salt: Buffer, iterations: number): Promise<ClientKeys> {
  const salted = await derive(saslPrep(password), salt, iterations, KEY_BYTES, 'sha256');
  const clientKey = hmac(salted, 'Client Key');
  return { clientKey, storedKey: sha256(clientKey), serverKey: hmac(salted, 'Server Key') };
}

/** `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, as in pg_authid. Undefined when it is anything else. */
export function parseVerifier(text: string): ScramVerifier | undefined {
  const match = /^SCRAM-SHA-256\$([1-9][0-9]{0,9}):([^$:]+)\$([^$:]+):([^$:]+)$/.exec(text);
  if (!match) return undefined;
  const iterations = Number(match[1]);
  const [salt, storedKey, serverKey] = [match[2], match[3], match[4]].map(part => decodeBase64(part ?? ''));
  if (!salt || salt.length === 0 || salt.length > MAX_SALT_BYTES || iterations > 2 ** 31 - 1) return undefined;
  if (storedKey?.length !== KEY_BYTES || serverKey?.length !== KEY_BYTES) return undefined;
  return { iterations, salt, storedKey, serverKey };
}

export function formatVerifier(verifier: ScramVerifier): string {
  const [salt, stored, server] = [verifier.salt, verifier.storedKey, verifier.serverKey].map(b => b.toString('base64'));
  return `SCRAM-SHA-256$${verifier.iterations}:${salt}$${stored}:${server}`;
}

/** What goes into the configuration, or into CREATE ROLE … PASSWORD, instead of the password. */
export async function buildVerifier(
  password: string,
  { salt, iterations = DEFAULT_ITERATIONS }: { salt: Buffer; iterations?: number },
): Promise<string> {
  const { storedKey, serverKey } = await deriveKeys(password, salt, iterations);
  return formatVerifier({ iterations, salt, storedKey, serverKey });
}

/**
 * The verifier of a user who does not exist: the same at every attempt and in every process that has `secret`, so that
 * nobody can tell from salt and iterations which users there are. No password fits it.
 */
export function mockVerifier(secret: Buffer, user: string): ScramVerifier {
  const seed = hmac(secret, `scram-mock\0${user}`);
  return {
    iterations: DEFAULT_ITERATIONS,
    salt: seed.subarray(0, DEFAULT_SALT_BYTES),
    storedKey: hmac(seed, 'stored'),
    serverKey: hmac(seed, 'server'),
  };
}

/** Client keys by (password, salt, iterations). Its index is a hash, so that a heap dump's keys show no password. */
export class ClientKeyCache {
  readonly #keys: LRUCache<string, Promise<ClientKeys>>;

  constructor(max = 256) {
    this.#keys = new LRUCache({ max });
  }

  get(password: string, salt: Buffer, iterations: number): Promise<ClientKeys> {
    const index = hmac(salt, `${iterations}\0${password}`).toString('base64');
    const known = this.#keys.get(index);
    if (known) return known;
    const keys = deriveKeys(password, salt, iterations);
    this.#keys.set(index, keys);
    keys.catch(() => this.#keys.delete(index));
    return keys;
  }
}
