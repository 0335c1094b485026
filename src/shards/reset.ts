import { queryFrame } from '../pgwire/frames.ts';

/**
 * Brings a session back to how it logged in, as DISCARD ALL does, but for the prepared statements: those are ours, and
 * dropping them would cost every later client its plans. What this can't undo (temporary tables, prepared statements of
 * the client's, loaded libraries) never comes here: such a session keeps its backend, which ends with it.
 */
export const RESET_SESSION = queryFrame(
  'RESET SESSION AUTHORIZATION; RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD SEQUENCES',
);
