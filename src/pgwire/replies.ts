/**
 * What the server still owes, in order. Session correctness is this queue and nothing else: for each message sent, one
 * entry says what answers it and whether the client sees the answer (it asked), or not (we asked), or gets one of ours
 * in its place (a fake). No I/O, so every pipeline case is a few lines of test.
 *
 * Rules taken from the protocol (https://www.postgresql.org/docs/18/protocol-flow.html):
 *  - an error answers the extended message at hand, and everything up to the next Sync is skipped, pipelined simple
 *    queries too; an error inside a simple query is followed by that query's own ReadyForQuery;
 *  - notices, parameter changes and notifications may come anywhere and answer nothing.
 */
import { Back } from './frames.ts';

export const Expect = {
  /** Our `enter`: Bind and Execute without a Sync of its own. */
  enter: 0,
  /** A simple query of ours, swallowed to its ReadyForQuery. */
  silent: 1,
  parse: 2,
  silentParse: 3,
  bind: 4,
  describe: 5,
  execute: 6,
  close: 7,
  sync: 8,
  query: 9,
  functionCall: 10,
  /** An answer of ours in a server's place; its extra is a `Fake`. */
  fake: 11,
  /** A Close of ours, of a statement pushed out of a backend's cache. */
  silentClose: 13,
  /** A Parse that must fail, after a fake error has told the client why: it brings the server's state in line. */
  abort: 14,
  /** The same as a simple query. */
  abortQuery: 15,
  /** A simple query of the client's that we sent in the extended protocol: its BindComplete, and its description. */
  silentBind: 16,
  rowsOnly: 17,
} as const;

export interface Fake {
  readonly bytes: Buffer;
  /** What to take back when an earlier error makes this answer void. */
  readonly undo?: unknown;
  /** It is a ReadyForQuery, which the client waits for whatever becomes of the server. */
  readonly ready?: boolean;
}

/** What an arriving frame means, as a bit set. */
export const Verdict = {
  swallow: 0,
  forward: 1,
  /** `enter` went through: what follows is the client's. */
  entered: 2,
  enterFailed: 4,
  silentFailed: 8,
  /** A silent query came to its ReadyForQuery. */
  silentDone: 16,
  /** A ReadyForQuery that the client waits for. */
  ready: 32,
  /** An error for the client. */
  failed: 64,
  /** Nothing in the queue allows this frame: the connection is out of step and must be destroyed. */
  desynchronised: 128,
  /** A command of the client's came to its end (its tag says which). */
  completed: 256,
} as const;

/** What makes the server flush its answers by itself. */
const FLUSHES = new Set<number>([Expect.sync, Expect.query, Expect.functionCall, Expect.abortQuery]);

/**
 * Called for each entry that an error skips, the last one first, so that what they did to the session is taken back in
 * the opposite order: a Parse that never ran is forgotten, a statement whose Close never ran is there again.
 */
export type OnSkipped = (kind: number, extra: unknown) => void;

export class ReplyQueue {
  // Two rings instead of an object for each entry: this is the hot path.
  private kinds = new Uint8Array(32);
  private extras: unknown[] = new Array(32).fill(undefined);
  private head = 0;
  private count = 0;

  get length(): number {
    return this.count;
  }

  get headKind(): number | undefined {
    return this.count === 0 ? undefined : this.kinds[this.head];
  }

  get headExtra(): unknown {
    return this.count === 0 ? undefined : this.extras[this.head];
  }

  push(kind: number, extra?: unknown): void {
    if (this.count === this.kinds.length) this.grow();
    const at = (this.head + this.count) & (this.kinds.length - 1);
    this.kinds[at] = kind;
    this.extras[at] = extra;
    this.count++;
  }

  private grow(): void {
    const size = this.kinds.length;
    const kinds = new Uint8Array(size * 2);
    const extras: unknown[] = new Array(size * 2).fill(undefined);
    for (let i = 0; i < this.count; i++) {
      const from = (this.head + i) & (size - 1);
      kinds[i] = this.kinds[from] ?? 0;
      extras[i] = this.extras[from];
    }
    this.kinds = kinds;
    this.extras = extras;
    this.head = 0;
  }

