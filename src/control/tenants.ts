/** The register of tenants: a row at each tenant's home, so that it travels with the tenant's data (I11). */
import { HomeportError } from '../base/errors.ts';
import { parseTenantKey, type ShardId, type TenantKey, type TenantParts } from '../base/ids.ts';
import { addTenant, findTenant, listTenants, type RegisteredTenant, TENANT_PAGE_ROWS } from '../shards/tenants.ts';
import { adminTargets, type ControlPlane, type Whereabouts } from './plane.ts';

export interface TenantView {
  readonly tenant: TenantKey;
  readonly region: string;
  readonly shard: ShardId;
  readonly placement: string;
  readonly epoch: number;
  readonly pinned: boolean;
  readonly registered: Registration | undefined;
}

/** Of the register's row only what holds today: nothing acts on durability and isolation yet. */
export type Registration = Pick<RegisteredTenant, 'createdAt' | 'createdBy'>;

function view(where: Whereabouts, registered: RegisteredTenant | undefined): TenantView {
  const { home, key, epoch } = where.placement;
  return {
    tenant: where.tenant.key,
    region: home.region,
    shard: home.shard,
    placement: key,
    epoch,
    pinned: where.pin !== undefined,
    registered: registered && { createdAt: registered.createdAt, createdBy: registered.createdBy },
  };
}

/** @returns the tenant where it lives, and whether it is new. */
export async function registerTenant(
  plane: ControlPlane,
  tenant: TenantParts,
): Promise<TenantView & { readonly added: boolean }> {
  const where = await plane.whereIs(tenant);
  const { added, registered } = await plane.onShard(where.placement.home.shard, async admin => ({
    added: await addTenant(admin, { tenant: tenant.key, createdBy: plane.author.who }),
    registered: await findTenant(admin, tenant.key),
  }));
  return { ...view(where, registered), added };
}

export async function showTenant(plane: ControlPlane, tenant: TenantParts): Promise<TenantView> {
  const where = await plane.whereIs(tenant);
  const registered = await plane.onShard(where.placement.home.shard, admin => findTenant(admin, tenant.key));
  return view(where, registered);
}

export interface ListedTenant {
  readonly tenant: TenantKey;
  readonly domain: string;
  readonly shard: ShardId;
  readonly createdAt: Date;
}

export interface TenantList {
  /** By key. */
  readonly tenants: readonly ListedTenant[];
  /** Shards that could not be asked: their tenants are not in the list. */
  readonly missing: readonly { readonly shard: ShardId; readonly why: string }[];
  /** There are more than were asked for. */
  readonly more: boolean;
}

/** Page by page; one more than the limit, if there is one, tells that there are more. */
async function tenantsOf(plane: ControlPlane, shard: ShardId, limit: number): Promise<ListedTenant[]> {
  return plane.onShard(shard, async admin => {
    const found: ListedTenant[] = [];
    for (let after = ''; found.length <= limit; ) {
      const page = await listTenants(admin, { after });
      for (const { tenant, createdAt } of page) {
        found.push({ tenant, domain: parseTenantKey(tenant).domain, shard, createdAt });
      }
      if (page.length < TENANT_PAGE_ROWS) break;
      after = page.at(-1)?.tenant ?? '';
    }
    return found;
  });
}

/** The registered tenants of all shards that can be reached; `limit` bounds what is held. */
export async function listAllTenants(plane: ControlPlane, { limit }: { limit: number }): Promise<TenantList> {
  const missing: { shard: ShardId; why: string }[] = [];
  const lists = await Promise.all(
    adminTargets(plane.config).map(({ id }) =>
      tenantsOf(plane, id, limit).catch((error: unknown) => {
        if (!(error instanceof HomeportError && error.code === 'HP-A106')) throw error;
        missing.push({ shard: id, why: error.message });
        return [];
      }),
    ),
  );
  const tenants = lists.flat().sort((a, b) => (a.tenant < b.tenant ? -1 : 1));
  return { tenants: tenants.slice(0, limit), missing, more: tenants.length > limit };
}
