/** From a tenant to the pool that its transaction takes a backend from. No I/O: a hint, checked by the shard (I6). */
import { HomeportError } from '../base/errors.ts';
import type { TenantParts } from '../base/ids.ts';
import { limits } from '../base/limits.ts';
import type { Pool } from '../shards/pool.ts';
import type { Gateway, GatewayUser, PlacedAt } from './ports.ts';

export type Route =
  /** A shard of this region: `enter` opens the transaction. */
  | { readonly kind: 'home'; readonly pool: Pool; readonly placement: PlacedAt; readonly tenant: TenantParts }
  /** A gateway of the home region, which does the rest. */
  | { readonly kind: 'peer'; readonly pool: Pool; readonly placement: PlacedAt; readonly tenant: TenantParts }
  /** No tenant: any shard here answers what concerns no tenant; its policies refuse the rest. */
  | { readonly kind: 'anywhere'; readonly pool: Pool };

export type Routing =
  | Route
  /** The tenant's pin is not in memory: ask the directory first. */
  | { readonly kind: 'ask'; readonly tenant: TenantParts }
  /** Known, but not to be used now: the home is changing, or we have been sent in circles. */
  | { readonly kind: 'hold'; readonly tenant: TenantParts; readonly why: string }
  | { readonly kind: 'refused'; readonly error: HomeportError };

export function routeFor(gateway: Gateway, user: GatewayUser, tenant: TenantParts | undefined, hops: number): Routing {
  if (tenant === undefined) return anywhere(gateway);
  if (!user.mayUse(tenant)) {
    return { kind: 'refused', error: new HomeportError('HP-G101', { user: user.name, tenant: tenant.key }) };
  }
  const found = gateway.locator.locate(tenant);
  if (found.kind === 'unknown-yet') return { kind: 'ask', tenant };
  if (found.kind === 'unknown-domain') {
    const error = new HomeportError('HP-G102', { domain: found.domain, tenant: tenant.key });
    return { kind: 'refused', error };
  }
  return toHome(gateway, tenant, found.placement, hops);
}

function toHome(gateway: Gateway, tenant: TenantParts, placement: PlacedAt, hops: number): Routing {
  const { region, shard } = placement.home;
  if (placement.state !== 'active') return { kind: 'hold', tenant, why: `its placement is ${placement.state}` };
  if (region === gateway.region) {
    const pool = gateway.shards.get(shard);
    if (pool) return { kind: 'home', pool, placement, tenant };
    return { kind: 'hold', tenant, why: `shard ${shard} is not in this gateway's configuration` };
  }
  if (hops >= limits.forwardHops) return { kind: 'hold', tenant, why: `forwarded ${hops} times` };
  const pool = gateway.peers.get(region);
  if (pool) return { kind: 'peer', pool, placement, tenant };
  return { kind: 'hold', tenant, why: `region ${region} is not in this gateway's configuration` };
}

function anywhere(gateway: Gateway): Routing {
  for (const pool of gateway.shards.values()) return { kind: 'anywhere', pool };
  for (const pool of gateway.peers.values()) return { kind: 'anywhere', pool };
  return { kind: 'refused', error: new HomeportError('HP-G301', { target: 'any shard', why: 'none is configured' }) };
}
