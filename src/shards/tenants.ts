/** The register of the tenants that live on a shard: who made them, and what they were promised. */
import type pg from 'pg';
import { HomeportError } from '../base/errors.ts';
import type { ShardId, TenantKey } from '../base/ids.ts';

export type Durability = 'local' | 'quorum' | 'remote';
export type Isolation = 'shared' | 'dedicated';

export interface RegisteredTenant {
  readonly tenant: TenantKey;
  readonly createdAt: Date;
  readonly createdBy: string;
  readonly durability: Durability;
  readonly isolation: Isolation;
}

export interface NewTenant {
  readonly tenant: TenantKey;
  readonly createdBy: string;
  readonly durability?: Durability;
  readonly isolation?: Isolation;
}

const COLUMNS = `tenant, created_at as "createdAt", created_by as "createdBy", durability, isolation`;
export const TENANT_PAGE_ROWS = 1_000;

/** @returns false when it was registered before; what it was promised stays as it was. */
export async function addTenant(admin: pg.ClientBase, tenant: NewTenant): Promise<boolean> {
  const { rowCount } = await admin.query(
    `insert into homeport.tenant (tenant, created_by, durability, isolation) values ($1, $2, $3, $4)
     on conflict (tenant) do nothing`,
    [tenant.tenant, tenant.createdBy, tenant.durability ?? 'local', tenant.isolation ?? 'shared'],
  );
  return rowCount === 1;
}

export async function findTenant(admin: pg.ClientBase, tenant: TenantKey): Promise<RegisteredTenant | undefined> {
  const { rows } = await admin.query<RegisteredTenant>(`select ${COLUMNS} from homeport.tenant where tenant = $1`, [
    tenant,
  ]);
  return rows[0];
}

/** @throws HP-S501 when it is not registered here. */
export async function getTenant(admin: pg.ClientBase, shard: ShardId, tenant: TenantKey): Promise<RegisteredTenant> {
  const found = await findTenant(admin, tenant);
  if (!found) throw new HomeportError('HP-S501', { tenant, shard });
  return found;
}

/** For a tenant whose registration has been written at its new home. */
export async function removeTenant(admin: pg.ClientBase, tenant: TenantKey): Promise<void> {
  await admin.query('delete from homeport.tenant where tenant = $1', [tenant]);
}

/** One page in the order of the keys; give the last key of a page to get the next one. */
export async function listTenants(
  admin: pg.ClientBase,
  { after = '', limit = TENANT_PAGE_ROWS }: { after?: string; limit?: number } = {},
): Promise<RegisteredTenant[]> {
  const { rows } = await admin.query<RegisteredTenant>(
    `select ${COLUMNS} from homeport.tenant where tenant > $1 order by tenant limit $2`,
    [after, Math.min(limit, TENANT_PAGE_ROWS)],
  );
  return rows;
}
