export interface ErrorSpec {
  /** Five characters; SQL clients decide on it. */
  readonly sqlstate: string;
  /** What happened. `{name}` is filled from the error's parameters. */
  readonly message: string;
  /** Where the data is safe, or what was found; only where it adds something. */
  readonly detail?: string;
  /** The next thing to do: a command where there is one. */
  readonly hint: string;
  /** Status for the HTTP APIs. */
  readonly http: number;
}

/** Keeps the literal keys, so that a code which isn't in the catalogue does not compile. */
export function specs<const T extends Record<`HP-${string}`, ErrorSpec>>(table: T): T {
  return table;
}
