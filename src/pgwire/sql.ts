/**
 * Just enough SQL to route it: the first statement's kind, where it ends, and what of it could stay behind on a backend.
 * Everything that is not recognised is `other` and goes to the shard as it came, so that a gap here costs a feature and
 * never correctness: the shard's own checks hold whatever the text was (I6).
 */

import { isWord, skipBlank, statementEnd } from './sql-lex.ts';

export type Statement =
  | { readonly kind: 'empty' }
  /** BEGIN or START TRANSACTION with any modes. */
  | { readonly kind: 'begin'; readonly text: string }
  /** COMMIT, END, ROLLBACK, ABORT (not TO SAVEPOINT, not PREPARED). */
  | { readonly kind: 'end'; readonly commit: boolean; readonly chain: boolean }
  /** SET TRANSACTION modes: belongs between BEGIN and the first statement. */
  | { readonly kind: 'set-transaction'; readonly text: string }
  /** SET of a homeport.* setting; `value` undefined: RESET or TO DEFAULT. */
  | {
      readonly kind: 'set-homeport';
      readonly name: string;
      readonly value: string | undefined;
      readonly local: boolean;
    }
  /** SHOW homeport.*; the name without the prefix. */
  | { readonly kind: 'show-homeport'; readonly name: string }
  /** A session setting that we can carry to another backend; `value` as SQL text, undefined: RESET. `all`: RESET ALL. */
  | { readonly kind: 'set'; readonly name: string; readonly value: string | undefined }
  /** SET LOCAL: gone with the transaction. */
  | { readonly kind: 'set-local' }
  /** DISCARD ALL and DEALLOCATE [PREPARE] ALL. */
  | { readonly kind: 'discard'; readonly everything: boolean }
  /** DEALLOCATE of one statement, which may be one that was prepared in the extended protocol. */
  | { readonly kind: 'deallocate'; readonly name: string }
  /** SAVEPOINT, and ROLLBACK TO one (`back`). */
  | { readonly kind: 'savepoint'; readonly name: string; readonly back: boolean }
  /** What Postgres runs outside of any transaction only, so that nothing can be asked ahead of it in the same one. */
  | { readonly kind: 'outside'; readonly what: string }
  /** COPY: its data comes between its start and its end, so it can't be sent ahead of an answer. */
  | { readonly kind: 'copy'; readonly from: CopySource | undefined }
  /** Anything else. `control`: the transaction's state may change with it. */
  | { readonly kind: 'other'; readonly residue: Residue; readonly control: boolean };

/**
 * What a statement may leave on its session: nothing; settings that a reset clears; something that only this session
 * can go on with (a listener, a prepared statement, a lock), so the client keeps the backend; or the loss of what we
 * keep on a backend, so that it can't be used again.
 */
export type Residue = 'none' | 'settings' | 'session' | 'ruin';

/** The table of a COPY … FROM STDIN, as it is called in SQL's catalogs, and where its name stands in the text. */
export interface CopySource {
  readonly schema: string | undefined;
  readonly table: string;
  readonly start: number;
  readonly end: number;
}

export interface Parsed {
  readonly first: Statement;
  /** Where the text after the first statement's semicolon starts; −1 when nothing but white space follows. */
  readonly rest: number;
}

const EMPTY: Statement = { kind: 'empty' };
const PLAIN: Statement = { kind: 'other', residue: 'none', control: false };
const CONTROL: Statement = { kind: 'other', residue: 'none', control: true };
const SETTINGS: Statement = { kind: 'other', residue: 'settings', control: true };
const SESSION: Statement = { kind: 'other', residue: 'session', control: true };
const RUIN: Statement = { kind: 'other', residue: 'ruin', control: true };

/** The next statement that is one: between two semicolons there may be nothing. */
function restAfter(sql: string, end: number): number {
  let next = end;
  while (sql.charCodeAt(next) === 59) next = skipBlank(sql, next + 1);
  return next >= sql.length ? -1 : next;
}

