/**
 * What a wide-area link does to a connection, as a pure pipe between two sockets: latency, limited bandwidth, silence,
 * an end. Guarantees:
 * 1. Bytes come out in the order and number in which they went in, whatever the conditions change to in between.
 * 2. A black hole *holds* bytes and ends: the connection stays open and nothing flows, as when packets are lost and
 *    TCP repeats them; after healing they arrive. Nothing is ever dropped out of the middle of a stream.
 * 3. What is held is bounded (limits.ts, per connection and direction); beyond it the sender's socket
 *    is not read any more, and its own writes back up.
 * 4. A connection is made at the far side only when both directions flow, after the way there. (The near side's
 *    connect succeeds at once, because the kernel answers it: one round trip less than on a real link.)
 */
import type { Socket } from 'node:net';
import type { Clock, Timer } from '../base/world.ts';
import { clusterLimits } from './limits.ts';

export interface LinkConditions {
  /** One way. */
  readonly delayMs: number;
  /** Shared by all connections of the direction; undefined is unlimited. */
  readonly bytesPerSecond: number | undefined;
  /** Nothing flows in this direction; connections stay open. */
  readonly blackhole: boolean;
  /** Connections between the two regions are reset, and new ones too. */
  readonly cut: boolean;
}

export const CLEAR: LinkConditions = { delayMs: 0, bytesPerSecond: undefined, blackhole: false, cut: false };

const { heldBytes: HELD_BYTES, heldPieces: HELD_PIECES, sliceMs: SLICE_MS } = clusterLimits;

/** One direction of one link: its conditions, who wants to know of changes, and what has passed. */
export class Direction {
  #conditions: LinkConditions = CLEAR;
  readonly #listeners = new Set<() => void>();
  /** Until when the bytes already sent occupy a limited line. */
  #busyUntilMs = 0;
  bytesPassed = 0;

  get conditions(): LinkConditions {
    return this.#conditions;
  }

  change(conditions: Partial<LinkConditions>): void {
    this.#conditions = { ...this.#conditions, ...conditions };
    this.#busyUntilMs = 0;
    for (const listener of [...this.#listeners]) listener();
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** How many of `wanted` bytes may go now; 0 and the time to wait when the line is busy. */
  grant(wanted: number, nowMs: number): { bytes: number; waitMs: number } {
    const rate = this.#conditions.bytesPerSecond;
    let bytes = wanted;
    if (rate !== undefined) {
      if (nowMs < this.#busyUntilMs) return { bytes: 0, waitMs: this.#busyUntilMs - nowMs };
      bytes = Math.min(wanted, Math.max(1, Math.floor((rate * SLICE_MS) / 1000)));
      this.#busyUntilMs = nowMs + (bytes / rate) * 1000;
    }
    this.bytesPassed += bytes;
    return { bytes, waitMs: 0 };
  }
}

type Held = { readonly arrivedMs: number } & (
  | { readonly kind: 'bytes'; readonly bytes: Buffer }
  | { readonly kind: 'end' }
  | { readonly kind: 'reset' }
);

/** One direction of one connection. The sink gets what the source gives, under the direction's conditions. */
export class Pipe {
  readonly #source: Socket;
  readonly #direction: Direction;
  readonly #clock: Clock;
  #sink: Socket | undefined;
  readonly #held: Held[] = [];
  #heldBytes = 0;
  #sinkIsFull = false;
  #timer: Timer | undefined;
  readonly #unsubscribe: () => void;

  constructor(source: Socket, direction: Direction, clock: Clock) {
    this.#source = source;
    this.#direction = direction;
    this.#clock = clock;
    this.#unsubscribe = direction.subscribe(() => this.#pump());
    source.on('data', (bytes: Buffer) => this.#hold({ kind: 'bytes', bytes, arrivedMs: clock.monotonicMs() }));
    source.on('end', () => this.#hold({ kind: 'end', arrivedMs: clock.monotonicMs() }));
    // an error needs no word of its own: 'close' follows it, and what the other side may know is that it was not an end
    source.on('error', () => source.destroy());
    source.on('close', failed => {
      if (failed || !source.readableEnded) this.#hold({ kind: 'reset', arrivedMs: clock.monotonicMs() });
    });
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** From now on there is somebody to deliver to. */
  attach(sink: Socket): void {
    this.#sink = sink;
    sink.on('drain', () => {
      this.#sinkIsFull = false;
      this.#pump();
    });
    this.#pump();
  }

  close(): void {
    this.#unsubscribe();
    this.#timer?.cancel();
    this.#held.length = 0;
  }

  #hold(item: Held): void {
    this.#held.push(item);
    if (item.kind === 'bytes') this.#heldBytes += item.bytes.length;
    this.#pump();
    if (this.#heldBytes >= HELD_BYTES || this.#held.length >= HELD_PIECES) this.#source.pause();
  }

  #pump(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const { blackhole, delayMs } = this.#direction.conditions;
    const sink = this.#sink;
    if (!sink || blackhole) return;
    for (let head = this.#held[0]; head && !this.#sinkIsFull; head = this.#held[0]) {
      const nowMs = this.#clock.monotonicMs();
      const earlyMs = head.arrivedMs + delayMs - nowMs;
      if (earlyMs > 0) {
        this.#pumpIn(earlyMs);
        return;
      }
      if (head.kind === 'bytes') {
        const { bytes, waitMs } = this.#direction.grant(head.bytes.length, nowMs);
        if (bytes === 0) {
          this.#pumpIn(waitMs);
          return;
        }
        this.#deliver(sink, head, bytes);
      } else {
        this.#held.shift();
        if (head.kind === 'end') sink.end();
        else sink.resetAndDestroy();
      }
    }
  }

  #deliver(sink: Socket, head: Extract<Held, { kind: 'bytes' }>, bytes: number): void {
    if (bytes === head.bytes.length) this.#held.shift();
    else this.#held[0] = { ...head, bytes: head.bytes.subarray(bytes) };
    this.#heldBytes -= bytes;
    // a sink that is gone takes everything: its own pipe tells the source, under its direction's conditions
    if (!sink.destroyed && sink.writable) this.#sinkIsFull = !sink.write(head.bytes.subarray(0, bytes));
    if (this.#source.isPaused() && this.#heldBytes < HELD_BYTES / 2 && this.#held.length < HELD_PIECES / 2) {
      this.#source.resume();
    }
  }

  #pumpIn(ms: number): void {
    this.#timer = this.#clock.after(Math.ceil(ms), () => this.#pump(), { keepAlive: true });
  }
}
