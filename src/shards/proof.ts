/**
 * The proof that a gateway, which knows the shard-signing key, asked to enter a transaction: HMAC-SHA-256 over what is
 * entered and the backend it happens on. It is the same for as long as none of the four changes, so gateways keep it per
 * backend and tenant. A client can call `homeport.enter` too, but has no proof; SPEC.md says where one could show.
 */
import { createHmac } from 'node:crypto';
import { assert } from '../base/assert.ts';
import type { PlacementKey, TenantKey } from '../base/ids.ts';

export interface Entry {
  /** The backend's real process id, from its BackendKeyData. */
  readonly backendPid: number;
  readonly tenant: TenantKey;
  readonly placement: PlacementKey;
  readonly epoch: number;
}

export const SIGNING_KEY_BYTES = 32;
const BLOCK_BYTES = 64;

/** @returns 64 hexadecimal digits. Fields are parted by line feeds, which none of them can contain. */
export function enterProof(signingKey: Buffer, entry: Entry): string {
  assert(signingKey.length === SIGNING_KEY_BYTES, 'the shard-signing key has 32 bytes');
  const { backendPid, epoch, placement, tenant } = entry;
  return createHmac('sha256', signingKey)
    .update(`enter\n${backendPid}\n${epoch}\n${placement}\n${tenant}`)
    .digest('hex');
}

/** The two blocks of RFC 2104 that a shard keeps instead of the key: SQL has SHA-256 but no exclusive or of bytes. */
export function signingPads(signingKey: Buffer): { inner: Buffer; outer: Buffer } {
  assert(signingKey.length === SIGNING_KEY_BYTES, 'the shard-signing key has 32 bytes');
  const block = Buffer.concat([signingKey, Buffer.alloc(BLOCK_BYTES - SIGNING_KEY_BYTES)]);
  const pad = (mask: number) => Buffer.from(block.map(byte => byte ^ mask));
  return { inner: pad(0x36), outer: pad(0x5c) };
}
