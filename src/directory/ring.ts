/**
 * The ring proposes where slots should live: weighted rendezvous, with bounded loads on top. It decides nothing: what it
 * proposed is written down as placements once, and later changes are moves (`plan.ts`). Pure.
 */
import { assert } from '../base/assert.ts';
import { HomeportError } from '../base/errors.ts';
import { type Domain, type PlacementKey, type RegionId, type ShardId, slotPlacement } from '../base/ids.ts';
import { bound, favourites, type Liking, type Quota, quotas, UNPLACED } from './bounds.ts';
import { ringPoint, ringScore } from './hash.ts';
import type { Home } from './records.ts';

export interface RingShard {
  readonly id: ShardId;
  readonly region: RegionId;
  /** Share of the load, relative to the other shards. 0 takes nothing: a shard being emptied. */
  readonly weight: number;
}

export interface RingTopology {
  readonly slots: number;
  /** How many secondaries a placement has, at most: regions other than the home's may be fewer. */
  readonly secondaries: number;
  readonly regions: readonly RegionId[];
  readonly domains: Readonly<Record<Domain, readonly RegionId[] | 'all'>>;
}

export interface Scored {
  readonly shard: RingShard;
  readonly u: number;
  readonly score: number;
}

export interface Proposed {
  readonly key: PlacementKey;
  readonly home: Home;
  readonly secondaries: readonly Home[];
}

export interface Proposal {
  readonly domain: Domain;
  /** By slot number. */
  readonly placements: readonly Proposed[];
  readonly shards: readonly RingShard[];
  /** By position in `shards`. */
  readonly quotas: readonly Quota[];
  /** Slots that bounded loads took from the ring's first choice. */
  readonly displaced: number;
}

/** @returns undefined when there is no such domain. */
export function domainRegions(topology: RingTopology, domain: Domain): readonly RegionId[] | undefined {
  const regions = Object.hasOwn(topology.domains, domain) ? topology.domains[domain] : undefined;
  return regions === 'all' ? topology.regions : regions;
}

/**
 * The shards that may hold data of a domain (I9), in the order of their ids.
 * @throws HP-D102 for an unknown domain, HP-D105 when none of its shards has a weight.
 */
export function eligibleShards(topology: RingTopology, shards: readonly RingShard[], domain: Domain): RingShard[] {
  const regions = domainRegions(topology, domain);
  if (!regions) throw new HomeportError('HP-D102', { domain });
  const found = shards.filter(s => s.weight > 0 && regions.includes(s.region));
  if (found.length === 0) throw new HomeportError('HP-D105', { domain, regions: regions.join(', ') });
  return found.sort((a, b) => compare(a.id, b.id));
}

/** All shards by score, best first; equal scores by id. */
export function ringOrder(placement: PlacementKey, shards: readonly RingShard[]): Scored[] {
  return shards
    .map(shard => {
      const u = ringPoint(placement, shard.id);
      return { shard, u, score: ringScore(u, shard.weight) };
    })
    .sort((a, b) => b.score - a.score || compare(a.shard.id, b.shard.id));
}

/** What the ring would do with an empty cluster. */
export function propose(topology: RingTopology, shards: readonly RingShard[], domain: Domain): Proposal {
  const able = eligibleShards(topology, shards, domain);
  const keys = Array.from({ length: topology.slots }, (_, slot) => slotPlacement(domain, slot));
  const liking = likingOf(keys, able);
  const bounds = quotas(keys.length, weightsOf(able));
  const homes = favourites(liking);
  const displaced = bound(liking, homes, bounds);
  const firsts = firstSecondaries(liking, able, homes);
  const placements = keys.map((key, slot) => {
    const home = shardAt(able, homes[slot]);
    const first = firsts[slot] === UNPLACED ? undefined : shardAt(able, firsts[slot]);
    return { key, home: homeOf(home), secondaries: secondariesOf(key, able, home, first ? [first] : [], topology) };
  });
  return { domain, placements, shards: able, quotas: bounds, displaced };
}

/**
 * The least change that brings placements within the bounds again after shards came, went or changed weight, and out of
 * shards that may not hold them. What need not move stays where it is, although the ring would like it elsewhere.
 */
