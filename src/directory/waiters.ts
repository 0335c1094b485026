/** Those who wait for a placement to get a later epoch: a change of home that is under way, or news that is on its way. */
import type { PlacementKey } from '../base/ids.ts';
import type { Clock, Timer } from '../base/world.ts';
import type { Placement } from './records.ts';

interface Waiter {
  readonly afterEpoch: number;
  readonly timer: Timer;
  readonly resolve: (placement: Placement | undefined) => void;
}

export class Waiters {
  readonly #clock: Clock;
  readonly #max: number;
  readonly #byKey = new Map<PlacementKey, Set<Waiter>>();
  #count = 0;

  constructor(clock: Clock, max: number) {
    this.#clock = clock;
    this.#max = max;
  }

  /** Undefined when the time is up, or at once when too many wait already. */
  wait(key: PlacementKey, afterEpoch: number, limitMs: number): Promise<Placement | undefined> {
    if (this.#count >= this.#max || limitMs <= 0) return Promise.resolve(undefined);
    return new Promise(resolve => {
      const timer = this.#clock.after(limitMs, () => this.#end(key, waiter, undefined), { keepAlive: true });
      const waiter: Waiter = { afterEpoch, timer, resolve };
      const waiters = this.#byKey.get(key) ?? new Set();
      waiters.add(waiter);
      this.#byKey.set(key, waiters);
      this.#count++;
    });
  }

  notify(placement: Placement): void {
    for (const waiter of this.#byKey.get(placement.key) ?? []) {
      if (placement.epoch > waiter.afterEpoch) this.#end(placement.key, waiter, placement);
    }
  }

  endAll(): void {
    for (const [key, waiters] of this.#byKey) for (const waiter of waiters) this.#end(key, waiter, undefined);
  }

  #end(key: PlacementKey, waiter: Waiter, placement: Placement | undefined): void {
    const waiters = this.#byKey.get(key);
    if (!waiters?.delete(waiter)) return;
    if (waiters.size === 0) this.#byKey.delete(key);
    this.#count--;
    waiter.timer.cancel();
    waiter.resolve(placement);
  }
}
