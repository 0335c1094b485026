/**
 * Pins: a tenant's placement of its own. Changing one is a small state machine whose state is the directory's record and
 * the fences, so that whoever runs the command again after a crash goes on where it stopped. See SPEC.md.
 */
import type pg from 'pg';
import { HomeportError } from '../base/errors.ts';
import { type PlacementKey, type ShardId, type TenantParts, tenantPlacement } from '../base/ids.ts';
import { limits } from '../base/limits.ts';
import { pinTenant, unpinTenant } from '../directory/placing.ts';
import type { Home, Placement } from '../directory/records.ts';
import { inTransaction } from '../shards/admin.ts';
import { closeFence, type FenceChange, hasRows, openFence, readFence } from '../shards/fences.ts';
import { addTenant, findTenant, removeTenant } from '../shards/tenants.ts';
import { adminTargets, type ControlPlane, type Whereabouts } from './plane.ts';

export interface PinReport {
  readonly tenant: string;
  readonly home: Home;
  readonly epoch: number;
  /** `unchanged`: it was pinned there already. */
  readonly outcome: 'pinned' | 'unchanged' | 'would pin';
  readonly before: Home;
}

const waitMs = limits.fenceWaitMs;

async function refuseData(plane: ControlPlane, where: Whereabouts, home: Home): Promise<void> {
  const { placement, tenant } = where;
  if (placement.home.shard === home.shard) return;
  const tables = await plane.onShard(placement.home.shard, admin => hasRows(admin, tenant.key));
  if (tables.length === 0) return;
  const params = { tenant: tenant.key, shard: placement.home.shard, wanted: home.shard, tables: tables.join(', ') };
  throw new HomeportError('HP-A103', params);
}

/** The home of the tenant's data while a change is open: the fence tells, the directory already says where it goes. */
function dataHome(where: Whereabouts): Home {
  return where.pin?.state === 'opening' ? where.slotPlacement.home : where.placement.home;
}

/**
 * Pins a tenant to a shard.
 * @throws HP-A103 when it has data elsewhere, HP-D103 outside its domain, HP-D201 when another admin was first.
 */
export async function pin(
  plane: ControlPlane,
  tenant: TenantParts,
  home: Home,
  options: { dryRun?: boolean } = {},
): Promise<PinReport> {
  const where = await plane.whereIs(tenant);
  const before = dataHome(where);
  const report = (outcome: PinReport['outcome'], epoch: number): PinReport => {
    return { tenant: tenant.key, home, epoch, outcome, before };
  };
  if (where.pin?.state === 'opening') {
    if (where.pin.home.shard !== home.shard) {
      throw new HomeportError('HP-A105', { tenant: tenant.key, wanted: where.pin.home.shard });
    }
    if (options.dryRun) return report('would pin', where.pin.epoch);
    return report('pinned', (await complete(plane, where, where.pin)).epoch);
  }
  if (where.pin?.home.shard === home.shard) return report('unchanged', where.pin.epoch);
  await refuseData(plane, where, home);
  if (options.dryRun) return report('would pin', (where.pin?.epoch ?? 0) + 1);
  // Who wins this write makes the change; gateways hold the tenant's transactions until it is complete.
  const opening = await pinTenant(plane.store, tenant, { home, state: 'opening' }, plane.author);
  return report('pinned', (await complete(plane, where, opening)).epoch);
}

/** From `opening` on: close every other way in, look for data once more, open the new one, say so. */
async function complete(plane: ControlPlane, where: Whereabouts, opening: Placement): Promise<Placement> {
  const { tenant, slotPlacement } = where;
  const key = tenantPlacement(tenant.key);
  const change = { placement: key, epoch: opening.epoch, through: slotPlacement.key, waitMs };
  const closed = await closeOthers(plane, where, opening.home.shard, change);
  for (const shard of closed) {
    // Nobody writes for it there now. A row that came between the first look and the fence ends the change.
    const tables = await plane.onShard(shard, admin => hasRows(admin, tenant.key));
    if (tables.length > 0) {
      await takeBack(plane, where, plane.homeNamed(shard));
      const params = { tenant: tenant.key, shard, wanted: opening.home.shard, tables: tables.join(', ') };
      throw new HomeportError('HP-A103', params);
    }
    await moveRegistration(plane, tenant, shard, opening.home.shard);
  }
  await plane.onShard(opening.home.shard, admin => openFence(admin, change));
  return pinTenant(plane.store, tenant, { home: opening.home, state: 'active' }, plane.author);
}

