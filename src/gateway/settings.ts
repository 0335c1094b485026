/**
 * Session settings of many clients on few backends. Each client's are kept here as SQL text, and a backend that carries
 * others is brought in line by a query of ours ahead of the client's first statement.
 */
export type Settings = ReadonlyMap<string, string>;

export const NO_SETTINGS: Settings = new Map();

/** As the name of a change: RESET ALL. */
export const EVERYTHING = 'all';

/** A string as a SQL literal. Backslashes are safe: standard_conforming_strings is on for every session of ours. */
export function quoteLiteral(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

const NAME = /^[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)?$/;

/** Settings given at startup, where values are plain text and not SQL. Names were checked against the whitelist. */
export function fromStartup(given: ReadonlyMap<string, string>): Settings {
  if (given.size === 0) return NO_SETTINGS;
  return new Map([...given].map(([name, value]) => [name.toLowerCase(), quoteLiteral(value)]));
}

export function withSetting(settings: Settings, name: string, value: string | undefined): Settings {
  const next = new Map(settings);
  if (value === undefined) next.delete(name);
  else next.set(name, value);
  return next;
}

/** `search_path` and other lists are written without quotes, as the client wrote them. */
function assignment(name: string, value: string): string {
  return `SET ${name} TO ${value}`;
}

/** The SQL that turns a session with settings `from` into one with `to`; undefined when they are the same. */
export function difference(from: Settings, to: Settings): string | undefined {
  if (from === to) return undefined;
  const statements: string[] = [];
  for (const name of from.keys()) if (!to.has(name) && NAME.test(name)) statements.push(`RESET ${name}`);
  for (const [name, value] of to) {
    if (from.get(name) !== value && NAME.test(name)) statements.push(assignment(name, value));
  }
  return statements.length === 0 ? undefined : statements.join('; ');
}
