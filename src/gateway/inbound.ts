/**
 * The client's messages. Most go to the backend as the bytes that they are; what is decoded is what routing needs: the
 * text of a Query or Parse, the statement's name in Bind, Describe and Close.
 */
import { HomeportError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import {
  CLOSE_COMPLETE,
  closeFrame,
  cstringAt,
  Front,
  HEADER_BYTES,
  PARSE_COMPLETE,
  parseFrame,
  queryFrame,
  Status,
} from '../pgwire/frames.ts';
import type { NextFrame } from '../pgwire/input.ts';
import { Expect } from '../pgwire/replies.ts';
import { type Parsed, parseStatement, type Statement } from '../pgwire/sql.ts';
import { parseIdentity } from './identity.ts';
import type { Session } from './session.ts';
import type { ClientStatement } from './statements.ts';
import { noteResidue, seek } from './transaction.ts';
import { answerHere, answersHere, describeHere, readyToAnswer } from './virtual.ts';

const violation = (why: string) => new HomeportError('HP-G404', { why });
/** Text that no server can parse: it fails a transaction whose error the client has already been given. */
const ABORT_TEXT = '.';
const ABORT_TAIL = Buffer.from(`${ABORT_TEXT}\0\0\0`);
/** Enough of a large Bind to hold its header and both names. */
const NAMES_BYTES = 512;

/** @returns false when nothing more can be done for now; the frame is then still there. */
export function handleFrame(s: Session, found: NextFrame): boolean {
  if (found === 'partial') return handlePartial(s);
  const { type } = s.input;
  if (s.skipping && type !== Front.sync && type !== Front.terminate) {
    s.input.advance();
    return true;
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
      s.socket.end();
      s.input.advance();
      return false;
    default:
      s.end(violation(`a message of type '${String.fromCharCode(type)}'`));
      return false;
  }
}

function forward(s: Session): void {
  s.gateway.toBackend.addRange(s.input.buffer, s.input.start, s.input.end);
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
    return true;
  }
  if (s.input.bytes < NAMES_BYTES) return false;
  return startLargeBind(s, length);
}

/** A Bind too large to be kept for a re-send: the shard must have let the transaction in before it is passed on. */
function startLargeBind(s: Session, length: number): boolean {
  if (s.phase !== 'attached' && !seek(s)) return false;
  if (!s.tx.entered) {
    s.awaitEntered = true;
    return false;
  }
  const { input } = s;
  if (input.buffer.length - input.start < NAMES_BYTES) input.gather(NAMES_BYTES);
  const names = readBindNames(input.buffer, input.start, input.start + NAMES_BYTES);
  if (!names) throw violation('Bind without names');
  s.streaming = length - writeBindHead(s, names, length);
  return true;
}

/** Passes on a piece of a large frame. */
export function streamLarge(s: Session): boolean {
  const piece = s.input.take(s.streaming);
  if (piece.length === 0) return false;
  s.streaming -= piece.length;
  if (s.phase === 'attached' && !s.skipping) s.gateway.toBackend.add(piece);
  return true;
}

