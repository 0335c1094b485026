/** What the simple and the extended protocol share on the way to a backend. */
import { HomeportError } from '../base/errors.ts';
import type { Statement } from '../pgwire/sql.ts';
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

/** Marks what the statement may do to the session and the transaction; what its completion needs is returned. */
export function noteStatement(s: Session, statement: Statement, more: boolean): Statement | undefined {
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
    case 'copy':
    case 'empty':
      return undefined;
    default:
      s.control = true;
      return undefined;
  }
}
