/** Exit codes, for scripts: stable, and few enough to be remembered. The help text and the documentation print this table. */
import { HomeportError } from '../base/errors.ts';

export const exitCodes = {
  ok: { code: 0, means: 'done, or nothing to do' },
  failed: { code: 1, means: 'it was tried and failed; the message says what is left behind' },
  usage: { code: 2, means: 'the command line or the configuration is wrong; nothing was tried' },
  refused: { code: 3, means: 'refused, because it could harm data, is not allowed, or lost to another change' },
  unreachable: { code: 4, means: 'a shard, a gateway or the directory cannot be reached, or is too busy; try again' },
  notFound: { code: 5, means: 'what was named does not exist' },
  interrupted: { code: 130, means: 'ended by Ctrl-C' },
} as const;

export type ExitName = keyof typeof exitCodes;

/** By the status in the error's catalogue entry, so that a new code needs no row here. */
const byStatus: Readonly<Record<number, ExitName>> = {
  400: 'usage',
  401: 'refused',
  403: 'refused',
  404: 'notFound',
  409: 'refused',
  412: 'refused',
  423: 'refused',
  429: 'unreachable',
  502: 'unreachable',
  503: 'unreachable',
  504: 'unreachable',
};

export function exitCodeOf(error: unknown): number {
  if (!(error instanceof HomeportError)) return exitCodes.failed.code;
  if (error.code.startsWith('HP-C1')) return exitCodes.usage.code;
  return exitCodes[byStatus[error.spec.http] ?? 'failed'].code;
}
