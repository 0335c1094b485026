import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Domain, slotPlacement } from '../../src/base/ids.ts';
import { LOAD_TOLERANCE } from '../../src/directory/bounds.ts';
import { planChanges } from '../../src/directory/plan.ts';
import {
  domainRegions,
  eligibleShards,
  type Proposed,
  propose,
  type RingShard,
  type RingTopology,
  rebalance,
  ringOrder,
} from '../../src/directory/ring.ts';
import { domain, region, shard } from '../support/directory.ts';

const GLOBAL = domain('global');
const SLOTS = 1024;

/** Regions with shards of uneven weights, and a domain that is limited to some of the regions. */
const clusters = fc
  .record({
    regions: fc.array(fc.array(fc.constantFrom(1, 1, 1, 2, 3, 5), { minLength: 1, maxLength: 3 }), {
      minLength: 2,
      maxLength: 4,
    }),
    limited: fc.nat(),
    slots: fc.constantFrom(64, 256, SLOTS),
  })
  .map(({ regions, limited, slots }) => {
    const names = regions.map((_, n) => region(`r${n}-x`));
    const shards = regions.flatMap((weights, n) =>
      weights.map((weight, m): RingShard => ({ id: shard(`r${n}-x-${m + 1}`), region: region(`r${n}-x`), weight })),
    );
    const some = names.filter((_, n) => (limited >> n) % 2 === 0);
    const topology: RingTopology = {
      slots,
      secondaries: 2,
      regions: names,
      domains: { [GLOBAL]: 'all', [domain('some')]: some.length > 0 ? some : names.slice(0, 1) },
    };
    return { topology, shards };
  });

const RUNS = { numRuns: 25 };

function counts(placements: readonly Proposed[]): Map<string, number> {
  const found = new Map<string, number>();
  for (const { home } of placements) found.set(home.shard, (found.get(home.shard) ?? 0) + 1);
  return found;
}

/** Homes by the ring alone, without bounds. */
function ringHomes(shards: readonly RingShard[], slots = SLOTS): string[] {
  return Array.from({ length: slots }, (_, n) => ringOrder(slotPlacement(GLOBAL, n), shards)[0]?.shard.id ?? '');
}

describe('the ring alone', () => {
  test('moves only what a leaving shard had', () => {
    fc.assert(
      fc.property(clusters, fc.nat(), ({ shards }, pick) => {
        const leaver = shards[pick % shards.length];
        const rest = shards.filter(s => s !== leaver);
        const [before, after] = [ringHomes(shards, 256), ringHomes(rest, 256)];
        before.forEach((home, slot) => {
          if (home !== leaver?.id) expect(after[slot]).toBe(home);
        });
      }),
      RUNS,
    );
  });

  test('moves slots only to a shard that gains weight, and only from one that loses it', () => {
    fc.assert(
      fc.property(clusters, fc.nat(), ({ shards }, pick) => {
        const changed = shards[pick % shards.length];
        const heavier = shards.map(s => (s === changed ? { ...s, weight: s.weight * 2 } : s));
        const [light, heavy] = [ringHomes(shards, 256), ringHomes(heavier, 256)];
        light.forEach((home, slot) => {
          if (home !== heavy[slot]) expect(heavy[slot]).toBe(changed?.id);
        });
      }),
      RUNS,
    );
  });

  test('gives each shard its share of the weight, within what chance allows', () => {
    const shards = [1, 2, 3, 4].map(w => ({ id: shard(`eu-west-${w}`), region: region('eu-west'), weight: w }));
    const slots = 20_000;
    const found = ringHomes(shards, slots);
    for (const { id, weight } of shards) {
      const share = (slots * weight) / 10;
      const deviation = Math.sqrt(share * (1 - weight / 10));
      const got = found.filter(h => h === id).length;
      expect(Math.abs(got - share), `${id}: ${got} of ${share}`).toBeLessThan(4 * deviation);
    }
  });
});

