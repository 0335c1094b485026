/**
 * The client's messages. Most go to the backend as the bytes that they are; what is decoded is what routing needs: the
 * text of a Query or Parse, the statement's name in Bind, Describe and Close.
 */
import { HomeportError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Front, HEADER_BYTES, parseFrame, queryFrame, RUN_UNNAMED, Status, SYNC } from '../pgwire/frames.ts';
import type { NextFrame } from '../pgwire/input.ts';
import { Expect } from '../pgwire/replies.ts';
import { type Parsed, parseStatement } from '../pgwire/sql.ts';
import type { Backend } from '../shards/backend.ts';
import { onBind, onClose, onDescribe, onExecute, onParse, onSync, startLargeBind } from './extended.ts';
import { parseIdentity } from './identity.ts';
import {
  copyFailed,
  forward,
  noteStatement,
  noteStatements,
  refuseOutside,
  throughCopyDoor,
  violation,
} from './sending.ts';
import type { Session } from './session.ts';
import { noteResidue, seek } from './transaction.ts';
import { answerHere, answersHere, readyToAnswer } from './virtual.ts';

/** Text that no server can parse: it fails a transaction whose error the client has already been given. */
const ABORT_TEXT = '.';
const ABORT_TAIL = Buffer.from(`${ABORT_TEXT}\0\0\0`);

/** What the server takes, or ignores, while it reads COPY data; anything else makes it hang up. */
const DURING_COPY = new Set<number>([
  ...[Front.copyData, Front.copyDone, Front.copyFail, Front.flush, Front.sync, Front.terminate],
]);
/** What opens a unit that a Sync has to end. */
const OF_UNITS = new Set<number>([Front.parse, Front.bind, Front.describe, Front.execute, Front.close]);

/** @returns false when nothing more can be done for now; the frame is then still there. */
export function handleFrame(s: Session, found: NextFrame): boolean {
  if (found === 'partial') return handlePartial(s);
  const { type } = s.input;
  if (s.skipping && type !== Front.sync && type !== Front.terminate) {
    s.input.advance();
    return true;
  }
  if (s.copyIn && !DURING_COPY.has(type)) {
    s.end(violation(`a message of type '${String.fromCharCode(type)}' during COPY FROM STDIN`));
    return false;
  }
  if (OF_UNITS.has(type)) {
    s.unitOpen = true;
    s.translated = false;
  }
  switch (type) {
    case Front.query:
      return onQuery(s);
    case Front.parse:
      return onParse(s);
    case Front.bind:
      return onBind(s);
    case Front.describe:
      return onDescribe(s);
    case Front.execute:
      return onExecute(s);
    case Front.close:
      return onClose(s);
    case Front.sync:
      return onSync(s);
    case Front.flush:
      if (s.phase === 'attached' && !s.copyIn) forward(s);
      s.input.advance();
      return true;
    case Front.functionCall:
      return onFunctionCall(s);
    case Front.copyData:
    case Front.copyDone:
    case Front.copyFail:
      return onCopy(s);
    case Front.identity:
      return onIdentity(s);
    case Front.terminate:
      s.hangUp();
      return false;
    default:
      s.end(violation(`a message of type '${String.fromCharCode(type)}'`));
      return false;
  }
}

/** The frame is longer than what is here. Only parameters and COPY data may be long enough to be streamed. */
function handlePartial(s: Session): boolean {
  const { type, frameLength: length } = s.input;
  if (length <= limits.bufferedFrameBytes) return false;
  if (type === Front.query || type === Front.parse) {
    if (length <= limits.statementBytes) return false;
    s.end(new HomeportError('HP-G403', { bytes: length, limit: limits.statementBytes }));
    return false;
  }
  const isCopy = type === Front.copyData;
  if (!isCopy && type !== Front.bind) {
    s.end(violation(`a message of type '${String.fromCharCode(type)}' with ${length} bytes`));
    return false;
  }
  if (isCopy || s.skipping) {
    s.streaming = length;
    s.streamingTo = s.copyIn ? s.backend : undefined;
    return true;
  }
  return startLargeBind(s, length);
}

