/**
 * The only door to time, chance and the network. Everything else takes a `World`, or `nowMs` as an argument, so that
 * a test can hold the clock, repeat a seed, and so that no code decides on the wall clock by accident.
 */
import { randomBytes, randomInt, randomUUID } from 'node:crypto';
import { connect, createServer } from 'node:net';

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds on a clock that never steps. Only differences mean anything. */
  monotonicMs(): number;
  /** Milliseconds since the Unix epoch. For people and logs, never for a decision about safety. */
  wallMs(): number;
  /** Runs `fn` once after `delayMs`. The timer does not keep the process alive unless `keepAlive` is set. */
  after(delayMs: number, fn: () => void, options?: { keepAlive?: boolean }): Timer;
  /** Runs `fn` every `periodMs`, never overlapping itself in one tick. Does not keep the process alive. */
  every(periodMs: number, fn: () => void): Timer;
  /** Resolves after `delayMs`; rejects with the signal's reason when it is aborted first. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
}

export interface Random {
  /** `length` bytes fit for keys and nonces. */
  bytes(length: number): Buffer;
  /** An integer in [0, below). */
  below(below: number): number;
  /** A number in [0, 1), for jitter. */
  unit(): number;
  uuid(): string;
}

export interface Network {
  connect: typeof connect;
  createServer: typeof createServer;
}

export interface World {
  readonly clock: Clock;
  readonly random: Random;
  readonly network: Network;
}

const realClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, fn, options) {
    const handle = setTimeout(fn, delayMs);
    if (!options?.keepAlive) handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
  every(periodMs, fn) {
    const handle = setInterval(fn, periodMs);
    handle.unref();
    return { cancel: () => clearInterval(handle) };
  },
  sleep(delayMs, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const abort = () => {
        clearTimeout(handle);
        reject(signal?.reason);
      };
      const handle = setTimeout(() => {
        signal?.removeEventListener('abort', abort);
        resolve();
      }, delayMs);
      signal?.addEventListener('abort', abort, { once: true });
    });
  },
};

const realRandom: Random = {
  bytes: length => randomBytes(length),
  below: below => randomInt(below),
  unit: () => randomInt(2 ** 32) / 2 ** 32,
  uuid: () => randomUUID(),
};

export const realWorld: World = {
  clock: realClock,
  random: realRandom,
  network: { connect, createServer },
};

/**
 * Waits until `probe` returns something other than undefined, asking again every `everyMs`, for at most `limitMs`.
 * Returns undefined when the time is up.
 */
export async function poll<T>(
  clock: Clock,
  probe: () => Promise<T | undefined> | T | undefined,
  { everyMs, limitMs }: { everyMs: number; limitMs: number },
): Promise<T | undefined> {
  const startedMs = clock.monotonicMs();
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    if (clock.monotonicMs() - startedMs >= limitMs) return undefined;
    await clock.sleep(everyMs);
  }
}
