/** Where a tenant is, and why: the data of `homeport explain <tenant>`. Pure. */
import { hash } from 'node:crypto';
import { assert } from '../base/assert.ts';
import { HomeportError } from '../base/errors.ts';
import type { Domain, PlacementKey, RegionId, ShardId, TenantKey, TenantParts } from '../base/ids.ts';
import { slotPlacement } from '../base/ids.ts';
import { slotOf } from './hash.ts';
import type { Home, Placement } from './records.ts';
import { domainRegions, type RingShard, type RingTopology, ringOrder } from './ring.ts';

export interface ExplainInput {
  readonly tenant: TenantParts;
  readonly topology: RingTopology;
  readonly shards: readonly RingShard[];
  readonly slot: number;
  /** The placement of that slot. */
  readonly slotPlacement: Placement;
  /** The tenant's own placement, if it has one. */
  readonly pin?: Placement | undefined;
}

export interface Explanation {
  readonly tenant: TenantKey;
  readonly domain: Domain;
  readonly slot: number;
  readonly placement: PlacementKey;
  readonly epoch: number;
  readonly state: Placement['state'];
  readonly home: Home;
  readonly secondaries: readonly Home[];
  /** SHA-256 of the tenant key, in hexadecimal; its first 4 bytes modulo `slots` are the slot. */
  readonly hash: string;
  readonly slots: number;
  readonly regions: readonly RegionId[];
  readonly pin: { readonly home: Home; readonly epoch: number; readonly state: Placement['state'] } | null;
  /** What the slot says, which a pin overrides. */
  readonly slotPlacement: { readonly placement: PlacementKey; readonly epoch: number; readonly home: Home };
  /** What the ring would choose for the slot, best first. It only proposes. */
  readonly ring: readonly {
    readonly rank: number;
    readonly shard: ShardId;
    readonly region: RegionId;
    readonly weight: number;
    readonly score: number;
    readonly role: 'home' | 'secondary' | 'none';
  }[];
  /** One sentence. */
  readonly why: string;
}

/** @throws HP-D102 for an unknown domain. */
export function explain(input: ExplainInput): Explanation {
  const { tenant, topology, shards, slot, slotPlacement: slotPlaced, pin } = input;
  const { key, domain } = tenant;
  const regions = domainRegions(topology, domain);
  if (!regions) throw new HomeportError('HP-D102', { domain });
  assert(slot === slotOf(key, topology.slots), 'the slot is the one that the key hashes to');
  const placed = pin ?? slotPlaced;
  const able = shards.filter(s => s.weight > 0 && regions.includes(s.region));
  const ring = ringOrder(slotPlacement(domain, slot), able).map(({ shard, score }, n) => ({
    rank: n + 1,
    shard: shard.id,
    region: shard.region,
    weight: shard.weight,
    score,
    role: roleOf(placed, shard.id),
  }));
  return {
    tenant: key,
    domain,
    slot,
    placement: placed.key,
    epoch: placed.epoch,
    state: placed.state,
    home: placed.home,
    secondaries: placed.secondaries,
    hash: hash('sha256', key, 'hex'),
    slots: topology.slots,
    regions,
    pin: pin ? { home: pin.home, epoch: pin.epoch, state: pin.state } : null,
    slotPlacement: { placement: slotPlaced.key, epoch: slotPlaced.epoch, home: slotPlaced.home },
    ring,
    why: reason(placed, slotPlaced, pin !== undefined, ring[0]?.shard, regions),
  };
}

function roleOf(placed: Placement, shard: ShardId): 'home' | 'secondary' | 'none' {
  if (placed.home.shard === shard) return 'home';
  return placed.secondaries.some(s => s.shard === shard) ? 'secondary' : 'none';
}

function reason(
  placed: Placement,
  slotPlaced: Placement,
  pinned: boolean,
  ringBest: ShardId | undefined,
  regions: readonly RegionId[],
): string {
  const { home } = placed;
  const opening = placed.state === 'opening' ? '; the change is still under way' : '';
  if (pinned) {
    const otherwise =
      slotPlaced.home.shard === home.shard ? 'where its slot is too' : `its slot is in ${slotPlaced.home.shard}`;
    return `pinned to ${home.shard} (${otherwise})${opening}`;
  }
  if (!regions.includes(home.region)) return `its slot is in ${home.shard}, outside its domain: this must be moved`;
  if (ringBest === home.shard) return `its slot is in ${home.shard}, the ring's first choice${opening}`;
  const cause = placed.epoch === 1 ? 'so that no shard has more than its share' : 'by a change of home';
  return `its slot is in ${home.shard} and not in ${ringBest ?? 'any other'}, the ring's first choice, ${cause}${opening}`;
}
