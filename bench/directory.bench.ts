/**
 * Watch to cache on a real cluster of three (`sync_interval: always`), and starting with a million pins in the bucket.
 * Run: node bench/directory.bench.ts [number of pins]
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseTenantKey, slotPlacement, tenantPlacement } from '../src/base/ids.ts';
import { realWorld } from '../src/base/world.ts';
import type { Bus } from '../src/bus/connect.ts';
import { DirectoryCache } from '../src/directory/cache.ts';
import { initialise } from '../src/directory/initialise.ts';
import { DIRECTORY_BUCKET, DIRECTORY_STREAM, placementToKvKey, subjectOf, tenantKvKey } from '../src/directory/keys.ts';
import { pinTenant, readPlacement } from '../src/directory/placing.ts';
import { AUTHOR, domain, homeIn, memoryLog, TOPOLOGY, testBus } from '../test/support/directory.ts';
import { startNatsCluster } from '../test/support/nats.ts';

const world = realWorld;
const { clock } = world;
const log = memoryLog();
const PINS = Number(process.argv[2] ?? 1_000_000);
const folder = await mkdtemp(join(tmpdir(), 'homeport-bench-'));
let files = 0;

const openCache = (bus: Bus) => DirectoryCache.open({ bus, snapshotFile: join(folder, String(++files)), world, log });

function spread(name: string, times: number[]) {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (p: number) => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? 0).toFixed(2);
  return { what: name, n: times.length, 'p50 ms': at(0.5), 'p99 ms': at(0.99), 'max ms': at(1) };
}

async function watchToCache(): Promise<object[]> {
  const cluster = await startNatsCluster();
  const [writing, reading] = await Promise.all([testBus(cluster.urls, log), testBus(cluster.urls, log)]);
  try {
    const fromMs = clock.monotonicMs();
    const options = { bus: writing, world, log, author: AUTHOR, topology: { ...TOPOLOGY, slots: 1024 } };
    const { store } = await initialise(options);
    const initialiseMs = clock.monotonicMs() - fromMs;
    const openedMs = clock.monotonicMs();
    const cache = await openCache(reading);
    const openMs = clock.monotonicMs() - openedMs;
    const kv = await writing.kvm.open(DIRECTORY_BUCKET);
    const key = slotPlacement(domain('global'), 7);
    const current = await readPlacement(store, key);
    if (!current) throw new Error('slots were materialised');
    const [fromPut, fromAck]: [number[], number[]] = [[], []];
    for (let n = 0; n < 500; n++) {
      const epoch = n + 2;
      const bytes = JSON.stringify({ ...current.versioned.record, epoch });
      const seen = cache.waitForChange(key, epoch - 1, 5_000).then(() => clock.monotonicMs());
      const putMs = clock.monotonicMs();
      await kv.put(placementToKvKey(key) ?? '', bytes);
      const ackMs = clock.monotonicMs();
      const seenMs = await seen;
      fromPut.push(seenMs - putMs);
      fromAck.push(Math.max(0, seenMs - ackMs));
    }
    const pinned: number[] = [];
    const resolved: number[] = [];
    for (let n = 0; n < 200; n++) {
      const tenant = parseTenantKey(`bench-${n}`);
      const resolveMs = clock.monotonicMs();
      await cache.resolve(tenant);
      resolved.push(clock.monotonicMs() - resolveMs);
      const pinMs = clock.monotonicMs();
      const seen = cache.waitForChange(tenantPlacement(tenant.key), 0, 5_000).then(() => clock.monotonicMs());
      await pinTenant(store, tenant, { home: homeIn('us-east') }, AUTHOR);
      pinned.push((await seen) - pinMs);
    }
    await cache.close();
    return [
      spread('slot: put sent → in the cache', fromPut),
      spread('slot: put acknowledged → in the cache', fromAck),
      spread('pin: command with audit → in the cache', pinned),
      spread('resolve of an unknown tenant', resolved),
      spread('initialise 2 × 1024 slots, R3 always', [initialiseMs]),
      spread('open a cache', [openMs]),
    ];
  } finally {
    await Promise.all([writing.close(), reading.close()]);
    await cluster.stop();
  }
}

/** Plain publishes, with an acknowledgement awaited now and then: the fastest way to fill a bucket. */
async function fill(bus: Bus, from: number, to: number): Promise<void> {
  const record = (n: number) => {
    const key = tenantPlacement(parseTenantKey(`tenant-${n}`).key);
    const write = { id: `fill-${n}`, by: 'bench', why: 'fill', atMs: 0, replaces: null };
    const secondaries = [homeIn('eu-west'), homeIn('ap-south')];
    return JSON.stringify({ version: 1, key, home: homeIn('us-east'), secondaries, epoch: 1, state: 'active', write });
  };
  const subject = (n: number) => subjectOf(tenantKvKey(parseTenantKey(`tenant-${n}`).key));
  for (let n = from; n < to; n++) {
    if (n % 500 === 499 || n === to - 1) await bus.js.publish(subject(n), record(n), { timeout: 30_000 });
    else bus.nc.publish(subject(n), record(n));
  }
}

async function startWithPins(): Promise<object[]> {
  const cluster = await startNatsCluster({ size: 1, sync: 'default' });
  const bus = await testBus(cluster.urls, log);
  try {
    await initialise({ bus, world, log, author: AUTHOR, replicas: 1, topology: { ...TOPOLOGY, slots: 1024 } });
    const rows: object[] = [];
    let filled = 0;
    for (const pins of [0, PINS / 10, PINS]) {
      const fillMs = clock.monotonicMs();
      await fill(bus, filled, pins);
      filled = pins;
      const filledMs = clock.monotonicMs() - fillMs;
      const { state } = await bus.jsm.streams.info(DIRECTORY_STREAM);
      const times: number[] = [];
      const resolves: number[] = [];
      for (let n = 0; n < 5; n++) {
        const fromMs = clock.monotonicMs();
        const cache = await openCache(bus);
        times.push(clock.monotonicMs() - fromMs);
        for (let m = 0; m < 100; m++) {
          const resolveMs = clock.monotonicMs();
          await cache.resolve(parseTenantKey(`tenant-${world.random.below(Math.max(1, pins))}`));
          resolves.push(clock.monotonicMs() - resolveMs);
        }
        await cache.close();
      }
      rows.push({
        pins,
        'records in the bucket': state.messages,
        'fill s': (filledMs / 1000).toFixed(1),
        ...spread('open a cache', times),
        'then resolve p50 ms': spread('', resolves)['p50 ms'],
      });
    }
    return rows;
  } finally {
    await bus.close();
    await cluster.stop();
  }
}

try {
  console.table(await watchToCache());
  console.table(await startWithPins());
} finally {
  await rm(folder, { recursive: true, force: true });
}
