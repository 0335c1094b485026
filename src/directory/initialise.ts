/**
 * Makes a directory: the streams, the topology, the shards, and a placement for every slot of every domain, as the ring
 * proposes them. Every record is created only if it is not there, and everything is computed from what the first run
 * wrote into the topology (its shards included): so a run that was broken off is finished by the next one as it began, two
 * runs at once agree, and a run on a finished directory changes nothing.
 */
import { HomeportError } from '../base/errors.ts';
import type { Domain } from '../base/ids.ts';
import { storeIntent } from './audit.ts';
import { ensureStreams } from './buckets.ts';
import { placementToKvKey, shardKey, TOPOLOGY_KEY } from './keys.ts';
import { directoryLimits } from './limits.ts';
import type { RecordBodies, ShardSpec, StoredTopology, Write } from './records.ts';
import { type Proposed, propose } from './ring.ts';
import { type Author, DirectoryStore, type StoreOptions } from './store.ts';

export interface InitialTopology {
  readonly cluster: string;
  /** Default 1024. Fixed for ever. */
  readonly slots?: number;
  /** Default 2. */
  readonly secondaries?: number;
  readonly regions: StoredTopology['regions'];
  readonly domains: StoredTopology['domains'];
  readonly shards: readonly ShardSpec[];
}

export interface InitialiseOptions extends StoreOptions {
  readonly topology: InitialTopology;
  readonly author: Author;
  /** Replicas of both streams; default 3. */
  readonly replicas?: number;
  readonly progress?: (done: number, total: number) => void;
}

export interface Initialised {
  readonly store: DirectoryStore;
  /** Records that this run wrote: 0 when there was nothing to do. */
  readonly created: number;
}

/** @throws HP-D205 when there is a directory with other fixed parameters; HP-D105 when a domain has no shard. */
export async function initialise(options: InitialiseOptions): Promise<Initialised> {
  const { bus, world, author } = options;
  await ensureStreams(bus, world, options.replicas ?? 3);
  const store = await DirectoryStore.open(options);
  const wanted = bodyOf(options.topology);
  // Refused before anything is written when the ring can't place some domain.
  const domains = Object.keys(wanted.domains) as Domain[]; // cast: the schema checked the names
  for (const domain of domains) propose(wanted, wanted.seeded, domain);

  const { topology, created: topologyCreated } = await createTopology(store, wanted, author);
  const run = world.random.uuid();
  let created = topologyCreated ? 1 : 0;
  for (const shard of topology.seeded) {
    const write = writeOf(store, author, `${run}:shard:${shard.id}`, null);
    if (await store.createQuietly('shard', shardKey(shard.id), { version: 1, ...shard }, write)) created++;
  }
  // cast: as above
  for (const domain of Object.keys(topology.domains) as Domain[]) {
    created += await materialise(store, topology, topology.seeded, domain, author, options.progress);
  }
  return { store, created };
}

/**
 * Writes the placements of a domain's slots that are missing. Existing ones are never touched, whatever the ring says.
 * @returns how many were written.
 */
export async function materialise(
  store: DirectoryStore,
  topology: StoredTopology,
  shards: readonly ShardSpec[],
  domain: Domain,
  author: Author,
  progress?: (done: number, total: number) => void,
): Promise<number> {
  const present = new Set<string>();
  for await (const { key } of store.list('slot')) present.add(key);
  const { placements } = propose(topology, shards, domain);
  const missing = placements.filter(p => !present.has(placementToKvKey(p.key) ?? ''));
  if (missing.length === 0) return 0;
  await recordMaterialisation(store, topology, domain, missing, author);
  const run = store.world.random.uuid();
  let created = 0;
  let done = 0;
  await withWorkers(missing, directoryLimits.materialiseAtOnce, async placement => {
    const write = writeOf(store, author, `${run}:${placement.key}`, null);
    const body: RecordBodies['slot'] = {
      version: 1,
      key: placement.key,
      home: placement.home,
      secondaries: [...placement.secondaries],
      epoch: 1,
      state: 'active',
    };
    if (await store.createQuietly('slot', placementToKvKey(placement.key) ?? '', body, write)) created++;
    progress?.(++done, missing.length);
  });
  return created;
}

/** One intent for all of them: the trail needs who, why and what, not a thousand copies. */
async function recordMaterialisation(
  store: DirectoryStore,
  topology: StoredTopology,
  domain: Domain,
  missing: readonly Proposed[],
  author: Author,
): Promise<void> {
  const write = writeOf(store, author, store.world.random.uuid(), null);
  const after = missing.map(p => [p.key, p.home.shard, ...p.secondaries.map(s => s.shard)]);
  const key = `materialise.${domain}`;
  await storeIntent(store.bus, store.world, {
    phase: 'intent',
    key,
    write,
    expected: topology.slots,
    before: null,
    after,
  });
}

async function createTopology(store: DirectoryStore, wanted: RecordBodies['topology'], author: Author) {
  for (;;) {
    const found = await store.read('topology', TOPOLOGY_KEY);
    if (found) {
      refuseDifferences(found.record, wanted);
      return { topology: found.record, created: false };
    }
    try {
      const { record } = await store.write('topology', TOPOLOGY_KEY, wanted, 'absent', author);
      return { topology: record, created: true };
    } catch (error) {
      // Another run was first: go on with what it wrote. Anything else is the caller's to know.
      if (!(error instanceof HomeportError && error.code === 'HP-D201')) throw error;
    }
  }
}

/** What can't be changed later must be what it is; regions, domains and shards may have been added since. */
function refuseDifferences(found: StoredTopology, wanted: RecordBodies['topology']): void {
  const differences: string[] = [];
  if (found.cluster !== wanted.cluster) differences.push(`cluster is "${found.cluster}", not "${wanted.cluster}"`);
  if (found.slots !== wanted.slots) differences.push(`slots is ${found.slots}, not ${wanted.slots}`);
  if (differences.length > 0) throw new HomeportError('HP-D205', { differences: differences.join('; ') });
}

function bodyOf(wanted: InitialTopology): RecordBodies['topology'] {
  return {
    version: 1,
    cluster: wanted.cluster,
    slots: wanted.slots ?? 1024,
    secondaries: wanted.secondaries ?? 2,
    regions: [...wanted.regions],
    domains: { ...wanted.domains },
    seeded: wanted.shards.map(({ id, region, weight }) => ({ id, region, weight })),
  };
}

function writeOf(store: DirectoryStore, author: Author, id: string, replaces: string | null): Write {
  return { id, by: author.who, why: author.why, atMs: store.world.clock.wallMs(), replaces };
}

async function withWorkers<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const workers = Array.from({ length: Math.min(atOnce, items.length) }, async () => {
    for (const item of queue) await work(item);
  });
  await Promise.all(workers);
}
