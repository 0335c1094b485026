/**
 * The extended protocol. The client's statement names become the backend's: only the header of Bind and Describe is
 * written anew. A statement that the backend lacks is parsed there first, with its answer kept from the client; one that
 * it has already is acknowledged here.
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
  Status,
} from '../pgwire/frames.ts';
import { Expect } from '../pgwire/replies.ts';
import { parseStatement, type Statement } from '../pgwire/sql.ts';
import { forward, noteStatement, refuseOutside, throughCopyDoor, violation } from './sending.ts';
import type { Session } from './session.ts';
import type { ClientStatement } from './statements.ts';
import { seek } from './transaction.ts';
import { answerHere, answersHere, describeHere, readyToAnswer } from './virtual.ts';

/** Enough of a large Bind to hold its header and both names. */
const NAMES_BYTES = 512;

export function onParse(s: Session): boolean {
  const { input } = s;
  const name = cstringAt(input.buffer, input.start + HEADER_BYTES, input.end);
  const text = name && cstringAt(input.buffer, name.next, input.end);
  if (!name || !text) throw violation('Parse without a name or a text');
  if (input.end - input.start > limits.statementBytes) {
    throw new HomeportError('HP-G403', { bytes: input.end - input.start, limit: limits.statementBytes });
  }
  const tail = input.buffer.subarray(name.next, input.end);
  const { first, rest } = parseStatement(text.text);
  const copy = throughCopyDoor(s, text.text, first);
  if (copy !== undefined) {
    const types = input.buffer.subarray(text.next, input.end);
    input.substitute(parseFrame(name.text, Buffer.concat([Buffer.from(`${copy}\0`), types])));
    return true;
  }
  if (first.kind === 'end' && first.chain && rest < 0) return parseChain(s, name.text, first);
  refuseOutside(s, first);
  const here = rest < 0 && answersHere(s, first);
  if (!here && s.phase !== 'attached' && !seek(s)) return false;
  const entry = s.statements.add(name.text, tail, first);
  if (here) s.reply(PARSE_COMPLETE, () => s.statements.undo(entry));
  else sendParse(s, entry);
  input.advance();
  return true;
}

/** The shard gets a plain end: the next transaction needs its own `enter`, so the chain goes on here. */
function parseChain(s: Session, name: string, statement: Extract<Statement, { kind: 'end' }>): boolean {
  const entry = s.statements.add(name, Buffer.from(`${statement.commit ? 'COMMIT' : 'ROLLBACK'}\0\0\0`), statement);
  s.reply(PARSE_COMPLETE, () => s.statements.undo(entry));
  if (name === '') s.unnamedParsed = false;
  s.input.advance();
  return true;
}

function sendParse(s: Session, entry: ClientStatement): void {
  const { backend, gateway } = s;
  if (!backend) return;
  if (entry.name === '') {
    forward(s);
    s.unnamedParsed = true;
    backend.replies.push(Expect.parse, entry);
  } else if (backend.statements.nameOf(entry.text) !== undefined) {
    s.reply(PARSE_COMPLETE, () => s.statements.undo(entry));
  } else {
    gateway.toBackend.add(parseFrame(backend.statements.add(entry.text), entry.text.tail));
    backend.replies.push(Expect.parse, entry);
    closeEvicted(s);
  }
}

