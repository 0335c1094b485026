/**
 * The backend's messages. Each is matched against what is owed (pgwire/replies.ts); runs of messages for the client
 * leave as one slice of the buffer that they came in, everything of one chunk in one write.
 */

import { HomeportError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { readReportField } from '../pgwire/errorresponse.ts';
import { Back, frameBytes, HEADER_BYTES, readyFrame, Status } from '../pgwire/frames.ts';
import { Expect, Verdict } from '../pgwire/replies.ts';
import type { Statement } from '../pgwire/sql.ts';
import type { Backend } from '../shards/backend.ts';
import { withGuidance } from './guidance.ts';
import { copyFailed } from './sending.ts';
import type { Session } from './session.ts';
import { entered, finish, noteResidue, release, retreat, retreated } from './transaction.ts';

/** These may be long and need no look inside; all others are read whole. */
const PASSES = new Set<number>([Back.dataRow, Back.copyData, Back.rowDescription, Back.functionResult]);

/** One pass over one chunk. */
interface Pass {
  readonly s: Session;
  readonly backend: Backend;
  readonly buffer: Buffer;
  /** The start of the run of bytes that the client gets, or −1. */
  from: number;
  at: number;
  /** Set when the server came to idle: what to do when everything is written. */
  outcome: 'none' | 'finished' | 'retreated' | 'desynchronised';
}

export function relay(s: Session, chunk: Buffer): void {
  const { backend } = s;
  if (!backend) return;
  const buffer = backend.carry ? Buffer.concat([backend.carry, chunk]) : chunk;
  backend.carry = undefined;
  const pass: Pass = { s, backend, buffer, from: -1, at: 0, outcome: 'none' };
  if (backend.passing > 0) passOn(pass);
  while (pass.at < buffer.length && s.phase !== 'closed' && oneFrame(pass));
  endRun(pass);
  if (pass.at < buffer.length && pass.outcome !== 'desynchronised') {
    // Copied, because the read buffer is used again.
    backend.carry = Buffer.from(buffer.subarray(pass.at));
  }
  const { toClient } = s.gateway;
  if (s.phase === 'closed') toClient.discard();
  else if (!toClient.flush(s.socket)) {
    backend.keepReadBuffer();
    s.clientBacklog();
  }
  conclude(pass);
}

function conclude({ s, outcome }: Pass): void {
  if (outcome === 'desynchronised') return outOfStep(s);
  if (outcome === 'finished') {
    release(s);
    if (s.gateway.draining && s.phase === 'idle') return s.end(new HomeportError('HP-G401'));
  }
  if (outcome === 'retreated') retreated(s);
  s.turn();
}

function outOfStep(s: Session): void {
  const target = s.pool?.name ?? 'the server';
  s.gateway.log.error({ code: 'HP-G306', target }, 'a backend is out of step and was destroyed');
  s.end(new HomeportError('HP-G306', { target }));
}

/** The rest of a large frame. */
function passOn(pass: Pass): void {
  const { backend, buffer } = pass;
  const length = Math.min(backend.passing, buffer.length);
  if (backend.passingForward) pass.from = 0;
  pass.at = length;
  backend.passing -= length;
  if (backend.passing === 0 && backend.replies.headKind === Expect.fake) insertFakes(pass);
}

function endRun(pass: Pass): void {
  if (pass.from >= 0) pass.s.gateway.toClient.addRange(pass.buffer, pass.from, pass.at);
  pass.from = -1;
}

/** @returns false when the frame at hand is not complete, or the connection is beyond use. */
function oneFrame(pass: Pass): boolean {
  const { buffer, at, backend } = pass;
  const left = buffer.length - at;
  if (left < HEADER_BYTES) return false;
  const type = buffer[at] ?? 0;
  const length = frameBytes(buffer, at);
  if (length < HEADER_BYTES || length > limits.frameBytes) return desynchronise(pass);
  const whole = length <= left;
  if (!whole && !PASSES.has(type)) return length <= limits.backendFrameBytes ? false : desynchronise(pass);
  const verdict = judge(pass, type, length);
  if (verdict & Verdict.desynchronised) return desynchronise(pass);
  if (verdict & Verdict.forward) {
    if (pass.from < 0) pass.from = at;
  } else endRun(pass);
  pass.at = whole ? at + length : buffer.length;
  if (!whole) {
    backend.passing = length - left;
    backend.passingForward = (verdict & Verdict.forward) !== 0;
  }
  // Never into the middle of a frame that is still passing through.
  if (whole && backend.replies.headKind === Expect.fake) insertFakes(pass);
  return true;
}

function desynchronise(pass: Pass): boolean {
  pass.outcome = 'desynchronised';
  endRun(pass);
  return false;
}

function insertFakes(pass: Pass): void {
  endRun(pass);
  for (let bytes = pass.backend.replies.takeFake(); bytes; bytes = pass.backend.replies.takeFake()) {
    pass.s.gateway.toClient.add(bytes);
  }
}

/** What the frame means, and its effect on the session. */
function judge(pass: Pass, type: number, length: number): number {
  const { s, backend } = pass;
  const { replies } = backend;
  if (type === Back.notice || type === Back.parameterStatus || type === Back.notification) {
    return aside(pass, type, length);
  }
  if (type === Back.error && fatal(pass, length)) return Verdict.swallow;
  const { headKind, headExtra } = replies;
  const verdict = replies.accept(type, s.skipped);
  // The hot path ends here: rows, descriptions, acknowledgements.
  if (verdict === Verdict.forward) {
    if (type === Back.copyIn) copyBegins(s, headKind);
    return verdict;
  }
  if (verdict & Verdict.completed)
    completed(pass, length, headExtra as Noted); // cast: what inbound.ts and extended.ts push
  else if (verdict & Verdict.ready) return ready(pass);
  else if (verdict & Verdict.entered) entered(s);
  else if (verdict & Verdict.failed) return failed(pass, length, headKind, verdict);
  else if (verdict & Verdict.enterFailed) enterFailed(pass, length);
  else if (verdict & Verdict.silentFailed) silentFailed(pass, headExtra, length);
  else if (verdict & Verdict.silentDone && s.tx.retreating && replies.length === 0) pass.outcome = 'retreated';
  return verdict;
}

function frameBody({ buffer, at }: Pass, length: number): Buffer {
  return buffer.subarray(at + HEADER_BYTES, at + length);
}

/**
 * The server ends the connection, and says why. The client's stays, so it is told by `lost`, once, when the connection
 * is down, and with what that means for its transaction.
 */
function fatal({ s, backend, buffer, at }: Pass, length: number): boolean {
  const body = buffer.subarray(at + HEADER_BYTES, at + length);
  const severity = readReportField(body, 'V');
  if (severity !== 'FATAL' && severity !== 'PANIC') return false;
  const why = `${readReportField(body, 'C') ?? ''} ${readReportField(body, 'M') ?? severity}`;
  // Answers come in order: without `enter`'s, nothing has run.
  if (s.phase === 'attached' && !s.tx.entered) s.tx.retreating = true;
  s.tx.spared = isSpared(s, backend);
  backend.hangUp(why);
  return true;
}

/** What commits is the last that was sent: a COMMIT is waited for, and so is the Sync of an implicit transaction. */
function isSpared(s: Session, { replies }: Backend): boolean {
  if (s.status !== Status.idle) return replies.serverReadies > 1;
  return !s.mayCommit && replies.headKind !== undefined && !ENDS_BY_ITSELF.has(replies.headKind);
}

/** Messages that answer nothing. */
function aside(pass: Pass, type: number, length: number): number {
  const { s, backend } = pass;
  if (type === Back.parameterStatus) {
    const [name = '', value = ''] = frameBody(pass, length).toString('utf8').split('\0');
    backend.parameters.set(name, value);
  }
  if (type === Back.notification) return s.pinned === undefined ? Verdict.swallow : Verdict.forward;
  switch (backend.replies.headKind) {
    case Expect.enter:
    case Expect.silent:
    case Expect.silentParse:
      return Verdict.swallow;
    default:
      return Verdict.forward;
  }
}

function copyBegins(s: Session, headKind: number | undefined): void {
  s.copyIn = true;
  s.blocked = false;
  if (headKind !== Expect.execute || !s.backend?.replies.dropSyncBehindHead()) return;
  s.owed--;
  // A simple query that travels in the extended protocol: its client sends no Sync behind the data, so we do.
  if (s.translated) s.syncAfterCopy = true;
}

const word = (four: string) => Buffer.from(four).readInt32BE();
/** The first four letters of tags that leave nothing on the session. */
const CLEAN_TAGS = new Set(
  'SELE INSE UPDA DELE MERG FETC MOVE COPY BEGI STAR COMM SAVE RELE SHOW EXPL LOCK CLOS VALU'.split(' ').map(word),
);
const ROLLBACK_TAG = word('ROLL');
const COMMIT_TAG = word('COMM');
/** Tags of what only this session can go on with, wherever in a string of statements it stood. */
const SESSION_TAGS = new Set('LIST PREP'.split(' ').map(word));
const DISCARD_TAGS = new Set('DISC DEAL'.split(' ').map(word));

/** What `noteStatement` has returned; for a string of several statements one of these for each. */
type Noted = Statement | undefined | (Statement | undefined)[];

/** A command of the client's has completed: does its tag tell of something that stays on the session? */
function completed(pass: Pass, length: number, noted: Noted): void {
  const { s, buffer, at } = pass;
  // A tag is longer than four letters, or its NUL and padding make the look-up fail: never past the frame's end.
  const tag = length >= HEADER_BYTES + 4 ? buffer.readInt32BE(at + HEADER_BYTES) : 0;
  const statement = Array.isArray(noted) ? noted.shift() : noted;
  const { tx } = s;
  if (statement?.kind === 'end' && statement.chain) tx.chain = true;
  if (statement?.kind === 'savepoint') return savepoint(s, statement.name, statement.back);
  if (CLEAN_TAGS.has(tag)) {
    if (tag === COMMIT_TAG) tx.committed = true;
    return;
  }
  if (tag === ROLLBACK_TAG) tx.changes = [];
  else if (statement?.kind === 'set') tx.changes.push([statement.name, statement.value]);
  else if (SESSION_TAGS.has(tag)) noteResidue(s, 'session');
  else if (DISCARD_TAGS.has(tag) && frameBody(pass, length).includes(' ALL')) tx.ruined = true;
  else if (statement?.kind !== 'set-local' && statement?.kind !== 'set-transaction') tx.settingsTouched = true;
}

/** Settings change with their savepoint: its place among the changes is marked with a name that no setting has. */
function savepoint({ tx }: Session, name: string, back: boolean): void {
  const mark = `\0${name}`;
  if (!back) tx.changes.push([mark, undefined]);
  else tx.changes.length = tx.changes.findLastIndex(([other]) => other === mark) + 1;
}

/** What is followed by a ReadyForQuery also when it fails. */
const ENDS_BY_ITSELF = new Set<number>([Expect.query, Expect.functionCall, Expect.sync]);
/** The statement is not there under our name, or not as it was planned: "cached plan must not change result type". */
const STALE_PLANS = new Set(['26000', '0A000']);

function failed(pass: Pass, length: number, headKind: number | undefined, verdict: number): number {
  const { s, backend } = pass;
  s.tx.failedOnce = true;
  s.unitFailed = true;
  s.copyIn = false;
  if (headKind === Expect.bind || headKind === Expect.describe || headKind === Expect.execute) {
    const body = frameBody(pass, length);
    const sqlstate = readReportField(body, 'C') ?? '';
    const ours = sqlstate === '26000' || readReportField(body, 'R') === 'RevalidateCachedQuery';
    if (STALE_PLANS.has(sqlstate) && ours) s.tx.ruined = true;
  }
  const simple = headKind !== undefined && ENDS_BY_ITSELF.has(headKind);
  if (!simple && !backend.replies.hasSync()) {
    s.blocked = false;
    if (s.syncAfterCopy) copyFailed(s);
    else s.skipping = true;
  }
  const guided = withGuidance(frameBody(pass, length));
  if (!guided) return verdict;
  endRun(pass);
  s.gateway.toClient.add(guided);
  return Verdict.swallow;
}

function enterFailed(pass: Pass, length: number): void {
  const { at, buffer, s } = pass;
  const sqlstate = readReportField(frameBody(pass, length), 'C') ?? 'XX000';
  retreat(s, sqlstate, Buffer.from(buffer.subarray(at, at + length)));
}

/** A setting that the client gave at its start and the shard does not take: Postgres would not have let it in. */
function silentFailed(pass: Pass, extra: unknown, length: number): void {
  if (extra !== 'settings') return;
  const { s, at, buffer } = pass;
  s.gateway.toClient.add(Buffer.from(buffer.subarray(at, at + length)));
  s.doomed = true;
}

function ready(pass: Pass): number {
  const { s, backend, buffer, at } = pass;
  const status = buffer[at + HEADER_BYTES] ?? Status.failed;
  s.owed--;
  s.copyIn = false;
  s.status = status;
  s.unitFailed = false;
  if (s.doomed) {
    s.end(new HomeportError('HP-G410', {}));
    return Verdict.swallow;
  }
  if (s.owed > 0 || backend.replies.length > 0) return Verdict.forward;
  s.blocked = false;
  s.mayCommit = false;
  if (status !== Status.idle) return Verdict.forward;
  s.status = finish(s);
  pass.outcome = 'finished';
  if (s.status === Status.idle) return Verdict.forward;
  endRun(pass);
  s.gateway.toClient.add(readyFrame(s.status));
  return Verdict.swallow;
}
