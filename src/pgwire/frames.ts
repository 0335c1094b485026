/**
 * Frames of the Postgres protocol, version 3: one type byte, a 32-bit big-endian length that counts itself, a body.
 * https://www.postgresql.org/docs/18/protocol-message-formats.html
 * Only what routing needs is decoded; the rest goes through as the bytes that came.
 */

const code = (letter: string) => letter.charCodeAt(0);

/** Frontend message types. */
export const Front = {
  bind: code('B'),
  close: code('C'),
  copyData: code('d'),
  copyDone: code('c'),
  copyFail: code('f'),
  describe: code('D'),
  execute: code('E'),
  flush: code('H'),
  functionCall: code('F'),
  parse: code('P'),
  password: code('p'),
  query: code('Q'),
  sync: code('S'),
  terminate: code('X'),
  /** Ours, and only between gateways: who speaks, for which tenant, with which settings. See gateway/SPEC.md. */
  identity: code('h'),
} as const;

/** Backend message types. */
export const Back = {
  authentication: code('R'),
  backendKey: code('K'),
  bindComplete: code('2'),
  closeComplete: code('3'),
  commandComplete: code('C'),
  copyBoth: code('W'),
  copyData: code('d'),
  copyDone: code('c'),
  copyIn: code('G'),
  copyOut: code('H'),
  dataRow: code('D'),
  emptyQuery: code('I'),
  error: code('E'),
  functionResult: code('V'),
  negotiate: code('v'),
  noData: code('n'),
  notice: code('N'),
  notification: code('A'),
  parameterDescription: code('t'),
  parameterStatus: code('S'),
  parseComplete: code('1'),
  portalSuspended: code('s'),
  ready: code('Z'),
  rowDescription: code('T'),
} as const;

/** The status byte of ReadyForQuery. */
export const Status = { idle: code('I'), transaction: code('T'), failed: code('E') } as const;

export const HEADER_BYTES = 5;

/** The length of a whole frame that starts at `at`, type byte included. The caller has seen 5 bytes there. */
export function frameBytes(buffer: Buffer, at: number): number {
  return buffer.readInt32BE(at + 1) + 1;
}

export function frame(type: number, body: Buffer): Buffer {
  const out = Buffer.allocUnsafe(HEADER_BYTES + body.length);
  out[0] = type;
  out.writeInt32BE(body.length + 4, 1);
  body.copy(out, HEADER_BYTES);
  return out;
}

function cstrings(...texts: string[]): Buffer {
  return Buffer.from(texts.map(text => `${text}\0`).join(''));
}

export function queryFrame(sql: string): Buffer {
  return frame(Front.query, cstrings(sql));
}

/** A Parse whose tail (text, NUL, parameter types) is carried over as bytes. */
export function parseFrame(name: string, tail: Buffer): Buffer {
  return frame(Front.parse, Buffer.concat([cstrings(name), tail]));
}

export function closeFrame(kind: 'S' | 'P', name: string): Buffer {
  return frame(Front.close, Buffer.concat([Buffer.from(kind), cstrings(name)]));
}

/** Bind of text parameters to `statement` on the unnamed portal, and its Execute. */
export function bindAndExecute(statement: string, parameters: readonly string[]): Buffer {
  const parts: Buffer[] = [cstrings('', statement), Buffer.from([0, 0])];
  const count = Buffer.alloc(2);
  count.writeInt16BE(parameters.length);
  parts.push(count);
  for (const parameter of parameters) {
    const bytes = Buffer.from(parameter);
    const length = Buffer.alloc(4);
    length.writeInt32BE(bytes.length);
    parts.push(length, bytes);
  }
  parts.push(Buffer.from([0, 0]));
  return Buffer.concat([frame(Front.bind, Buffer.concat(parts)), EXECUTE_UNNAMED]);
}

/** Shared constants: they are written, never changed. */
export const EXECUTE_UNNAMED = frame(Front.execute, Buffer.from([0, 0, 0, 0, 0]));
export const SYNC = frame(Front.sync, Buffer.alloc(0));
/** Bind, Describe and Execute of the unnamed statement and portal without parameters, and a Sync. */
export const RUN_UNNAMED = Buffer.concat([
  frame(Front.bind, Buffer.alloc(8)),
  frame(Front.describe, Buffer.from('P\0')),
  EXECUTE_UNNAMED,
  SYNC,
]);
export const FLUSH = frame(Front.flush, Buffer.alloc(0));
export const TERMINATE = frame(Front.terminate, Buffer.alloc(0));
export const PARSE_COMPLETE = frame(Back.parseComplete, Buffer.alloc(0));
export const BIND_COMPLETE = frame(Back.bindComplete, Buffer.alloc(0));
export const CLOSE_COMPLETE = frame(Back.closeComplete, Buffer.alloc(0));
export const NO_DATA = frame(Back.noData, Buffer.alloc(0));
export const EMPTY_QUERY = frame(Back.emptyQuery, Buffer.alloc(0));
export const NO_PARAMETERS = frame(Back.parameterDescription, Buffer.from([0, 0]));
const READY = new Map<number, Buffer>(
  [Status.idle, Status.transaction, Status.failed].map(status => [status, frame(Back.ready, Buffer.from([status]))]),
);

export function readyFrame(status: number): Buffer {
  return READY.get(status) ?? frame(Back.ready, Buffer.from([status]));
}

export function commandComplete(tag: string): Buffer {
  return frame(Back.commandComplete, cstrings(tag));
}

export function parameterStatus(name: string, value: string): Buffer {
  return frame(Back.parameterStatus, cstrings(name, value));
}

const TEXT_OID = 25;

/** RowDescription of text columns. */
export function rowDescription(columns: readonly string[]): Buffer {
  const count = Buffer.alloc(2);
  count.writeInt16BE(columns.length);
  const parts: Buffer[] = [count];
  for (const column of columns) {
    const tail = Buffer.alloc(18);
    tail.writeInt32BE(TEXT_OID, 6);
    tail.writeInt16BE(-1, 10);
    tail.writeInt32BE(-1, 12);
    parts.push(cstrings(column), tail);
  }
  return frame(Back.rowDescription, Buffer.concat(parts));
}

/** DataRow of text values. */
export function dataRow(values: readonly (string | undefined)[]): Buffer {
  const count = Buffer.alloc(2);
  count.writeInt16BE(values.length);
  const parts: Buffer[] = [count];
  for (const value of values) {
    const bytes = value === undefined ? undefined : Buffer.from(value);
    const length = Buffer.alloc(4);
    length.writeInt32BE(bytes === undefined ? -1 : bytes.length);
    parts.push(length);
    if (bytes) parts.push(bytes);
  }
  return frame(Back.dataRow, Buffer.concat(parts));
}

/** The NUL-terminated string at `at`; undefined when no NUL comes before `end`. */
export function cstringAt(buffer: Buffer, at: number, end: number): { text: string; next: number } | undefined {
  const nul = buffer.indexOf(0, at);
  if (nul < 0 || nul >= end) return undefined;
  return { text: buffer.toString('utf8', at, nul), next: nul + 1 };
}
