/**
 * What is known of tenants' own placements (pins), absent ones included. Bounded, least recently used first out. Pure.
 *
 * Every fact carries the stream sequence as of which it is true (`asOf`): a watch event is true as of its own
 * sequence, a read as of the sequence up to which the replica had looked. The stream's order is the one order of facts, so
 * the later `asOf` wins, whichever arrives last: a slow read never undoes what the watch has said, and "there is no pin"
 * never survives the news of one.
 */
import { LRUCache } from 'lru-cache';
import type { TenantKey } from '../base/ids.ts';
import type { Placement } from './records.ts';

export interface PinFact {
  readonly asOf: number;
  /** Undefined: the tenant lives at its slot's placement. */
  readonly pin: Placement | undefined;
  /** Of the pin, or of the pin that was taken away; 0 when there never was one. */
  readonly epoch: number;
}

export interface PinEntry<Memo> {
  asOf: number;
  pin: Placement | undefined;
  epoch: number;
  /** The tenant's slot: its SHA-256 costs more than the whole look-up. */
  readonly slot: number;
  /** The owner's answer made from this entry, to be given again while it still fits. */
  memo: Memo | undefined;
}

export type Offered = 'taken' | 'older' | 'refused';

export class PinTable<Memo> {
  readonly #entries: LRUCache<TenantKey, PinEntry<Memo>>;

  constructor(max: number) {
    this.#entries = new LRUCache({ max });
  }

  get size(): number {
    return this.#entries.size;
  }

  get(tenant: TenantKey): PinEntry<Memo> | undefined {
    return this.#entries.get(tenant);
  }

  has(tenant: TenantKey): boolean {
    return this.#entries.has(tenant);
  }

  /** Takes a fact unless it is older than what is known, or would take an epoch back (a record written by hand). */
  offer(tenant: TenantKey, slot: number, fact: PinFact): Offered {
    const known = this.#entries.peek(tenant);
    if (!known) {
      this.#entries.set(tenant, { ...fact, slot, memo: undefined });
      return 'taken';
    }
    if (fact.asOf <= known.asOf) return 'older';
    if (fact.epoch > 0 && fact.epoch < known.epoch) return 'refused';
    if (fact.pin?.revision !== known.pin?.revision) known.memo = undefined;
    known.asOf = fact.asOf;
    known.pin = fact.pin;
    known.epoch = fact.epoch;
    return 'taken';
  }

  delete(tenant: TenantKey): void {
    this.#entries.delete(tenant);
  }

  clear(): number {
    const { size } = this.#entries;
    this.#entries.clear();
    return size;
  }

  /** The most recently used first. */
  *recent(limit: number): Generator<[TenantKey, PinFact]> {
    let left = limit;
    for (const [tenant, { asOf, pin, epoch }] of this.#entries.entries()) {
      if (left-- <= 0) return;
      yield [tenant, { asOf, pin, epoch }];
    }
  }
}

/** The later of two facts about one tenant. */
export function later(a: PinFact | undefined, b: PinFact): PinFact {
  return a && a.asOf > b.asOf ? a : b;
}
