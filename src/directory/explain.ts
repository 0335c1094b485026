/** Why a tenant lives where it lives: every step from its name to its shard, as `homeport explain` shows it. Pure. */
import { createHash } from 'node:crypto';
import type { PlacementKey, TenantParts } from '../base/ids.ts';
import type { Home, Placement, ShardSpec, StoredTopology } from './records.ts';
import { domainRegions, eligibleShards, ringOrder } from './ring.ts';

export interface Explanation {
  readonly tenant: string;
  readonly domain: string;
  /** The domain's regions: nothing of the tenant is ever placed outside of them (I9). */
  readonly regions: readonly string[];
  /** First four bytes of SHA-256 of the key, in hexadecimal, and the slot that they give. */
  readonly hash: string;
  readonly slot: number;
  readonly slots: number;
  readonly placement: PlacementKey;
  readonly state: string;
  readonly epoch: number;
  readonly home: Home;
  readonly secondaries: readonly Home[];
  /** The tenant's own placement, when it has one. */
  readonly pin: { readonly home: Home; readonly epoch: number; readonly state: string } | null;
  /** The slot's home, which counts without a pin. */
  readonly slotHome: Home;
  /** The ring's order for the slot, best first. It only proposes: what counts is the placement written down. */
  readonly ring: readonly {
    readonly shard: string;
    readonly region: string;
    readonly weight: number;
    readonly score: number;
  }[];
  readonly why: string;
}

export interface ExplainInput {
  readonly tenant: TenantParts;
  readonly topology: StoredTopology;
  readonly shards: readonly ShardSpec[];
  readonly slot: number;
  readonly slotPlacement: Placement;
  readonly pin: Placement | undefined;
}

export function explain({ tenant, topology, shards, slot, slotPlacement, pin }: ExplainInput): Explanation {
  const placement = pin ?? slotPlacement;
  const able = eligibleShards(topology, shards, tenant.domain);
  const ring = ringOrder(slotPlacement.key, able).map(({ shard, score }) => {
    return { shard: shard.id, region: shard.region, weight: shard.weight, score };
  });
  const { home, secondaries, epoch, state, key } = placement;
  return {
    tenant: tenant.key,
    domain: tenant.domain,
    regions: domainRegions(topology, tenant.domain) ?? [],
    hash: createHash('sha256').update(tenant.key).digest('hex').slice(0, 8),
    slot,
    slots: topology.slots,
    placement: key,
    state,
    epoch,
    home,
    secondaries,
    pin: pin ? { home: pin.home, epoch: pin.epoch, state: pin.state } : null,
    slotHome: slotPlacement.home,
    ring,
    why: reason(tenant, slotPlacement, pin, ring[0]?.shard),
  };
}

function reason(tenant: TenantParts, ofSlot: Placement, pin: Placement | undefined, first: string | undefined): string {
  if (pin) {
    const change = pin.state === 'active' ? 'it is pinned' : 'a pin is being set, and its transactions wait';
    return `${change} to ${pin.home.shard}; its slot ${ofSlot.key} lives on ${ofSlot.home.shard}`;
  }
  const { shard } = ofSlot.home;
  const slot = `its slot ${ofSlot.key} of domain ${tenant.domain} lives on ${shard}`;
  if (first === shard) return `${slot}, the ring's first choice`;
  return `${slot}; the ring's first choice is ${first}, which has its share of slots already, or came later`;
}
