/**
 * Statements that the gateway answers itself: BEGIN before anything has run (the shard gets it with the first real
 * statement, so that an idle BEGIN holds no backend and everything before that statement can be re-routed), its end,
 * and what speaks of Homeport's own settings.
 */
import { HomeportError } from '../base/errors.ts';
import { parseTenantKey } from '../base/ids.ts';
import { noticeResponse } from '../pgwire/errorresponse.ts';
import {
  BIND_COMPLETE,
  commandComplete,
  dataRow,
  EMPTY_QUERY,
  NO_DATA,
  NO_PARAMETERS,
  rowDescription,
  Status,
} from '../pgwire/frames.ts';
import type { Statement } from '../pgwire/sql.ts';
import { routeFor } from './route.ts';
import { POOL_MODE_SESSION, type Session } from './session.ts';
import { seek } from './transaction.ts';

const ALWAYS = new Set<Statement['kind']>(['begin', 'end', 'set-homeport', 'show-homeport', 'discard', 'empty']);

export function answersHere(s: Session, statement: Statement): boolean {
  const { kind } = statement;
  if (statement.kind === 'deallocate' && s.status !== Status.failed) {
    return s.statements.get(statement.name) !== undefined;
  }
  switch (s.phase) {
    case 'attached':
      if (s.status === Status.failed) return false;
      return kind === 'set-homeport' || kind === 'show-homeport' || isDeallocateAll(statement);
    case 'failed':
      return true;
    case 'begun':
      return kind === 'set-transaction' || (ALWAYS.has(kind) && kind !== 'discard');
    default:
      return ALWAYS.has(kind);
  }
}

const isDeallocateAll = (statement: Statement) => statement.kind === 'discard' && !statement.everything;

/** Some answers need the directory first. False: wait. */
export function readyToAnswer(s: Session, statement: Statement): boolean {
  if (statement.kind !== 'show-homeport' || s.phase === 'attached' || s.phase === 'failed') return true;
  const routing = routeFor(s.gateway, s.user, s.currentTenant, s.hops);
  if (routing.kind !== 'ask') return true;
  seek(s);
  return false;
}

/** Bytes that answer a Bind or Describe of such a statement. */
export function describeHere(what: 'bind' | 'statement' | 'portal', statement: Statement): readonly Buffer[] {
  if (what === 'bind') return [BIND_COMPLETE];
  const row = statement.kind === 'show-homeport' ? rowDescription([`homeport.${statement.name}`]) : NO_DATA;
  return what === 'statement' ? [NO_PARAMETERS, row] : [row];
}

/**
 * Does what the statement says and gives the answer, without a ReadyForQuery.
 * @throws HomeportError for what Postgres would answer with an error.
 */
export function answerHere(
  s: Session,
  statement: Statement,
  form: 'with-description' | 'rows-only',
): readonly Buffer[] {
  if (s.phase === 'failed' && statement.kind !== 'end') throw new HomeportError('HP-G402');
  switch (statement.kind) {
    case 'empty':
      return [EMPTY_QUERY];
    case 'begin':
      return begin(s, statement.text);
    case 'end':
      return end(s, statement.commit, statement.chain);
    case 'set-transaction':
      s.tx.begin = [...s.tx.begin, statement.text];
      return [commandComplete('SET')];
    case 'set-homeport':
      setOwn(s, statement.name, statement.value, statement.local);
      return [commandComplete(statement.value === undefined ? 'RESET' : 'SET')];
    case 'show-homeport': {
      const row = [dataRow([show(s, statement.name)]), commandComplete('SHOW')];
      return form === 'rows-only' ? row : [rowDescription([`homeport.${statement.name}`]), ...row];
    }
    case 'discard':
      s.statements.clear();
      if (statement.everything) discardAll(s);
      return [commandComplete(statement.everything ? 'DISCARD ALL' : 'DEALLOCATE ALL')];
    case 'deallocate':
      s.statements.remove(statement.name);
      return [commandComplete('DEALLOCATE')];
    default:
      throw new HomeportError('HP-G404', { why: `${statement.kind} is not answered here` });
  }
}

