/**
 * Is anybody there? A process that is stopped, or a network that swallows, keeps connections open and says nothing, and
 * a long query looks the same. So when an answer is awaited and nothing comes, somebody knocks: a new login. As long as
 * that is answered, whatever the answer, the wait is a long query. When it is not, for `silentMs`, the place is silent:
 * those who wait are told, and nobody is sent there until it answers again (I10).
 */
import { limits } from '../base/limits.ts';
import type { Clock, Timer } from '../base/world.ts';

/** A connection on which an answer may be awaited. */
export interface Watched {
  /** Grows with everything that is heard on it. */
  readonly heard: number;
  readonly awaitsAnswer: boolean;
  hangUp(why: string): void;
}

interface Quiet {
  heard: number;
  sinceMs: number;
}

export interface LivenessOptions<T extends Watched> {
  readonly clock: Clock;
  readonly watched: () => Iterable<T>;
  /** Resolves with true when anything at all was answered; it has a time limit of its own. */
  readonly knock: () => Promise<boolean>;
  readonly changed: (silent: boolean) => void;
}

export class Liveness<T extends Watched> {
  private readonly options: LivenessOptions<T>;
  private readonly quiet = new Map<T, Quiet>();
  private timer: Timer | undefined;
  private knocking = false;
  private unansweredSinceMs: number | undefined;
  private why: string | undefined;
  private answeredMs = Number.NEGATIVE_INFINITY;

  constructor(options: LivenessOptions<T>) {
    this.options = options;
  }

  /** Why nobody should be sent there; undefined while it answers, as far as is known. */
  get silent(): string | undefined {
    return this.why;
  }

  /** From the first loan on; a look costs nothing worth stopping it for. */
  start(): void {
    this.timer ??= this.options.clock.every(limits.livenessLookMs, () => this.look());
  }

  stop(): void {
    this.timer?.cancel();
  }

  private look(): void {
    const nowMs = this.options.clock.monotonicMs();
    const waiting = new Set<T>();
    let suspicious = false;
    for (const each of this.options.watched()) {
      if (!each.awaitsAnswer) continue;
      waiting.add(each);
      const known = this.quiet.get(each);
      if (known?.heard === each.heard) suspicious = true;
      else this.quiet.set(each, { heard: each.heard, sinceMs: nowMs });
    }
    for (const each of this.quiet.keys()) if (!waiting.has(each)) this.quiet.delete(each);
    if (suspicious || this.why !== undefined) this.ask(nowMs);
  }

  private ask(nowMs: number): void {
    // A long query is no reason to log in again and again.
    if (this.knocking || nowMs - this.answeredMs < limits.silentMs / 3) return;
    this.knocking = true;
    const { knock, changed } = this.options;
    knock().then(
      answered => {
        this.knocking = false;
        if (!answered) return this.unanswered(nowMs);
        this.answeredMs = nowMs;
        this.unansweredSinceMs = undefined;
        if (this.why === undefined) return;
        this.why = undefined;
        changed(false);
      },
      () => {
        this.knocking = false;
        this.unanswered(nowMs);
      },
    );
  }

  private unanswered(askedMs: number): void {
    this.unansweredSinceMs ??= askedMs;
    const forMs = this.options.clock.monotonicMs() - this.unansweredSinceMs;
    if (forMs < limits.silentMs) return;
    const first = this.why === undefined;
    this.why = `it has answered nothing for ${Math.round(forMs / 1000)} s`;
    if (first) this.options.changed(true);
    for (const [each, { heard, sinceMs }] of [...this.quiet]) {
      // Asked since: its own wait has not been long enough to say anything.
      if (each.heard === heard && sinceMs <= this.unansweredSinceMs) each.hangUp(this.why);
    }
  }
}