export function rebalance(
  topology: RingTopology,
  shards: readonly RingShard[],
  domain: Domain,
  current: readonly Proposed[],
): Proposal {
  assert(current.length === topology.slots, 'a rebalance starts from all slots of a domain');
  const able = eligibleShards(topology, shards, domain);
  const columnOf = new Map(able.map((shard, column) => [shard.id, column]));
  const keys = current.map(p => p.key);
  const liking = likingOf(keys, able);
  const bounds = quotas(keys.length, weightsOf(able));
  const homes = Int32Array.from(current, p => columnOf.get(p.home.shard) ?? UNPLACED);
  const displaced = bound(liking, homes, bounds);
  const placements = current.map((was, slot) => {
    const home = shardAt(able, homes[slot]);
    // The old home has the data already: as the first secondary it needs no seeding, and the move can be undone.
    const kept = home.id === was.home.shard ? was.secondaries : [was.home, ...was.secondaries];
    const wanted = kept.flatMap(s => able[columnOf.get(s.shard) ?? UNPLACED] ?? []);
    return { key: was.key, home: homeOf(home), secondaries: secondariesOf(was.key, able, home, wanted, topology) };
  });
  return { domain, placements, shards: able, quotas: bounds, displaced };
}

/**
 * The first secondary takes over when the home's region is lost, so it is bounded too: what each region would leave
 * behind spreads over the other regions' shards by weight, as evenly as homes do.
 */
function firstSecondaries(liking: Liking, shards: readonly RingShard[], homes: Int32Array): Int32Array {
  const firsts = new Int32Array(homes.length).fill(UNPLACED);
  for (const region of new Set(shards.map(s => s.region))) {
    const columns = shards.flatMap((s, column) => (s.region === region ? [] : [column]));
    if (columns.length === 0) continue;
    const rows = [...homes.keys()].filter(slot => shardAt(shards, homes[slot]).region === region);
    const part = partOf(liking, rows, columns);
    const choice = favourites(part);
    bound(part, choice, quotas(rows.length, weightsOf(columns.map(column => shardAt(shards, column)))));
    rows.forEach((slot, row) => {
      firsts[slot] = columns[choice[row] ?? 0] ?? UNPLACED;
    });
  }
  return firsts;
}

/** `wanted` first, then the ring's order: distinct regions, none of them the home's. */
function secondariesOf(
  key: PlacementKey,
  shards: readonly RingShard[],
  home: RingShard,
  wanted: readonly RingShard[],
  topology: RingTopology,
): Home[] {
  const taken = new Set([home.region]);
  const chosen: Home[] = [];
  const take = (shard: RingShard) => {
    if (chosen.length >= topology.secondaries || taken.has(shard.region)) return;
    taken.add(shard.region);
    chosen.push(homeOf(shard));
  };
  wanted.forEach(take);
  if (chosen.length < topology.secondaries) for (const { shard } of ringOrder(key, shards)) take(shard);
  return chosen;
}

function likingOf(keys: readonly PlacementKey[], shards: readonly RingShard[]): Liking {
  const values = new Float64Array(keys.length * shards.length);
  keys.forEach((key, row) => {
    shards.forEach((shard, column) => {
      values[row * shards.length + column] = Math.log(ringScore(ringPoint(key, shard.id), shard.weight));
    });
  });
  return { rows: keys.length, columns: shards.length, values };
}

function partOf(liking: Liking, rows: readonly number[], columns: readonly number[]): Liking {
  const values = Float64Array.from(
    rows.flatMap(row => columns.map(column => liking.values[row * liking.columns + column] ?? 0)),
  );
  return { rows: rows.length, columns: columns.length, values };
}

function shardAt(shards: readonly RingShard[], column: number | undefined): RingShard {
  const shard = shards[column ?? UNPLACED];
  assert(shard, 'every slot has been given one of the shards');
  return shard;
}

function weightsOf(shards: readonly RingShard[]): number[] {
  return shards.map(s => s.weight);
}

function homeOf(shard: RingShard): Home {
  return { region: shard.region, shard: shard.id };
}

/** By code units: the same order everywhere, whatever the locale. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
