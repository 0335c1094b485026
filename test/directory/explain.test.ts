import { expect, test } from 'vitest';
import { type Domain, parseTenantKey, tenantPlacement } from '../../src/base/ids.ts';
import { explain } from '../../src/directory/explain.ts';
import { slotOf } from '../../src/directory/hash.ts';
import type { Placement } from '../../src/directory/records.ts';
import { propose } from '../../src/directory/ring.ts';
import { homeIn, REGIONS, shard, TOPOLOGY } from '../support/directory.ts';

const shards = REGIONS.map(region => ({ id: shard(`${region}-1`), region, weight: 1 }));
const topology = { slots: 64, secondaries: 2, regions: REGIONS, domains: TOPOLOGY.domains };

function slotOfTenant(text: string) {
  const tenant = parseTenantKey(text);
  const number = slotOf(tenant.key, 64);
  const proposed = propose(topology, shards, tenant.domain).placements[number];
  if (!proposed) throw new Error('every slot is proposed');
  const slot: Placement = { ...proposed, epoch: 1, state: 'active', revision: 5 };
  return { tenant, slot: number, slotPlacement: slot };
}

test('a tenant of a slot: where it is, by which hash, in the order of the ring', () => {
  const { tenant, slot: number, slotPlacement: slot } = slotOfTenant('acme');
  const told = explain({ tenant, topology, shards, slot: number, slotPlacement: slot });
  expect(told).toMatchObject({
    tenant: 'acme',
    domain: 'global',
    slot: number,
    placement: `slot:global:${number}`,
    epoch: 1,
    home: slot.home,
    secondaries: slot.secondaries,
    pin: null,
  });
  expect(Number.parseInt(told.hash.slice(0, 8), 16) % 64).toBe(number);
  expect(told.ring.map(r => r.rank)).toEqual([1, 2, 3]);
  expect(told.ring.map(r => r.score)).toEqual(told.ring.map(r => r.score).sort((a, b) => b - a));
  expect(told.ring.find(r => r.role === 'home')?.shard).toBe(slot.home.shard);
  expect(JSON.parse(JSON.stringify(told))).toEqual(told);
});

test('a pinned tenant: the pin, and where its slot would have it', () => {
  const { tenant, slot: number, slotPlacement: slot } = slotOfTenant('acme');
  const home = REGIONS.map(r => homeIn(r)).find(h => h.shard !== slot.home.shard) ?? slot.home;
  const pin: Placement = { ...slot, key: tenantPlacement(tenant.key), home, secondaries: [], epoch: 4 };
  const told = explain({ tenant, topology, shards, slot: number, slotPlacement: slot, pin });
  expect(told).toMatchObject({
    placement: 'tenant:acme',
    epoch: 4,
    home,
    pin: { home, epoch: 4, state: 'active' },
    slotPlacement: { home: slot.home },
  });
  expect(told.why).toBe(`pinned to ${home.shard} (its slot is in ${slot.home.shard})`);
});

test('a limited domain has only its own shards in the ring, and an unknown one is refused', () => {
  const found = slotOfTenant('eu/acme');
  expect(explain({ ...found, topology, shards }).ring.map(r => r.region)).toEqual(['eu-west']);
  const stranger = { ...found.tenant, domain: 'mars' as Domain }; // cast: a name
  expect(() => explain({ ...found, tenant: stranger, topology, shards })).toThrow('no domain "mars"');
});
