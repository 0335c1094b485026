/**
 * Makes a cluster of configured regions: the directory, the schema and the roles of every shard, and the first fences.
 * Every step finds out by itself what is there, so that a run which broke off is finished by the next one.
 *
 * Order: the directory first (it says where things live), then schemas and roles, then the fences, because only an open
 * fence lets anybody write. A gateway that comes too early holds its transactions until the fences are open.
 */
import type { Domain, PlacementKey, RegionId, ShardId } from '../base/ids.ts';
import { connectBus } from '../bus/connect.ts';
import { regionOfShard } from '../config/checks.ts';
import type { Config } from '../config/schema.ts';
import { type InitialTopology, initialise } from '../directory/initialise.ts';
import type { DirectoryStore } from '../directory/store.ts';
import { openFresh } from '../shards/fences.ts';
import { adminTargets, askDirectory, type ControlOptions, reachShard } from './plane.ts';
import { migrateAll } from './schema.ts';

export interface InitialiseReport {
  /** Records written to the directory now; 0 when it was there. */
  readonly directoryRecords: number;
  readonly migrations: number;
  readonly roles: number;
  readonly fences: number;
}

const FENCES_AT_ONCE = 2_000;

export function topologyOf(config: Config): InitialTopology {
  const shards = adminTargets(config).map(({ id }) => ({
    id,
    region: regionOfShard(id) as RegionId, // cast: the configuration has checked that the region is one of its own
    weight: (config.shards[id] ?? config.remoteShards[id])?.weight ?? 1,
  }));
  return {
    cluster: config.cluster.name,
    regions: Object.keys(config.regions) as RegionId[], // cast: Object.keys forgets the brand
    domains: Object.fromEntries(
      Object.entries(config.domains).map(([domain, regions]) => [domain, regions === 'all' ? 'all' : [...regions]]),
    ),
    shards: shards.sort((a, b) => (a.id < b.id ? -1 : 1)),
  };
}

/**
 * @param progress told of each step as it begins or ends.
 */
export async function initialiseCluster(
  options: ControlOptions,
  progress: (text: string) => void,
): Promise<InitialiseReport> {
  return askDirectory(() => initialiseAll(options, progress));
}

async function initialiseAll(options: ControlOptions, progress: (text: string) => void): Promise<InitialiseReport> {
  const { config, world, log, author } = options;
  const bus = await connectBus(config.nats, { name: 'homeport init', log, world, waitMs: 10_000 });
  try {
    const replicas = Math.min(3, Object.keys(config.regions).length);
    const [{ store, created }, migrations] = await Promise.all([
      initialise({ bus, world, log, author, replicas: replicas === 2 ? 1 : replicas, topology: topologyOf(config) }),
      prepareShards(options, progress),
    ]);
    progress(created > 0 ? `the directory has ${created} new records` : 'the directory is there');
    const fences = await openFences(config, store);
    if (fences > 0) progress(`${fences} fences are open`);
    return { directoryRecords: created, ...migrations, fences };
  } finally {
    await bus.close();
  }
}

async function prepareShards({ config, world }: ControlOptions, progress: (text: string) => void) {
  const { reports, roles } = await migrateAll(config, world, {});
  const migrations = reports.reduce((sum, { own, user }) => sum + own.length + user.length, 0);
  const shards = reports.length;
  progress(migrations > 0 ? `${shards} shards have been migrated` : `${shards} shards are up to date`);
  return { migrations, roles };
}

/** The fences of slots that nobody has opened anywhere yet: epoch 1 at the home that the directory names. */
async function openFences(config: Config, store: DirectoryStore): Promise<number> {
  const byShard = new Map<ShardId, PlacementKey[]>();
  for await (const { record } of store.list('slot')) {
    // A later epoch means that a change of home has been here; its own machine opens fences.
    if (record.epoch !== 1) continue;
    const keys = byShard.get(record.home.shard);
    if (keys) keys.push(record.key);
    else byShard.set(record.home.shard, [record.key]);
  }
  const opened = await Promise.all(
    adminTargets(config).map(async target => {
      const keys = byShard.get(target.id) ?? [];
      const admin = await reachShard(target);
      try {
        let count = 0;
        for (let at = 0; at < keys.length; at += FENCES_AT_ONCE) {
          count += (await openFresh(admin, keys.slice(at, at + FENCES_AT_ONCE), 1)).length;
        }
        return count;
      } finally {
        await admin.end();
      }
    }),
  );
  return opened.reduce((sum, count) => sum + count, 0);
}

/** For messages: how many regions a domain has. */
export function regionsOf(config: Config, domain: Domain): readonly RegionId[] {
  const regions = config.domains[domain];
  const all = Object.keys(config.regions) as RegionId[]; // cast: Object.keys forgets the brand
  return regions === undefined || regions === 'all' ? all : regions;
}
