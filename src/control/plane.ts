/**
 * What an admin operation works with: the directory's store, and a way in to every shard of the cluster, as its owner.
 * Opened for one command, closed after it.
 */
import type pg from 'pg';
import { HomeportError } from '../base/errors.ts';
import { type PlacementKey, type ShardId, slotPlacement, type TenantParts, tenantPlacement } from '../base/ids.ts';
import type { World } from '../base/world.ts';
import { type Bus, connectBus, type Log } from '../bus/connect.ts';
import type { Config, RemoteShardConfig, ShardConfig } from '../config/schema.ts';
import { slotOf } from '../directory/hash.ts';
import { readPlacement, readTopology } from '../directory/placing.ts';
import type { Home, Placement, StoredTopology } from '../directory/records.ts';
import { type Author, DirectoryStore } from '../directory/store.ts';
import { type AdminTarget, connectAdmin } from '../shards/admin.ts';

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

export interface Whereabouts {
  readonly tenant: TenantParts;
  readonly topology: StoredTopology;
  readonly slot: number;
  /** Where the tenant's slot lives. */
  readonly slotPlacement: Placement;
  /** The tenant's own placement, if it has one. */
  readonly pin: Placement | undefined;
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

  async onShard<T>(shard: ShardId, work: (admin: pg.Client) => Promise<T>): Promise<T> {
    const admin = await connectAdmin(this.target(shard));
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
    const pin = await this.placementOf(tenantPlacement(tenant.key));
    return { tenant, topology, slot, slotPlacement: ofSlot, pin, placement: pin ?? ofSlot };
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
