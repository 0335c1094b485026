/**
 * What is said of something that is away and tried again and again: the first failure, then once a minute how many
 * there were, and its return. An outage of a night must not fill a disk, nor push out what else a log has to say.
 */
import type { Clock } from '../base/world.ts';
import { busLimits } from './limits.ts';

interface OutageLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** For a warning: its message and that of its cause. Where in our code it came up helps nobody to bring a server back. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

export class Outage {
  readonly #log: OutageLog;
  readonly #clock: Clock;
  readonly #words: { readonly away: string; readonly back: string };
  /** Who can't go on; over when nobody is left. */
  readonly #waiting = new Set<unknown>();
  #sinceMs = 0;
  #saidMs = 0;
  #failures = 0;

  constructor(log: OutageLog, clock: Clock, words: { readonly away: string; readonly back: string }) {
    this.#log = log;
    this.#clock = clock;
    this.#words = words;
  }

  failed(who: unknown, why: string, fields: object = {}): void {
    const nowMs = this.#clock.monotonicMs();
    const isFirst = this.#waiting.size === 0;
    this.#waiting.add(who);
    if (isFirst) {
      this.#failures = 0;
      this.#sinceMs = nowMs;
    }
    this.#failures++;
    if (!isFirst && nowMs - this.#saidMs < busLimits.outageLogMs) return;
    this.#saidMs = nowMs;
    const soFar = isFirst ? {} : { failures: this.#failures, seconds: this.#seconds(nowMs) };
    this.#log.warn({ ...fields, why, ...soFar }, this.#words.away);
  }

  back(who: unknown, fields: object = {}): void {
    if (!this.#waiting.delete(who) || this.#waiting.size > 0) return;
    const seconds = this.#seconds(this.#clock.monotonicMs());
    this.#log.info({ ...fields, failures: this.#failures, seconds }, this.#words.back);
  }

  #seconds(nowMs: number): number {
    return Math.round((nowMs - this.#sinceMs) / 1000);
  }
}
