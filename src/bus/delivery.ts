/** What a JetStream push consumer's message says about itself, in its reply subject. The client keeps its parser private. */
export interface Delivery {
  readonly streamSequence: number;
  readonly consumerSequence: number;
  /** Messages that were waiting behind this one when it was sent. */
  readonly pending: number;
}

/**
 * `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>`, or the same with domain and
 * account hash after `ACK` (and perhaps a token at the end).
 * @returns undefined when it is neither.
 */
export function parseDelivery(reply: string | undefined): Delivery | undefined {
  if (!reply?.startsWith('$JS.ACK.')) return undefined;
  const tokens = reply.split('.');
  const at = tokens.length === 9 ? 5 : 7;
  if (tokens.length !== 9 && tokens.length < 11) return undefined;
  const [streamSequence, consumerSequence, pending] = [tokens[at], tokens[at + 1], tokens[at + 3]].map(Number);
  if (streamSequence === undefined || consumerSequence === undefined || pending === undefined) return undefined;
  if (!Number.isSafeInteger(streamSequence + consumerSequence + pending)) return undefined;
  return { streamSequence, consumerSequence, pending };
}
