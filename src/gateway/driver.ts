/** Turns of a session: reads the client's frames as far as it goes, and sends what came of them in one write each way. */
import { HomeportError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { errorResponseOf } from '../pgwire/errorresponse.ts';
import { FLUSH } from '../pgwire/frames.ts';
import type { Backend } from '../shards/backend.ts';
import { abandon, lost } from './ending.ts';
import { abortInBackend, handleFrame, streamLarge } from './inbound.ts';
import { relay } from './relay.ts';
import type { Session, SessionWork } from './session.ts';

function turn(s: Session): void {
  if (s.turning) return;
  s.turning = true;
  try {
    while (!s.waiting && !s.mustSeeEntered && step(s));
  } finally {
    s.turning = false;
  }
  endTurn(s);
}

function step(s: Session): boolean {
  if (s.streaming > 0) return streamLarge(s);
  const found = s.input.next(limits.frameBytes);
  if (found === 'none') return false;
  if (found === 'invalid') {
    s.end(new HomeportError('HP-G404', { why: 'a frame with an impossible length' }));
    return false;
  }
  try {
    return handleFrame(s, found);
  } catch (error) {
    if (!(error instanceof HomeportError)) throw error;
    if (s.phase === 'attached') abortInBackend(s, errorResponseOf(error));
    else s.failUnit(errorResponseOf(error));
    return true;
  }
}

function endTurn(s: Session): void {
  const { toBackend, toClient } = s.gateway;
  if (s.backend && s.phase === 'attached') flushBackend(s, s.backend);
  else toBackend.discard();
  if (s.phase === 'closed') toClient.discard();
  else toClient.flush(s.socket);
  if (s.phase === 'idle' && s.gateway.draining) s.drain();
  if ((s.waiting || s.mustSeeEntered) && s.input.bytes > limits.clientAheadBytes) s.socket.pause();
  else if (s.socket.isPaused() && !s.backlogged) s.socket.resume();
}

function flushBackend(s: Session, backend: Backend): void {
  const { toBackend } = s.gateway;
  if (!toBackend.empty) {
    // The server keeps `enter`'s answer back until something makes it flush.
    if (!s.tx.entered && !backend.replies.endsFlushed) toBackend.add(FLUSH);
    toBackend.flush(backend.stream);
  }
  if (s.backlogged) s.socket.pause();
}

/** A fault of ours on the data path ends the connection that met it, and not the process: the fence still holds (I6). */
function guarded<Rest extends unknown[]>(work: (s: Session, ...rest: Rest) => void) {
  return (s: Session, ...rest: Rest): void => {
    try {
      work(s, ...rest);
    } catch (error) {
      s.gateway.log.error({ err: error, phase: s.phase }, 'a fault of our own ended a connection');
      s.gateway.toBackend.discard();
      s.gateway.toClient.discard();
      s.socket.destroy();
    }
  };
}

export const sessionWork: SessionWork = { turn: guarded(turn), relay: guarded(relay), lost: guarded(lost), abandon };
