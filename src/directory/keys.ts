/**
 * Keys in the KV bucket: `topology`, `shard.<id>`, `slot.<domain>.<n>`, `tenant.<encoded>`, `change.<id>`.
 *
 * NATS allows letters, digits and `- / = . _` in a key, and a dot parts tokens. So a tenant key is written as its UTF-8
 * bytes, those of [A-Za-z0-9_-] as they are and every other one as `=` and two lower-case hex digits: reversible, one
 * spelling only, readable for an operator (`eu/acme` is `tenant.eu=2facme`), and at most 600 characters for 200 bytes
 * (NATS takes subjects of up to 4,096).
 */
import {
  isName,
  type PlacementKey,
  parseTenantKey,
  type ShardId,
  type TenantKey,
  tenantPlacement,
} from '../base/ids.ts';

export type RecordKind = 'topology' | 'shard' | 'slot' | 'tenant' | 'change';

export const DIRECTORY_BUCKET = 'homeport_directory';
export const DIRECTORY_STREAM = `KV_${DIRECTORY_BUCKET}`;
export const AUDIT_STREAM = 'homeport_audit';
export const TOPOLOGY_KEY = 'topology';

const SLOT_PLACEMENT = /^slot:([a-z][a-z0-9-]*):(0|[1-9]\d{0,5})$/;
const SLOT_KEY = /^slot\.([a-z][a-z0-9-]*)\.(0|[1-9]\d{0,5})$/;

export function subjectOf(kvKey: string): string {
  return `$KV.${DIRECTORY_BUCKET}.${kvKey}`;
}

export function kvKeyOfSubject(subject: string): string {
  return subject.slice(`$KV.${DIRECTORY_BUCKET}.`.length);
}

export function shardKey(id: ShardId): string {
  return `shard.${id}`;
}

export function changeKey(id: string): string {
  return `change.${encodeToken(id)}`;
}

export function tenantKvKey(tenant: TenantKey): string {
  return `tenant.${encodeToken(tenant)}`;
}

/** Which kind of record a key holds; undefined for a key that is not ours. */
export function kindOf(kvKey: string): RecordKind | undefined {
  if (kvKey === TOPOLOGY_KEY) return 'topology';
  const kind = kvKey.slice(0, kvKey.indexOf('.'));
  return kind === 'shard' || kind === 'slot' || kind === 'tenant' || kind === 'change' ? kind : undefined;
}

/** @returns undefined when `key` is not a placement key in its one spelling. */
export function placementToKvKey(key: PlacementKey): string | undefined {
  if (key.startsWith('tenant:')) {
    const tenant = normalTenant(key.slice('tenant:'.length));
    return tenant === undefined ? undefined : tenantKvKey(tenant);
  }
  const match = SLOT_PLACEMENT.exec(key);
  return match?.[1] && isName(match[1]) ? `slot.${match[1]}.${match[2]}` : undefined;
}

/** @returns undefined when the key holds no placement. */
export function kvKeyToPlacement(kvKey: string): PlacementKey | undefined {
  if (kvKey.startsWith('tenant.')) {
    const tenant = normalTenant(decodeToken(kvKey.slice('tenant.'.length)) ?? '');
    return tenant === undefined ? undefined : tenantPlacement(tenant);
  }
  const match = SLOT_KEY.exec(kvKey);
  return match ? (`slot:${match[1]}:${match[2]}` as PlacementKey) : undefined; // cast: checked form
}

export function encodeToken(text: string): string {
  let out = '';
  for (const byte of Buffer.from(text, 'utf8')) {
    const letter = (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a && byte < 0x80;
    const plain = letter || (byte >= 0x30 && byte <= 0x39) || byte === 0x5f || byte === 0x2d;
    out += plain ? String.fromCharCode(byte) : `=${byte.toString(16).padStart(2, '0')}`;
  }
  return out;
}

/** @returns undefined for anything that `encodeToken` could not have written. */
export function decodeToken(token: string): string | undefined {
  const bytes: number[] = [];
  for (let i = 0; i < token.length; i++) {
    const char = token.charCodeAt(i);
    if (char !== 0x3d) {
      bytes.push(char);
      continue;
    }
    const hex = token.slice(i + 1, i + 3);
    if (!/^[0-9a-f]{2}$/.test(hex)) return undefined;
    bytes.push(Number.parseInt(hex, 16));
    i += 2;
  }
  const text = Buffer.from(bytes).toString('utf8');
  return encodeToken(text) === token ? text : undefined;
}

/** The tenant key itself when it is in its normal form (`acme`, not `global/acme`); undefined otherwise. */
function normalTenant(text: string): TenantKey | undefined {
  try {
    const parts = parseTenantKey(text);
    return parts.key === text ? parts.key : undefined;
  } catch (error) {
    if (error instanceof Error) return undefined; // a key that isn't one: the caller asked exactly that
    throw error;
  }
}