/** Fails the transaction on the backend for a reason of ours: the client reads our error, the server gets one too. */
export function abortInBackend(s: Session, error: Buffer): void {
  const { backend, gateway, input } = s;
  if (!backend) return;
  gateway.counters.refusals++;
  s.reply(error);
  if (input.type === Front.query) {
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
  const sql = input.buffer.toString('utf8', input.start + HEADER_BYTES, input.end - 1);
  const parsed = parseStatement(sql);
  if (answersHere(s, parsed.first)) {
    if (!readyToAnswer(s, parsed.first)) return false;
    for (const bytes of answerHere(s, parsed.first, 'with-description')) s.reply(bytes);
    if (parsed.rest >= 0) input.substitute(queryFrame(sql.slice(parsed.rest)));
    else {
      input.advance();
      s.replyReady();
      if (s.phase === 'idle') s.tx.reset(false);
    }
    return true;
  }
  if (s.phase !== 'attached' && !seek(s)) return false;
  sendQuery(s, parsed);
  return true;
}

function sendQuery(s: Session, { first, rest }: Parsed): void {
  const chained = first.kind === 'end' && first.chain && rest < 0 && s.status === Status.transaction;
  if (chained) {
    // The next transaction needs its own `enter`, so the shard gets a plain end and the chain goes on here.
    s.tx.chain = true;
    s.gateway.toBackend.add(queryFrame(first.commit ? 'COMMIT' : 'ROLLBACK'));
  } else forward(s);
  s.input.advance();
  s.backend?.replies.push(Expect.query, noteStatement(s, first, rest >= 0));
  s.owed++;
  if (s.status !== Status.transaction || s.control) s.blocked = true;
  s.control = false;
}

/** Marks what the statement may do to the session and the transaction; what its completion needs is returned. */
function noteStatement(s: Session, statement: Statement, more: boolean): Statement | undefined {
  if (more) s.control = true;
  switch (statement.kind) {
    case 'other':
      if (statement.control) s.control = true;
      if (statement.residue !== 'none') noteResidue(s, statement.residue);
      return undefined;
    case 'discard':
      noteResidue(s, 'ruin');
      return undefined;
    case 'set':
    case 'set-local':
    case 'set-transaction':
      return more ? undefined : statement;
    default:
      s.control = true;
      return undefined;
  }
}

// ---- extended protocol

function onParse(s: Session): boolean {
  const { input } = s;
  const name = cstringAt(input.buffer, input.start + HEADER_BYTES, input.end);
  const text = name && cstringAt(input.buffer, name.next, input.end);
  if (!name || !text) throw violation('Parse without a name or a text');
  if (input.end - input.start > limits.statementBytes) {
    throw new HomeportError('HP-G403', { bytes: input.end - input.start, limit: limits.statementBytes });
  }
  const tail = input.buffer.subarray(name.next, input.end);
  const { first, rest } = parseStatement(text.text);
  const here = rest < 0 && answersHere(s, first);
  if (!here && s.phase !== 'attached' && !seek(s)) return false;
  const entry = s.statements.add(name.text, tail, first);
  if (here) s.reply(PARSE_COMPLETE, entry);
  else sendParse(s, entry);
  input.advance();
  return true;
}

function sendParse(s: Session, entry: ClientStatement): void {
  const { backend, gateway } = s;
  if (!backend) return;
  if (entry.name === '') {
    forward(s);
    s.unnamedParsed = true;
    backend.replies.push(Expect.parse, entry);
  } else if (backend.statements.nameOf(entry.text) !== undefined) s.reply(PARSE_COMPLETE, entry);
  else {
    gateway.toBackend.add(parseFrame(backend.statements.add(entry.text), entry.text.tail));
    backend.replies.push(Expect.parse, entry);
    closeEvicted(s);
  }
}

function closeEvicted(s: Session): void {
  const { backend, gateway } = s;
  for (const name of backend?.statements.evicted.splice(0) ?? []) {
    gateway.toBackend.add(closeFrame('S', name));
    backend?.replies.push(Expect.silentClose);
  }
}

/** The backend's name for a statement of the client's, prepared there first if need be. */
function nameOnBackend(s: Session, entry: ClientStatement): string {
  const { backend, gateway } = s;
  if (!backend) return '';
  if (entry.name === '') {
    if (!s.unnamedParsed) {
      gateway.toBackend.add(parseFrame('', entry.text.tail));
      backend.replies.push(Expect.silentParse, entry);
      s.unnamedParsed = true;
    }
    return '';
  }
  const known = backend.statements.nameOf(entry.text);
  if (known !== undefined) return known;
  const name = backend.statements.add(entry.text);
  gateway.toBackend.add(parseFrame(name, entry.text.tail));
  backend.replies.push(Expect.silentParse, entry);
  closeEvicted(s);
  return name;
}

interface BindNames {
  readonly portal: string;
  readonly statement: string;
  /** Where the statement's name starts, and where what follows it starts. */
  readonly nameAt: number;
  readonly restAt: number;
}

function readBindNames(buffer: Buffer, start: number, end: number): BindNames | undefined {
  const portal = cstringAt(buffer, start + HEADER_BYTES, end);
  const statement = portal && cstringAt(buffer, portal.next, end);
  if (!portal || !statement) return undefined;
  return { portal: portal.text, statement: statement.text, nameAt: portal.next, restAt: statement.next };
}

function known(s: Session, name: string): ClientStatement {
  const entry = s.statements.get(name);
  if (!entry) throw new HomeportError('HP-G406', { name });
  return entry;
}

function onBind(s: Session): boolean {
  const { input } = s;
  const names = readBindNames(input.buffer, input.start, input.end);
  if (!names) throw violation('Bind without names');
  const entry = known(s, names.statement);
  if (answersHere(s, entry.statement)) {
    s.virtualPortal = entry;
    for (const bytes of describeHere('bind', entry.statement)) s.reply(bytes);
    input.advance();
    return true;
  }
  if (s.phase !== 'attached' && !seek(s)) return false;
  s.virtualPortal = undefined;
  writeBindHead(s, names, input.end - input.start);
  s.gateway.toBackend.addRange(input.buffer, input.start, input.end);
  input.advance();
  return true;
}

/**
 * Sends a Bind's header and names, the statement's name replaced by the backend's, and moves the input behind them.
 * @returns how many of the client's bytes that were.
 */
function writeBindHead(s: Session, names: BindNames, length: number): number {
  const { input, gateway, backend } = s;
  const entry = known(s, names.statement);
  const name = nameOnBackend(s, entry);
  const extra = noteStatement(s, entry.statement, false);
  backend?.replies.push(Expect.bind);
  s.boundStatement = extra;
  const { start } = input;
  const headBytes = names.restAt - start;
  if (name === names.statement) gateway.toBackend.addRange(input.buffer, start, names.restAt);
  else {
    const portal = input.buffer.subarray(start + HEADER_BYTES, names.nameAt);
    const nameBytes = Buffer.from(`${name}\0`, 'latin1');
    const head = Buffer.allocUnsafe(HEADER_BYTES + portal.length + nameBytes.length);
    head[0] = Front.bind;
    head.writeInt32BE(length - 1 - (names.restAt - names.nameAt) + nameBytes.length, 1);
    portal.copy(head, HEADER_BYTES);
    nameBytes.copy(head, HEADER_BYTES + portal.length);
    gateway.toBackend.add(head);
  }
  input.start = names.restAt;
  return headBytes;
}

function onDescribe(s: Session): boolean {
  const { input } = s;
  const ofStatement = input.buffer[input.start + HEADER_BYTES] === 0x53;
  const name = cstringAt(input.buffer, input.start + HEADER_BYTES + 1, input.end);
  if (!name) throw violation('Describe without a name');
  const entry = ofStatement ? known(s, name.text) : s.virtualPortal;
  if (entry && answersHere(s, entry.statement)) {
    for (const bytes of describeHere(ofStatement ? 'statement' : 'portal', entry.statement)) s.reply(bytes);
    input.advance();
    return true;
  }
  if (s.phase !== 'attached' && !seek(s)) return false;
  if (ofStatement && entry) sendDescribe(s, entry);
  else forward(s);
  s.backend?.replies.push(Expect.describe);
  input.advance();
  return true;
}

function sendDescribe(s: Session, entry: ClientStatement): void {
  const name = nameOnBackend(s, entry);
  if (name === entry.name) return forward(s);
  // Describe and Close have the same body.
  const describe = closeFrame('S', name);
  describe[0] = Front.describe;
  s.gateway.toBackend.add(describe);
}

function onExecute(s: Session): boolean {
  const { input } = s;
  if (s.virtualPortal) {
    const { statement } = s.virtualPortal;
    if (!readyToAnswer(s, statement)) return false;
    s.virtualPortal = undefined;
    input.advance();
    for (const bytes of answerHere(s, statement, 'rows-only')) s.reply(bytes);
    return true;
  }
  if (s.phase !== 'attached' && !seek(s)) return false;
  forward(s);
  s.backend?.replies.push(Expect.execute, s.boundStatement);
  input.advance();
  return true;
}

function onClose(s: Session): boolean {
  const { input } = s;
  const ofStatement = input.buffer[input.start + HEADER_BYTES] === 0x53;
  const name = cstringAt(input.buffer, input.start + HEADER_BYTES + 1, input.end);
  if (!name) throw violation('Close without a name');
  if (ofStatement || s.phase !== 'attached') {
    // The statement stays prepared on its backends: other clients share it.
    if (ofStatement) s.statements.remove(name.text);
    s.reply(CLOSE_COMPLETE);
  } else {
    forward(s);
    s.backend?.replies.push(Expect.close);
  }
  input.advance();
  return true;
}

function onSync(s: Session): boolean {
  s.skipping = false;
  s.virtualPortal = undefined;
  const { input } = s;
  if (s.phase === 'attached' && !s.copyIn) {
    forward(s);
    s.backend?.replies.push(Expect.sync);
    s.owed++;
    if (s.status !== Status.transaction || s.control) s.blocked = true;
    s.control = false;
  } else if (s.phase !== 'attached') {
    s.replyReady();
    if (s.phase === 'idle') s.tx.reset(false);
  }
  input.advance();
  return true;
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
  s.assume(identity);
  s.input.advance();
  return true;
}
