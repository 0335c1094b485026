/**
 * Look-ups under way: at most one for each tenant, at most so many at once, and everybody who asks meanwhile shares it.
 * A look-up remembers what the watch said about its tenant while it ran, so that a slow answer can't undo it.
 */
import { HomeportError } from '../base/errors.ts';
import type { TenantKey } from '../base/ids.ts';
import { later, type PinFact } from './pins.ts';

/** One look-up, as the reader of the directory sees it. */
export interface Flight {
  /** Also what is usually known without asking: the slot. */
  readonly whole: boolean;
  /** What the watch said meanwhile; forgotten when the watch had a gap, because it may have missed the next word. */
  watched: PinFact | undefined;
}

interface Running<R> {
  readonly flight: Flight;
  readonly done: Promise<R>;
  /** Starts when this one ends: for those who must not be answered with a read that began before they asked. */
  next: Promise<R> | undefined;
}

export class Lookups<T extends { readonly key: TenantKey }, R> {
  readonly #fetch: (tenant: T, flight: Flight) => Promise<R>;
  readonly #limits: { readonly lookupsAtOnce: number; readonly lookupsWaiting: number };
  readonly #running = new Map<TenantKey, Running<R>>();
  readonly #queue: (() => void)[] = [];
  #places: number;

  constructor(
    fetch: (tenant: T, flight: Flight) => Promise<R>,
    limits: { readonly lookupsAtOnce: number; readonly lookupsWaiting: number },
  ) {
    this.#fetch = fetch;
    this.#limits = limits;
    this.#places = limits.lookupsAtOnce;
  }

  /** Any look-up that is under way will do. @throws HP-D304, and what the fetch throws */
  any(tenant: T): Promise<R> {
    return this.#running.get(tenant.key)?.done ?? this.#start(tenant, false);
  }

  /** A whole look-up that begins after this call. @throws HP-D304, and what the fetch throws */
  fresh(tenant: T): Promise<R> {
    const running = this.#running.get(tenant.key);
    if (!running) return this.#start(tenant, true);
    // Whatever became of the one before is its own callers' business.
    running.next ??= running.done
      .catch(() => undefined)
      .then(() => {
        const successor = this.#running.get(tenant.key);
        return successor?.flight.whole ? successor.done : this.fresh(tenant);
      });
    return running.next;
  }

  watched(tenant: TenantKey, fact: PinFact): void {
    const flight = this.#running.get(tenant)?.flight;
    if (flight) flight.watched = later(flight.watched, fact);
  }

  forgetWatched(): void {
    for (const { flight } of this.#running.values()) flight.watched = undefined;
  }

  #start(tenant: T, whole: boolean): Promise<R> {
    const flight: Flight = { whole, watched: undefined };
    const done = this.#run(tenant, flight).finally(() => this.#running.delete(tenant.key));
    this.#running.set(tenant.key, { flight, done, next: undefined });
    return done;
  }

  async #run(tenant: T, flight: Flight): Promise<R> {
    await this.#enter();
    try {
      return await this.#fetch(tenant, flight);
    } finally {
      const next = this.#queue.shift();
      if (next) next();
      else this.#places++;
    }
  }

  async #enter(): Promise<void> {
    if (this.#places > 0) {
      this.#places--;
      return;
    }
    if (this.#queue.length >= this.#limits.lookupsWaiting) {
      throw new HomeportError('HP-D304', { limit: this.#limits.lookupsAtOnce + this.#limits.lookupsWaiting });
    }
    await new Promise<void>(resolve => {
      this.#queue.push(resolve); // the place passes from hand to hand
    });
  }
}
