/**
 * The directory as a gateway has it. Topology, shards and all slots are in memory and followed by a watch; pins come when
 * they are asked for, absent ones are remembered too, and a second watch brings what changes. Everything here is a hint
 * (I6): the fence in the shard decides, and being stale costs a retry.
 *
 * What is guaranteed all the same (`SPEC.md`, "The cache"):
 * 1. A placement is never replaced by one of a lower epoch, nor by an older one of the same epoch.
 * 2. While the watches live, a cached answer, "no pin" included, is followed by every later change.
 * 3. After a gap in the pins' watch all pins are forgotten, before anything newer is believed.
 * 4. `locate` does no I/O and changes nothing but the order of the LRU.
 */
import { HomeportError } from '../base/errors.ts';
import type { Domain, PlacementKey, TenantKey, TenantParts } from '../base/ids.ts';
import type { World } from '../base/world.ts';
import type { Bus, Log } from '../bus/connect.ts';
import { DirectoryFeed } from './feed.ts';
import { slotOf } from './hash.ts';
import { SnapshotKeeper } from './keeper.ts';
import { directoryLimits } from './limits.ts';
import { type Flight, Lookups } from './lookups.ts';
import { DirectoryMetrics } from './metrics.ts';
import { later, type PinFact, PinTable } from './pins.ts';
import type { Placement } from './records.ts';
import {
  applyChanges,
  EMPTY_SNAPSHOT,
  type SlotTable,
  type Snapshot,
  type SnapshotChange,
  supersedes,
} from './snapshot.ts';
import { SnapshotFile } from './snapshot-file.ts';
import { Waiters } from './waiters.ts';

export type Located =
  | {
      readonly kind: 'placed';
      readonly tenant: TenantKey;
      readonly domain: Domain;
      readonly slot: number;
      readonly placement: Placement;
    }
  | { readonly kind: 'unknown-domain'; readonly domain: Domain }
  /** Not known here yet: ask `resolve`. */
  | { readonly kind: 'unknown-yet'; readonly slot: number };

type Placed = Extract<Located, { kind: 'placed' }>;

export interface CacheOptions {
  /** A promise is for a start without NATS: the snapshot on disk serves until it is there. */
  readonly bus: Bus | Promise<Bus> | undefined;
  readonly snapshotFile: string;
  readonly world: World;
  readonly log: Log;
  /** Pins in memory; default `directoryLimits.cachedPins`. */
  readonly maxPins?: number;
}

const NO_SLOTS: SlotTable = [];

export class DirectoryCache {
  readonly metrics = new DirectoryMetrics();
  readonly #world: World;
  readonly #log: Log;
  readonly #pins: PinTable<Placed>;
  readonly #lookups: Lookups<TenantParts, Located>;
  readonly #waiters: Waiters;
  readonly #keeper: SnapshotKeeper;
  #snapshot: Snapshot = EMPTY_SNAPSHOT;
  /** Tables of the topology's domains, for `locate`: one map to ask, and no other. */
  #tables: ReadonlyMap<Domain, SlotTable> = new Map();
  #slots = 1;
  #identity: string | undefined;
  #feed: DirectoryFeed | undefined;
  #closed = false;

  private constructor(options: CacheOptions) {
    const { world, log } = options;
    this.#world = world;
    this.#log = log;
    this.#pins = new PinTable(options.maxPins ?? directoryLimits.cachedPins);
    this.#lookups = new Lookups((tenant, flight) => this.#fetch(tenant, flight), directoryLimits);
    this.#waiters = new Waiters(world.clock, directoryLimits.waiters);
    const file = new SnapshotFile(options.snapshotFile, world, log);
    this.#keeper = new SnapshotKeeper(file, world.clock, log, () => this.#content());
  }

  /**
   * Starts from NATS, or from the last good snapshot when NATS doesn't answer within a moment; then it is `stale` until
   * NATS does.
   * @throws HP-D303 when NATS answers, the directory isn't initialised and there is no snapshot; HP-D306 when there is
   * neither NATS nor a snapshot.
   */
  static async open(options: CacheOptions): Promise<DirectoryCache> {
    const cache = new DirectoryCache(options);
    // Whoever takes a failure of it seriously comes below; until then it must not count as unhandled.
    const bus = Promise.resolve(options.bus);
    bus.catch(() => undefined);
    const saved = await new SnapshotFile(options.snapshotFile, options.world, options.log).load();
    if (saved) {
      cache.#identity = saved.identity;
      cache.#setSnapshot(saved.snapshot);
      // The least recently used first, so that the order comes out as it was.
      for (const [tenant, fact] of [...saved.pins].reverse()) cache.#pins.offer(tenant, cache.#slotOf(tenant), fact);
    }
    try {
      if (options.bus !== undefined || !saved)
        await cache.#firstContact(bus, options.snapshotFile, saved !== undefined);
      return cache;
    } catch (error) {
      await cache.close();
      throw error;
    }
  }

