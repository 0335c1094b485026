/**
 * What comes from NATS into the cache: two watches, and reads of single tenants. Knows sequences and freshness; what a
 * record means to the cache is the cache's business.
 *
 * Freshness of reads: `seen` is the furthest stream sequence that an event of the pins' watch, or a read that was
 * believed, has shown. A read as of S is believed if S ≥ `seen` when it was asked: a change up to S is in it, and a later
 * one the watch brings, also to the look-up under way. If the watch was opened anew meanwhile, changes may have passed unseen in between, and the read
 * is believed only if S ≥ `seen` now.
 */
import { assert } from '../base/assert.ts';
import { HomeportError } from '../base/errors.ts';
import { slotPlacement, type TenantKey, type TenantParts } from '../base/ids.ts';
import type { World } from '../base/world.ts';
import type { Bus, Log } from '../bus/connect.ts';
import { Outage } from '../bus/outage.ts';
import { AsOfReader, type ReadMessage } from '../bus/read.ts';
import { type StreamMessage, StreamWatch, type WatchStart } from '../bus/watch.ts';
import { isStreamMissing } from './buckets.ts';
import {
  DIRECTORY_BUCKET,
  DIRECTORY_STREAM,
  kvKeyOfSubject,
  kvKeyToPlacement,
  placementToKvKey,
  subjectOf,
  TOPOLOGY_KEY,
  tenantKvKey,
} from './keys.ts';
import { directoryLimits } from './limits.ts';
import type { DirectoryMetrics } from './metrics.ts';
import type { PinFact } from './pins.ts';
import { decodeRecord, type Placement, placementFrom } from './records.ts';
import { type SnapshotChange, snapshotChange } from './snapshot.ts';

const OUTAGE = {
  away: 'the directory can not be followed; trying again, and going by what is known',
  back: 'the directory is followed again',
};

export interface FeedOptions {
  readonly bus: Bus;
  readonly world: World;
  readonly log: Log;
  readonly metrics: DirectoryMetrics;
  /** The stream that the cache's content came from, if any. */
  identity(): string | undefined;
  identified(identity: string): void;
  /** The stream is another one than before: nothing of the old one's sequences means anything. */
  replaced(): void;
  /** All of topology, shards and slots, of a stream that the cache knew nothing of. */
  rebuilt(changes: readonly SnapshotChange[]): void;
  changed(changes: readonly SnapshotChange[]): void;
  pinsForgotten(): void;
  pinChanged(tenant: TenantKey, fact: PinFact): void;
  /** A pin's record is not one: nothing may be assumed of where the tenant lives. */
  pinUnreadable(tenant: TenantKey): void;
}

export interface TenantRead {
  readonly fact: PinFact;
  readonly slot: Placement | undefined;
}

export class DirectoryFeed {
  readonly #options: FeedOptions;
  readonly #reader: AsOfReader;
  readonly #outage: Outage;
  readonly #slots: StreamWatch;
  readonly #pins: StreamWatch;
  readonly #firstReady: { promise: Promise<void>; resolve: () => void; reject: (error: unknown) => void };
  #slotsLive = false;
  #pinsLive = false;
  /** Set while the slots are being loaded whole. */
  #loading: SnapshotChange[] | undefined;
  /** Whether what is loaded takes the place of what the cache has, and isn't merged into it. */
  #rebuild = false;
  #waitsForTopology = false;
  #slotsThrough = 0;
  #seen = 0;
  /** Counts openings of the pins' watch, and streams. */
  #generation = 0;
  #lineage = 0;
  #closed = false;

