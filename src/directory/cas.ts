/**
 * One compare-and-set on the bucket, to the end: stored, lost, or not known. Pure of meaning: it knows bytes, revisions
 * and write ids.
 *
 * An attempt that gets no answer may be stored now, later, or never. Sending the same bytes again with the same expected
 * revision is harmless, since at most one of the copies can ever be stored; so it is repeated until the directory says
 * something definite:
 * - an acknowledgement: stored;
 * - the record carries our write id, whoever says so: stored;
 * - the record has moved on from the expected revision without us: lost — unless some attempt had no answer and the
 *   trail shows that somebody replaced our write: stored.
 * A read alone, which may be stale, never decides "not stored": "wrong last sequence" does, and then the read only
 * says to whom.
 */
import { JetStreamApiCodes, JetStreamApiError } from '@nats-io/jetstream';
import type { KV, KvEntry } from '@nats-io/kv';
import type { World } from '../base/world.ts';
import { reconnectWaitMs } from '../bus/connect.ts';
import { directoryLimits } from './limits.ts';

export type CasOutcome =
  | { readonly kind: 'stored'; readonly revision: number }
  /** `entry` is undefined when the winner can't be read yet. */
  | { readonly kind: 'lost'; readonly entry: KvEntry | undefined }
  | { readonly kind: 'unknown'; readonly cause: unknown };

export interface CasRequest {
  readonly key: string;
  readonly bytes: Uint8Array;
  readonly expected: number;
  readonly writeId: string;
  /** The write id in a record, and the one that it replaced. */
  readonly idsIn: (entry: KvEntry) => { readonly id: string | undefined; readonly replaces: string | null | undefined };
  /** Asked when attempts had no answer and the record has moved on: whether somebody replaced our write. */
  readonly wasReplaced: () => Promise<boolean>;
}

type Attempt =
  | { readonly kind: 'stored'; readonly revision: number }
  /** Definitely not stored by this attempt: the record is, or is about to be, at another revision. */
  | { readonly kind: 'refused' }
  | { readonly kind: 'unanswered'; readonly cause: unknown };

export async function compareAndSet(kv: KV, world: World, request: CasRequest): Promise<CasOutcome> {
  const startedMs = world.clock.monotonicMs();
  let unanswered: { cause: unknown } | undefined;
  let refused = false;
  for (let attempt = 0; ; attempt++) {
    const result = await tryOnce(kv, request);
    if (result.kind === 'stored') return result;
    if (result.kind === 'unanswered') unanswered = { cause: result.cause };
    else refused = true;

    const seen = await look(kv, request);
    if (seen.kind === 'ours') return { kind: 'stored', revision: seen.revision };
    if (seen.kind === 'other') {
      if (unanswered && (seen.replacedOurs || (await request.wasReplaced()))) {
        return { kind: 'stored', revision: seen.entry.revision };
      }
      return { kind: 'lost', entry: seen.entry };
    }
    if (world.clock.monotonicMs() - startedMs >= directoryLimits.writeMs) {
      // Every attempt was refused: not stored, and none of them is still on its way.
      if (refused && !unanswered) return { kind: 'lost', entry: undefined };
      return { kind: 'unknown', cause: unanswered?.cause };
    }
    const waitMs = refused && !unanswered ? directoryLimits.writeRetryMs : reconnectWaitMs(attempt, world.random);
    await world.clock.sleep(waitMs);
  }
}

async function tryOnce(kv: KV, request: CasRequest): Promise<Attempt> {
  try {
    const timeout = directoryLimits.writeAttemptMs;
    const revision = await kv.put(request.key, request.bytes, { previousSeq: request.expected, timeout });
    return { kind: 'stored', revision };
  } catch (error) {
    if (!(error instanceof JetStreamApiError)) return { kind: 'unanswered', cause: error };
    const moved =
      error.code === JetStreamApiCodes.StreamWrongLastSequence ||
      error.code === JetStreamApiCodes.StreamWrongLastSequenceUnknown;
    if (moved) return { kind: 'refused' };
    // "Try again later" of a cluster without a leader: what it did with the message is not said.
    if (error.status >= 500) return { kind: 'unanswered', cause: error };
    throw error;
  }
}

type Look =
  | { readonly kind: 'ours'; readonly revision: number }
  | { readonly kind: 'other'; readonly entry: KvEntry; readonly replacedOurs: boolean }
  /** The record is at the expected revision, or the reader is behind, or there was no answer. */
  | { readonly kind: 'unchanged' };

async function look(kv: KV, request: CasRequest): Promise<Look> {
  let entry: KvEntry | null;
  try {
    entry = await kv.get(request.key);
  } catch (error) {
    if (error instanceof Error) return { kind: 'unchanged' }; // unreadable now: the next attempt or the deadline decides
    throw error;
  }
  if (!entry || entry.revision <= request.expected) return { kind: 'unchanged' };
  const ids = request.idsIn(entry);
  if (ids.id === request.writeId) return { kind: 'ours', revision: entry.revision };
  return { kind: 'other', entry, replacedOurs: ids.replaces === request.writeId };
}