/** Passes on a piece of a large frame. */
export function streamLarge(s: Session): boolean {
  const piece = s.input.take(s.streaming);
  if (piece.length === 0) return false;
  s.streaming -= piece.length;
  const { streamingTo } = s;
  if (streamingTo && streamingTo === s.backend && s.phase === 'attached') s.gateway.toBackend.add(piece);
  if (s.streaming > 0) return true;
  s.streamingTo = undefined;
  if (s.syncAfterCopy && !s.copyIn && streamingTo && streamingTo === s.backend) {
    s.gateway.toBackend.flush(streamingTo.stream);
    copyFailed(s);
  }
  return true;
}

/** Fails the transaction on the backend for a reason of ours: the client reads our error, the server gets one too. */
export function abortInBackend(s: Session, error: Buffer): void {
  const { backend, gateway, input } = s;
  if (!backend) return;
  gateway.counters.refusals++;
  s.reply(error);
  s.unnamedParsed = false;
  s.unitFailed = true;
  if (input.type === Front.query) {
    s.unitOpen = false;
    input.advance();
    gateway.toBackend.add(queryFrame(ABORT_TEXT));
    backend.replies.push(Expect.abortQuery);
    s.owed++;
    s.blocked = true;
    return;
  }
  gateway.toBackend.add(parseFrame('', ABORT_TAIL));
  backend.replies.push(Expect.abort);
  s.skipping = true;
}

// ---- simple protocol

function onQuery(s: Session): boolean {
  const { input } = s;
  const length = input.end - input.start;
  if (length > limits.statementBytes)
    throw new HomeportError('HP-G403', { bytes: length, limit: limits.statementBytes });
  if (input.buffer[input.end - 1] !== 0) throw violation('a Query without an end');
  const sql = input.buffer.toString('utf8', input.start + HEADER_BYTES, input.end - 1);
  let at = 0;
  let parsed = parseStatement(sql);
  while (answersHere(s, parsed.first)) {
    // What is asked behind other units depends on how they end.
    if (s.phase === 'attached' && s.owed > 0) {
      s.blocked = true;
      return at > 0 ? readRest(s, sql, at) : false;
    }
    // What is answered ahead of the rest would be answered once more if all is sent again.
    if ((at > 0 || parsed.rest >= 0) && s.mustHaveEntered) return false;
    if (!readyToAnswer(s, parsed.first)) return at > 0 ? readRest(s, sql, at) : false;
    for (const bytes of answerHere(s, parsed.first, 'with-description')) s.reply(bytes);
    if (parsed.rest < 0) return answered(s);
    at = parsed.rest;
    parsed = parseStatement(sql, at);
  }
  if (at > 0) return readRest(s, sql, at);
  const copy = throughCopyDoor(s, sql, parsed.first);
  if (copy !== undefined) {
    input.substitute(queryFrame(copy));
    return true;
  }
  refuseOutside(s, parsed.first);
  if (s.phase !== 'attached' && !seek(s)) return false;
  sendQuery(s, sql, parsed);
  return true;
}

/** The front of a string of statements has been answered here. */
function readRest(s: Session, sql: string, at: number): boolean {
  s.input.substitute(queryFrame(sql.slice(at)));
  return !s.waiting;
}

function answered(s: Session): boolean {
  s.input.advance();
  s.unitOpen = false;
  s.replyReady();
  if (s.phase === 'idle') s.tx.reset(false);
  return true;
}

