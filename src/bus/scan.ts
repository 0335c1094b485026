/** Reads what a stream holds now, once, from the first message to the last: for listings and repairs, not for following. */
import { DeliverPolicy } from '@nats-io/jetstream';
import type { Bus } from './connect.ts';
import { busLimits } from './limits.ts';

export interface Scanned {
  readonly subject: string;
  readonly sequence: number;
  readonly deleted: boolean;
  readonly data: Uint8Array;
}

/** With `lastOfEach` only the last message of every subject, in the order of their sequences. */
export async function* scan(
  bus: Bus,
  stream: string,
  options: { readonly subjects: readonly string[]; readonly lastOfEach?: boolean; readonly from?: number },
): AsyncGenerator<Scanned> {
  const consumer = await bus.js.consumers.get(stream, {
    filter_subjects: [...options.subjects],
    ...(options.lastOfEach ? { deliver_policy: DeliverPolicy.LastPerSubject } : {}),
    ...(options.from === undefined ? {} : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: options.from }),
  });
  if ((await consumer.info(true)).num_pending === 0) return;
  const messages = await consumer.consume({ max_messages: busLimits.scanBatch });
  for await (const message of messages) {
    const operation = message.headers?.get('KV-Operation') ?? '';
    yield {
      subject: message.subject,
      sequence: message.seq,
      deleted: operation === 'DEL' || operation === 'PURGE',
      data: message.data,
    };
    if (message.info.pending === 0) return;
  }
}
