/**
 * Bounded loads: spreads rows (slots) over columns (shards) as the ring likes them, but never further than 2 % from the
 * columns' shares of the weight. Pure; the same for a first proposal and for a rebalance, which differ in where they start.
 *
 * Guaranteed, with q = rows × weight / all weights: lower ≤ count ≤ upper, where
 *   lower = min(⌊q⌋, ⌈0.98 q⌉) and upper = max(⌈q⌉, ⌊1.02 q⌋).
 * So |count − q| ≤ 2 % of q, or less than one row where 2 % of q is less than what whole numbers allow.
 * Σ lower ≤ rows ≤ Σ upper holds always, so there is always an answer.
 */
import { assert } from '../base/assert.ts';

export const LOAD_TOLERANCE = 0.02;

export interface Quota {
  /** The exact share, in rows. */
  readonly share: number;
  readonly lower: number;
  readonly upper: number;
}

export function quotas(rows: number, weights: readonly number[]): Quota[] {
  const total = weights.reduce((sum, w) => sum + w, 0);
  assert(total > 0, 'a spread needs at least one column with weight');
  return weights.map(weight => {
    const share = (rows * weight) / total;
    // Float noise must not turn an exact whole share into its neighbour: 1e-9 of a row decides nothing.
    const lower = Math.min(Math.floor(share + 1e-9), Math.ceil(share * (1 - LOAD_TOLERANCE) - 1e-9));
    const upper = Math.max(Math.ceil(share - 1e-9), Math.floor(share * (1 + LOAD_TOLERANCE) + 1e-9));
    return { share, lower, upper };
  });
}

/** What the ring thinks of each (row, column): larger is better. Logarithms of scores, so that differences compare. */
export interface Liking {
  readonly rows: number;
  readonly columns: number;
  /** Row by row: `values[row * columns + column]`. */
  readonly values: Float64Array;
}

export const UNPLACED = -1;

/** The column that the ring alone would give each row. */
export function favourites(liking: Liking): Int32Array {
  const choice = new Int32Array(liking.rows);
  for (let row = 0; row < liking.rows; row++) {
    let best = 0;
    for (let column = 1; column < liking.columns; column++) {
      if (at(liking, row, column) > at(liking, row, best)) best = column;
    }
    choice[row] = best;
  }
  return choice;
}

/**
 * Moves as few rows as possible until every column is within its quota; among equals, those rows that the ring minds
 * least. Rows that are `UNPLACED` are placed first, where there is room. Changes `choice` in place.
 *
 * Least: with E rows above the uppers, D below the lowers and F unplaced, F + max(E, D − F) rows change their column,
 * and fewer can't do. Each step below lowers E by one if there is any, and D by one if there is any.
 * @returns how many placed rows were moved.
 */
export function bound(liking: Liking, choice: Int32Array, bounds: readonly Quota[]): number {
  assert(choice.length === liking.rows && bounds.length === liking.columns, 'a choice per row, a quota per column');
  const counts = new Array<number>(liking.columns).fill(0);
  for (const column of choice) if (column !== UNPLACED) counts[column] = count(counts, column) + 1;
  const below = (limit: 'lower' | 'upper') => columnsWhere(counts, bounds, (n, q) => n < q[limit]);
  const above = (limit: 'lower' | 'upper') => columnsWhere(counts, bounds, (n, q) => n > q[limit]);

  const target = () => {
    const short = below('lower');
    return short.length > 0 ? short : below('upper');
  };
  const step = (from: ReadonlySet<number>, to: readonly number[]) => {
    const { row, column } = leastRegret(liking, choice, from, to);
    const old = choice[row] ?? UNPLACED;
    if (old !== UNPLACED) counts[old] = count(counts, old) - 1;
    counts[column] = count(counts, column) + 1;
    choice[row] = column;
  };

  for (let unplaced = choice.filter(c => c === UNPLACED).length; unplaced > 0; unplaced--) {
    step(new Set([UNPLACED]), target());
  }
  for (let moved = 0; ; moved++) {
    const over = above('upper');
    const short = below('lower');
    if (over.length === 0 && short.length === 0) return moved;
    assert(moved <= liking.rows, 'bounding ends: every step lowers what is out of bounds');
    step(new Set(over.length > 0 ? over : above('lower')), short.length > 0 ? short : below('upper'));
  }
}

/** The row among those now in `from` whose change to one of `to` costs the ring least. First of equals. */
function leastRegret(liking: Liking, choice: Int32Array, from: ReadonlySet<number>, to: readonly number[]) {
  let found: { row: number; column: number } | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (let row = 0; row < liking.rows; row++) {
    const old = choice[row] ?? UNPLACED;
    if (!from.has(old)) continue;
    for (const column of to) {
      const had = old === UNPLACED ? 0 : at(liking, row, old);
      const regret = had - at(liking, row, column);
      if (regret < least) {
        least = regret;
        found = { row, column };
      }
    }
  }
  assert(
    found,
    'there is always a row to take and a column with room: lowers sum to at most, uppers to at least all rows',
  );
  return found;
}

function columnsWhere(counts: readonly number[], bounds: readonly Quota[], test: (n: number, q: Quota) => boolean) {
  return bounds.flatMap((quota, column) => (test(count(counts, column), quota) ? [column] : []));
}

function at(liking: Liking, row: number, column: number): number {
  return liking.values[row * liking.columns + column] ?? Number.NEGATIVE_INFINITY;
}

function count(counts: readonly number[], column: number): number {
  return counts[column] ?? 0;
}