/**
 * The slot's own shard must turn the tenant away for as long as the pin lasts, and so must whoever held the pin last:
 * after a change that broke off twice, only the fences know who that was.
 * @returns the shards that were closed.
 */
async function closeOthers(
  plane: ControlPlane,
  where: Whereabouts,
  target: ShardId,
  change: FenceChange,
): Promise<ShardId[]> {
  const closed: ShardId[] = [];
  for (const { id } of adminTargets(plane.config)) {
    if (id === target) continue;
    await plane.onShard(id, async admin => {
      const fence = await readFence(admin, change.placement);
      if (fence === undefined && id !== where.slotPlacement.home.shard) return;
      await closeFence(admin, change);
      closed.push(id);
    });
  }
  return closed;
}

/** The old home serves again, pinned where it is: the epoch of the attempt has been used up and must not come back. */
async function takeBack(plane: ControlPlane, where: Whereabouts, home: Home): Promise<void> {
  const { tenant, slotPlacement } = where;
  const { epoch } = await pinTenant(plane.store, tenant, { home, state: 'opening' }, plane.author);
  const change = { placement: tenantPlacement(tenant.key), epoch, through: slotPlacement.key, waitMs };
  await closeOthers(plane, where, home.shard, change);
  await plane.onShard(home.shard, admin => openFence(admin, change));
  await pinTenant(plane.store, tenant, { home, state: 'active' }, plane.author);
}

/** The registration goes along. Written at the new home first: found twice is better than found nowhere. */
async function moveRegistration(plane: ControlPlane, tenant: TenantParts, from: ShardId, to: ShardId): Promise<void> {
  const found = await plane.onShard(from, admin => findTenant(admin, tenant.key));
  if (!found) return;
  await plane.onShard(to, admin => addTenant(admin, found));
  await plane.onShard(from, admin => removeTenant(admin, tenant.key));
}

/**
 * Takes a pin away: the tenant lives where its slot lives.
 * @throws HP-A104 without a pin, HP-A103 when its data is not at the slot's home, HP-A105 when the pin is being changed.
 */
export async function unpin(
  plane: ControlPlane,
  tenant: TenantParts,
  options: { dryRun?: boolean } = {},
): Promise<{ readonly tenant: string; readonly home: Home; readonly outcome: 'unpinned' | 'would unpin' }> {
  const where = await plane.whereIs(tenant);
  const { pin: pinned, slotPlacement } = where;
  if (!pinned) return finishUnpin(plane, where, options);
  if (pinned.state === 'opening') {
    throw new HomeportError('HP-A105', { tenant: tenant.key, wanted: pinned.home.shard });
  }
  const { home } = slotPlacement;
  await refuseData(plane, where, home);
  if (options.dryRun) return { tenant: tenant.key, home, outcome: 'would unpin' };
  // Back to the slot's home as a pin first, which closes where it was and finds late rows; then the pin itself goes.
  if (pinned.home.shard !== home.shard) await pin(plane, tenant, home);
  await unpinTenant(plane.store, tenant, plane.author);
  await plane.onShard(home.shard, admin => letSlotIn(admin, tenantPlacement(tenant.key)));
  return { tenant: tenant.key, home, outcome: 'unpinned' };
}

/** The pin has gone from the directory, but an unpin may have broken off before the slot's shard let the tenant in. */
async function finishUnpin(plane: ControlPlane, where: Whereabouts, options: { dryRun?: boolean }) {
  const { tenant, slotPlacement } = where;
  const { home } = slotPlacement;
  const key = tenantPlacement(tenant.key);
  const fence = await plane.onShard(home.shard, admin => readFence(admin, key));
  if (!fence?.through) throw new HomeportError('HP-A104', { tenant: tenant.key });
  if (options.dryRun) return { tenant: tenant.key, home, outcome: 'would unpin' as const };
  await plane.onShard(home.shard, admin => letSlotIn(admin, key));
  return { tenant: tenant.key, home, outcome: 'unpinned' as const };
}

/** The tenant's own fence closes and no longer keeps it out of its slot: both in one transaction. */
async function letSlotIn(admin: pg.Client, key: PlacementKey): Promise<void> {
  const current = await inTransaction(admin, () => readFence(admin, key));
  if (!current) return;
  await closeFence(admin, { placement: key, epoch: current.epoch + 1, through: null, waitMs });
}