  constructor(options: FeedOptions) {
    this.#options = options;
    this.#firstReady = Promise.withResolvers<void>();
    // Whoever doesn't wait for it must not get an unhandled rejection.
    this.#firstReady.promise.catch(() => undefined);
    this.#reader = new AsOfReader(options.bus, options.world, DIRECTORY_STREAM, subjectOf(TOPOLOGY_KEY));
    this.#outage = new Outage(options.log, options.world.clock, OUTAGE);
    this.#slots = this.#watch(['topology', 'shard.>', 'slot.>'], {
      begin: stream => this.#beginSlots(stream),
      message: message => this.#slotMessage(message),
      ready: () => this.#slotsReady(),
      gap: () => {
        this.#slotsLive = false;
      },
    });
    this.#pins = this.#watch(['tenant.>'], {
      begin: stream => this.#beginPins(stream),
      message: message => this.#pinMessage(message),
      ready: () => {
        this.#pinsLive = true;
        this.#settle();
      },
      gap: () => {
        this.#pinsLive = false;
      },
    });
  }

  get live(): boolean {
    return this.#slotsLive && this.#pinsLive;
  }

  /** Resolves when both watches are live. With `patient`, an uninitialised directory is waited for and not an error. */
  async ready(patient: boolean): Promise<void> {
    if (!patient) return this.#firstReady.promise;
    while (!this.live && !this.#closed) {
      await this.#firstReady.promise.catch(() => undefined);
      if (!this.live) await this.#options.world.clock.sleep(directoryLimits.readRetryMs);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#reader.close();
    await Promise.all([this.#slots.close(), this.#pins.close()]);
  }

  /**
   * Reads a tenant's pin, and its slot if wanted, and hands them to `accept` if they are fresh enough: in the same turn as that is
   * judged, because a turn later the watch may have been opened anew, and the judgement be wrong.
   * @returns undefined when no answer was fresh enough in time. @throws HP-D307
   */
  async read<R>(
    tenant: TenantParts,
    slot: number,
    withSlot: boolean,
    accept: (read: TenantRead) => R,
  ): Promise<R | undefined> {
    const { metrics, world } = this.#options;
    const slotKey = placementToKvKey(slotPlacement(tenant.domain, slot));
    assert(slotKey, 'a slot of a domain has a key');
    const pinSubject = subjectOf(tenantKvKey(tenant.key));
    const startedMs = world.clock.monotonicMs();
    for (let attempt = 0; attempt < directoryLimits.readAttempts && !this.#closed; attempt++) {
      if (world.clock.monotonicMs() - startedMs > directoryLimits.readLimitMs) return undefined;
      if (attempt > 0) await world.clock.sleep(directoryLimits.readRetryMs * attempt);
      const asked = { seen: this.#seen, generation: this.#generation, lineage: this.#lineage };
      metrics.reads++;
      // The slot needs no freshness: a slot's epoch and revision say whether it is news.
      const placement = withSlot ? await this.#reader.read(subjectOf(slotKey)) : undefined;
      const outcome = await this.#reader.read(pinSubject);
      if (outcome.kind !== 'read') {
        metrics.readsFailed++;
        continue;
      }
      const unbroken = asked.generation === this.#generation && outcome.asOf >= asked.seen;
      if (asked.lineage === this.#lineage && (unbroken || outcome.asOf >= this.#seen)) {
        this.#seen = Math.max(this.#seen, outcome.asOf);
        // While the cache still serves what another stream said, single slots of this one don't fit in.
        const found = placement?.kind === 'read' && !this.#rebuild ? placement.message : undefined;
        return accept({ fact: factOf(outcome.message, outcome.asOf), slot: this.#slotPlacement(found) });
      }
      metrics.readsBehind++;
    }
    return undefined;
  }

  #watch(
    keys: readonly string[],
    handlers: Pick<ConstructorParameters<typeof StreamWatch>[0], 'begin' | 'message' | 'ready' | 'gap'>,
  ): StreamWatch {
    const { bus, world, log, metrics } = this.#options;
    return new StreamWatch({
      bus,
      world,
      log,
      outage: this.#outage,
      stream: DIRECTORY_STREAM,
      subjects: keys.map(subjectOf),
      begin: handlers.begin,
      message: handlers.message,
      ready: handlers.ready,
      gap: why => {
        metrics.gaps++;
        handlers.gap(why);
      },
      failed: error => {
        if (!isStreamMissing(error)) return;
        this.#firstReady.reject(new HomeportError('HP-D303', { missing: `there is no bucket ${DIRECTORY_BUCKET}` }));
      },
    });
  }

  /** Slots are never deleted, so going on after the last one that was seen misses nothing. */
  #beginSlots(stream: { identity: string; lastSequence: number }): WatchStart {
    this.#identify(stream.identity);
    if (this.#slotsThrough > 0) return { after: this.#slotsThrough };
    this.#loading = [];
    this.#waitsForTopology = false;
    return 'last-of-each';
  }

  #slotMessage(message: StreamMessage): void {
    this.#options.metrics.slotEvents++;
    const change = this.#decoded(() =>
      snapshotChange(kvKeyOfSubject(message.subject), message.sequence, message.deleted, message.data),
    );
    if (this.#loading) {
      if (change) this.#loading.push(change);
      if (this.#waitsForTopology && change?.kind === 'topology') this.#slotsReady();
      return;
    }
    this.#slotsThrough = Math.max(this.#slotsThrough, message.sequence);
    if (change) this.#options.changed([change]);
  }

  #slotsReady(): void {
    const loaded = this.#loading;
    if (loaded) {
      if (!loaded.some(change => change.kind === 'topology')) {
        const missing = 'there is no topology';
        this.#firstReady.reject(new HomeportError('HP-D303', { missing }));
        this.#waitsForTopology = true; // an initialisation may be under way; the watch is open and brings it
        return;
      }
      this.#loading = undefined;
      this.#waitsForTopology = false;
      this.#slotsThrough = loaded.reduce((through, change) => Math.max(through, sequenceOf(change)), 0);
      if (this.#rebuild) this.#options.rebuilt(loaded);
      else this.#options.changed(loaded);
      this.#rebuild = false;
    }
    this.#slotsLive = true;
    this.#settle();
  }

  /** Everything up to the stream's last sequence is left to reads; everything after it, the watch brings. */
  #beginPins(stream: { identity: string; lastSequence: number }): WatchStart {
    this.#identify(stream.identity);
    // In this order, and before the consumer exists: what is cached can have been overtaken during the gap.
    this.#seen = Math.max(this.#seen, stream.lastSequence);
    this.#generation++;
    this.#options.pinsForgotten();
    return { after: this.#seen };
  }

  #pinMessage(message: StreamMessage): void {
    this.#options.metrics.pinEvents++;
    this.#seen = Math.max(this.#seen, message.sequence);
    const placement = kvKeyToPlacement(kvKeyOfSubject(message.subject));
    if (!placement) return; // a key that another tool made up
    const tenant = placement.slice('tenant:'.length) as TenantKey; // cast: from its key
    const fact = this.#decoded(() => factOf(message, message.sequence));
    if (fact) return this.#options.pinChanged(tenant, fact);
    this.#generation++; // no read from before this record may be believed, or it would be cached for good
    this.#options.pinUnreadable(tenant);
  }

  #slotPlacement(message: ReadMessage | undefined): Placement | undefined {
    if (!message || message.deleted) return undefined;
    const key = kvKeyOfSubject(message.subject);
    const record = this.#decoded(() => decodeRecord('slot', key, message.data));
    return record && placementFrom(record, message.sequence);
  }

  #decoded<T>(decode: () => T): T | undefined {
    try {
      return decode();
    } catch (error) {
      if (!(error instanceof HomeportError)) throw error;
      this.#options.metrics.refused++;
      this.#options.log.error({ err: error, code: error.code }, error.message);
      return undefined;
    }
  }

  /** Sequences and revisions belong to one stream. A bucket that was made anew starts them again. */
  #identify(identity: string): void {
    const known = this.#options.identity();
    if (known === identity) return;
    this.#options.identified(identity);
    this.#slotsThrough = 0;
    this.#seen = 0;
    this.#generation++;
    this.#lineage++;
    if (known === undefined) return;
    this.#rebuild = true;
    this.#options.metrics.replaced++;
    this.#options.log.error({ was: known, is: identity }, 'the directory bucket was made anew; forgetting the old one');
    this.#options.replaced();
  }

  #settle(): void {
    if (this.live) this.#firstReady.resolve();
  }
}

/** @throws HP-D307: a pin that can't be read is not "no pin", the tenant lives somewhere. */
function factOf(message: ReadMessage | StreamMessage | undefined, asOf: number): PinFact {
  if (!message || message.deleted) return { asOf, pin: undefined, epoch: 0 };
  const record = decodeRecord('tenant', kvKeyOfSubject(message.subject), message.data);
  if (record.state === 'released') return { asOf, pin: undefined, epoch: record.epoch };
  return { asOf, pin: placementFrom(record, message.sequence), epoch: record.epoch };
}

function sequenceOf(change: SnapshotChange): number {
  return change.kind === 'slot' ? change.placement.revision : change.revision;
}
