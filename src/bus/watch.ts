/**
 * Follows a stream's subjects from a sequence on, in order, without a hole that goes unnoticed.
 *
 * The client's own ordered consumer heals itself silently, takes up to a minute to notice a lost server, and, when it
 * had received nothing yet, starts again from the beginning of the stream. A cache must know that it was blind for a
 * moment, so here a gap is an event, and where to start again is the owner's decision.
 *
 * Life: open → live → (gap → open → live)* → closed. `begin` runs before each opening and sees the stream as it is;
 * every message after the sequence that `begin` returns is delivered, in order. A gap is: a hole in the consumer's
 * numbering, heartbeats that stopped, a consumer that the server dropped, or a lost connection.
 */
import { AckPolicy, type ConsumerConfig, DeliverPolicy, type StreamInfo } from '@nats-io/jetstream';
import {
  createInbox,
  type Msg,
  nanos,
  type QueuedIterator,
  type Status,
  type Subscription,
} from '@nats-io/transport-node';
import type { Timer, World } from '../base/world.ts';
import { type Bus, type Log, reconnectWaitMs } from './connect.ts';
import { parseDelivery } from './delivery.ts';
import { busLimits } from './limits.ts';
import { type Outage, reasonOf } from './outage.ts';

export interface StreamMessage {
  readonly subject: string;
  readonly sequence: number;
  readonly deleted: boolean;
  /** Valid during the call only: a slice of the read buffer. */
  readonly data: Uint8Array;
}

/** From the last message of every subject, or from the message after `after`. */
export type WatchStart = 'last-of-each' | { readonly after: number };

export interface WatchOptions {
  readonly bus: Bus;
  readonly world: World;
  readonly log: Log;
  /** Shared by watches that lose the server together. */
  readonly outage: Outage;
  readonly stream: string;
  readonly subjects: readonly string[];
  /** Called before each opening. */
  begin(stream: { identity: string; lastSequence: number }): WatchStart;
  message(message: StreamMessage): void;
  /** All that was stored when the watch opened has been delivered. After a gap it comes again. */
  ready(): void;
  gap(why: string): void;
  /** An opening failed; it is tried again. */
  failed(error: unknown): void;
}

interface Session {
  readonly inbox: string;
  readonly name: string;
  subscription: Subscription | undefined;
  received: number;
  ready: boolean;
  heardMs: number;
}

export class StreamWatch {
  readonly #options: WatchOptions;
  readonly #closing = new AbortController();
  readonly #liveness: Timer;
  readonly #done: Promise<void>;
  #session: Session | undefined;
  #reopen: (() => void) | undefined;

