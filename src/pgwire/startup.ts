/**
 * The packets that may come first on a connection, which have a length but no type. Pure: from whole packets to what
 * they mean. Nothing here trusts a length, and nothing waits.
 */
import { isUtf8 } from 'node:buffer';
import { HomeportError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { addSetting } from './startup-settings.ts';

/** Length and code; no packet is shorter. */
export const FIRST_HEADER_BYTES = 8;

const SSL_REQUEST = 80877103;
const GSSENC_REQUEST = 80877104;
const CANCEL_REQUEST = 80877102;
const PROTOCOL_MAJOR = 3;
/** A cancel key: 4 bytes in protocol 3.0, up to 256 since 3.2. */
const CANCEL_KEY_BYTES = { least: 4, most: 256 };

/** 3.2 has long cancel keys. 3.1 never existed and is answered as 3.0. */
export type ProtocolMinor = 0 | 2;

export interface Startup {
  readonly user: string;
  /** The user's name when none was given, as in Postgres. */
  readonly database: string;
  readonly settings: Map<string, string>;
  readonly homeport: Map<string, string>;
}

export type FirstPacket =
  | { readonly kind: 'ssl' }
  | { readonly kind: 'gssenc' }
  | { readonly kind: 'cancel'; readonly pid: number; readonly key: Buffer }
  | {
      readonly kind: 'startup';
      readonly minor: ProtocolMinor;
      readonly startup: Startup;
      /** NegotiateProtocolVersion, to be sent before anything else, when the client asked for more than we have. */
      readonly negotiate: Buffer | undefined;
    };

const invalid = (why: string) => new HomeportError('HP-P101', { why });

/** @throws HP-P101 for a length that no first packet may have. `head` is its first four bytes or more. */
export function firstPacketBytes(head: Buffer): number {
  const length = head.readInt32BE(0);
  if (length < FIRST_HEADER_BYTES) throw invalid(`its length is ${length}`);
  if (length > limits.startupPacketBytes) {
    throw invalid(`its length is ${length}, and the most is ${limits.startupPacketBytes} bytes`);
  }
  return length;
}

/**
 * @param packet one whole packet, its length included.
 * @throws HomeportError HP-P101 … HP-P106
 */
export function parseFirstPacket(packet: Buffer): FirstPacket {
  if (packet.length < FIRST_HEADER_BYTES || firstPacketBytes(packet) !== packet.length) {
    throw invalid('it is not as long as it says');
  }
  const code = packet.readUInt32BE(4);
  if (code === SSL_REQUEST || code === GSSENC_REQUEST) {
    if (packet.length !== FIRST_HEADER_BYTES) throw invalid('an encryption request carries nothing');
    return { kind: code === SSL_REQUEST ? 'ssl' : 'gssenc' };
  }
  if (code === CANCEL_REQUEST) return parseCancel(packet);
  const [major, minor] = [code >>> 16, code & 0xffff];
  if (major !== PROTOCOL_MAJOR) throw new HomeportError('HP-P102', { version: `${major}.${minor}` });
  return parseStartup(packet, minor);
}

function parseCancel(packet: Buffer): FirstPacket {
  const keyBytes = packet.length - FIRST_HEADER_BYTES - 4;
  if (keyBytes < CANCEL_KEY_BYTES.least || keyBytes > CANCEL_KEY_BYTES.most) {
    throw invalid(`a cancel key has ${CANCEL_KEY_BYTES.least} to ${CANCEL_KEY_BYTES.most} bytes`);
  }
  return { kind: 'cancel', pid: packet.readInt32BE(8), key: Buffer.from(packet.subarray(12)) };
}

/** The name and value pairs between the header and the last zero byte. */
function readParameters(packet: Buffer): Map<string, string> {
  const body = packet.subarray(FIRST_HEADER_BYTES);
  if (body.length === 0 || body[body.length - 1] !== 0) throw invalid('its last byte is not zero');
  if (!isUtf8(body)) throw invalid('it is not UTF-8');
  const parameters = new Map<string, string>();
  let at = 0;
  const next = (): string => {
    const end = body.indexOf(0, at);
    if (end < 0) throw invalid('a parameter is not terminated');
    const text = body.toString('utf8', at, end);
    at = end + 1;
    return text;
  };
  for (;;) {
    const name = next();
    if (name === '') break;
    if (at >= body.length) throw invalid(`the parameter "${name.slice(0, 80)}" has no value`);
    if (parameters.has(name)) throw invalid(`the parameter "${name.slice(0, 80)}" is given twice`);
    parameters.set(name, next());
  }
  if (at !== body.length) throw invalid('it goes on after its end');
  return parameters;
}

function parseStartup(packet: Buffer, asked: number): FirstPacket {
  const parameters = readParameters(packet);
  const user = parameters.get('user') ?? '';
  if (user === '') throw new HomeportError('HP-P103');
  const startup: Startup = {
    user,
    database: parameters.get('database') || user,
    settings: new Map(),
    homeport: new Map(),
  };
  // Options first: a parameter of the packet beats the same one in `options`, as in Postgres.
  const options = parameters.get('options') ?? '';
  for (const [name, value] of parseOptions(options)) addSetting(startup, name, value);
  const unknown: string[] = [];
  for (const [name, value] of parameters) {
    if (name === 'user' || name === 'database' || name === 'options') continue;
    if (name.startsWith('_pq_.')) unknown.push(name);
    else addSetting(startup, name, value);
  }
  const minor: ProtocolMinor = asked >= 2 ? 2 : 0;
  const negotiate = asked !== minor || unknown.length > 0 ? negotiateProtocolVersion(minor, unknown) : undefined;
  return { kind: 'startup', minor, startup, negotiate };
}

/** 'v': the newest minor version that we have, and the protocol options that we don't know. */
function negotiateProtocolVersion(minor: ProtocolMinor, unknown: readonly string[]): Buffer {
  const names = Buffer.from(unknown.map(name => `${name}\0`).join(''));
  const message = Buffer.alloc(13 + names.length);
  message.write('v', 0, 'latin1');
  message.writeInt32BE(12 + names.length, 1);
  message.writeInt32BE((PROTOCOL_MAJOR << 16) | minor, 5);
  message.writeInt32BE(unknown.length, 9);
  names.copy(message, 13);
  return message;
}

/** Splits as `pg_split_opts` does: at white space; a backslash takes the next character as it is. */
export function splitOptions(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let i = 0; i < text.length; i++) {
    const character = text[i] ?? '';
    if (/[ \t\n\r\v\f]/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      // A lone backslash at the very end stands for nothing.
      word = (word ?? '') + (character === '\\' ? (text[++i] ?? '') : character);
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}

/**
 * `-c name=value`, `-cname=value` and `--name=value`, in order; dashes in names become underscores.
 * @throws HP-P106 for any other switch of the `postgres` program.
 */
export function parseOptions(text: string): [name: string, value: string][] {
  const bad = (why: string) => new HomeportError('HP-P106', { why });
  const words = splitOptions(text);
  const pairs: [string, string][] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? '';
    let assignment: string;
    if (word.startsWith('--')) assignment = word.slice(2);
    else if (word === '-c') assignment = words[++i] ?? '';
    else if (word.startsWith('-c')) assignment = word.slice(2);
    else throw bad(`"${word.slice(0, 80)}" is not -c name=value`);
    const equals = assignment.indexOf('=');
    if (equals <= 0) throw bad(`"${word.slice(0, 80)}" needs name=value`);
    pairs.push([assignment.slice(0, equals).replaceAll('-', '_'), assignment.slice(equals + 1)]);
  }
  return pairs;
}
