/**
 * Postgres' refusals that mean something more particular behind Homeport get a hint that says so, with a code of ours.
 * Recognised by SQLSTATE and by the routine that raised them, never by their text.
 */

import type { ErrorCode } from '../base/errors/catalogue.ts';
import { HomeportError } from '../base/errors.ts';
import { readReportField } from '../pgwire/errorresponse.ts';
import { Back, frame } from '../pgwire/frames.ts';

const INSUFFICIENT_PRIVILEGE = '42501';
/** The routine, as field R names it, and what its 42501 means here. */
const MEANINGS = new Map<string, ErrorCode>([
  ['aclcheck_error', 'HP-G413'],
  ['ExecWithCheckOptions', 'HP-G414'],
]);

/** @returns the ErrorResponse with a hint added; undefined when there is nothing to add. */
export function withGuidance(body: Buffer): Buffer | undefined {
  if (readReportField(body, 'C') !== INSUFFICIENT_PRIVILEGE || readReportField(body, 'H') !== undefined)
    return undefined;
  const code = MEANINGS.get(readReportField(body, 'R') ?? '');
  if (code === undefined) return undefined;
  const error = new HomeportError(code);
  const hint = Buffer.from(`H${code} ${error.message}; ${error.hint}\0\0`);
  // The body ends with the NUL that ends its fields.
  return frame(Back.error, Buffer.concat([body.subarray(0, -1), hint]));
}
