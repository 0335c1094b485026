/**
 * Logs are JSON lines: `time`, `level`, `component`, `correlation`, `msg`, and what else is known. One correlation id
 * follows a request through gateways, regions and the log. Secrets are masked by name and by form, at any depth that is
 * written at all, because the line that leaks is never the one that somebody thought of.
 */
import {
  type DestinationStream,
  destination as openDestination,
  type Logger as PinoLogger,
  pino,
  stdTimeFunctions,
} from 'pino';
import { HomeportError } from '../base/errors.ts';

export type Logger = PinoLogger;

export interface LoggerOptions {
  /** `trace` … `fatal`, or `silent`. */
  readonly level: string;
  /** Which part speaks: `gateway`, `directory`, `agent`, … */
  readonly component: string;
  /** A stream, or a path or file descriptor. Default: standard output. */
  readonly destination?: DestinationStream | string | number;
  /** What every line carries besides, such as region and worker. */
  readonly bindings?: Readonly<Record<string, string | number>>;
}

const MASK = '***';
const SECRET_NAME = /password|passwd|secret|verifier|authorization|cookie|proof|private_?key|signing_?key|^pw$/i;
/** `postgresql://user:password@host` in any text. */
const URL_PASSWORD = /(\b[a-z][a-z0-9+.-]*:\/\/[^\s:/@]*:)[^\s/@]+@/gi;
/** Deeper than this nothing is written: a log line is not a dump (I10). */
const MAX_DEPTH = 6;
const MAX_ITEMS = 100;

function maskText(text: string): string {
  return text.includes('://') ? text.replaceAll(URL_PASSWORD, `$1${MASK}@`) : text;
}

function describeError(error: Error, depth: number): object {
  const own =
    error instanceof HomeportError
      ? { code: error.code, sqlstate: error.sqlstate, detail: error.detail, hint: error.hint }
      : {};
  const code = 'code' in error ? { code: error.code } : {};
  return {
    type: error.name,
    ...code,
    ...own,
    message: maskText(error.message),
    stack: maskText(error.stack ?? ''),
    ...(error.cause === undefined ? {} : { cause: mask(error.cause, depth + 1) }),
  };
}

/** A copy without secrets. bigint (LSNs, epochs) as text, bytes as their number, errors with code and cause. */
export function mask(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return maskText(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Error) return describeError(value, depth);
  if (ArrayBuffer.isView(value)) return `<${value.byteLength} bytes>`;
  if (depth >= MAX_DEPTH) return '…';
  if (Array.isArray(value)) return value.slice(0, MAX_ITEMS).map(item => mask(item, depth + 1));
  if (value instanceof Map) return mask(Object.fromEntries([...value].slice(0, MAX_ITEMS)), depth);
  if (value instanceof Set) return mask([...value], depth);
  const entries = Object.entries(value).slice(0, MAX_ITEMS);
  return Object.fromEntries(entries.map(([name, part]) => [name, isSecret(name, part) ? MASK : mask(part, depth + 1)]));
}

function isSecret(name: string, part: unknown): boolean {
  return SECRET_NAME.test(name) && part !== undefined && part !== null && typeof part !== 'boolean';
}

export function createLogger({ level, component, destination, bindings = {} }: LoggerOptions): Logger {
  const options = {
    level,
    base: { component, ...bindings },
    timestamp: stdTimeFunctions.isoTime,
    formatters: {
      level: (label: string) => ({ level: label }),
      // cast: masking keeps an object an object
      log: (line: Record<string, unknown>) => mask(line) as Record<string, unknown>,
    },
    hooks: {
      logMethod(this: Logger, args: Parameters<Logger['info']>, method: (...args: Parameters<Logger['info']>) => void) {
        // cast: the same argument list, with the text of a message masked
        method.apply(this, args.map(arg => (typeof arg === 'string' ? maskText(arg) : arg)) as typeof args);
      },
    },
    // pino would serialise errors before the mask sees them
    serializers: { err: (error: unknown) => mask(error), error: (error: unknown) => mask(error) },
  };
  const target =
    typeof destination === 'object' ? destination : openDestination({ dest: destination ?? 1, sync: true });
  return pino(options, target);
}

/** A logger whose lines all carry the correlation id of one request or one change of home. */
export function correlated(log: Logger, correlation: string): Logger {
  return log.child({ correlation });
}

/** For tests, and for code that must be quiet. */
export const silentLogger: Logger = pino({ level: 'silent' });
