/**
 * Cached `locate`: calls per second, time of one call, memory of one cached tenant. No NATS: the cache starts from a
 * snapshot on disk. Run: node --expose-gc bench/locate.bench.ts
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Domain,
  parseTenantKey,
  type RegionId,
  type ShardId,
  type TenantParts,
  tenantPlacement,
} from '../src/base/ids.ts';
import { realWorld } from '../src/base/world.ts';
import { DirectoryCache } from '../src/directory/cache.ts';
import type { PinFact } from '../src/directory/pins.ts';
import { propose, type RingShard } from '../src/directory/ring.ts';
import { applyChanges, EMPTY_SNAPSHOT } from '../src/directory/snapshot.ts';
import { SnapshotFile } from '../src/directory/snapshot-file.ts';

const world = realWorld;
const { clock } = world;
const quiet = { info: () => undefined, warn: console.warn, error: console.error };
const TENANTS = 50_000;
const BATCH = 100;
const BATCHES = 100_000;

function heap(): number {
  globalThis.gc?.();
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}

// casts: names written here are names
const regions = ['ap-south', 'eu-west', 'us-east'] as RegionId[];
const shards: RingShard[] = regions.map(region => ({ id: `${region}-1` as ShardId, region, weight: 1 }));
const topology = { slots: 1024, secondaries: 2, regions, domains: { global: 'all' } as Record<Domain, 'all'> };
const record = {
  ...topology,
  version: 1 as const,
  cluster: 'bench',
  seeded: [...shards],
  write: { id: 'x', by: 'bench', why: '', atMs: 0, replaces: null },
};
const { placements } = propose(topology, shards, 'global' as Domain);
const { snapshot } = applyChanges(EMPTY_SNAPSHOT, [
  { kind: 'topology', record, revision: 1 },
  ...placements.map((p, n) => ({
    kind: 'slot' as const,
    placement: { ...p, epoch: 1, state: 'active' as const, revision: n + 2 },
  })),
]);

/** Every tenth tenant is pinned, as somebody would have it who pins a lot. */
function facts(tenants: readonly TenantParts[], everyPinned: number): [TenantParts['key'], PinFact][] {
  return tenants.map(({ key }, n) => {
    const home = { region: regions[n % 3] ?? ('' as RegionId), shard: `${regions[n % 3]}-1` as ShardId };
    const pin = {
      key: tenantPlacement(key),
      home,
      secondaries: [],
      epoch: 1,
      state: 'active' as const,
      revision: 5_000 + n,
    };
    return n % everyPinned === 0
      ? [key, { asOf: 5_000 + n, pin, epoch: 1 }]
      : [key, { asOf: 5_000, pin: undefined, epoch: 0 }];
  });
}

async function openWith(file: string, pins: [TenantParts['key'], PinFact][]): Promise<DirectoryCache> {
  await new SnapshotFile(file, world, quiet).save({ identity: 'bench', savedAtMs: 0, snapshot, pins });
  return DirectoryCache.open({ bus: undefined, snapshotFile: file, world, log: quiet });
}

function percentile(sorted: Float64Array, p: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? 0;
}

const folder = await mkdtemp(join(tmpdir(), 'homeport-bench-'));
try {
  const tenants = Array.from({ length: TENANTS }, (_, n) => parseTenantKey(`customer-${n}`));
  const rows: Record<string, string>[] = [];
  for (const [name, everyPinned] of [
    ['no pins', Number.POSITIVE_INFINITY],
    ['1 of 10 pinned', 10],
    ['all pinned', 1],
  ] as const) {
    const empty = await openWith(join(folder, 'empty'), []);
    const before = heap();
    const cache = await openWith(join(folder, name.replaceAll(' ', '-')), facts(tenants, everyPinned));
    const perPin = (heap() - before) / TENANTS;
    // Random order over all tenants, drawn beforehand: the memory's caches see what a gateway's would.
    const order = Uint32Array.from({ length: 1 << 20 }, () => world.random.below(TENANTS));
    const call = (n: number) => cache.locate(tenants[order[n & (order.length - 1)] ?? 0] as TenantParts);
    for (let n = 0; n < 500_000; n++) call(n);
    const times = new Float64Array(BATCHES);
    let placed = 0;
    const startMs = clock.monotonicMs();
    for (let batch = 0; batch < BATCHES; batch++) {
      const fromMs = clock.monotonicMs();
      for (let n = 0; n < BATCH; n++) if (call(batch * BATCH + n).kind === 'placed') placed++;
      times[batch] = (clock.monotonicMs() - fromMs) / BATCH;
    }
    const totalMs = clock.monotonicMs() - startMs;
    times.sort();
    rows.push({
      tenants: `${TENANTS}, ${name}`,
      'locate/s': Math.round((BATCH * BATCHES * 1000) / totalMs).toLocaleString('en'),
      'p50 ns': (percentile(times, 0.5) * 1e6).toFixed(0),
      'p99 ns (of 100 calls)': (percentile(times, 0.99) * 1e6).toFixed(0),
      'bytes/tenant': globalThis.gc ? perPin.toFixed(0) : 'run with --expose-gc',
      'all placed': String(placed === BATCH * BATCHES),
    });
    await Promise.all([cache.close(), empty.close()]);
  }
  console.table(rows);
} finally {
  await rm(folder, { recursive: true, force: true });
}
