/**
 * What the directory said, as one immutable value: topology, shards and all slots. Changes make a new one; whoever holds
 * an old one keeps a consistent view. Pure.
 */
import type { Domain, PlacementKey, ShardId } from '../base/ids.ts';
import { kindOf, kvKeyToPlacement } from './keys.ts';
import { decodeRecord, type Placement, placementFrom, type ShardSpec, type StoredTopology } from './records.ts';

export type SlotTable = readonly (Placement | undefined)[];

export interface Snapshot {
  readonly topology: { readonly record: StoredTopology; readonly revision: number } | undefined;
  readonly shards: ReadonlyMap<ShardId, { readonly spec: ShardSpec; readonly revision: number }>;
  /** By slot number. Also of domains that the topology doesn't name (yet). */
  readonly slots: ReadonlyMap<Domain, SlotTable>;
}

export const EMPTY_SNAPSHOT: Snapshot = { topology: undefined, shards: new Map(), slots: new Map() };

export type SnapshotChange =
  | { readonly kind: 'topology'; readonly record: StoredTopology; readonly revision: number }
  | { readonly kind: 'shard'; readonly spec: ShardSpec; readonly revision: number }
  | { readonly kind: 'shard-gone'; readonly id: ShardId; readonly revision: number }
  | { readonly kind: 'slot'; readonly placement: Placement };

/**
 * @returns undefined for keys that aren't part of a snapshot, and for deleted topology and slots: neither is ever
 * deleted by Homeport, and what was last known serves better than nothing.
 * @throws HP-D307
 */
export function snapshotChange(
  key: string,
  revision: number,
  deleted: boolean,
  data: Uint8Array,
): SnapshotChange | undefined {
  const kind = kindOf(key);
  if (kind === 'shard') {
    if (deleted) return { kind: 'shard-gone', id: key.slice('shard.'.length) as ShardId, revision }; // cast: from its key
    const { id, region, weight } = decodeRecord('shard', key, data);
    return { kind, spec: { id, region, weight }, revision };
  }
  if (deleted) return undefined;
  if (kind === 'topology') return { kind, record: decodeRecord('topology', key, data), revision };
  if (kind !== 'slot' || kvKeyToPlacement(key) === undefined) return undefined;
  return { kind, placement: placementFrom(decodeRecord('slot', key, data), revision) };
}

/** Whether `next` may take the place of `was`: epochs only go up, and revisions do within one epoch (I1, I6). */
export function supersedes(
  next: Pick<Placement, 'epoch' | 'revision'>,
  was: Pick<Placement, 'epoch' | 'revision'> | undefined,
): boolean {
  if (!was) return true;
  return next.epoch > was.epoch || (next.epoch === was.epoch && next.revision > was.revision);
}

export interface Applied {
  readonly snapshot: Snapshot;
  /** Placements that are new. */
  readonly changed: readonly Placement[];
  /** Changes that would have taken something back, by key and epoch: an epoch lower than what is known. */
  readonly refused: readonly Placement[];
}

/** Applies changes in order; what is older than what is known is left out. Copies each touched table once. */
export function applyChanges(was: Snapshot, changes: readonly SnapshotChange[]): Applied {
  let { topology } = was;
  const shards = new Map(was.shards);
  const slots = new Map<Domain, (Placement | undefined)[]>();
  const changed: Placement[] = [];
  const refused: Placement[] = [];
  for (const change of changes) {
    if (change.kind === 'topology') {
      if (change.revision > (topology?.revision ?? 0)) topology = { record: change.record, revision: change.revision };
    } else if (change.kind === 'shard') {
      const { spec, revision } = change;
      if (revision > (shards.get(spec.id)?.revision ?? 0)) shards.set(spec.id, { spec, revision });
    } else if (change.kind === 'shard-gone') {
      if (change.revision > (shards.get(change.id)?.revision ?? 0)) shards.delete(change.id);
    } else {
      const { domain, slot } = slotOfKey(change.placement.key);
      const table = slots.get(domain) ?? [...(was.slots.get(domain) ?? [])];
      slots.set(domain, table);
      const known = table[slot];
      if (supersedes(change.placement, known)) {
        table[slot] = change.placement;
        changed.push(change.placement);
      } else if (known && change.placement.epoch < known.epoch && change.placement.revision > known.revision) {
        refused.push(change.placement);
      }
    }
  }
  return { snapshot: { topology, shards, slots: new Map([...was.slots, ...slots]) }, changed, refused };
}

function slotOfKey(key: PlacementKey): { domain: Domain; slot: number } {
  const [, domain, slot] = key.split(':');
  return { domain: domain as Domain, slot: Number(slot) }; // cast: a slot key is `slot:<domain>:<n>`, checked at the border
}
