import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { HomeportError } from '../../src/base/errors.ts';
import { parseTenantKey, slotPlacement, tenantPlacement } from '../../src/base/ids.ts';
import { poll, realWorld } from '../../src/base/world.ts';
import type { Bus } from '../../src/bus/connect.ts';
import { DirectoryCache, type Located } from '../../src/directory/cache.ts';
import { slotOf } from '../../src/directory/hash.ts';
import { initialise } from '../../src/directory/initialise.ts';
import { DIRECTORY_BUCKET, tenantKvKey } from '../../src/directory/keys.ts';
import { changePlacement, pinTenant, readPlacement, unpinTenant } from '../../src/directory/placing.ts';
import type { DirectoryStore } from '../../src/directory/store.ts';
import { AUTHOR, domain, homeIn, memoryLog, scratch, TOPOLOGY, testBus } from '../support/directory.ts';
import { type NatsCluster, startNatsCluster } from '../support/nats.ts';

const world = realWorld;
const log = memoryLog();
const GLOBAL = domain('global');
const LIMIT_MS = 20_000;
let cluster: NatsCluster;
let bus: Bus;
let store: DirectoryStore;
let folder: Awaited<ReturnType<typeof scratch>>;
const cleanups: (() => Promise<void>)[] = [];
let files = 0;

