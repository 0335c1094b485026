/**
 * The two hashes of the directory. Both are plain SHA-256 over documented bytes, so that another language, and the SQL
 * function `homeport.slot`, give the same answers (`SPEC.md`, "Hashes"; test/directory/vectors.json).
 */
import { hash } from 'node:crypto';
import { assert } from '../base/assert.ts';
import type { PlacementKey, ShardId, TenantKey } from '../base/ids.ts';

/** Parts the ring's points from every other use of SHA-256, and one version of the ring from the next. */
const RING_PREFIX = 'homeport-ring-1';

const U_BITS = 2 ** 52;

/**
 * The slot of a tenant: the first 4 bytes (big endian, unsigned) of sha256(UTF-8 of the whole key, domain included)
 * modulo `slots`. Costs about 1 µs: the cache keeps it.
 */
export function slotOf(tenant: TenantKey, slots: number): number {
  assert(slots > 0, 'a cluster has at least one slot');
  return hash('sha256', tenant, 'buffer').readUInt32BE(0) % slots;
}

/**
 * Where a shard stands for a placement: u in (0, 1), from
 * sha256("homeport-ring-1" 0x00 <placement key> 0x00 <shard id>), all UTF-8.
 * The first 8 bytes (big endian) without their lowest 12 bits are n; u = (n + 0.5) / 2^52, which a double holds
 * exactly, and which is never 0 or 1.
 */
export function ringPoint(placement: PlacementKey, shard: ShardId): number {
  const digest = hash('sha256', `${RING_PREFIX}\u0000${placement}\u0000${shard}`, 'buffer');
  const n = digest.readUInt32BE(0) * 2 ** 20 + (digest.readUInt32BE(4) >>> 12);
  return (n + 0.5) / U_BITS;
}

/**
 * Weighted rendezvous score, −w / ln u: the shard with the largest takes the slot, and each wins in proportion to its
 * weight. Source: Schindelhauer and Schomaker, "Weighted distributed hash tables" (SPAA 2005), the logarithmic method.
 */
export function ringScore(u: number, weight: number): number {
  assert(u > 0 && u < 1, 'u lies strictly between 0 and 1');
  return weight / -Math.log(u);
}
