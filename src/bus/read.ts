/**
 * Reads that say how fresh they are. Any replica may answer a read, and a lagging or cut-off one answers with what was;
 * worse, "not found" carries no sequence at all. A batch read that finds something ends with the stream sequence up to
 * which the replica had looked. So a subject that isn't there is asked for again together with an anchor that always is. The
 * result is a fact either way: "as of sequence S, this is the subject's last message, or there is none".
 *
 * Why not always with the anchor: the server walks its blocks from the newest of the subjects down to the oldest, and
 * between a pin and an anchor lies the whole bucket (measured with a million pins: 24 ms against 0.4 ms).
 */
import { createInbox, type Msg, type Subscription } from '@nats-io/transport-node';
import type { Timer, World } from '../base/world.ts';
import type { Bus } from './connect.ts';
import { busLimits } from './limits.ts';

export interface ReadMessage {
  readonly subject: string;
  readonly sequence: number;
  readonly deleted: boolean;
  readonly data: Uint8Array;
}

export type ReadOutcome =
  | { readonly kind: 'read'; readonly asOf: number; readonly message: ReadMessage | undefined }
  /** The anchor isn't there: an empty stream, or a replica that has not caught up at all. */
  | { readonly kind: 'no-anchor' }
  | { readonly kind: 'failed'; readonly why: string };

type Answer =
  | { readonly kind: 'found'; readonly asOf: number; readonly messages: readonly ReadMessage[] }
  | { readonly kind: 'nothing' }
  | { readonly kind: 'failed'; readonly why: string };

interface Waiting {
  readonly messages: ReadMessage[];
  readonly timer: Timer;
  readonly resolve: (answer: Answer) => void;
}

export class AsOfReader {
  readonly #bus: Bus;
  readonly #world: World;
  readonly #subject: string;
  readonly #anchor: string;
  readonly #inbox: string;
  readonly #subscription: Subscription;
  readonly #waiting = new Map<string, Waiting>();
  #serial = 0;

  /** `anchor`: a subject of the stream that always has a message. */
  constructor(bus: Bus, world: World, stream: string, anchor: string) {
    this.#bus = bus;
    this.#world = world;
    this.#subject = `$JS.API.DIRECT.GET.${stream}`;
    this.#anchor = anchor;
    this.#inbox = createInbox();
    this.#subscription = bus.nc.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (error) this.#failAll(error.message);
        else this.#receive(message);
      },
    });
  }

  /** Never rejects; a read that gets no answer in time has failed. */
  async read(subject: string): Promise<ReadOutcome> {
    let answer = await this.#ask([subject]);
    if (answer.kind === 'nothing') answer = await this.#ask([subject, this.#anchor]);
    if (answer.kind === 'nothing') return { kind: 'no-anchor' };
    if (answer.kind === 'failed') return answer;
    return { kind: 'read', asOf: answer.asOf, message: answer.messages.find(m => m.subject === subject) };
  }

  #ask(subjects: readonly string[]): Promise<Answer> {
    if (this.#subscription.isClosed() || this.#bus.nc.isClosed()) {
      return Promise.resolve({ kind: 'failed', why: 'the connection is closed' });
    }
    return new Promise(resolve => {
      const token = String(++this.#serial);
      const timer = this.#world.clock.after(
        busLimits.readMs,
        () => this.#finish(token, { kind: 'failed', why: `no answer within ${busLimits.readMs} ms` }),
        { keepAlive: true },
      );
      this.#waiting.set(token, { messages: [], timer, resolve });
      const request = JSON.stringify({ multi_last: subjects });
      this.#bus.nc.publish(this.#subject, request, { reply: `${this.#inbox}.${token}` });
    });
  }

  close(): void {
    this.#subscription.unsubscribe();
    this.#failAll('closed');
  }

  #receive(message: Msg): void {
    const token = message.subject.slice(this.#inbox.length + 1);
    const waiting = this.#waiting.get(token);
    if (!waiting) return; // an answer after its time was up
    const headers = message.headers;
    const code = headers?.code ?? 0;
    if (code === 204) {
      const asOf = Number(headers?.get('Nats-UpTo-Sequence'));
      const usable = Number.isSafeInteger(asOf) && asOf > 0;
      if (!usable) return this.#finish(token, { kind: 'failed', why: 'the answer does not say how far it looked' });
      return this.#finish(token, { kind: 'found', asOf, messages: waiting.messages });
    }
    if (code === 404) return this.#finish(token, { kind: 'nothing' });
    if (code !== 0) return this.#finish(token, { kind: 'failed', why: `${code} ${headers?.description ?? ''}` });
    const sequence = Number(headers?.get('Nats-Sequence'));
    const subject = headers?.get('Nats-Subject') ?? '';
    const operation = headers?.get('KV-Operation') ?? '';
    const deleted = operation === 'DEL' || operation === 'PURGE' || headers?.has('Nats-Marker-Reason') === true;
    // Copied: a message's data is a slice of the socket's read buffer.
    waiting.messages.push({ subject, sequence, deleted, data: Uint8Array.from(message.data) });
  }

  #finish(token: string, answer: Answer): void {
    const waiting = this.#waiting.get(token);
    if (!waiting) return;
    this.#waiting.delete(token);
    waiting.timer.cancel();
    waiting.resolve(answer);
  }

  #failAll(why: string): void {
    for (const token of [...this.#waiting.keys()]) this.#finish(token, { kind: 'failed', why });
  }
}