  /** What is known now, as a value that doesn't change any more. */
  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  /** True while what is served may have been overtaken without a word: no watch is live. */
  get stale(): boolean {
    return !this.#feed?.live;
  }

  get cachedPins(): number {
    return this.#pins.size;
  }

  /** Where a tenant lives, as known here. No I/O; under 1 µs when cached, some 2 µs otherwise (SHA-256). */
  locate(tenant: TenantParts): Located {
    const table = this.#tables.get(tenant.domain);
    if (table === undefined) return { kind: 'unknown-domain', domain: tenant.domain };
    const entry = this.#pins.get(tenant.key);
    if (entry === undefined) return { kind: 'unknown-yet', slot: this.#slotOf(tenant.key) };
    const placement = entry.pin ?? table[entry.slot];
    if (placement === undefined) return { kind: 'unknown-yet', slot: entry.slot };
    if (entry.memo?.placement === placement) return entry.memo;
    entry.memo = { kind: 'placed', tenant: tenant.key, domain: tenant.domain, slot: entry.slot, placement };
    return entry.memo;
  }

  /**
   * As `locate`, and reads the directory when the tenant isn't known here. Shared by all who ask for the same tenant.
   * @throws HP-D304 when too many look-ups wait, HP-D305 when the directory can't be read.
   */
  async resolve(tenant: TenantParts): Promise<Located> {
    const known = this.locate(tenant);
    if (known.kind !== 'unknown-yet') return known;
    this.metrics.resolves++;
    return this.#lookups.any(tenant);
  }

  /**
   * Reads pin and slot past the cache, with a read that begins after this call, and returns what is known then. For
   * use after a shard refused an epoch (HP001).
   *
   * The answer need not be the newest: a replica may lag, and the change may be on its way. It is never older than what
   * was known before. When the directory can't be read, the answer is what is known. So compare the epoch with the one that
   * was refused, and `waitForChange` when it is the same.
   * @throws HP-D304, and HP-D305 when nothing at all is known of the tenant.
   */
  async refresh(tenant: TenantParts): Promise<Located> {
    this.metrics.refreshes++;
    if (!this.#tables.has(tenant.domain)) return { kind: 'unknown-domain', domain: tenant.domain };
    try {
      return await this.#lookups.fresh(tenant);
    } catch (error) {
      const known = this.locate(tenant);
      if (known.kind === 'unknown-yet' || !(error instanceof HomeportError && error.code === 'HP-D305')) throw error;
      return known;
    }
  }

  /**
   * The placement as soon as its epoch is above `afterEpoch`; undefined when that takes longer than `limitMs`. A tenant
   * that gets a pin of its own changes no slot's epoch: wait on the key that `locate` named, then `refresh`.
   */
  waitForChange(key: PlacementKey, afterEpoch: number, limitMs: number): Promise<Placement | undefined> {
    const known = this.#placement(key);
    if (known && known.epoch > afterEpoch) return Promise.resolve(known);
    if (this.#closed) return Promise.resolve(undefined);
    return this.#waiters.wait(key, afterEpoch, limitMs);
  }

  /** Ends the watches and writes the snapshot. The bus stays open: it belongs to the caller. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#waiters.endAll();
    await this.#feed?.close();
    await this.#keeper.close();
  }

  async #firstContact(bus: Promise<Bus | undefined>, file: string, haveSnapshot: boolean): Promise<void> {
    const limitMs = haveSnapshot ? directoryLimits.openWithSnapshotMs : directoryLimits.openWithoutSnapshotMs;
    const attached = bus.then(async ready => {
      if (!ready || this.#closed) return false;
      this.#feed = this.#follow(ready);
      await this.#feed.ready(haveSnapshot);
      return true;
    });
    const giveUp = new AbortController();
    const late = this.#world.clock.sleep(limitMs, giveUp.signal).then(
      () => 'late' as const,
      () => 'late' as const,
    );
    attached.catch(error => this.#log.error({ err: error }, 'the directory can not be followed'));
    const first = await Promise.race([haveSnapshot ? attached.catch(() => false) : attached, late]).finally(() =>
      giveUp.abort(),
    );
    if (first === true) return;
    if (!haveSnapshot) throw new HomeportError('HP-D306', { file });
    this.#log.warn({ file }, 'the directory can not be reached; serving from the last good snapshot');
  }

  #follow(bus: Bus): DirectoryFeed {
    return new DirectoryFeed({
      bus,
      world: this.#world,
      log: this.#log,
      metrics: this.metrics,
      identity: () => this.#identity,
      identified: identity => {
        this.#identity = identity;
      },
      replaced: () => {
        this.#pins.clear();
        this.#lookups.forgetWatched();
      },
      rebuilt: changes => this.#apply(EMPTY_SNAPSHOT, changes),
      changed: changes => this.#apply(this.#snapshot, changes),
      pinsForgotten: () => {
        this.metrics.pinsCleared += this.#pins.clear();
        this.#lookups.forgetWatched();
      },
      pinChanged: (tenant, fact) => this.#pinChanged(tenant, fact),
      pinUnreadable: tenant => this.#pins.delete(tenant),
    });
  }

  #pinChanged(tenant: TenantKey, fact: PinFact): void {
    if (this.#pins.has(tenant)) {
      if (this.#pins.offer(tenant, 0, fact) === 'refused') this.#refused(`tenant:${tenant}`, fact.epoch);
      this.#keeper.touch(directoryLimits.snapshotPinsMs);
    }
    this.#lookups.watched(tenant, fact);
    if (fact.pin) this.#waiters.notify(fact.pin);
  }

  /** One look-up: until an answer is fresh enough to be believed. @throws HP-D303, HP-D305, HP-D307 */
  async #fetch(tenant: TenantParts, flight: Flight): Promise<Located> {
    const slot = this.#slotOf(tenant.key);
    const withSlot = flight.whole || this.#tables.get(tenant.domain)?.[slot] === undefined;
    const located = await this.#feed?.read(tenant, slot, withSlot, read => {
      if (read.slot && supersedes(read.slot, this.#snapshot.slots.get(tenant.domain)?.[slot])) {
        this.#apply(this.#snapshot, [{ kind: 'slot', placement: read.slot }]);
      }
      const fact = later(flight.watched, read.fact);
      // The number of slots may be another one by now, when the whole directory was made anew.
      const offered = this.#pins.offer(tenant.key, this.#slotOf(tenant.key), fact);
      if (offered === 'refused') this.#refused(`tenant:${tenant.key}`, fact.epoch);
      if (fact.pin) this.#waiters.notify(fact.pin);
      this.#keeper.touch(directoryLimits.snapshotPinsMs);
      return this.locate(tenant);
    });
    if (!located) throw new HomeportError('HP-D305', { key: tenant.key });
    if (located.kind !== 'unknown-yet') return located;
    throw new HomeportError('HP-D303', { missing: `slot ${slot} of domain ${tenant.domain} has no placement` });
  }

  #apply(base: Snapshot, changes: readonly SnapshotChange[]): void {
    const { snapshot, changed, refused } = applyChanges(base, changes);
    this.#setSnapshot(snapshot);
    for (const { key, epoch } of refused) this.#refused(key, epoch);
    for (const placement of changed) this.#waiters.notify(placement);
    this.#keeper.touch(directoryLimits.snapshotDebounceMs);
  }