function closeEvicted(s: Session): void {
  const { backend, gateway } = s;
  for (const name of backend?.statements.evicted.splice(0) ?? []) {
    gateway.toBackend.add(closeFrame('S', name));
    backend?.replies.push(Expect.silentClose, name);
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

export function onBind(s: Session): boolean {
  const { input } = s;
  const names = readBindNames(input.buffer, input.start, input.end);
  if (!names) throw violation('Bind without names');
  const entry = known(s, names.statement);
  if (answersHere(s, entry.statement)) {
    s.virtualPortal = { name: names.portal, entry };
    for (const bytes of describeHere('bind', entry.statement)) s.reply(bytes);
    input.advance();
    return true;
  }
  if (s.phase !== 'attached' && !seek(s)) return false;
  refuseOutside(s, entry.statement);
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
  const noted = noteStatement(s, entry.statement);
  backend?.replies.push(Expect.bind);
  if (s.virtualPortal?.name === names.portal) s.virtualPortal = undefined;
  if (noted) s.bound.set(names.portal, noted);
  else if (s.bound.size > 0) s.bound.delete(names.portal);
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

export function onDescribe(s: Session): boolean {
  const { input } = s;
  const ofStatement = input.buffer[input.start + HEADER_BYTES] === 0x53;
  const name = cstringAt(input.buffer, input.start + HEADER_BYTES + 1, input.end);
  if (!name) throw violation('Describe without a name');
  const { virtualPortal } = s;
  const entry = ofStatement ? known(s, name.text) : virtualPortal?.name === name.text ? virtualPortal.entry : undefined;
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

export function onExecute(s: Session): boolean {
  const { input } = s;
  const portal = s.virtualPortal || s.bound.size > 0 ? portalOf(s) : '';
  if (s.virtualPortal?.name === portal) {
    const { statement } = s.virtualPortal.entry;
    // The transaction that it was bound in has begun to run since.
    if (!answersHere(s, statement)) throw violation('Execute of a portal from before the transaction');
    if (!readyToAnswer(s, statement)) return false;
    s.virtualPortal = undefined;
    input.advance();
    for (const bytes of answerHere(s, statement, 'rows-only')) s.reply(bytes);
    return true;
  }
  if (s.phase !== 'attached' && !seek(s)) return false;
  forward(s);
  s.backend?.replies.push(Expect.execute, s.bound.size > 0 ? s.bound.get(portal) : undefined);
  // A portal may have been bound in an earlier unit.
  if (s.tx.controlBound) s.control = s.mayCommit = true;
  input.advance();
  return true;
}

function portalOf({ input }: Session): string {
  const name = cstringAt(input.buffer, input.start + HEADER_BYTES, input.end);
  if (!name) throw violation('Execute without a name');
  return name.text;
}

export function onClose(s: Session): boolean {
  const { input } = s;
  const ofStatement = input.buffer[input.start + HEADER_BYTES] === 0x53;
  const name = cstringAt(input.buffer, input.start + HEADER_BYTES + 1, input.end);
  if (!name) throw violation('Close without a name');
  if (ofStatement || s.phase !== 'attached') {
    // The statement stays prepared on its backends: other clients share it.
    const closed = ofStatement ? s.statements.close(name.text) : undefined;
    s.reply(CLOSE_COMPLETE, closed && (() => s.statements.restore(closed)));
  } else {
    forward(s);
    s.backend?.replies.push(Expect.close);
  }
  input.advance();
  return true;
}

export function onSync(s: Session): boolean {
  s.skipping = false;
  s.unitOpen = false;
  s.virtualPortal = undefined;
  const { input } = s;
  if (s.phase === 'attached' && !s.copyIn) {
    forward(s);
    s.backend?.replies.push(Expect.sync);
    s.owed++;
    if (s.status !== Status.transaction || s.control) s.blocked = true;
    s.control = false;
  } else if (s.phase !== 'attached') {
    s.unitFailed = false;
    s.replyReady();
    if (s.phase === 'idle') s.tx.reset(false);
  }
  input.advance();
  return true;
}

/** A Bind too large to be kept for a re-send: the shard must have let the transaction in before it is passed on. */
export function startLargeBind(s: Session, length: number): boolean {
  if (s.input.bytes < NAMES_BYTES) return false;
  if (s.phase !== 'attached' && !seek(s)) return false;
  if (!s.tx.entered) {
    s.awaitEntered = true;
    return false;
  }
  const { input } = s;
  if (input.buffer.length - input.start < NAMES_BYTES) input.gather(NAMES_BYTES);
  const names = readBindNames(input.buffer, input.start, input.start + NAMES_BYTES);
  if (!names) throw violation('Bind without names');
  refuseOutside(s, known(s, names.statement).statement);
  s.streaming = length - writeBindHead(s, names, length);
  s.streamingTo = s.backend;
  return true;
}
