/**
 * What would have to change for the materialised placements to become a proposal: the data of `homeport rebalance
 * --dry-run`. Pure. A proposal of `rebalance()` makes it the least number of moves; one of `propose()` shows how far
 * the cluster is from what the ring alone would have.
 */
import { assert } from '../base/assert.ts';
import type { Domain, PlacementKey, RegionId, ShardId } from '../base/ids.ts';
import type { Home } from './records.ts';
import type { Proposal, Proposed } from './ring.ts';

export interface PlannedMove {
  readonly key: PlacementKey;
  readonly from: Home;
  readonly to: Home;
  /** The target holds a copy already, so that nothing has to be seeded. */
  readonly copied: boolean;
  /** What has to be copied across, where the caller knew it. */
  readonly bytes: number | undefined;
  readonly why:
    | 'the shard is gone, empty-weighted or outside the domain'
    | 'the shard holds more than its share'
    | 'the target holds less than its share'
    | 'the ring likes it there';
}

export interface PlannedCopies {
  readonly key: PlacementKey;
  readonly add: readonly Home[];
  readonly drop: readonly Home[];
}

export interface ShardBalance {
  readonly shard: ShardId;
  readonly region: RegionId;
  readonly weight: number;
  /** Slots it should have, exactly; and the bounds that rounding and the 2 % leave. */
  readonly share: number;
  readonly lower: number;
  readonly upper: number;
  readonly before: number;
  readonly after: number;
}

export interface Plan {
  readonly domain: Domain;
  readonly moves: readonly PlannedMove[];
  readonly copies: readonly PlannedCopies[];
  readonly balance: readonly ShardBalance[];
  /** Sum over the moves that need seeding; undefined when a size is not known. */
  readonly bytes: number | undefined;
}

export function planChanges(
  current: readonly Proposed[],
  proposal: Proposal,
  bytesOf: (key: PlacementKey) => number | undefined = () => undefined,
): Plan {
  assert(current.length === proposal.placements.length, 'a plan compares the same slots');
  const before = countHomes(current);
  const balance = balanceOf(before, countHomes(proposal.placements), proposal);
  const byShard = new Map(balance.map(b => [b.shard, b]));
  const moves: PlannedMove[] = [];
  const copies: PlannedCopies[] = [];
  current.forEach((was, slot) => {
    const next = proposal.placements[slot];
    assert(next && next.key === was.key, 'placements and proposal are in the same order');
    const held = [was.home, ...was.secondaries];
    if (next.home.shard !== was.home.shard) {
      const why = reason(byShard.get(was.home.shard), byShard.get(next.home.shard));
      const copied = includes(held, next.home);
      moves.push({ key: was.key, from: was.home, to: next.home, copied, bytes: copied ? 0 : bytesOf(was.key), why });
    }
    const add = next.secondaries.filter(s => !includes(held, s));
    const drop = held.filter(s => !includes([next.home, ...next.secondaries], s));
    if (add.length > 0 || drop.length > 0) copies.push({ key: was.key, add, drop });
  });
  const sizes = moves.map(m => m.bytes);
  const bytes = sizes.every(size => size !== undefined) ? sizes.reduce((sum, size) => sum + size, 0) : undefined;
  return { domain: proposal.domain, moves, copies, balance, bytes };
}

function reason(from: ShardBalance | undefined, to: ShardBalance | undefined): PlannedMove['why'] {
  if (!from || from.weight === 0) return 'the shard is gone, empty-weighted or outside the domain';
  if (from.before > from.upper) return 'the shard holds more than its share';
  if (to && to.before < to.lower) return 'the target holds less than its share';
  return 'the ring likes it there';
}

function balanceOf(before: Map<ShardId, Counted>, after: Map<ShardId, Counted>, proposal: Proposal): ShardBalance[] {
  const rows = proposal.shards.map((shard, column) => {
    const quota = proposal.quotas[column];
    assert(quota, 'a quota for every shard');
    const counts = { before: before.get(shard.id)?.slots ?? 0, after: after.get(shard.id)?.slots ?? 0 };
    return { shard: shard.id, region: shard.region, weight: shard.weight, ...quota, ...counts };
  });
  const listed = new Set(rows.map(r => r.shard));
  const leaving = [...before].filter(([shard]) => !listed.has(shard));
  const none = { weight: 0, share: 0, lower: 0, upper: 0, after: 0 };
  return [...rows, ...leaving.map(([shard, c]) => ({ shard, region: c.region, ...none, before: c.slots }))];
}

interface Counted {
  readonly region: RegionId;
  slots: number;
}

function countHomes(placements: readonly Proposed[]): Map<ShardId, Counted> {
  const counts = new Map<ShardId, Counted>();
  for (const { home } of placements) {
    const counted = counts.get(home.shard) ?? { region: home.region, slots: 0 };
    counted.slots++;
    counts.set(home.shard, counted);
  }
  return counts;
}

function includes(homes: readonly Home[], home: Home): boolean {
  return homes.some(h => h.shard === home.shard);
}
