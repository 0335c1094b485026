/** How a transaction ends before its time: its backend is lost, its client goes, somebody cancels it. */
import { HomeportError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { errorResponseOf } from '../pgwire/errorresponse.ts';
import { Status } from '../pgwire/frames.ts';
import type { Session } from './session.ts';
import { holdAndRetry, readAgain, resetUnit, resting } from './transaction.ts';

/** The connection to the server broke. */
export function lost(s: Session, why: string): void {
  const { backend, pool, tx } = s;
  if (!backend || !pool) return;
  const target = pool.name;
  const attached = s.phase === 'attached';
  // The shard may have let an implicit transaction in, run it and committed it, all before we heard a word.
  const mayHaveCommitted = s.owed > 0 && (s.status === Status.idle ? s.blocked : s.mayCommit) && !tx.spared;
  const nothingRan = attached && (tx.retreating || (!tx.entered && !mayHaveCommitted));
  const readies = backend.replies.clientReadies;
  backend.replies.clear(s.skipped);
  s.backend = undefined;
  pool.giveBack(backend, 'broken');
  if (!attached) return s.pinned === undefined ? undefined : s.end(new HomeportError('HP-G304', { target, why }));
  if (nothingRan && s.pinned === undefined) {
    tx.retreating = false;
    s.retreatedFrom = undefined;
    readAgain(s);
    if (tx.cancelled) s.failUnit(errorResponseOf(new HomeportError('HP-G409')));
    else holdAndRetry(s, `${target}: ${why}`, limits.holdMs);
    return s.turn();
  }
  loseRunning(s, readies, mayHaveCommitted ? 'HP-G305' : 'HP-G304', { target, why });
}

/** Every unit that is owed an answer gets an error: a ReadyForQuery alone would look like success. */
function loseRunning(
  s: Session,
  readies: number,
  code: 'HP-G304' | 'HP-G305',
  params: { target: string; why: string },
): void {
  const error = new HomeportError(code, params);
  if (s.pinned !== undefined) return s.end(error);
  const { unitFailed, unitOpen } = s;
  const lostBlock = s.status !== Status.idle && code === 'HP-G304';
  // Its end has been asked for already, and that is what came of it.
  const ended = s.tx.endSent && !unitOpen;
  const failure = errorResponseOf(error);
  const next = errorResponseOf(new HomeportError('HP-G402'));
  resetUnit(s);
  s.bound.clear();
  s.tx.reset(lostBlock && !ended);
  s.phase = lostBlock && !ended ? 'failed' : 'idle';
  s.status = lostBlock ? Status.failed : Status.idle;
  s.gateway.counters.refusals++;
  for (let i = 0; i < readies; i++) {
    if (i > 0 || !unitFailed) s.reply(i === 0 ? failure : next);
    if (i === readies - 1 && s.phase === 'idle') s.status = Status.idle;
    s.replyReady();
  }
  // A client that waits for nothing learns of it with its next statement; Postgres would hang up on it.
  if (unitOpen) {
    if (readies > 0 || !unitFailed) s.reply(readies === 0 ? failure : next);
    s.skipping = true;
    s.unitOpen = true;
  }
  if (s.phase === 'idle') s.status = Status.idle;
  s.turn();
}

/** The client has gone: what it was running ends. */
export function abandon(s: Session): void {
  s.cancelWait?.();
  s.cancelWait = undefined;
  const { backend, pool } = s;
  if (!backend || !pool) return;
  s.backend = undefined;
  const running = s.phase === 'attached' && backend.replies.length > 0;
  backend.replies.clear(s.skipped);
  const gone = () => pool.giveBack(backend, 'broken');
  backend.owner = undefined;
  // A server that computes does not notice a closed connection: tell it.
  if (running) backend.cancel().then(gone, gone);
  else gone();
}

/** A cancel request for this session. Resolves when it has landed, or after the connect limit. */
export async function cancel(s: Session): Promise<void> {
  if (s.phase === 'attached' && s.backend) {
    // Should `enter` turn it away before the request lands, there is nothing left for it to hit.
    if (!s.tx.entered) s.tx.cancelled = true;
    if (!s.tx.retreating && s.backend.replies.length > 0) await s.backend.cancel();
    return;
  }
  if (s.phase !== 'seeking') return;
  s.cancelWait?.();
  s.cancelWait = undefined;
  s.phase = resting(s);
  s.failUnit(errorResponseOf(new HomeportError('HP-G409')));
  s.turn();
}