  private pop(): void {
    this.extras[this.head] = undefined;
    this.head = (this.head + 1) & (this.kinds.length - 1);
    this.count--;
  }

  /** The bytes of a fake at the head, taken off the queue; undefined when the head waits for the server. */
  takeFake(): Buffer | undefined {
    if (this.headKind !== Expect.fake) return undefined;
    const fake = this.headExtra as Fake; // cast: what fakes are pushed with
    this.pop();
    return fake.bytes;
  }

  private kindAt(index: number): number {
    return this.kinds[(this.head + index) & (this.kinds.length - 1)] ?? Expect.sync;
  }

  /** Forgets everything. */
  clear(onSkipped: OnSkipped): void {
    this.skip(this.count, onSkipped);
  }

  private skip(many: number, onSkipped: OnSkipped): void {
    for (let i = many - 1; i >= 0; i--) {
      onSkipped(this.kindAt(i), this.extras[(this.head + i) & (this.kinds.length - 1)]);
    }
    for (let i = 0; i < many; i++) this.pop();
  }

  /** After an error in the extended protocol: the server answers nothing before the next Sync. */
  private skipToSync(onSkipped: OnSkipped): void {
    let many = 0;
    while (many < this.count && this.kindAt(many) !== Expect.sync) many++;
    this.skip(many, onSkipped);
  }

  /** How many ReadyForQuery the server is to send. */
  get serverReadies(): number {
    let many = 0;
    for (let i = 0; i < this.count; i++) if (FLUSHES.has(this.kindAt(i))) many++;
    return many;
  }

  /** How many ReadyForQuery the client is to get, those of ours in a server's place included. */
  get clientReadies(): number {
    let many = this.serverReadies;
    for (let i = 0; i < this.count; i++) {
      // cast: what fakes are pushed with
      const extra = this.extras[(this.head + i) & (this.kinds.length - 1)] as Fake | undefined;
      if (this.kindAt(i) === Expect.fake && extra?.ready) many++;
    }
    return many;
  }

  /** Whether something was sent behind the last Sync or query: after an error there, a Sync has to follow. */
  get openEnded(): boolean {
    for (let i = this.count - 1; i >= 0; i--) {
      if (this.kindAt(i) !== Expect.fake) return !FLUSHES.has(this.kindAt(i));
    }
    return false;
  }

  /** COPY … FROM STDIN makes the server ignore a Sync that was sent with it. True when there was one. */
  dropSyncBehindHead(): boolean {
    const next = (this.head + 1) & (this.kinds.length - 1);
    if (this.count < 2 || this.kinds[next] !== Expect.sync) return false;
    // The head takes the Sync's place.
    this.kinds[next] = this.kinds[this.head] ?? Expect.sync;
    this.extras[next] = this.extras[this.head];
    this.pop();
    return true;
  }

  /** Whether the last thing sent makes the server flush its answers by itself. */
  get endsFlushed(): boolean {
    return this.count > 0 && FLUSHES.has(this.kindAt(this.count - 1));
  }

  /** Whether a Sync is on its way; without one an error leaves the server mute until one is sent. */
  hasSync(): boolean {
    for (let i = 0; i < this.count; i++) if (this.kindAt(i) === Expect.sync) return true;
    return false;
  }

