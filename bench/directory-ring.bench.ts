/** What bounded loads cost in moves: the ring alone, a new proposal, and a rebalance from what is there. No I/O. */
import { type Domain, type RegionId, type ShardId, slotPlacement } from '../src/base/ids.ts';
import { realWorld } from '../src/base/world.ts';
import { planChanges } from '../src/directory/plan.ts';
import { propose, type RingShard, type RingTopology, rebalance, ringOrder } from '../src/directory/ring.ts';

const GLOBAL = 'global' as Domain; // casts: names written here are names
const SLOTS = 1024;

function cluster(shardsPerRegion: readonly number[]): RingShard[] {
  return shardsPerRegion.flatMap((count, r) =>
    Array.from({ length: count }, (_, n) => ({
      id: `r${r + 1}-x-${n + 1}` as ShardId,
      region: `r${r + 1}-x` as RegionId,
      weight: 1,
    })),
  );
}

function topologyOf(...sets: readonly RingShard[][]): RingTopology {
  const regions = [...new Set(sets.flat().map(s => s.region))];
  return { slots: SLOTS, secondaries: 2, regions, domains: { [GLOBAL]: 'all' } };
}

function ringHomes(shards: readonly RingShard[]): string[] {
  return Array.from({ length: SLOTS }, (_, n) => ringOrder(slotPlacement(GLOBAL, n), shards)[0]?.shard.id ?? '');
}

function row(name: string, before: RingShard[], after: RingShard[]) {
  const topology = topologyOf(before, after);
  const [ringBefore, ringAfter] = [ringHomes(before), ringHomes(after)];
  const alone = ringBefore.filter((home, slot) => home !== ringAfter[slot]).length;
  const was = propose(topology, before, GLOBAL);
  const startMs = realWorld.clock.monotonicMs();
  const next = propose(topology, after, GLOBAL);
  const proposeMs = realWorld.clock.monotonicMs() - startMs;
  const fresh = planChanges(was.placements, next);
  const sticky = planChanges(was.placements, rebalance(topology, after, GLOBAL, was.placements));
  const total = (shards: RingShard[]) => shards.reduce((sum, s) => sum + s.weight, 0);
  const weight = (shards: RingShard[], id: string) => shards.find(s => s.id === id)?.weight ?? 0;
  // What any method must move: the sum of what shards gain in share.
  const ideal = after.reduce((sum, s) => {
    const gain = s.weight / total(after) - weight(before, s.id) / total(before);
    return sum + Math.max(0, gain) * SLOTS;
  }, 0);
  const worst = Math.max(
    ...after.map(s => ringAfter.filter(h => h === s.id).length / ((SLOTS * s.weight) / total(after))),
  );
  return {
    change: name,
    'share that must move': ideal.toFixed(0),
    'ring alone': alone,
    'its fullest shard': `${(worst * 100).toFixed(0)} %`,
    'bounded, new proposal': fresh.moves.length,
    displaced: next.displaced,
    'rebalance (least)': sticky.moves.length,
    'new copies then': sticky.copies.reduce((sum, c) => sum + c.add.length, 0),
    'propose ms': proposeMs.toFixed(0),
  };
}

const three = cluster([1, 1, 1]);
const nine = cluster([3, 3, 3]);
const sixty = cluster([20, 20, 20]);
const heavier = (shards: RingShard[]) => shards.map((s, n) => (n === 0 ? { ...s, weight: 2 } : s));
console.table([
  row('1+1+1 shards, one more in r1', three, cluster([2, 1, 1])),
  row('1+1+1 shards, a fourth region', three, cluster([1, 1, 1, 1])),
  row('1+1+1 shards, one doubles its weight', three, heavier(three)),
  row('1+1+1 shards, a region leaves', three, cluster([1, 1])),
  row('3+3+3 shards, one more in r1', nine, cluster([4, 3, 3])),
  row('3+3+3 shards, one leaves', nine, cluster([3, 3, 2])),
  row('3+3+3 shards, one doubles its weight', nine, heavier(nine)),
  row('20+20+20 shards, one leaves', sixty, cluster([20, 20, 19])),
]);
