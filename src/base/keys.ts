/**
 * One cluster secret, many keys: each use gets its own by HKDF-SHA256 (RFC 5869), so that what one part knows or leaks
 * says nothing about the others, and an operator keeps one secret and not ten.
 */
import { hkdfSync } from 'node:crypto';

/** What a derived key is for. `role:<name>` is the password of an application role on the shards. */
export type KeyUse = 'shard-signing' | 'peer-auth' | 'scram-mock' | `role:${string}`;

/** @returns 32 bytes. The same secret and use give the same key in every process. */
export function deriveKey(clusterSecret: Buffer, use: KeyUse): Buffer {
  return Buffer.from(hkdfSync('sha256', clusterSecret, 'homeport/v1', use, 32));
}

/** The password that gateways use for an application role on a shard; people never see or type it. */
export function rolePassword(clusterSecret: Buffer, role: string): string {
  return deriveKey(clusterSecret, `role:${role}`).toString('base64url');
}
