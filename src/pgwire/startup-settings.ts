/**
 * Which settings a client may bring in its startup packet, and in what form. A pooled backend is set to them for each
 * transaction, so everything here must be harmless to the gateway, to the tenant context and to the next client.
 */
import { HomeportError } from '../base/errors.ts';

type Check = (value: string) => string | { readonly why: string };

const no = (why: string) => ({ why });
const pattern =
  (form: RegExp, why: string): Check =>
  value =>
    form.test(value) ? value : no(why);

/** As Postgres reads a boolean: any unambiguous prefix of true/false/yes/no, on/off, 1/0. */
function readBoolean(value: string): 'on' | 'off' | undefined {
  const word = value.toLowerCase();
  if (/^(t|tr|tru|true|y|ye|yes|on|1)$/.test(word)) return 'on';
  if (/^(f|fa|fal|fals|false|n|no|of|off|0)$/.test(word)) return 'off';
  return undefined;
}
const boolean: Check = value => readBoolean(value) ?? no('it must be on or off');

const oneOf =
  (...words: string[]): Check =>
  value =>
    words.find(word => word === value.toLowerCase()) ?? no(`it must be one of: ${words.join(', ')}`);

const duration = pattern(/^\d{1,10}(\.\d{1,6})? *(us|ms|s|min|h|d)?$/, 'it must be a duration such as 500ms or 30s');

/** Every driver's way to write UTF-8. SQL_ASCII means "no conversion", which to a UTF8 database is UTF-8 too. */
const encoding: Check = value =>
  /^(utf8|unicode|sqlascii)$/.test(value.toLowerCase().replaceAll(/[^a-z0-9]/g, ''))
    ? 'UTF8'
    : no('the gateway speaks UTF8 only');

/**
 * Names of schemas. `pg_catalog` only in front, where it stands anyway: behind another schema it would let that
 * schema's functions and operators stand in for the built-in ones. Everything of ours is schema-qualified besides.
 */
const searchPath: Check = value => {
  if (value.length > 1000) return no('it is longer than 1000 characters');
  const items = value.split(',').map(item => item.trim());
  if (value.trim() === '') return '';
  for (const [index, item] of items.entries()) {
    if (!/^("[^"\\,]{1,63}"|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]{0,62})$/.test(item)) {
      return no('it must be a list of schema names');
    }
    const name = item.startsWith('"') ? item.slice(1, -1) : item.toLowerCase();
    if (name === 'homeport' || /^pg_(temp|toast)/.test(name)) return no(`the schema ${name} can't be in it`);
    if (name === 'pg_catalog' && index > 0) return no('pg_catalog can only come first');
  }
  return items.join(', ');
};

const CHECKS: Readonly<Record<string, Check>> = {
  client_encoding: encoding,
  DateStyle: pattern(
    /^ *(iso|sql|postgres|german|default)?( *,? *(mdy|dmy|ymd|us|european|euro|noneuropean))? *$/i,
    'it must be a date style such as ISO, MDY',
  ),
  TimeZone: pattern(/^[A-Za-z0-9_+\-/:.<>,]{1,100}$/, 'it must be a time zone such as UTC or Europe/Berlin'),
  IntervalStyle: oneOf('postgres', 'postgres_verbose', 'sql_standard', 'iso_8601'),
  extra_float_digits: pattern(/^(-?\d|-1[0-5])$/, 'it must be a number from -15 to 3'),
  application_name: value => value.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 63),
  statement_timeout: duration,
  lock_timeout: duration,
  idle_in_transaction_session_timeout: duration,
  transaction_timeout: duration,
  bytea_output: oneOf('hex', 'escape'),
  geqo: boolean,
  jit: boolean,
  work_mem: pattern(/^\d{1,9} *(kB|MB)?$/, 'it must be a size such as 64MB'),
  standard_conforming_strings: value => (readBoolean(value) === 'on' ? 'on' : no('the gateway needs it on')),
  search_path: searchPath,
  default_transaction_isolation: oneOf('read uncommitted', 'read committed', 'repeatable read', 'serializable'),
  default_transaction_read_only: boolean,
  default_transaction_deferrable: boolean,
};

/** Postgres' own spelling of each setting, by its lower-case name. */
const SPELLING = new Map(Object.keys(CHECKS).map(name => [name.toLowerCase(), name]));

const REFUSALS: Readonly<Record<string, string>> = {
  replication: 'replication connections go to the shard itself, not through the gateway',
  role: 'the role of a connection is its user; a change of role would outlive the tenant check',
  session_authorization: 'the role of a connection is its user; a change of role would outlive the tenant check',
  synchronous_commit: 'how durable a commit is follows from the tenant',
};

const HOMEPORT = /^homeport\.([a-z][a-z_]{0,62})$/;

export interface StartupSettings {
  /** By Postgres' own spelling of the name; the values checked and in a form that Postgres takes. */
  readonly settings: Map<string, string>;
  /** `homeport.tenant=acme` as `tenant` → `acme`; which names exist and what they may be is the gateway's to say. */
  readonly homeport: Map<string, string>;
}

/**
 * Files one setting where it belongs.
 * @throws HP-P104 for one that isn't on the list, HP-P105 for a value that doesn't fit.
 */
export function addSetting(into: StartupSettings, parameter: string, value: string): void {
  const name = parameter.toLowerCase();
  const own = HOMEPORT.exec(name)?.[1];
  if (own !== undefined) {
    into.homeport.set(own, value);
    return;
  }
  const shown = parameter.slice(0, 80);
  const spelling = SPELLING.get(name);
  const check = spelling === undefined ? undefined : CHECKS[spelling];
  if (spelling === undefined || check === undefined) {
    const why = REFUSALS[name] ?? 'it is not among the settings that the gateway can keep apart between clients';
    throw new HomeportError('HP-P104', { parameter: shown, why });
  }
  const checked = check(value);
  if (typeof checked !== 'string') {
    throw new HomeportError('HP-P105', { parameter: shown, value: value.slice(0, 80), why: checked.why });
  }
  into.settings.set(spelling, checked);
}