function sendQuery(s: Session, sql: string, parsed: Parsed): void {
  const { backend, gateway, input } = s;
  if (!backend) return;
  const { first, rest } = parsed;
  const extra = rest < 0 ? noteStatement(s, first) : noteStatements(s, sql, parsed);
  s.translated = false;
  const inBlock = s.tx.begin.length > 0 || s.status !== Status.idle;
  if (inBlock && first.kind === 'end' && first.chain && rest < 0) {
    // The next transaction needs its own `enter`, so the shard gets a plain end and the chain goes on here.
    gateway.toBackend.add(queryFrame(first.commit ? 'COMMIT' : 'ROLLBACK'));
    backend.replies.push(Expect.query, extra);
  } else if (inBlock || s.tx.route?.kind !== 'home') {
    forward(s);
    backend.replies.push(Expect.query, extra);
  } else if (rest >= 0) {
    forward(s);
    backend.replies.push(Expect.query, extra);
  } else translate(s, backend, extra);
  s.unnamedParsed = false;
  s.unitOpen = false;
  input.advance();
  s.owed++;
  if (s.status !== Status.transaction || s.control) s.blocked = true;
  s.control = false;
}

/**
 * A simple query that is a transaction by itself, behind `enter`. An Execute without a Sync opens an implicit
 * transaction block; a Query of one statement does not end that (PostgreSQL 17 and later: its work is lost), and a Sync
 * behind it does not either. So a single statement travels in the extended protocol, where one trip does it all and the
 * client sees no difference. A Query of several statements ends its implicit block itself and goes as it is.
 */
function translate(s: Session, backend: Backend, extra: unknown): void {
  const { gateway, input } = s;
  gateway.toBackend.add(parseHead(input.end - input.start));
  gateway.toBackend.addRange(input.buffer, input.start + HEADER_BYTES, input.end);
  gateway.toBackend.add(AFTER_TEXT);
  backend.replies.push(Expect.silentParse);
  backend.replies.push(Expect.silentBind);
  backend.replies.push(Expect.rowsOnly);
  backend.replies.push(Expect.execute, extra);
  backend.replies.push(Expect.sync);
  s.translated = true;
}

/** No parameter types end the Parse; then it is run. */
const AFTER_TEXT = Buffer.concat([Buffer.alloc(2), RUN_UNNAMED]);

/** The start of a Parse of the unnamed statement with the text of a Query of `queryBytes`. */
function parseHead(queryBytes: number): Buffer {
  const head = Buffer.allocUnsafe(HEADER_BYTES + 1);
  head[0] = Front.parse;
  head.writeInt32BE(queryBytes - 1 + 3, 1);
  head[HEADER_BYTES] = 0;
  return head;
}

function onFunctionCall(s: Session): boolean {
  if (s.phase !== 'attached' && !seek(s)) return false;
  forward(s);
  s.input.advance();
  noteResidue(s, 'session');
  s.backend?.replies.push(Expect.functionCall);
  s.owed++;
  s.blocked = true;
  return true;
}

/** Outside of COPY the server ignores these, and so do we: they may still come after an error has ended it. */
function onCopy(s: Session): boolean {
  if (s.copyIn) {
    forward(s);
    if (s.input.type !== Front.copyData) {
      s.copyIn = false;
      if (s.syncAfterCopy) {
        s.syncAfterCopy = false;
        s.gateway.toBackend.add(SYNC);
        s.backend?.replies.push(Expect.sync);
        s.owed++;
      }
      if (s.owed > 0) s.blocked = true;
    }
  }
  s.input.advance();
  return true;
}

// ---- between gateways

function onIdentity(s: Session): boolean {
  const identity = s.peer
    ? parseIdentity(s.input.buffer.subarray(s.input.start + HEADER_BYTES, s.input.end))
    : undefined;
  if (!identity || s.phase !== 'idle') {
    s.end(violation('an identity where none may be'));
    return false;
  }
  try {
    s.assume(identity);
  } catch (error) {
    if (!(error instanceof HomeportError)) throw error;
    s.end(error);
  }
  s.input.advance();
  return s.phase === 'idle';
}
