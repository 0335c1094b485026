/** What the simple and the extended protocol share on the way to a backend. */
import { HomeportError } from '../base/errors.ts';
import type { Statement } from '../pgwire/sql.ts';
import type { Session } from './session.ts';
import { noteResidue } from './transaction.ts';

export const violation = (why: string) => new HomeportError('HP-G404', { why });

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
