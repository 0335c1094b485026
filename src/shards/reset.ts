import { queryFrame } from '../pgwire/frames.ts';

/**
 * Brings a session back to how it logged in, as DISCARD ALL does, but for the prepared statements: those are ours, and
 * dropping them would cost every later client its plans.
 *
 * They are counted instead. SQL that is run from within a DO block can drop one of ours and prepare another text under
 * its name, `enter` included, and the next client would run that in its own tenant's name (I8). A division by zero says
 * so, and the backend is destroyed. RESET ALL comes first, so that no search_path of the client's reaches the check.
 *
 * @param prepared how many statements we have prepared there.
 */
export function resetSession(prepared: number): Buffer {
  return queryFrame(
    `RESET SESSION AUTHORIZATION; RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD SEQUENCES;
     SELECT 1 / (count(*) = ${prepared} AND count(*) FILTER (WHERE from_sql) = 0)::int FROM pg_prepared_statements`,
  );
}