  constructor(options: WatchOptions) {
    this.#options = options;
    const { world, bus } = options;
    this.#liveness = world.clock.every(busLimits.heartbeatMs, () => this.#checkHeartbeats());
    this.#done = Promise.all([this.#run(), this.#followConnection(bus)]).then(() => undefined);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#liveness.cancel();
    const name = this.#session?.name;
    this.#drop();
    // The server would drop the consumer by itself in a while; asking is a courtesy that must not delay a shutdown.
    if (name && !this.#options.bus.nc.isClosed()) this.#forget(name);
    this.#reopen?.();
    await this.#done;
  }

  async #run(): Promise<void> {
    const { world, outage, stream } = this.#options;
    for (let attempt = 0; !this.#closing.signal.aborted; ) {
      const lost = new Promise<void>(resolve => {
        this.#reopen = resolve;
      });
      try {
        await this.#open();
        attempt = 0;
        await lost;
      } catch (error) {
        this.#drop();
        if (this.#closing.signal.aborted) return;
        this.#options.failed(error);
        outage.failed(this, reasonOf(error), { stream });
      }
      if (this.#closing.signal.aborted) return this.#drop();
      await world.clock.sleep(reconnectWaitMs(attempt++, world.random), this.#closing.signal).catch(() => undefined);
    }
  }

  async #open(): Promise<void> {
    const { bus, world, stream, subjects } = this.#options;
    const info: StreamInfo = await bus.jsm.streams.info(stream);
    const start = this.#options.begin({ identity: String(info.created), lastSequence: info.state.last_seq });
    const session: Session = {
      inbox: createInbox(),
      name: `homeport_${world.random.uuid().replaceAll('-', '')}`,
      subscription: undefined,
      received: 0,
      ready: false,
      heardMs: world.clock.monotonicMs(),
    };
    this.#session = session;
    session.subscription = bus.nc.subscribe(session.inbox, {
      callback: (error, message) => {
        if (this.#session !== session) return; // what an earlier session still sends
        if (error) this.#gap(`the subscription failed: ${error.message}`);
        else this.#receive(session, message);
      },
    });
    const config: Partial<ConsumerConfig> = {
      name: session.name,
      deliver_subject: session.inbox,
      ack_policy: AckPolicy.None,
      filter_subjects: [...subjects],
      idle_heartbeat: nanos(busLimits.heartbeatMs),
      flow_control: true,
      mem_storage: true,
      num_replicas: 1,
      max_deliver: 1,
      inactive_threshold: nanos(busLimits.consumerIdleMs),
      ...(start === 'last-of-each'
        ? { deliver_policy: DeliverPolicy.LastPerSubject }
        : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: start.after + 1 }),
    };
    const consumer = await bus.jsm.consumers.add(stream, config);
    if (consumer.num_pending === 0) this.#becomeReady(session);
  }

  #receive(session: Session, message: Msg): void {
    session.heardMs = this.#options.world.clock.monotonicMs();
    const code = message.headers?.code ?? 0;
    if (code !== 0) return this.#control(session, message, code);
    const delivery = parseDelivery(message.reply);
    if (!delivery) return this.#gap('a message that no consumer of ours sent');
    if (delivery.consumerSequence !== session.received + 1) {
      return this.#gap(`message ${delivery.consumerSequence} came after ${session.received}`);
    }
    session.received = delivery.consumerSequence;
    const operation = message.headers?.get('KV-Operation') ?? '';
    this.#options.message({
      subject: message.subject,
      sequence: delivery.streamSequence,
      deleted: operation === 'DEL' || operation === 'PURGE' || message.headers?.has('Nats-Marker-Reason') === true,
      data: message.data,
    });
    if (delivery.pending === 0) this.#becomeReady(session);
  }

  #control(session: Session, message: Msg, code: number): void {
    const headers = message.headers;
    if (code !== 100) return this.#gap(`the server ended the consumer: ${code} ${headers?.description ?? ''}`);
    if (message.reply) {
      message.respond(); // flow control: the server goes on when it knows that we keep up
      return;
    }
    const stalled = headers?.get('Nats-Consumer-Stalled');
    if (stalled) this.#options.bus.nc.publish(stalled);
    const sent = Number(headers?.get('Nats-Last-Consumer') ?? 0);
    if (sent > session.received) return this.#gap(`${sent - session.received} messages were lost on the way`);
    // A heartbeat comes when there is nothing to send: what was pending at the opening has gone by other ways.
    if (!session.ready) this.#becomeReady(session);
  }

  #becomeReady(session: Session): void {
    if (session.ready || this.#session !== session) return;
    session.ready = true;
    this.#options.outage.back(this, { stream: this.#options.stream });
    this.#options.ready();
  }

  #checkHeartbeats(): void {
    const session = this.#session;
    if (!session) return;
    const silentMs = this.#options.world.clock.monotonicMs() - session.heardMs;
    if (silentMs > busLimits.heartbeatMs * busLimits.heartbeatsMissed) {
      this.#gap(`no heartbeat for ${Math.round(silentMs)} ms`);
    }
  }

  async #followConnection(bus: Bus): Promise<void> {
    // cast: status() makes a QueuedIterator, whose stop() is the only way to end the iteration while the connection lives
    const statuses = bus.nc.status() as QueuedIterator<Status>;
    this.#closing.signal.addEventListener('abort', () => statuses.stop());
    for await (const status of statuses) {
      if (this.#closing.signal.aborted) return;
      if (status.type === 'disconnect') this.#gap('the connection was lost');
    }
  }

  #gap(why: string): void {
    if (!this.#session) return;
    this.#drop();
    this.#options.outage.failed(this, why, { stream: this.#options.stream });
    this.#options.gap(why);
    this.#reopen?.();
  }

  #drop(): void {
    this.#session?.subscription?.unsubscribe();
    this.#session = undefined;
  }

  #forget(name: string): void {
    this.#options.bus.jsm.consumers
      .delete(this.#options.stream, name)
      .catch(error => this.#options.log.info({ err: error, name }, 'consumer left for the server to drop'));
  }
}
