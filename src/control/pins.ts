/**
 * Pins: a tenant's placement of its own. Changing one is a small state machine whose state is the directory's record and
 * the fences, so that whoever runs the command again after a crash goes on where it stopped. See SPEC.md.
 */
import { HomeportError } from '../base/errors.ts';
import { type PlacementKey, type ShardId, type TenantParts, tenantPlacement } from '../base/ids.ts';
import { limits } from '../base/limits.ts';
import { tenantKvKey } from '../directory/keys.ts';
import { changePlacement, pinTenant, unpinTenant } from '../directory/placing.ts';
import { type Home, type Placement, placementFrom } from '../directory/records.ts';
import { domainRegions } from '../directory/ring.ts';
import { lostTo, placementSummary, type Versioned } from '../directory/store.ts';
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

/** I9. The directory refuses it as well, but only when it is written: a dry run must say the same. */
function refuseRegion({ tenant, topology }: Whereabouts, { region }: Home): void {
  const regions = domainRegions(topology, tenant.domain) ?? [];
  if (regions.includes(region)) return;
  const key = tenantPlacement(tenant.key);
  throw new HomeportError('HP-D103', { key, region, domain: tenant.domain, regions: regions.join(', ') });
}

/** The epoch that the next change of home takes, counted on from a pin that was taken away. */
function nextEpoch({ pinRecord }: Whereabouts): number {
  return pinRecord === 'absent' ? 1 : pinRecord.record.epoch + 1;
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
  refuseRegion(where, home);
  await refuseData(plane, where, home);
  if (options.dryRun) return report('would pin', nextEpoch(where));
  // Who wins this write makes the change; gateways hold the tenant's transactions until it is complete.
  const expected = where.pinRecord;
  const opening = await pinTenant(plane.store, tenant, { home, state: 'opening', expected }, plane.author);
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
      await takeBack(plane, where, opening, plane.homeNamed(shard));
      const params = { tenant: tenant.key, shard, wanted: opening.home.shard, tables: tables.join(', ') };
      throw new HomeportError('HP-A107', params);
    }
    await moveRegistration(plane, tenant, shard, opening.home.shard);
  }
  await plane.onShard(opening.home.shard, admin => openFence(admin, change));
  return announce(plane, tenant, opening);
}

/** The record of a change, if it still is the one that was begun. @throws HP-D201 */
async function recordOf(plane: ControlPlane, tenant: TenantParts, opening: Placement): Promise<Versioned<'tenant'>> {
  const key = tenantKvKey(tenant.key);
  const now = await plane.store.read('tenant', key);
  if (now?.revision === opening.revision) return now;
  const { record, revision = 0 } = now ?? {};
  const what = record ? placementSummary(record) : 'the record was deleted';
  const winner = { write: record?.write, atMs: record?.write.atMs ?? plane.world.clock.wallMs(), what };
  throw lostTo(key, { ...winner, expected: opening.revision, revision });
}

/**
 * The change is complete, unless another admin has said so already. Meant for the very record that began it: somebody
 * who was stopped before this step must not undo what others have done since.
 */