describe('with bounded loads', () => {
  test('every shard holds its share within 2 %, or within one slot where whole numbers are coarser', () => {
    fc.assert(
      fc.property(clusters, ({ topology, shards }) => {
        for (const name of Object.keys(topology.domains) as Domain[]) {
          const proposal = propose(topology, shards, name);
          const found = counts(proposal.placements);
          proposal.shards.forEach((s, n) => {
            const share = proposal.quotas[n]?.share ?? 0;
            const off = Math.abs((found.get(s.id) ?? 0) - share);
            expect(off <= share * LOAD_TOLERANCE + 1e-6 || off < 1).toBe(true);
          });
        }
      }),
      RUNS,
    );
  });

  test('home and secondaries are in distinct regions, inside the domain, and as many as there can be', () => {
    fc.assert(
      fc.property(clusters, ({ topology, shards }) => {
        for (const name of Object.keys(topology.domains) as Domain[]) {
          const allowed = domainRegions(topology, name) ?? [];
          for (const { home, secondaries } of propose(topology, shards, name).placements) {
            const regions = [home, ...secondaries].map(h => h.region);
            expect(new Set(regions).size).toBe(regions.length);
            expect(regions.every(r => allowed.includes(r))).toBe(true);
            expect(secondaries.length).toBe(Math.min(topology.secondaries, allowed.length - 1));
          }
        }
      }),
      RUNS,
    );
  });

  test('what a lost region leaves behind spreads over the others by weight', () => {
    fc.assert(
      fc.property(clusters, ({ topology, shards }) => {
        const { placements } = propose(topology, shards, GLOBAL);
        for (const lost of topology.regions) {
          const orphans = placements.filter(p => p.home.region === lost);
          const heirs = eligibleShards(topology, shards, GLOBAL).filter(s => s.region !== lost);
          const weight = heirs.reduce((sum, s) => sum + s.weight, 0);
          for (const heir of heirs) {
            const share = (orphans.length * heir.weight) / weight;
            const got = orphans.filter(p => p.secondaries[0]?.shard === heir.id).length;
            const off = Math.abs(got - share);
            expect(off <= share * LOAD_TOLERANCE + 1e-6 || off < 1).toBe(true);
          }
        }
      }),
      RUNS,
    );
  });

  test('the order in which shards are named makes no difference', () => {
    fc.assert(
      fc.property(clusters, ({ topology, shards }) => {
        expect(propose(topology, [...shards].reverse(), GLOBAL)).toEqual(propose(topology, shards, GLOBAL));
      }),
      { numRuns: 5 },
    );
  });
});

describe('a rebalance', () => {
  test('of a balanced cluster moves nothing', () => {
    fc.assert(
      fc.property(clusters, ({ topology, shards }) => {
        const { placements } = propose(topology, shards, GLOBAL);
        const plan = planChanges(placements, rebalance(topology, shards, GLOBAL, placements));
        expect(plan.moves).toEqual([]);
        expect(plan.copies).toEqual([]);
      }),
      { numRuns: 10 },
    );
  });

  test('makes the least number of moves that the bounds leave', () => {
    fc.assert(
      fc.property(clusters, fc.nat(), fc.constantFrom(0, 1, 2, 4), ({ topology, shards }, pick, weight) => {
        fc.pre(shards.length > 1);
        const { placements } = propose(topology, shards, GLOBAL);
        const changed = shards.map((s, n) => (n === pick % shards.length ? { ...s, weight } : s));
        const plan = planChanges(placements, rebalance(topology, changed, GLOBAL, placements));
        const forced = plan.balance.filter(b => b.weight === 0).reduce((sum, b) => sum + b.before, 0);
        const over = plan.balance.filter(b => b.weight > 0).reduce((s, b) => s + Math.max(0, b.before - b.upper), 0);
        const under = plan.balance.reduce((s, b) => s + Math.max(0, b.lower - b.before), 0);
        expect(plan.moves.length).toBe(forced + Math.max(over, under - forced));
        for (const b of plan.balance) expect(b.after >= b.lower && b.after <= b.upper).toBe(true);
      }),
      RUNS,
    );
  });

  test('leaves the data of a moved slot where it was, as the first secondary', () => {
    const regions = ['eu-west', 'us-east'].map(region);
    const topology: RingTopology = { slots: 64, secondaries: 1, regions, domains: { [GLOBAL]: 'all' } };
    const shards = regions.map(r => ({ id: shard(`${r}-1`), region: r, weight: 1 }));
    const { placements } = propose(topology, shards, GLOBAL);
    const heavier = shards.map(s => (s.region === 'eu-west' ? { ...s, weight: 3 } : s));
    const proposal = rebalance(topology, heavier, GLOBAL, placements);
    const plan = planChanges(placements, proposal);
    expect(plan.moves.length).toBeGreaterThan(0);
    for (const move of plan.moves) {
      expect(move.copied).toBe(true);
      expect(move.bytes).toBe(0);
      expect(proposal.placements.find(p => p.key === move.key)?.secondaries).toEqual([move.from]);
    }
  });
});
