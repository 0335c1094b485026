/**
 * Gateways whose knowledge has been overtaken: the shards already say otherwise. No client sees an error, every transaction
 * lands on the shard that may take it, and none lands twice.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type PlacementKey, parseTenantKey, type RegionId, type ShardId } from '../../src/base/ids.ts';
import { poll } from '../../src/base/world.ts';
import type { DevRegion } from '../../src/devcluster/plan.ts';
import { changePlacement } from '../../src/directory/placing.ts';
import { closeFence, openFence } from '../../src/shards/fences.ts';
import { clock, LEDGER, REGIONS, type Regions, startRegions, within } from './regions.ts';
import { discrepancies, homesInOrder, Traffic } from './traffic.ts';

let regions: Regions;

beforeAll(async () => {
  regions = await startRegions({ empty: true, sql: LEDGER });
});
afterAll(() => regions?.stop());

const home = (region: DevRegion) => ({ region: region as RegionId, shard: `${region}-1` as ShardId }); // casts: names of ours

async function slotOf(tenant: string) {
  return regions.withPlane(async plane => (await plane.whereIs(parseTenantKey(tenant))).slotPlacement);
}

/** What an agent will do when a slot moves, with a moment between the shards' word and the directory's. */
async function moveSlot(tenant: string, to: DevRegion, meanwhile: () => Promise<void>): Promise<PlacementKey> {
  const was = await slotOf(tenant);
  const epoch = was.epoch + 1;
  const from = REGIONS.find(region => `${region}-1` === was.home.shard) ?? to;
  const change = { placement: was.key, epoch, waitMs: 5_000 };
  if (from !== to) await closeFence(await regions.owner(from), change);
  await openFence(await regions.owner(to), change);
  await meanwhile();
  const others = REGIONS.filter(region => region !== to).map(home);
  await regions.withPlane(plane =>
    changePlacement(plane.store, was, { home: home(to), secondaries: others, epoch, state: 'active' }, plane.author),
  );
  return was.key;
}

/** Clients that wait for the directory, as the gateways count them. */
async function reroutes(): Promise<number> {
  const pages = await Promise.all(
    REGIONS.map(async region => (await fetch(`${regions.cluster.regions[region].http}/metrics`)).text()),
  );
  const counts = pages.flatMap(page =>
    [...page.matchAll(/^\S*reroutes_total\{[^}]*\} (\d+)/gm)].map(([, n]) => Number(n)),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

async function untilReroutesGrow(): Promise<void> {
  const before = await reroutes();
  const grown = await poll(clock, async () => ((await reroutes()) > before + 10 ? true : undefined), within(8_000));
  expect(grown).toBe(true);
}

test('an epoch that has changed in the shard alone is waited out, and nobody is told', async () => {
  for (const region of REGIONS) {
    const [tenant = ''] = await regions.freshTenants(region, 1, 'epoch');
    const traffic = await new Traffic(regions).start([tenant]);
    await traffic.more(100);
    await moveSlot(tenant, region, untilReroutesGrow);
    await traffic.more(100);
    await traffic.stop();
    expect(traffic.errors).toEqual([]);
    const stood = await traffic.stood([tenant]);
    expect(discrepancies(traffic.acknowledged, stood)).toEqual({ lost: [], doubled: [], untold: [] });
    expect(homesInOrder(stood, tenant)).toEqual([region]);
    const rows = await regions.ask('us-east', tenant, 'show homeport.epoch');
    expect(rows).toEqual([{ 'homeport.epoch': '2' }]);
  }
}, 60_000);

test('when the home has changed and the directory says so later, transactions go to the new home and none twice', async () => {
  const [tenant = ''] = await regions.freshTenants('eu-west', 1, 'moved');
  const traffic = await new Traffic(regions).start([tenant]);
  await traffic.more(100);
  for (const to of ['us-east', 'ap-south', 'eu-west'] as const) {
    await moveSlot(tenant, to, untilReroutesGrow);
    await traffic.more(100);
  }
  await traffic.stop();
  expect(traffic.errors).toEqual([]);
  const stood = await traffic.stood([tenant]);
  expect(discrepancies(traffic.acknowledged, stood)).toEqual({ lost: [], doubled: [], untold: [] });
  expect(homesInOrder(stood, tenant)).toEqual(['eu-west', 'us-east', 'ap-south', 'eu-west']);
}, 60_000);

test('homeport pin under traffic moves a tenant that has no data without an error, and unpin brings it back', async () => {
  const [tenant = ''] = await regions.freshTenants('eu-west', 1, 'pinned');
  const traffic = await new Traffic(regions).start([tenant]);
  await traffic.more(100);
  for (const to of ['us-east', 'ap-south', 'us-east'] as const) {
    const { code, err } = await regions.homeport('pin', tenant, '--to', to);
    expect([code, err]).toEqual([0, '']);
    await traffic.more(100);
  }
  const { code, err } = await regions.homeport('unpin', tenant);
  expect([code, err]).toEqual([0, '']);
  await traffic.more(100);
  await traffic.stop();
  expect(traffic.errors).toEqual([]);
  const stood = await traffic.stood([tenant]);
  expect(discrepancies(traffic.acknowledged, stood)).toEqual({ lost: [], doubled: [], untold: [] });
  expect(homesInOrder(stood, tenant)).toEqual(['eu-west', 'us-east', 'ap-south', 'us-east', 'eu-west']);
}, 60_000);

test('the neighbours in the slot of a pinned tenant are not disturbed', async () => {
  const [tenant = ''] = await regions.freshTenants('us-east', 1, 'alone');
  const neighbour = regions.neighbourOf(tenant);
  const traffic = await new Traffic(regions).start([tenant, neighbour], REGIONS, 2);
  await traffic.more(50);
  expect((await regions.homeport('pin', tenant, '--to', 'ap-south')).code).toBe(0);
  await traffic.more(100);
  await traffic.stop();
  expect(traffic.errors).toEqual([]);
  const stood = await traffic.stood([tenant, neighbour]);
  expect(homesInOrder(stood, tenant)).toEqual(['us-east', 'ap-south']);
  expect(homesInOrder(stood, neighbour)).toEqual(['us-east']);
}, 60_000);
