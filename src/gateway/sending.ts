/** What the simple and the extended protocol share on the way to a backend. */
import { HomeportError } from '../base/errors.ts';
import { Status } from '../pgwire/frames.ts';
import { Expect } from '../pgwire/replies.ts';
import { type Parsed, parseStatement, type Statement } from '../pgwire/sql.ts';
import { COPY_SCHEMA, copyDoor } from '../shards/enroll-copy.ts';
import type { Session } from './session.ts';
import { noteResidue } from './transaction.ts';

export const violation = (why: string) => new HomeportError('HP-G404', { why });

/**
 * Postgres refuses COPY FROM into a table under a policy (0A000, also for a tenant's own rows). Every enrolled table has a
 * door for it, a view that inserts as the role that copies; here its name takes the table's place.
 * @returns the text to send, or undefined when there is nothing to exchange.
 */
export function throughCopyDoor(s: Session, sql: string, statement: Statement): string | undefined {
  if (statement.kind !== 'copy' || !statement.from || !s.currentTenant) return undefined;
  const { schema = 'public', table, start, end } = statement.from;
  if (schema === COPY_SCHEMA) return undefined;
  return sql.slice(0, start) + copyDoor(schema, table) + sql.slice(end);
}

/** The frame at hand, as the bytes that it is. */
export function forward(s: Session): void {
  s.gateway.toBackend.addRange(s.input.buffer, s.input.start, s.input.end);
}

/**
 * Marks what the statement may do to the session and the transaction.
 * @returns what is needed to know when it has completed.
 */
export function noteStatement(s: Session, statement: Statement): Statement | undefined {
  switch (statement.kind) {
    case 'other':
      if (statement.control) control(s, statement.residue === 'none');
      if (statement.residue !== 'none') noteResidue(s, statement.residue);
      return undefined;
    case 'set':
    case 'set-local':
    case 'set-transaction':
    case 'savepoint':
      return statement;
    case 'copy':
    case 'empty':
      return undefined;
    case 'end':
      control(s, statement.commit);
      s.tx.endSent = !statement.chain;
      return statement;
    default:
      control(s, false);
      return undefined;
  }
}

function control(s: Session, mayCommit: boolean): void {
  s.control = true;
  s.tx.controlBound = true;
  if (mayCommit) s.mayCommit = true;
}

/** The same for every statement of a string of several, in order; the first is known already. */
export function noteStatements(s: Session, sql: string, parsed: Parsed): (Statement | undefined)[] {
  const noted: (Statement | undefined)[] = [];
  for (let { first, rest } = parsed; ; { first, rest } = parseStatement(sql, rest)) {
    noted.push(noteStatement(s, first));
    if (rest < 0) break;
  }
  control(s, true);
  return noted;
}

/**
 * Postgres runs these only when nothing else is in their transaction, and a tenant's begins with `enter`.
 * @throws HP-G411
 */
export function refuseOutside(s: Session, statement: Statement): void {
  if (statement.kind !== 'outside' || !s.currentTenant) return;
  const inBlock = s.tx.begin.length > 0 || s.status !== Status.idle;
  if (!inBlock) throw new HomeportError('HP-G411', { what: statement.what });
}

/**
 * A COPY FROM STDIN of the simple protocol, which travels in the extended one, has failed: nobody but us sends the Sync
 * that the server waits for. Not into the middle of a frame.
 */
export function copyFailed(s: Session): void {
  const { backend } = s;
  if (!backend || s.streaming > 0) return;
  s.syncAfterCopy = false;
  backend.sendSync();
  backend.replies.push(Expect.sync);
  s.owed++;
  s.blocked = true;
}