/** Words that could begin a statement which we treat apart; everything else is plain. Upper case, as looked up. */
const APART = new Set(
  [
    'BEGIN START COMMIT END ROLLBACK ABORT SET RESET SHOW SAVEPOINT RELEASE PREPARE EXECUTE DEALLOCATE LISTEN',
    'UNLISTEN NOTIFY DECLARE DISCARD LOAD DO CALL CREATE LOCK COPY VACUUM REINDEX DROP ALTER CLUSTER',
  ]
    .join(' ')
    .split(' '),
);

/** Functions that take something which only the same session can give back: session locks, large-object descriptors. */
const HOLDS = /advisory_lock|lo_(?:open|creat|import)|dblink_connect/i;
/**
 * Functions and a view that change settings from within a plain statement, or that run SQL text which could. An escaped
 * identifier (U&"...") may hide any name.
 */
const CHANGES = /set_config|pg_settings|u&\s*"|(?:query|cursor)_to_xml|ts_stat|ts_rewrite/i;

/** What a statement that begins with an ordinary word may leave behind. A false alarm costs a reset, nothing else. */
export function residueOf(sql: string): Residue {
  if (HOLDS.test(sql)) return 'session';
  return CHANGES.test(sql) ? 'settings' : 'none';
}

function firstWord(sql: string, at: number): string {
  let i = at;
  while (i < sql.length && isWord(sql.charCodeAt(i))) i++;
  return sql.slice(at, i).toUpperCase();
}

function byResidue(residue: Residue): Statement {
  if (residue === 'none') return PLAIN;
  return residue === 'settings' ? SETTINGS : SESSION;
}

export function parseStatement(sql: string, from = 0): Parsed {
  let at = skipBlank(sql, from);
  while (sql.charCodeAt(at) === 59) at = skipBlank(sql, at + 1);
  if (at >= sql.length) return { first: EMPTY, rest: -1 };
  const end = statementEnd(sql, at);
  const rest = restAfter(sql, end);
  const word = firstWord(sql, at);
  if (!APART.has(word)) return { first: byResidue(residueOf(rest < 0 ? sql : sql.slice(at, end))), rest };
  if (word === 'COPY') return { first: { kind: 'copy', from: copySource(sql, at) }, rest };
  return { first: parseApart(word, sql.slice(at, end).trim()), rest };
}

const ISOLATION = 'isolation\\s+level\\s+(?:serializable|repeatable\\s+read|read\\s+committed|read\\s+uncommitted)';
const MODE = `(?:${ISOLATION}|read\\s+only|read\\s+write|(?:not\\s+)?deferrable)`;
const MODES = `${MODE}(?:\\s*,?\\s*${MODE})*`;
const BEGIN = new RegExp(`^(?:begin(?:\\s+(?:work|transaction))?|start\\s+transaction)(?:\\s+${MODES})?$`, 'i');
const SET_TRANSACTION = new RegExp(`^set\\s+transaction\\s+${MODES}$`, 'i');
const END = /^(commit|end|rollback|abort)(?:\s+(?:work|transaction))?(?:\s+and\s+(no\s+)?chain)?$/i;
const CHAIN = /\s+and\s+chain$/i;
const SHOW = /^show\s+homeport\.([a-z_]+)$/i;
const SETTING = '"?([a-z_][a-z0-9_]*(?:\\.[a-z_][a-z0-9_]*)?)"?';
const SET = new RegExp(`^set\\s+(?:(session|local)\\s+)?${SETTING}\\s*(?:=|\\s+to\\s+)\\s*([^]+)$`, 'i');
/** What can be said again on another backend and means the same there, whatever its settings: no escapes, no comments. */
const VALUE = `(?:'(?:[^'\\\\]|'')*'|"(?:[^"]|"")*"|[-+]?\\d[\\w.]*|[a-z_\\u0080-\\uffff][\\w$.\\u0080-\\uffff]*)`;
const CARRIED = new RegExp(`^${VALUE}(?:\\s*,\\s*${VALUE})*$`, 'i');
const CHARACTERISTICS = new RegExp(`^set\\s+session\\s+characteristics\\s+as\\s+transaction\\s+(${MODE})$`, 'i');
const SAVEPOINT = /^(savepoint|(?:rollback|abort)(?:\s+(?:work|transaction))?\s+to(?:\s+savepoint)?)\s+(\S+)$/i;
const OUTSIDE = new RegExp(
  [
    'vacuum',
    'reindex\\s.*\\bconcurrently',
    'reindex\\s+(?:\\([^)]*\\)\\s*)?(?:database|system|schema)',
    'create\\s+(?:unique\\s+)?index\\s+concurrently',
    'drop\\s+index\\s+concurrently',
    '(?:create|drop)\\s+(?:database|tablespace)',
    'alter\\s+system',
    'cluster$',
  ]
    .map(form => `^${form}\\b`)
    .join('|'),
  'i',
);
const SET_TIME_ZONE = /^set\s+(?:session\s+)?time\s+zone\s+('[^']*'|default|local)$/i;
const SET_NAMES = /^set\s+names\s+('[^']*')$/i;
const RESET = new RegExp(`^reset\\s+${SETTING}$`, 'i');
/** Settings that change who the session is; they go to the shard, which refuses them, and are never carried along. */
const NOT_CARRIED = new Set(['role', 'session_authorization', 'transaction', 'session', 'constraints']);

