import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type PlacementKey, parseTenantKey, type ShardId } from '../../src/base/ids.ts';
import { ringPoint, ringScore, slotOf } from '../../src/directory/hash.ts';
import { ringOrder } from '../../src/directory/ring.ts';
import { region } from '../support/directory.ts';

// cast: the shape of our own file
const vectors = JSON.parse(readFileSync(new URL('./vectors.json', import.meta.url), 'utf8')) as {
  slots: { tenant: string; sha256: string; slot1024: number; slot7: number }[];
  points: { placement: PlacementKey; shard: ShardId; sha256: string; n: number; weight: number; score: number }[];
  order: { placement: PlacementKey; shards: { id: ShardId; weight: number }[]; best: ShardId[] }[];
};

test.each(vectors.slots)('the slot of $tenant', ({ tenant, slot1024, slot7 }) => {
  const { key } = parseTenantKey(tenant);
  expect([slotOf(key, 1024), slotOf(key, 7)]).toEqual([slot1024, slot7]);
});

test.each(vectors.points)('the ring point of $placement and $shard', ({ placement, shard, n, weight, score }) => {
  const u = ringPoint(placement, shard);
  expect(u).toBe((n + 0.5) / 2 ** 52);
  // Logarithms may differ in the last digit between languages.
  expect(Math.abs(ringScore(u, weight) / score - 1)).toBeLessThan(1e-12);
});

test.each(vectors.order)('the ring order of $placement', ({ placement, shards, best }) => {
  const order = ringOrder(
    placement,
    shards.map(s => ({ ...s, region: region('any-region') })),
  );
  expect(order.map(o => o.shard.id)).toEqual(best);
});