/** A session as new: what pinned it goes with its backend. */
function discardAll(s: Session): void {
  const { backend, pool } = s;
  s.settings = s.startSettings;
  s.backend = undefined;
  if (s.pinned !== POOL_MODE_SESSION) s.pinned = undefined;
  if (backend) pool?.giveBack(backend, 'broken');
}

const warning = (sqlstate: string, message: string) => noticeResponse({ severity: 'WARNING', sqlstate, message });

function begin(s: Session, text: string): readonly Buffer[] {
  const tag = commandComplete(/^start/i.test(text) ? 'START TRANSACTION' : 'BEGIN');
  if (s.phase === 'begun') return [warning('25001', 'there is already a transaction in progress'), tag];
  s.phase = 'begun';
  s.tx.begin = [text];
  s.status = Status.transaction;
  return [tag];
}

function end(s: Session, commit: boolean, chain: boolean): readonly Buffer[] {
  // What has failed can't commit, and the tag says so.
  const tag = commandComplete(commit && s.phase !== 'failed' ? 'COMMIT' : 'ROLLBACK');
  if (s.phase === 'idle' && chain) throw new HomeportError('HP-G412', { what: commit ? 'COMMIT' : 'ROLLBACK' });
  if (s.phase === 'idle') return [warning('25P01', 'there is no transaction in progress'), tag];
  s.tx.reset(chain);
  s.phase = chain ? 'begun' : 'idle';
  s.status = chain ? Status.transaction : Status.idle;
  return [tag];
}

function setOwn(s: Session, name: string, value: string | undefined, local: boolean): void {
  if (name === 'tenant') setTenant(s, value, local);
  else if (name === 'pool_mode') setPoolMode(s, value);
  else throw new HomeportError('HP-G104', { name });
}

function setTenant(s: Session, value: string | undefined, local: boolean): void {
  if (s.phase === 'attached') throw new HomeportError('HP-G103');
  const tenant = value === undefined || value === '' ? undefined : parseTenantKey(value);
  if (tenant && !s.user.mayUse(tenant)) {
    throw new HomeportError('HP-G101', { user: s.user.name, tenant: tenant.key });
  }
  if (local) {
    s.tx.tenant = tenant;
    return;
  }
  s.tx.tenant = undefined;
  s.tenant = tenant;
}

function setPoolMode(s: Session, value: string | undefined): void {
  if (value === 'session') s.pinned ??= POOL_MODE_SESSION;
  else if (value !== 'transaction' && value !== undefined)
    throw new HomeportError('HP-G106', { name: 'pool_mode', value });
  else if (s.pinned === POOL_MODE_SESSION && s.backend === undefined) s.pinned = undefined;
}

function show(s: Session, name: string): string {
  switch (name) {
    case 'tenant':
      return s.currentTenant?.key ?? '';
    case 'region':
      return s.gateway.region;
    case 'pinned':
      return s.pinned ?? '';
    case 'pool_mode':
      return s.pinned === POOL_MODE_SESSION ? 'session' : 'transaction';
    default:
      return showPlacement(s, name);
  }
}

function showPlacement(s: Session, name: string): string {
  const { currentTenant: tenant, gateway } = s;
  if (!tenant) {
    if (['home', 'shard', 'epoch', 'placement', 'route'].includes(name)) return '';
    throw new HomeportError('HP-G104', { name });
  }
  const found = gateway.locator.locate(tenant);
  if (found.kind !== 'placed') throw new HomeportError('HP-G102', { domain: tenant.domain, tenant: tenant.key });
  const { key, home, epoch } = found.placement;
  switch (name) {
    case 'home':
      return home.region;
    case 'shard':
      return home.shard;
    case 'epoch':
      return String(epoch);
    case 'placement':
      return key;
    case 'route':
      return `${tenant.key} -> ${key} epoch ${epoch} -> ${way(s, home.region, home.shard)}`;
    default:
      throw new HomeportError('HP-G104', { name });
  }
}

function way(s: Session, region: string, shard: string): string {
  const here = s.gateway.region;
  return region === here ? `shard ${shard} in ${here} (here)` : `gateway of ${region} -> shard ${shard} (from ${here})`;
}
