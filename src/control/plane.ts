/**
 * What an admin operation works with: the directory's store, and a way in to every shard of the cluster, as its owner.
 * Opened for one command, closed after it.
 */
import { JetStreamApiError } from '@nats-io/jetstream';
import { errors } from '@nats-io/transport-node';
import type pg from 'pg';
import { HomeportError } from '../base/errors.ts';
import { type PlacementKey, type ShardId, slotPlacement, type TenantParts } from '../base/ids.ts';
import type { World } from '../base/world.ts';
import { type Bus, connectBus, type Log } from '../bus/connect.ts';
import type { Config, RemoteShardConfig, ShardConfig } from '../config/schema.ts';
import { slotOf } from '../directory/hash.ts';
import { tenantKvKey } from '../directory/keys.ts';
import { readPlacement, readTopology } from '../directory/placing.ts';
import { type Home, type Placement, placementFrom, type StoredTopology } from '../directory/records.ts';
import { type Author, DirectoryStore, type Expected } from '../directory/store.ts';
import { type AdminTarget, connectAdmin, why } from '../shards/admin.ts';

export interface ControlOptions {
  readonly config: Config;
  readonly world: World;
  readonly log: Log;
  readonly author: Author;
}

/** Every shard of the cluster, as it is reached from here. */
export function adminTargets(config: Config): AdminTarget[] {
  const all: Record<string, ShardConfig | RemoteShardConfig> = { ...config.shards, ...config.remoteShards };
  return Object.entries(all).map(([id, { ordinal, host, port, database, admin, tls }]) => {
    return { id: id as ShardId, ordinal, host, port, database, admin, tls }; // cast: Object.entries forgets the brand
  });
}

/** As the shard's owner. The caller ends the client. @throws HP-A106 */
export async function reachShard(target: AdminTarget): Promise<pg.Client> {
  try {
    return await connectAdmin(target);
  } catch (cause) {
    throw new HomeportError('HP-A106', { shard: target.id, why: why(cause) }, { cause });
  }
}

const UNANSWERED = [
  errors.TimeoutError,
  errors.NoRespondersError,
  errors.RequestError,
  errors.ConnectionError,
  errors.ClosedConnectionError,
];
const SERVER_FAULT = 500;

/** What the NATS client says when a server is there and the cluster does not answer, in our words. */
function directoryFailure(error: unknown): unknown {
  const isOurs = error instanceof JetStreamApiError && error.status >= SERVER_FAULT;
  if (!isOurs && !UNANSWERED.some(kind => error instanceof kind)) return error;
  return new HomeportError('HP-A108', { why: why(error) }, { cause: error });
}

/** Runs what speaks to the directory. @throws HP-A108 for what would be a bare "timeout" otherwise */
export async function askDirectory<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw directoryFailure(error);
  }
}

export interface Whereabouts {
  readonly tenant: TenantParts;
  readonly topology: StoredTopology;
  readonly slot: number;
  /** Where the tenant's slot lives. */
  readonly slotPlacement: Placement;
  /** The tenant's own placement, if it has one. */
  readonly pin: Placement | undefined;
  /** The record of the pin as it was read, taken away or not: what a change of it is meant for. */
  readonly pinRecord: Expected<'tenant'>;
  /** The one that counts. */
  readonly placement: Placement;
}

export class ControlPlane {
  readonly config: Config;
  readonly world: World;
  readonly log: Log;
  readonly author: Author;
  readonly bus: Bus;
  readonly store: DirectoryStore;

  private constructor(options: ControlOptions, bus: Bus, store: DirectoryStore) {
    this.config = options.config;
    this.world = options.world;
    this.log = options.log;
    this.author = options.author;
    this.bus = bus;
    this.store = store;
  }

  /** @throws HP-D301 without NATS, HP-D303 when the cluster has not been initialised. */
  static async open(options: ControlOptions): Promise<ControlPlane> {
    const { config, world, log } = options;
    const bus = await connectBus(config.nats, { name: 'homeport admin', log, world });
    try {
      return new ControlPlane(options, bus, await DirectoryStore.open({ bus, world, log }));
    } catch (error) {
      await bus.close();
      throw error;
    }
  }

  close(): Promise<void> {
    return this.bus.close();
  }

  /** @throws HP-A102 when this configuration does not know the shard. */
  target(shard: ShardId): AdminTarget {
    const found = adminTargets(this.config).find(({ id }) => id === shard);
    if (!found) throw new HomeportError('HP-A102', { shard });
    return found;
  }

  /** @throws HP-A102, HP-A106 */
  async onShard<T>(shard: ShardId, work: (admin: pg.Client) => Promise<T>): Promise<T> {
    const admin = await reachShard(this.target(shard));
    try {
      return await work(admin);
    } finally {
      await admin.end();
    }
  }

  /**
   * Where a tenant lives, by the directory's leader: for people and for the first look of a change, never a decision.
   * @throws HP-G102 for a domain that is not in the topology.
   */
  async whereIs(tenant: TenantParts): Promise<Whereabouts> {
    const topology = (await readTopology(this.store)).record;
    if (topology.domains[tenant.domain] === undefined) {
      throw new HomeportError('HP-G102', { domain: tenant.domain, tenant: tenant.key });
    }
    const slot = slotOf(tenant.key, topology.slots);
    const ofSlot = await this.placementOf(slotPlacement(tenant.domain, slot));
    if (!ofSlot) throw new HomeportError('HP-D303', { missing: `slot ${slot} of ${tenant.domain} has no placement` });
    const read = await this.store.read('tenant', tenantKvKey(tenant.key));
    const pin = read && read.record.state !== 'released' ? placementFrom(read.record, read.revision) : undefined;
    return {
      tenant,
      topology,
      slot,
      slotPlacement: ofSlot,
      pin,
      pinRecord: read ?? 'absent',
      placement: pin ?? ofSlot,
    };
  }

  async placementOf(key: PlacementKey): Promise<Placement | undefined> {
    return (await readPlacement(this.store, key))?.placement;
  }

  /** A shard's home by its id, or the only shard of a region by the region's name. @throws HP-A101 */
  homeNamed(name: string): Home {
    const targets = adminTargets(this.config);
    const byId = targets.filter(({ id }) => id === name);
    const found = byId.length > 0 ? byId : targets.filter(({ id }) => id.replace(/-\d+$/, '') === name);
    const [only] = found;
    if (!only || found.length > 1) {
      throw new HomeportError('HP-A101', { name, known: targets.map(({ id }) => id).join(', ') });
    }
    // cast: a shard's id is its region's name and a number, as the configuration has checked
    return { region: only.id.replace(/-\d+$/, '') as Home['region'], shard: only.id };
  }
}