async function announce(plane: ControlPlane, tenant: TenantParts, opening: Placement): Promise<Placement> {
  const { home, secondaries, epoch } = opening;
  try {
    return await changePlacement(plane.store, opening, { home, secondaries, epoch, state: 'active' }, plane.author);
  } catch (error) {
    if (!(error instanceof HomeportError && error.code === 'HP-D201')) throw error;
    const now = await plane.store.read('tenant', tenantKvKey(tenant.key));
    if (now?.record.state !== 'active' || now.record.epoch !== epoch) throw error;
    return placementFrom(now.record, now.revision);
  }
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
async function takeBack(plane: ControlPlane, where: Whereabouts, begun: Placement, home: Home): Promise<void> {
  const { tenant, slotPlacement } = where;
  const expected = await recordOf(plane, tenant, begun);
  const opening = await pinTenant(plane.store, tenant, { home, state: 'opening', expected }, plane.author);
  const { epoch } = opening;
  const change = { placement: tenantPlacement(tenant.key), epoch, through: slotPlacement.key, waitMs };
  await closeOthers(plane, where, home.shard, change);
  await plane.onShard(home.shard, admin => openFence(admin, change));
  await announce(plane, tenant, opening);
}

/** The registration goes along. Written at the new home first: found twice is better than found nowhere. */
async function moveRegistration(plane: ControlPlane, tenant: TenantParts, from: ShardId, to: ShardId): Promise<void> {
  const found = await plane.onShard(from, admin => findTenant(admin, tenant.key));
  if (!found) return;
  await plane.onShard(to, admin => addTenant(admin, found));
  await plane.onShard(from, admin => removeTenant(admin, tenant.key));
}

export interface UnpinReport {
  readonly tenant: string;
  readonly home: Home;
  readonly outcome: 'unpinned' | 'would unpin';
}

/**
 * Takes a pin away: the tenant lives where its slot lives.
 * @throws HP-A104 without a pin, HP-A103 when its data is not at the slot's home, HP-A105 when the pin is being changed,
 * HP-D201 when another admin was first.
 */
export async function unpin(
  plane: ControlPlane,
  tenant: TenantParts,
  options: { dryRun?: boolean } = {},
): Promise<UnpinReport> {
  const where = await plane.whereIs(tenant);
  const { pin: pinned } = where;
  if (!pinned) return finishUnpin(plane, where, options);
  const { home } = where.slotPlacement;
  // An unpin that broke off may have left the pin on its way back: that is gone on with.
  if (pinned.state === 'opening' && pinned.home.shard !== home.shard) {
    throw new HomeportError('HP-A105', { tenant: tenant.key, wanted: pinned.home.shard });
  }
  await refuseData(plane, where, home);
  if (options.dryRun) return { tenant: tenant.key, home, outcome: 'would unpin' };
  // Back to the slot's home as a pin first, which closes where it was and finds late rows; then the pin itself goes.
  const atHome = await pinnedAtHome(plane, where, home);
  // Meant for that very pin: one that another admin has made since must not go, for its shard is open.
  await unpinTenant(plane.store, tenant, plane.author, atHome);
  await letSlotIn(plane, where, atHome.record.epoch + 1);
  return { tenant: tenant.key, home, outcome: 'unpinned' };
}

async function pinnedAtHome(plane: ControlPlane, where: Whereabouts, home: Home): Promise<Versioned<'tenant'>> {
  const { tenant, pin: pinned, pinRecord } = where;
  const isThere = pinned?.state === 'active' && pinned.home.shard === home.shard;
  if (isThere && pinRecord !== 'absent') return pinRecord;
  await pin(plane, tenant, home);
  const now = await plane.whereIs(tenant);
  if (now.pin?.state !== 'active' || now.pin.home.shard !== home.shard || now.pinRecord === 'absent') {
    throw new HomeportError('HP-D202', { key: tenantKvKey(tenant.key) });
  }
  return now.pinRecord;
}

/** The pin has gone from the directory, but an unpin may have broken off before the shards let the tenant in. */
async function finishUnpin(plane: ControlPlane, where: Whereabouts, { dryRun = false }): Promise<UnpinReport> {
  const { tenant, slotPlacement, pinRecord } = where;
  const { home } = slotPlacement;
  const kept = await shardsThatKeepOut(plane, where);
  if (kept.length === 0 || pinRecord === 'absent') throw new HomeportError('HP-A104', { tenant: tenant.key });
  if (dryRun) return { tenant: tenant.key, home, outcome: 'would unpin' };
  await letSlotIn(plane, where, pinRecord.record.epoch);
  return { tenant: tenant.key, home, outcome: 'unpinned' };
}

/** The shards whose fence still keeps the tenant out of its slot; the slot's own first. */
async function shardsThatKeepOut(plane: ControlPlane, { tenant, slotPlacement }: Whereabouts): Promise<ShardId[]> {
  const found: ShardId[] = [];
  for (const { id } of adminTargets(plane.config)) {
    const fence = await plane.onShard(id, admin => readFence(admin, tenantPlacement(tenant.key)));
    if (!fence?.through) continue;
    if (id === slotPlacement.home.shard) found.unshift(id);
    else found.push(id);
  }
  return found;
}

/**
 * The tenant's own fences close and no longer keep it out of its slot: both in one transaction at each shard. Under the
 * epoch of the pin that was taken away, so that a pin that another admin has begun since is left alone (HP-S401).
 */
async function letSlotIn(plane: ControlPlane, where: Whereabouts, epoch: number): Promise<void> {
  const placement: PlacementKey = tenantPlacement(where.tenant.key);
  for (const shard of await shardsThatKeepOut(plane, where)) {
    await plane.onShard(shard, admin => closeFence(admin, { placement, epoch, through: null, waitMs }));
  }
}
