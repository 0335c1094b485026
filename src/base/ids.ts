/**
 * Names of things, parsed once at the border and branded, so that a raw string can't pass for a checked one.
 */
import { HomeportError } from './errors.ts';

/** `[domain/]name`, normalised: the default domain is left out (`acme`, `eu/acme`). 1..200 bytes of UTF-8. */
export type TenantKey = string & { readonly brand: 'TenantKey' };
export type Domain = string & { readonly brand: 'Domain' };
/** `slot:<domain>:<n>` or `tenant:<tenant key>`. */
export type PlacementKey = string & { readonly brand: 'PlacementKey' };
export type RegionId = string & { readonly brand: 'RegionId' };
export type ShardId = string & { readonly brand: 'ShardId' };

export const DEFAULT_DOMAIN = 'global' as Domain; // cast: the one domain that always exists
export const MAX_TENANT_KEY_BYTES = 200;

const NAME = /^[a-z][a-z0-9-]{0,38}[a-z0-9]$/;

/** Region, shard and domain names: lower-case letters, digits and dashes, 2..40 characters, starting with a letter. */
export function isName(text: string): boolean {
  return NAME.test(text);
}

export interface TenantParts {
  readonly key: TenantKey;
  readonly domain: Domain;
  readonly name: string;
}

function hasControlCharacter(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return true;
  }
  return false;
}

/**
 * Reads a tenant key as people write it. `global/acme` and `acme` are the same tenant.
 * @throws HP-D101 when it is empty, too long, not well-formed UTF-16, or has control characters or a bad domain.
 */
export function parseTenantKey(text: string): TenantParts {
  const slash = text.indexOf('/');
  const domain = slash < 0 ? DEFAULT_DOMAIN : text.slice(0, slash);
  const name = slash < 0 ? text : text.slice(slash + 1);
  const key = domain === DEFAULT_DOMAIN && !name.includes('/') ? name : text;
  const bad = (why: string) => new HomeportError('HP-D101', { tenant: text.slice(0, 80), why });
  if (name.length === 0) throw bad('the name is empty');
  if (!isName(domain)) throw bad(`"${domain.slice(0, 40)}" is not a domain name`);
  if (Buffer.byteLength(key) > MAX_TENANT_KEY_BYTES) throw bad(`longer than ${MAX_TENANT_KEY_BYTES} bytes`);
  if (hasControlCharacter(key)) throw bad('it has control characters');
  if (!key.isWellFormed()) throw bad('it is not well-formed Unicode');
  // casts: this function is where the brands are earned
  return { key: key as TenantKey, domain: domain as Domain, name };
}

export function slotPlacement(domain: Domain, slot: number): PlacementKey {
  return `slot:${domain}:${slot}` as PlacementKey; // cast: built from checked parts
}

export function tenantPlacement(tenant: TenantKey): PlacementKey {
  return `tenant:${tenant}` as PlacementKey; // cast: built from a checked part
}
