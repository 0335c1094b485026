/**
 * How a transaction gets its backend, how it is turned away from a stale route without the client noticing, and how it
 * loses or returns the backend. SPEC.md has the table of states and events.
 */
import { HomeportError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { errorResponseOf } from '../pgwire/errorresponse.ts';
import { queryFrame, Status } from '../pgwire/frames.ts';
import { Expect } from '../pgwire/replies.ts';
import type { Residue } from '../pgwire/sql.ts';
import type { Backend } from '../shards/backend.ts';
import { enterMessage } from '../shards/enter.ts';
import type { Condition } from '../shards/pool.ts';
import { isStaleEntry } from '../shards/sql.ts';
import { identityFrame } from './identity.ts';
import { type Route, routeFor } from './route.ts';
import { POOL_MODE_SESSION, type Session } from './session.ts';
import { difference, EVERYTHING, NO_SETTINGS, withSetting } from './settings.ts';

/** @returns true when a backend is at hand; false when the session now waits, or the unit has failed. */
export function seek(s: Session): boolean {
  if (s.gateway.draining && s.pinned === undefined) {
    s.end(new HomeportError('HP-G401'));
    return false;
  }
  if (s.phase === 'failed') {
    s.failUnit(errorResponseOf(new HomeportError('HP-G402')));
    return false;
  }
  const routing = routeFor(s.gateway, s.user, s.currentTenant, s.hops);
  switch (routing.kind) {
    case 'refused':
      s.failUnit(errorResponseOf(routing.error));
      return false;
    case 'ask':
      // The second time in one transaction the directory has nothing more to say.
      if (s.tx.asked) holdAndRetry(s, 'the directory has no answer', limits.unreachableMs);
      else {
        s.tx.asked = true;
        ask(s, () => s.gateway.locator.resolve(routing.tenant));
      }
      return false;
    case 'hold':
      holdAndRetry(s, routing.why, limits.holdMs);
      return false;
    case 'peer':
      // Another gateway thinks that the home is here, and may know better than what is in memory: two that are stale
      // would send it back and forth.
      if (s.hops === 0 || s.tx.reroutes > 0) return take(s, routing);
      holdAndRetry(s, 'it was sent here', limits.holdMs);
      return false;
    default:
      return take(s, routing);
  }
}

function take(s: Session, route: Route): boolean {
  return s.backend ? reuse(s, s.backend, route) : borrow(s, route);
}

/** The phase of a session that waits for nothing and has no backend. */
export function resting(s: Session): 'idle' | 'begun' {
  return s.tx.begin.length > 0 ? 'begun' : 'idle';
}

/** A pinned session's next transaction: the same backend, if it is the right one. */
function reuse(s: Session, backend: Backend, route: Route): boolean {
  const elsewhere = route.kind !== 'anywhere' && route.pool !== s.pool;
  if (elsewhere) {
    const params = { shard: s.pool?.name, why: s.pinned, tenant: route.tenant.key, home: route.placement.home.shard };
    s.failUnit(errorResponseOf(new HomeportError('HP-G107', params)));
    return false;
  }
  attach(s, backend, route);
  return true;
}

function borrow(s: Session, route: Route): boolean {
  const tenant = route.kind === 'anywhere' ? undefined : route.tenant.key;
  const user = s.user.name;
  const backend = route.pool.tryTake(user, tenant);
  if (backend) {
    attach(s, backend, route);
    return true;
  }
  s.phase = 'seeking';
  s.cancelWait = route.pool.take({
    user,
    tenant,
    granted: given => {
      s.cancelWait = undefined;
      s.phase = resting(s);
      attach(s, given, route);
      s.turn();
    },
    refused: error => {
      s.cancelWait = undefined;
      s.phase = resting(s);
      if (error.code === 'HP-G301') unreachable(s, route, error);
      else s.failUnit(errorResponseOf(error));
      s.turn();
    },
  });
  return false;
}

function unreachable(s: Session, route: Route, error: HomeportError): void {
  const why = String(error.params.why ?? error.message);
  if (route.kind === 'anywhere') return s.failUnit(errorResponseOf(error));
  const { tenant, placement } = route;
  const params = { tenant: tenant.key, home: `${placement.home.shard} in ${placement.home.region}`, why };
  holdAndRetry(s, why, limits.unreachableMs, new HomeportError('HP-G302', params));
}

/** Waits for the directory's answer, then reads on. */
function ask(s: Session, question: () => Promise<unknown>): void {
  s.phase = 'seeking';
  let withdrawn = false;
  s.cancelWait = () => {
    withdrawn = true;
  };
  const goOn = (error: unknown) => {
    if (withdrawn || s.phase !== 'seeking') return;
    s.cancelWait = undefined;
    s.phase = resting(s);
    if (error) holdAndRetry(s, error instanceof Error ? error.message : String(error), limits.unreachableMs);
    s.turn();
  };
  question().then(() => goOn(undefined), goOn);
}

/**
 * Nothing has run: look again after a growing, jittered pause, for at most `limitMs` in all (I7, I10).
 */
export function holdAndRetry(s: Session, why: string, limitMs: number, atLast?: HomeportError): void {
  const { clock, random } = s.gateway.world;
  const nowMs = clock.monotonicMs();
  s.tx.heldSinceMs ??= nowMs;
  const heldMs = Math.round(nowMs - s.tx.heldSinceMs);
  const tenant = s.currentTenant;
  if (heldMs >= limitMs || s.tx.reroutes >= limits.rerouteAttempts || !tenant) {
    const error = atLast ?? new HomeportError('HP-G303', { tenant: tenant?.key, heldMs, why });
    s.failUnit(errorResponseOf(error));
    return;
  }
  s.gateway.counters.reroutes++;
  const step = s.tx.reroutes++;
  const pauseMs = step === 0 ? 0 : Math.min(250, 5 * 2 ** step) * (0.5 + random.unit() / 2);
  ask(s, async () => {
    if (pauseMs > 0) await clock.sleep(pauseMs);
    await s.gateway.locator.refresh(tenant);
  });
}

// ---- with a backend

function attach(s: Session, backend: Backend, route: Route): void {
  const { gateway, tx } = s;
  const { toBackend } = gateway;
  backend.owner = s;
  s.backend = backend;
  s.pool = route.pool;
  s.phase = 'attached';
  s.unnamedParsed = false;
  s.bound.clear();
  tx.route = route;
  // No fence to pass on the way to another gateway, or without a tenant: what is sent may run.
  tx.entered = route.kind !== 'home';
  gateway.counters.transactions++;
  s.input.mark();
  if (tx.entered) s.input.unmark();
  if (route.kind === 'peer') toBackend.add(identityOf(s));
  else align(s, backend);
  for (const sql of tx.begin) {
    toBackend.add(queryFrame(sql));
    backend.replies.push(Expect.silent);
  }
  if (route.kind === 'home') {
    toBackend.add(enterMessage(backend, gateway.signingKey, route.tenant.key, route.placement));
    backend.replies.push(Expect.enter);
  }
}

/** Brings the backend's settings in line with the client's. */
function align(s: Session, backend: Backend): void {
  if (backend.settings === s.settings) return;
  const sql = difference(backend.settings, s.settings);
  backend.settings = s.settings;
  if (sql === undefined) return;
  s.gateway.toBackend.add(queryFrame(sql));
  backend.replies.push(Expect.silent, 'settings');
}

function identityOf(s: Session): Buffer {
  const tenant = s.currentTenant?.key;
  return identityFrame({
    user: s.user.name,
    ...(tenant === undefined ? {} : { tenant }),
    settings: [...s.settings],
    hops: s.hops + 1,
    poolMode: s.pinned === undefined ? 'transaction' : 'session',
  });
}

/** `enter` has let the transaction in: from here on it runs, and nothing of it is kept for a second try. */
export function entered(s: Session): void {
  s.tx.entered = true;
  s.awaitEntered = false;
  s.input.unmark();
}

/**
 * `enter` failed, so nothing has run: bring the backend back to idle, behind the client's back, then try again or say
 * why not. What the client sent is still at hand.
 */
export function retreat(s: Session, sqlstate: string, error: Buffer): void {
  const { backend, tx } = s;
  if (!backend) return;
  // The first of these is the Sync that ends the error. Whole units may stand behind it: they fail, one by one.
  let readies = backend.replies.serverReadies;
  if (readies === 0 || backend.replies.openEnded) {
    backend.sendSync();
    readies++;
  }
  backend.replies.clear(s.skipped);
  while (readies-- > 0) backend.replies.push(Expect.silent);
  if (tx.begin.length > 0) {
    backend.stream.write(queryFrame('ROLLBACK'));
    backend.replies.push(Expect.silent);
  }
  tx.retreating = true;
  s.retreatedFrom = { sqlstate, error };
}

/** The backend is idle again after a retreat. */
export function retreated(s: Session): void {
  const { backend, pool, retreatedFrom } = s;
  if (!backend || !pool || !retreatedFrom) return;
  s.retreatedFrom = undefined;
  s.tx.retreating = false;
  readAgain(s);
  if (s.pinned === undefined) {
    s.backend = undefined;
    pool.giveBack(backend, ENTRY_REFUSED.has(retreatedFrom.sqlstate) ? 'clean' : 'broken');
  }
  if (s.tx.cancelled) return s.failUnit(errorResponseOf(new HomeportError('HP-G409')));
  if (isStaleEntry(retreatedFrom.sqlstate) || retreatedFrom.sqlstate === NO_SUCH_STATEMENT)
    holdAndRetry(s, `${pool.name} answered ${retreatedFrom.sqlstate}`, limits.holdMs);
  else s.failUnit(retreatedFrom.error);
}

/** `enter` itself is not prepared there any more: somebody's SQL has dropped it. Another backend has it. */
const NO_SUCH_STATEMENT = '26000';
/** Answers of a backend that does what it should: stale, serialization failure, out of time, canceled. */
const ENTRY_REFUSED = new Set(['HP001', 'HP002', '40001', '57014', '55P03']);

/** Nothing of the unit at hand counts as sent any more. */
export function resetUnit(s: Session): void {
  s.owed = 0;
  s.blocked = false;
  s.control = false;
  s.mayCommit = false;
  s.skipping = false;
  s.unitFailed = false;
  s.unitOpen = false;
  s.copyIn = false;
  s.syncAfterCopy = false;
  s.awaitEntered = false;
}

/** The bytes since the mark are to be read again, as if they had just come. */
export function readAgain(s: Session): void {
  resetUnit(s);
  s.streaming = 0;
  s.streamingTo = undefined;
  s.input.rewind();
  s.phase = resting(s);
}

export function noteResidue(s: Session, residue: Residue): void {
  if (residue === 'session') s.pinned ??= 'something of the session';
  else if (residue === 'ruin') s.tx.ruined = true;
  else if (residue === 'settings') s.tx.settingsTouched = true;
}

/**
 * The server is idle: the transaction is over.
 * @returns the status to tell the client: with AND CHAIN the next transaction has begun already.
 */
export function finish(s: Session): number {
  const { tx, backend } = s;
  if (tx.changes.length > 0 && backend) {
    // An error that a savepoint took back does not undo what the block has committed.
    if (tx.failedOnce && !tx.committed) tx.settingsTouched = true;
    else takeOver(s, backend);
  }
  // A block that was begun inside of a string or a batch has left no text to begin the next one with.
  if (tx.chain && tx.begin.length === 0) tx.begin = ['BEGIN'];
  s.phase = tx.chain ? 'begun' : 'idle';
  return tx.chain ? Status.transaction : Status.idle;
}

const isTooLong = (value: string) => value.length > limits.carriedSettingBytes;

/**
 * More than can be carried stays on the backend, and the client with it. Otherwise the settings that the transaction has
 * committed are the session's, and this backend has them already.
 */
function takeOver(s: Session, backend: Backend): void {
  let { settings: own } = s;
  let there = backend.settings;
  const same = own === there;
  let reset = false;
  for (const [name, value] of s.tx.changes) {
    if (name === EVERYTHING) {
      own = s.startSettings;
      there = NO_SETTINGS;
    } else if (!name.startsWith('\0')) {
      own = withSetting(own, name, value ?? s.startSettings.get(name));
      there = withSetting(there, name, value);
    }
    reset ||= value === undefined;
  }
  if (own.size > limits.carriedSettings || [...own.values()].some(isTooLong)) return noteResidue(s, 'session');
  s.settings = own;
  backend.settings = same && !reset ? own : there;
}

/** Gives the backend back after `finish`, when the client's answer is on its way. */
export function release(s: Session): void {
  const { backend, pool, tx } = s;
  const condition = conditionOf(s);
  s.bound.clear();
  tx.reset(tx.chain);
  if (s.pinned !== undefined && condition !== 'broken') return;
  // What pinned it has gone with the backend.
  if (s.pinned !== undefined && s.pinned !== POOL_MODE_SESSION) s.pinned = undefined;
  s.backend = undefined;
  // It may have been held back for this client's sake.
  backend?.resumeReading();
  if (backend) pool?.giveBack(backend, condition);
}

function conditionOf({ tx, backend, streaming, streamingTo }: Session): Condition {
  // The server waits for the rest of a frame, which would be the next client's messages.
  if (tx.ruined || (streaming > 0 && streamingTo === backend)) return 'broken';
  // The gateway at the other end sees to its own backend.
  return tx.settingsTouched && tx.route?.kind !== 'peer' ? 'settings-changed' : 'clean';
}