beforeAll(async () => {
  folder = await scratch();
  cluster = await startNatsCluster();
  bus = await testBus(cluster.urls, log);
  ({ store } = await initialise({ bus, world, log, author: AUTHOR, topology: TOPOLOGY }));
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
afterAll(async () => {
  await bus?.close();
  await cluster?.stop();
  await folder?.remove();
});

function newFile(): string {
  return join(folder.path, `snapshot-${++files}`);
}

async function openCache(options: { bus?: Bus | Promise<Bus> | undefined; file?: string } = {}) {
  const from = 'bus' in options ? options.bus : bus;
  const cache = await DirectoryCache.open({ bus: from, snapshotFile: options.file ?? newFile(), world, log });
  cleanups.push(() => cache.close());
  return cache;
}

function homeOf(located: Located): string {
  return located.kind === 'placed' ? located.placement.home.region : located.kind;
}

/** Moves a slot to its first secondary. */
async function moveSlot(slot: number) {
  const seen = (await readPlacement(store, slotPlacement(GLOBAL, slot)))?.placement;
  if (!seen?.secondaries[0]) throw new Error('slots have secondaries');
  const next = { home: seen.secondaries[0], secondaries: [seen.home], epoch: seen.epoch + 1, state: 'active' as const };
  return changePlacement(store, seen, next, AUTHOR);
}

test('all slots are there when it opens, and a tenant is placed once its pin was asked for', async () => {
  const cache = await openCache();
  const acme = parseTenantKey('acme');
  const slot = slotOf(acme.key, 64);
  expect(cache.stale).toBe(false);
  expect(cache.locate(acme)).toEqual({ kind: 'unknown-yet', slot });
  const located = await cache.resolve(acme);
  expect(located).toMatchObject({ kind: 'placed', slot, placement: { key: slotPlacement(GLOBAL, slot) } });
  expect(cache.locate(acme)).toBe(located);
  expect(cache.locate(parseTenantKey('mars/acme'))).toEqual({ kind: 'unknown-domain', domain: 'mars' });
});

test('a move of a slot reaches every tenant in it, and whoever waits for its epoch', async () => {
  const cache = await openCache();
  const tenant = parseTenantKey('mover');
  const before = await cache.resolve(tenant);
  if (before.kind !== 'placed') throw new Error('it is placed');
  const waiting = cache.waitForChange(before.placement.key, before.placement.epoch, LIMIT_MS);
  const moved = await moveSlot(before.slot);
  expect((await waiting)?.epoch).toBe(moved.epoch);
  expect(homeOf(cache.locate(tenant))).toBe(moved.home.region);
  expect(await cache.waitForChange(before.placement.key, moved.epoch, 1)).toBeUndefined();
});

test('"no pin" does not survive the making of one, nor a pin its removal', async () => {
  const cache = await openCache();
  const tenant = parseTenantKey('newly-pinned');
  const before = await cache.resolve(tenant);
  const target = homeOf(before) === 'us-east' ? 'eu-west' : 'us-east';
  const waiting = cache.waitForChange(tenantPlacement(tenant.key), 0, LIMIT_MS);
  await pinTenant(store, tenant, { home: homeIn(target) }, AUTHOR);
  await waiting;
  expect(cache.locate(tenant)).toMatchObject({ placement: { key: 'tenant:newly-pinned', home: homeIn(target) } });
  await unpinTenant(store, tenant, AUTHOR);
  const unpinned = await poll(world.clock, () => (homeOf(cache.locate(tenant)) === homeOf(before) ? true : undefined), {
    everyMs: 5,
    limitMs: LIMIT_MS,
  });
  expect(unpinned).toBe(true);
});

test('many who ask for the same tenant share one look-up', async () => {
  const cache = await openCache();
  const tenant = parseTenantKey('popular');
  const before = cache.metrics.reads;
  const answers = await Promise.all(Array.from({ length: 500 }, () => cache.resolve(tenant)));
  expect(new Set(answers).size).toBe(1);
  expect(cache.metrics.reads - before).toBe(1);
});

test('refresh reads past the cache, and never goes back', async () => {
  const cache = await openCache();
  const tenant = parseTenantKey('refreshed');
  const first = await cache.resolve(tenant);
  if (first.kind !== 'placed') throw new Error('it is placed');
  await moveSlot(first.slot);
  const again = await cache.refresh(tenant);
  expect(again).toMatchObject({ kind: 'placed', placement: { epoch: first.placement.epoch + 1 } });
});

test('under a storm of pins, look-ups and refreshes no cache ever goes back, and all end at the last word', async () => {
  const caches = await Promise.all([openCache(), openCache(), openCache()]);
  const tenant = parseTenantKey('stormy');
  let writing = true;
  const readers = caches.map(async cache => {
    let last = { epoch: 0, asOf: 0 };
    while (writing) {
      const located = world.random.unit() < 0.5 ? await cache.refresh(tenant) : await cache.resolve(tenant);
      if (located.kind !== 'placed') throw new Error('it is placed');
      const { key, epoch, revision } = located.placement;
      if (!key.startsWith('tenant:')) continue;
      expect(epoch).toBeGreaterThanOrEqual(last.epoch);
      last = { epoch, asOf: revision };
    }
  });
  for (let n = 0; n < 60; n++) {
    if (n % 5 === 4) await unpinTenant(store, tenant, AUTHOR);
    else await pinTenant(store, tenant, { home: homeIn(n % 2 ? 'us-east' : 'eu-west') }, AUTHOR);
  }
  const last = await pinTenant(store, tenant, { home: homeIn('ap-south') }, AUTHOR);
  writing = false;
  await Promise.all(readers);
  for (const cache of caches) {
    const found = await cache.waitForChange(tenantPlacement(tenant.key), last.epoch - 1, LIMIT_MS);
    expect(found?.epoch).toBe(last.epoch);
    expect(cache.metrics.refused).toBe(0);
  }
});

describe('a pin record that can not be read', () => {
  test('is an error and not "no pin"', async () => {
    const cache = await openCache();
    const tenant = parseTenantKey('garbled');
    await cache.resolve(tenant);
    const kv = await bus.kvm.open(DIRECTORY_BUCKET);
    await kv.put(tenantKvKey(tenant.key), '{"version":99}'); // what a later version might write
    const gone = () => (cache.locate(tenant).kind === 'unknown-yet' ? true : undefined);
    expect(await poll(world.clock, gone, { everyMs: 5, limitMs: LIMIT_MS })).toBe(true);
    await expect(cache.resolve(tenant)).rejects.toMatchObject({ code: 'HP-D307' });
    await kv.delete(tenantKvKey(tenant.key));
    const back = async () => (await cache.resolve(tenant).catch(() => undefined)) ?? undefined;
    expect(await poll(world.clock, back, { everyMs: 20, limitMs: LIMIT_MS })).toMatchObject({ kind: 'placed' });
  });
});

describe('without NATS', () => {
  test('it starts from the last good snapshot, stale, pins included, and goes on when NATS comes', async () => {
    const file = newFile();
    const first = await openCache({ file });
    const [pinned, plain] = [parseTenantKey('kept-pin'), parseTenantKey('kept-plain')];
    await pinTenant(store, pinned, { home: homeIn('ap-south') }, AUTHOR);
    const known = [await first.resolve(pinned), await first.resolve(plain)];
    await first.close();

    const late = Promise.withResolvers<Bus>();
    const cache = await openCache({ bus: late.promise, file });
    expect(cache.stale).toBe(true);
    expect([cache.locate(pinned), cache.locate(plain)]).toEqual(known);
    await expect(cache.resolve(parseTenantKey('never-seen'))).rejects.toMatchObject({ code: 'HP-D305' });
    expect(await cache.refresh(pinned)).toEqual(known[0]);

    const moved = await pinTenant(store, pinned, { home: homeIn('us-east') }, AUTHOR);
    late.resolve(bus);
    const live = () => (cache.stale ? undefined : true);
    expect(await poll(world.clock, live, { everyMs: 5, limitMs: LIMIT_MS })).toBe(true);
    expect(await cache.resolve(pinned)).toMatchObject({ placement: { epoch: moved.epoch, home: homeIn('us-east') } });
  });

  test('a directory that was never initialised is an error at once, and not an endless wait', async () => {
    const bare = await startNatsCluster({ size: 1 });
    cleanups.push(() => bare.stop());
    const own = await testBus(bare.urls, log);
    cleanups.push(() => own.close());
    await expect(openCache({ bus: own })).rejects.toMatchObject({ code: 'HP-D303' });
  });

  test('a damaged snapshot is not believed, and then there is nothing to start from', async () => {
    const file = newFile();
    await (await openCache({ file })).close();
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('eu-west', 'us-east'));
    await expect(openCache({ bus: undefined, file })).rejects.toMatchObject({ code: 'HP-D306' });
  });

  test('a bus that fails for good is no reason not to start from a snapshot', async () => {
    const file = newFile();
    await (await openCache({ file })).close();
    const cache = await openCache({ bus: Promise.reject(new HomeportError('HP-D301', { servers: 'x' })), file });
    expect(cache.stale).toBe(true);
  });
});

// Last: it kills servers.
test('a lost server is a gap: pins are forgotten, and what changed meanwhile is seen', async () => {
  const own = await testBus(cluster.urls, log);
  cleanups.push(() => own.close());
  const cache = await openCache({ bus: own });
  const tenant = parseTenantKey('changed-in-the-gap');
  await cache.resolve(tenant);
  expect(cache.cachedPins).toBeGreaterThan(0);

  const [host] = [own.nc.getServer()];
  const victim = cluster.nodes.find(n => n.url === host);
  if (!victim) throw new Error(`connected to one of ours, not to ${host}`);
  await victim.kill();
  let moved: Awaited<ReturnType<typeof pinTenant>> | undefined;
  while (!moved) moved = await pinTenant(store, tenant, { home: homeIn('us-east') }, AUTHOR).catch(() => undefined);

  const { epoch } = moved;
  const seen = async () => {
    const located = await cache.resolve(tenant).catch(() => undefined);
    return located?.kind === 'placed' && located.placement.epoch === epoch && !cache.stale ? located : undefined;
  };
  expect(await poll(world.clock, seen, { everyMs: 20, limitMs: LIMIT_MS })).toMatchObject({
    placement: { key: 'tenant:changed-in-the-gap', home: homeIn('us-east') },
  });
  expect(cache.metrics.gaps).toBeGreaterThan(0);
  expect(cache.metrics.pinsCleared).toBeGreaterThan(0);
  await victim.start();
}, 90_000);

test('a server that only hangs is noticed too', async () => {
  const own = await testBus(cluster.urls, log);
  cleanups.push(() => own.close());
  const cache = await openCache({ bus: own });
  const victim = cluster.nodes.find(n => n.url === own.nc.getServer());
  if (!victim) throw new Error('connected to one of ours');
  victim.pause();
  const gap = () => (cache.metrics.gaps > 0 ? true : undefined);
  expect(await poll(world.clock, gap, { everyMs: 20, limitMs: LIMIT_MS })).toBe(true);
  const live = () => (cache.stale ? undefined : true);
  expect(await poll(world.clock, live, { everyMs: 20, limitMs: LIMIT_MS })).toBe(true);
  victim.resume();
}, 90_000);