  /** Matches one frame of the server against the queue. */
  accept(type: number, onSkipped: OnSkipped): number {
    switch (this.headKind) {
      case Expect.enter:
        return this.acceptEnter(type, onSkipped);
      case Expect.silent:
        if (type === Back.ready) return this.done(Verdict.silentDone);
        return type === Back.error ? Verdict.silentFailed : Verdict.swallow;
      case Expect.parse:
        return this.acceptOne(type, Back.parseComplete, Verdict.forward, onSkipped);
      case Expect.silentParse:
        return this.acceptOne(type, Back.parseComplete, Verdict.swallow, onSkipped);
      case Expect.bind:
        return this.acceptOne(type, Back.bindComplete, Verdict.forward, onSkipped);
      case Expect.close:
        return this.acceptOne(type, Back.closeComplete, Verdict.forward, onSkipped);
      case Expect.silentClose:
        return this.acceptOne(type, Back.closeComplete, Verdict.swallow, onSkipped);
      case Expect.describe:
        if (type === Back.parameterDescription) return Verdict.forward;
        if (type === Back.noData) return this.done(Verdict.forward);
        return this.acceptOne(type, Back.rowDescription, Verdict.forward, onSkipped);
      case Expect.silentBind:
        return this.acceptOne(type, Back.bindComplete, Verdict.swallow, onSkipped);
      case Expect.rowsOnly:
        if (type === Back.noData) return this.done(Verdict.swallow);
        return this.acceptOne(type, Back.rowDescription, Verdict.forward, onSkipped);
      case Expect.execute:
        return this.acceptExecute(type, onSkipped);
      case Expect.sync:
        return this.acceptSync(type);
      case Expect.query:
      case Expect.functionCall:
        return this.acceptQuery(type);
      case Expect.abort:
        return type === Back.error ? this.fail(Verdict.swallow, onSkipped) : Verdict.desynchronised;
      case Expect.abortQuery:
        if (type === Back.error) return Verdict.swallow;
        return type === Back.ready ? this.done(Verdict.forward | Verdict.ready) : Verdict.desynchronised;
      default:
        return Verdict.desynchronised;
    }
  }

  private done(verdict: number): number {
    this.pop();
    return verdict;
  }

  private fail(verdict: number, onSkipped: OnSkipped): number {
    this.skipToSync(onSkipped);
    return verdict;
  }

  private acceptEnter(type: number, onSkipped: OnSkipped): number {
    if (type === Back.bindComplete || type === Back.dataRow) return Verdict.swallow;
    if (type === Back.commandComplete) return this.done(Verdict.entered);
    if (type === Back.error) return this.fail(Verdict.enterFailed, onSkipped);
    return Verdict.desynchronised;
  }

  private acceptOne(type: number, wanted: number, verdict: number, onSkipped: OnSkipped): number {
    if (type === wanted) return this.done(verdict);
    if (type === Back.error) return this.fail(Verdict.forward | Verdict.failed, onSkipped);
    return Verdict.desynchronised;
  }

  private acceptExecute(type: number, onSkipped: OnSkipped): number {
    switch (type) {
      case Back.commandComplete:
        return this.done(Verdict.forward | Verdict.completed);
      case Back.emptyQuery:
      case Back.portalSuspended:
        return this.done(Verdict.forward);
      case Back.error:
        return this.fail(Verdict.forward | Verdict.failed, onSkipped);
      case Back.dataRow:
      case Back.copyIn:
      case Back.copyOut:
      case Back.copyData:
      case Back.copyDone:
        return Verdict.forward;
      default:
        return Verdict.desynchronised;
    }
  }

  /** A Sync can itself fail: it commits the implicit transaction (deferred constraints, serialization). */
  private acceptSync(type: number): number {
    if (type === Back.ready) return this.done(Verdict.forward | Verdict.ready);
    return type === Back.error ? Verdict.forward | Verdict.failed : Verdict.desynchronised;
  }

  private acceptQuery(type: number): number {
    switch (type) {
      case Back.ready:
        return this.done(Verdict.forward | Verdict.ready);
      case Back.error:
        return Verdict.forward | Verdict.failed;
      case Back.commandComplete:
        return Verdict.forward | Verdict.completed;
      case Back.rowDescription:
      case Back.dataRow:
      case Back.emptyQuery:
      case Back.copyIn:
      case Back.copyOut:
      case Back.copyData:
      case Back.copyDone:
      case Back.functionResult:
        return Verdict.forward;
      default:
        return Verdict.desynchronised;
    }
  }
}
