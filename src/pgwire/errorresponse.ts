/** ErrorResponse and NoticeResponse: built from our errors, and read from a backend that is not trusted to be short. */
import type { HomeportError } from '../base/errors.ts';

export type Severity = 'ERROR' | 'FATAL' | 'PANIC' | 'WARNING' | 'NOTICE' | 'DEBUG' | 'INFO' | 'LOG';

export interface ReportFields {
  readonly severity: Severity;
  readonly sqlstate: string;
  readonly message: string;
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
  /** Where Postgres names a C function we put the Homeport code, so that programs need not read the message. */
  readonly routine?: string | undefined;
}

/** Longest text of one field that is kept when reading; longer ones are cut. */
const FIELD_BYTES = 8 * 1024;
/** Postgres has 18 kinds of fields. */
const MAX_FIELDS = 64;

function build(type: 'E' | 'N', fields: ReportFields): Buffer {
  const parts = [`S${fields.severity}`, `V${fields.severity}`, `C${fields.sqlstate}`, `M${fields.message}`];
  if (fields.detail) parts.push(`D${fields.detail}`);
  if (fields.hint) parts.push(`H${fields.hint}`);
  if (fields.routine) parts.push(`R${fields.routine}`);
  // A zero byte would end the field and forge the next one.
  const body = parts.map(part => `${part.replaceAll('\0', '?')}\0`).join('');
  const bodyBytes = Buffer.byteLength(body);
  const message = Buffer.allocUnsafe(6 + bodyBytes);
  message.write(type, 0, 'latin1');
  message.writeInt32BE(5 + bodyBytes, 1);
  message.write(body, 5);
  message[5 + bodyBytes] = 0;
  return message;
}

export function errorResponse(fields: ReportFields): Buffer {
  return build('E', fields);
}

export function noticeResponse(fields: ReportFields): Buffer {
  return build('N', fields);
}

/** The fields of one of our errors: the code stands at the start of the message, and in the routine. */
export function fieldsOf(error: HomeportError, severity: Severity = 'ERROR'): ReportFields {
  return {
    severity,
    sqlstate: error.sqlstate,
    message: `${error.code} ${error.message}`,
    detail: error.detail,
    hint: error.hint,
    routine: error.code,
  };
}

/** FATAL where the connection ends with it, ERROR where it goes on. */
export function errorResponseOf(error: HomeportError, severity: 'ERROR' | 'FATAL' = 'ERROR'): Buffer {
  return build('E', fieldsOf(error, severity));
}

/**
 * One field of the body of an ErrorResponse or NoticeResponse (what follows the length), without decoding the rest.
 * @param code for example 'C' for the SQLSTATE
 */
export function readReportField(body: Buffer, code: string): string | undefined {
  const wanted = code.charCodeAt(0);
  let at = 0;
  for (let count = 0; count < MAX_FIELDS; count++) {
    const type = body[at];
    if (type === undefined || type === 0) return undefined;
    const end = body.indexOf(0, at + 1);
    if (end < 0) return undefined;
    if (type === wanted) return body.toString('utf8', at + 1, Math.min(end, at + 1 + FIELD_BYTES));
    at = end + 1;
  }
  return undefined;
}

/** Undefined when it has no SQLSTATE or no message: then it is not an error of Postgres'. */
export function parseReport(body: Buffer): ReportFields | undefined {
  const sqlstate = readReportField(body, 'C');
  const message = readReportField(body, 'M');
  if (sqlstate?.length !== 5 || message === undefined) return undefined;
  // cast: the text of a server; who decides by it compares with known words
  const severity = (readReportField(body, 'V') ?? readReportField(body, 'S') ?? 'ERROR') as Severity;
  return {
    severity,
    sqlstate,
    message,
    detail: readReportField(body, 'D'),
    hint: readReportField(body, 'H'),
    routine: readReportField(body, 'R'),
  };
}
