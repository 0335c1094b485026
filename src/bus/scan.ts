/**
 * Reads what a stream holds now, once, in order, as one of its replicas has it, which may lag behind the others: for
 * listings, not for following, and never to conclude that something isn't there. With a push consumer of its
 * own, because the client's ordered pull consumer now and then sits out a whole 30 s expiry before its first message.
 */
import { AckPolicy, type ConsumerConfig, DeliverPolicy, JetStreamApiError } from '@nats-io/jetstream';
import { createInbox, type Msg, nanos } from '@nats-io/transport-node';
import { HomeportError } from '../base/errors.ts';
import type { World } from '../base/world.ts';
import { type Bus, reconnectWaitMs } from './connect.ts';
import { parseDelivery } from './delivery.ts';
import { busLimits } from './limits.ts';

export interface Scanned {
  readonly subject: string;
  readonly sequence: number;
  readonly deleted: boolean;
  readonly data: Uint8Array;
}

export interface ScanOptions {
  readonly subjects: readonly string[];
  /** Only the last message of every subject. */
  readonly lastOfEach?: boolean;
}

/** @throws HP-D308 when it breaks off: a connection lost, a server gone. Whoever needs it whole starts again. */
export async function* scan(bus: Bus, world: World, stream: string, options: ScanOptions): AsyncGenerator<Scanned> {
  const inbox = createInbox();
  const arrived: Msg[] = [];
  let wake: () => void = () => undefined;
  let broken: string | undefined;
  let heardMs = world.clock.monotonicMs();
  const subscription = bus.nc.subscribe(inbox, {
    callback: (error, message) => {
      if (error) broken = error.message;
      else arrived.push(message);
      heardMs = world.clock.monotonicMs();
      wake();
    },
  });
  const watchdog = world.clock.every(busLimits.heartbeatMs, () => {
    if (world.clock.monotonicMs() - heardMs > busLimits.heartbeatMs * busLimits.heartbeatsMissed) broken = 'silence';
    wake();
  });
  const config: Partial<ConsumerConfig> = {
    deliver_subject: inbox,
    ack_policy: AckPolicy.None,
    filter_subjects: [...options.subjects],
    deliver_policy: options.lastOfEach ? DeliverPolicy.LastPerSubject : DeliverPolicy.All,
    idle_heartbeat: nanos(busLimits.heartbeatMs),
    flow_control: true,
    mem_storage: true,
    num_replicas: 1,
    max_deliver: 1,
    inactive_threshold: nanos(busLimits.consumerIdleMs),
  };
  try {
    const consumer = await addConsumer(bus, world, stream, config);
    heardMs = world.clock.monotonicMs();
    broken = undefined;
    if (consumer.num_pending === 0) return;
    let received = 0;
    for (;;) {
      while (arrived.length === 0 && broken === undefined) {
        await new Promise<void>(resolve => {
          wake = resolve;
        });
      }
      // In one piece: shifting one by one off a long queue costs more than the messages.
      for (const message of arrived.splice(0)) {
        if ((message.headers?.code ?? 0) === 100) {
          if (message.reply) message.respond();
          else if (Number(message.headers?.get('Nats-Last-Consumer')) <= received) return; // idle: nothing is left
          continue;
        }
        const delivery = parseDelivery(message.reply);
        if (delivery?.consumerSequence !== ++received) throw new HomeportError('HP-D308', { stream, why: 'a hole' });
        yield scannedOf(message, delivery.streamSequence);
        if (delivery.pending === 0) return;
      }
      if (broken !== undefined) throw new HomeportError('HP-D308', { stream, why: broken });
    }
  } finally {
    watchdog.cancel();
    subscription.unsubscribe();
  }
}

/** While a cluster elects or catches up it can't place a consumer: that passes. */
async function addConsumer(bus: Bus, world: World, stream: string, config: Partial<ConsumerConfig>) {
  const startedMs = world.clock.monotonicMs();
  for (let attempt = 0; ; attempt++) {
    try {
      return await bus.jsm.consumers.add(stream, { ...config, name: `homeport_${world.random.uuid()}` });
    } catch (error) {
      const passing = !(error instanceof JetStreamApiError) || error.status >= 500;
      if (!passing || world.clock.monotonicMs() - startedMs >= busLimits.scanOpenMs) throw error;
      await world.clock.sleep(reconnectWaitMs(attempt, world.random));
    }
  }
}

function scannedOf(message: Msg, sequence: number): Scanned {
  const operation = message.headers?.get('KV-Operation') ?? '';
  const deleted = operation === 'DEL' || operation === 'PURGE';
  return { subject: message.subject, sequence, deleted, data: message.data };
}
