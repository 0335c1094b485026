/**
 * A state machine is a table of plain rows: from a kind of state, on a kind of event, to a kind of state, with the
 * sentence that an operator reads when it happens. The table is total or it refuses: an event with no row is an error
 * of ours and never passes silently. What is decided lives elsewhere, as pure functions; this only says what may be.
 */
import { BrokenInvariant } from './assert.ts';

export interface Transition<State extends string, Event extends string> {
  readonly from: State;
  readonly on: Event;
  readonly to: State;
  /** The operator's log line, and the row's documentation. */
  readonly says: string;
}

export interface Machine<State extends string, Event extends string> {
  readonly rows: readonly Transition<State, Event>[];
  /** The row for this event, or undefined when the table has none. */
  find(from: State, on: Event): Transition<State, Event> | undefined;
  /** @throws BrokenInvariant when the table has no such row. */
  next(from: State, on: Event): Transition<State, Event>;
}

/** @throws BrokenInvariant when two rows answer the same event in the same state. */
export function machine<State extends string, Event extends string>(
  name: string,
  rows: readonly Transition<State, Event>[],
): Machine<State, Event> {
  const table = new Map<string, Transition<State, Event>>();
  for (const row of rows) {
    const key = `${row.from}\u0000${row.on}`;
    if (table.has(key)) throw new BrokenInvariant(`${name}: two rows for ${row.on} in ${row.from}`);
    table.set(key, row);
  }
  const find = (from: State, on: Event) => table.get(`${from}\u0000${on}`);
  return {
    rows,
    find,
    next(from, on) {
      const row = find(from, on);
      if (!row) throw new BrokenInvariant(`${name}: ${on} can't happen in ${from}`);
      return row;
    },
  };
}
