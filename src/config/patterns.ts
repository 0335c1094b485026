/** Which tenants a user may speak for: `*` (all), `eu/*` (all of a domain), or one tenant key. */
import { type Domain, isName, parseTenantKey, type TenantKey, type TenantParts } from '../base/ids.ts';

export type TenantPattern =
  | { readonly kind: 'all' }
  | { readonly kind: 'domain'; readonly domain: Domain }
  | { readonly kind: 'tenant'; readonly key: TenantKey; readonly domain: Domain };

/** @throws HP-D101 when it is neither a pattern nor a tenant key. */
export function parseTenantPattern(text: string): TenantPattern {
  if (text === '*') return { kind: 'all' };
  const domain = text.endsWith('/*') ? text.slice(0, -2) : undefined;
  if (domain !== undefined && isName(domain)) return { kind: 'domain', domain: domain as Domain }; // cast: checked
  const { key, domain: of } = parseTenantKey(text);
  return { kind: 'tenant', key, domain: of };
}

export function matchesTenant(pattern: TenantPattern, tenant: TenantParts): boolean {
  switch (pattern.kind) {
    case 'all':
      return true;
    case 'domain':
      return pattern.domain === tenant.domain;
    case 'tenant':
      return pattern.key === tenant.key;
  }
}