  #setSnapshot(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    const topology = snapshot.topology?.record;
    if (!topology) return;
    if (this.#slots !== topology.slots) this.#pins.clear(); // they carry slot numbers
    this.#slots = topology.slots;
    const domains = Object.keys(topology.domains) as Domain[]; // cast: the schema checked the names
    this.#tables = new Map(domains.map(domain => [domain, snapshot.slots.get(domain) ?? NO_SLOTS]));
  }

  #placement(key: PlacementKey): Placement | undefined {
    if (key.startsWith('tenant:')) return this.#pins.get(key.slice('tenant:'.length) as TenantKey)?.pin; // cast: from its key
    const [, domain, slot] = key.split(':');
    return this.#snapshot.slots.get(domain as Domain)?.[Number(slot)]; // cast: from its key
  }

  #refused(key: string, epoch: number): void {
    this.metrics.refused++;
    this.#log.error({ key, epoch }, 'a directory record with a lower epoch than before was not believed');
  }

  #slotOf(tenant: TenantKey): number {
    return slotOf(tenant, this.#slots);
  }

  #content() {
    if (this.#identity === undefined || !this.#snapshot.topology) return undefined;
    const pins = [...this.#pins.recent(directoryLimits.snapshotPins)];
    return { identity: this.#identity, savedAtMs: this.#world.clock.wallMs(), snapshot: this.#snapshot, pins };
  }
}