function parseApart(word: string, text: string): Statement {
  const outside = OUTSIDE.exec(text)?.[0];
  if (outside !== undefined) return { kind: 'outside', what: outside.toUpperCase().replaceAll(/\s+/g, ' ') };
  switch (word) {
    case 'BEGIN':
    case 'START':
      return BEGIN.test(text) ? { kind: 'begin', text } : CONTROL;
    case 'COMMIT':
    case 'END':
    case 'ROLLBACK':
    case 'ABORT':
      return parseEnd(text);
    case 'SET':
      return parseSet(text);
    case 'RESET':
      return parseReset(text);
    case 'SHOW': {
      const name = SHOW.exec(text)?.[1];
      return name === undefined ? PLAIN : { kind: 'show-homeport', name: name.toLowerCase() };
    }
    case 'SAVEPOINT':
      return parseSavepoint(text) ?? PLAIN;
    case 'RELEASE':
    case 'LOCK':
    case 'VACUUM':
    case 'REINDEX':
    case 'DROP':
    case 'ALTER':
    case 'CLUSTER':
      return PLAIN;
    case 'DISCARD':
    case 'DEALLOCATE':
      return parseDiscard(text);
    case 'DECLARE':
      return /\swith\s+hold\s/i.test(text) ? SESSION : PLAIN;
    case 'CREATE':
      return /^create\s+(?:(?:global|local)\s+)?temp/i.test(text) ? SESSION : SETTINGS;
    case 'DO':
    case 'CALL':
    case 'NOTIFY':
    case 'UNLISTEN':
    case 'EXECUTE':
      return SETTINGS;
    case 'PREPARE':
      return /^prepare\s+transaction\b/i.test(text) ? CONTROL : SESSION;
    default:
      return SESSION;
  }
}

function parseDiscard(text: string): Statement {
  if (/^discard\s+all$/i.test(text)) return { kind: 'discard', everything: true };
  if (/^deallocate\s+(?:prepare\s+)?all$/i.test(text)) return { kind: 'discard', everything: false };
  if (/^discard/i.test(text)) return SETTINGS;
  const name = DEALLOCATE.exec(text)?.[1];
  return name === undefined ? RUIN : { kind: 'deallocate', name: nameOf(name) };
}

function parseSavepoint(text: string): Statement | undefined {
  const match = SAVEPOINT.exec(text);
  const [, verb, name] = match ?? [];
  if (verb === undefined || name === undefined) return undefined;
  return { kind: 'savepoint', name: nameOf(name), back: !/^savepoint/i.test(verb) };
}

const IDENTIFIER = '("(?:[^"]|"")+"|[a-z_\\u0080-\\uffff][\\w$\\u0080-\\uffff]*)';
const DEALLOCATE = new RegExp(`^deallocate\\s+(?:prepare\\s+)?${IDENTIFIER}$`, 'i');
const COPY_FROM = new RegExp(
  `copy\\s+((?:${IDENTIFIER}\\s*\\.\\s*)?${IDENTIFIER})\\s*(?:\\([^)]*\\))?\\s*from\\s+stdin\\b`,
  'iy',
);

