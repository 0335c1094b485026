/**
 * How a transaction gets its backend, how it is turned away from a stale route without the client noticing, and how it
 * loses or returns the backend. SPEC.md has the table of states and events.
 */
import { HomeportError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { errorResponseOf } from '../pgwire/errorresponse.ts';
import { Front, queryFrame, Status } from '../pgwire/frames.ts';
import { Expect } from '../pgwire/replies.ts';
import type { Residue } from '../pgwire/sql.ts';
import type { Backend } from '../shards/backend.ts';
import { enterMessage } from '../shards/enter.ts';
import { isStaleEntry } from '../shards/sql.ts';
import { identityFrame } from './identity.ts';
import { type Route, routeFor } from './route.ts';
import type { Session } from './session.ts';
import { difference, withSetting } from './settings.ts';

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
      ask(s, () => s.gateway.locator.resolve(routing.tenant));
      return false;
    case 'hold':
      holdAndRetry(s, routing.why, limits.holdMs);
      return false;
    default:
      return s.backend ? reuse(s, s.backend, routing) : borrow(s, routing);
  }
}

/** The phase of a session that waits for nothing and has no backend. */
function resting(s: Session): 'idle' | 'begun' {
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
  holdAndRetry(s, `${route.pool.name}: ${why}`, limits.unreachableMs);
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
export function holdAndRetry(s: Session, why: string, limitMs: number): void {
  const { clock, random } = s.gateway.world;
  const nowMs = clock.monotonicMs();
  s.tx.heldSinceMs ??= nowMs;
  const heldMs = Math.round(nowMs - s.tx.heldSinceMs);
  const tenant = s.currentTenant;
  if (heldMs >= limitMs || s.tx.reroutes >= limits.rerouteAttempts || !tenant) {
    s.failUnit(errorResponseOf(new HomeportError('HP-G303', { tenant: tenant?.key, heldMs, why })));
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
  const syncSent = backend.replies.hasSync();
  backend.replies.clear(s.skipped);
  if (!syncSent) backend.sendSync();
  backend.replies.push(Expect.silentSync);
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
  resetUnit(s);
  s.input.rewind();
  s.phase = resting(s);
  if (s.pinned === undefined) {
    s.backend = undefined;
    pool.giveBack(backend, 'clean');
  }
  if (isStaleEntry(retreatedFrom.sqlstate))
    holdAndRetry(s, `${pool.name} answered ${retreatedFrom.sqlstate}`, limits.holdMs);
  else s.failUnit(retreatedFrom.error);
}

/** Nothing of the unit at hand counts as sent any more. */
function resetUnit(s: Session): void {
  s.owed = 0;
  s.blocked = false;
  s.control = false;
  s.skipping = false;
  s.copyIn = false;
  s.syncAfterCopy = false;
  s.awaitEntered = false;
  s.streaming = 0;
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
  const { tx } = s;
  if (!tx.failedOnce && s.backend) {
    for (const [name, value] of tx.changes) s.settings = withSetting(s.settings, name, value);
    if (tx.changes.length > 0) s.backend.settings = s.settings;
  }
  s.phase = tx.chain ? 'begun' : 'idle';
  return tx.chain ? Status.transaction : Status.idle;
}

/** Gives the backend back after `finish`, when the client's answer is on its way. */
export function release(s: Session): void {
  const { backend, pool, tx } = s;
  const condition = tx.ruined ? 'broken' : tx.settingsTouched ? 'settings-changed' : 'clean';
  tx.reset(tx.chain);
  if (s.pinned !== undefined && condition !== 'broken') return;
  s.backend = undefined;
  if (backend) pool?.giveBack(backend, condition);
}

/** The connection to the server broke. */
export function lost(s: Session, why: string): void {
  const { backend, pool, tx } = s;
  if (!backend || !pool) return;
  const target = pool.name;
  // The shard may have let an implicit transaction in, run it and committed it, all before we heard a word.
  const nothingRan = s.phase === 'attached' && !tx.entered && !(s.owed > 0 && s.blocked);
  backend.replies.clear(s.skipped);
  s.backend = undefined;
  pool.giveBack(backend, 'broken');
  if (s.pinned !== undefined) return s.end(new HomeportError('HP-G304', { target, why }));
  if (s.phase !== 'attached') return;
  if (nothingRan) {
    tx.retreating = false;
    s.retreatedFrom = undefined;
    resetUnit(s);
    s.input.rewind();
    s.phase = resting(s);
    holdAndRetry(s, `${target}: ${why}`, limits.holdMs);
    return s.turn();
  }
  loseRunning(s, target, why);
}

function loseRunning(s: Session, target: string, why: string): void {
  const mayHaveCommitted = s.owed > 0 && s.blocked;
  const inBlock = s.status === Status.transaction && !mayHaveCommitted;
  const code = mayHaveCommitted ? 'HP-G305' : 'HP-G304';
  const error = errorResponseOf(new HomeportError(code, { target, why }));
  const { owed } = s;
  const midUnit = owed === 0 && s.input.type !== Front.sync && s.input.type !== Front.query;
  resetUnit(s);
  s.tx.reset(true);
  s.phase = inBlock ? 'failed' : 'idle';
  s.status = inBlock ? Status.failed : Status.idle;
  if (!inBlock) s.tx.reset(false);
  s.gateway.counters.refusals++;
  // A client that waits for nothing learns of it with its next statement; Postgres would hang up on it.
  if (owed > 0 || midUnit) s.gateway.toClient.add(error);
  for (let i = 0; i < owed; i++) s.replyReady();
  if (owed === 0 && midUnit) s.skipping = true;
  s.turn();
}

/** The client has gone: what it was running ends. */
export function abandon(s: Session): void {
  s.cancelWait?.();
  s.cancelWait = undefined;
  const { backend, pool } = s;
  if (!backend || !pool) return;
  s.backend = undefined;
  backend.replies.clear(s.skipped);
  const running = s.phase === 'attached';
  const gone = () => pool.giveBack(backend, 'broken');
  backend.owner = undefined;
  // A server that computes does not notice a closed connection: tell it.
  if (running && s.owed > 0) backend.cancel().then(gone, gone);
  else gone();
}

/** A cancel request for this session. */
export function cancel(s: Session): void {
  if (s.phase === 'attached' && s.backend) {
    void s.backend.cancel();
    return;
  }
  if (s.phase !== 'seeking') return;
  s.cancelWait?.();
  s.cancelWait = undefined;
  s.phase = resting(s);
  s.failUnit(errorResponseOf(new HomeportError('HP-G409')));
  s.turn();
}