/** An identifier's name: as it is between quotes, in lower case without. */
function nameOf(identifier: string): string {
  return identifier.startsWith('"') ? identifier.slice(1, -1).replaceAll('""', '"') : identifier.toLowerCase();
}

function copySource(sql: string, at: number): CopySource | undefined {
  COPY_FROM.lastIndex = at;
  const match = COPY_FROM.exec(sql);
  const [, whole, schema, table] = match ?? [];
  if (!match || whole === undefined || table === undefined) return undefined;
  const start = at + match[0].indexOf(whole, 4);
  return {
    schema: schema === undefined ? undefined : nameOf(schema),
    table: nameOf(table),
    start,
    end: start + whole.length,
  };
}

function parseEnd(text: string): Statement {
  const match = END.exec(text);
  if (!match) return parseSavepoint(text) ?? CONTROL;
  const verb = match[1]?.toLowerCase();
  return { kind: 'end', commit: verb === 'commit' || verb === 'end', chain: CHAIN.test(text) };
}

/** A quoted literal's content, a bare word, or undefined when the value is anything else (a list, an expression). */
function literal(value: string): string | undefined {
  const text = value.trim();
  if (/^'(?:[^']|'')*'$/.test(text)) return text.slice(1, -1).replaceAll("''", "'");
  if (/^"(?:[^"]|"")*"$/.test(text)) return text.slice(1, -1).replaceAll('""', '"');
  return /^[^\s,'"();]+$/.test(text) ? text : undefined;
}

function parseSet(text: string): Statement {
  if (SET_TRANSACTION.test(text)) return { kind: 'set-transaction', text };
  const zone = SET_TIME_ZONE.exec(text)?.[1];
  if (zone) return { kind: 'set', name: 'timezone', value: zone };
  const mode = CHARACTERISTICS.exec(text)?.[1];
  if (mode) return characteristic(mode.toLowerCase().replaceAll(/\s+/g, ' '));
  if (/^set\s+constraints\s/i.test(text)) return { kind: 'set-local' };
  const names = SET_NAMES.exec(text)?.[1];
  if (names) return { kind: 'set', name: 'client_encoding', value: names };
  const match = SET.exec(text);
  const name = match?.[2]?.toLowerCase();
  const value = match?.[3]?.trim();
  if (!match || name === undefined || value === undefined) {
    return /^set\s+local\s/i.test(text) ? { kind: 'set-local' } : SETTINGS;
  }
  const local = match[1]?.toLowerCase() === 'local';
  const toDefault = /^default$/i.test(value);
  if (name.startsWith('homeport.')) {
    const given = toDefault ? undefined : literal(value);
    if (!toDefault && given === undefined) return SETTINGS;
    return { kind: 'set-homeport', name: name.slice('homeport.'.length), value: given, local };
  }
  if (local) return { kind: 'set-local' };
  if (NOT_CARRIED.has(name)) return SETTINGS;
  if (toDefault) return { kind: 'set', name, value: undefined };
  // A value of any other form stays where it is, and the client with it.
  return CARRIED.test(value) ? { kind: 'set', name, value } : SESSION;
}

/** SET SESSION CHARACTERISTICS AS TRANSACTION, as the setting that it changes. */
function characteristic(mode: string): Statement {
  const level = /^isolation level (.*)$/.exec(mode)?.[1];
  if (level !== undefined) return { kind: 'set', name: 'default_transaction_isolation', value: `'${level}'` };
  const [name, value] = mode.startsWith('read')
    ? ['default_transaction_read_only', mode === 'read only']
    : ['default_transaction_deferrable', !mode.startsWith('not')];
  return { kind: 'set', name, value: value ? 'on' : 'off' };
}

function parseReset(text: string): Statement {
  const name = RESET.exec(text)?.[1]?.toLowerCase();
  if (name === undefined || NOT_CARRIED.has(name)) return SETTINGS;
  if (name.startsWith('homeport.')) {
    return { kind: 'set-homeport', name: name.slice('homeport.'.length), value: undefined, local: false };
  }
  return { kind: 'set', name, value: undefined };
}
