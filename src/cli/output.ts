/**
 * What a command says: results on standard output, everything else on standard error. With `--json` a result is one line
 * of JSON and an error another, on standard error; without it, text and tables for people.
 */
import { styleText } from 'node:util';
import { BrokenInvariant } from '../base/assert.ts';
import { describe, HomeportError } from '../base/errors.ts';

export interface Sink {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
}

export interface OutputOptions {
  readonly json: boolean;
  /** Stack traces of errors that have no code. */
  readonly verbose?: boolean;
  readonly out: Sink;
  readonly err: Sink;
}

export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row) => string | number | undefined;
}

/** LSNs and epochs are bigint: as text, because JSON's readers round numbers beyond 2^53. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? part.toString() : part));
}

/** Columns as wide as their widest cell, numbers to the right, no line end left with spaces. */
export function table<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const cells = rows.map(row => columns.map(column => column.value(row) ?? '–'));
  const widths = columns.map(({ title }, i) => Math.max(title.length, ...cells.map(row => width(String(row[i])))));
  const pad = (cell: string | number, i: number) => {
    const space = ' '.repeat(Math.max(0, (widths[i] ?? 0) - width(String(cell))));
    return typeof cell === 'number' ? space + cell : cell + space;
  };
  const lines = [columns.map(column => column.title), ...cells];
  return lines.map(line => line.map(pad).join('  ').trimEnd()).join('\n');
}

function width(text: string): number {
  return [...text].length;
}

/** `{"error":{…}}`, as machines read it. */
export function errorJson(error: unknown): object {
  if (error instanceof HomeportError) {
    const { code, message, detail, hint, sqlstate } = error;
    const problems = 'problems' in error && Array.isArray(error.problems) ? error.problems.map(errorJson) : undefined;
    const details = problems === undefined ? detail : undefined;
    return { code, message, detail: details, next: hint, sqlstate, problems };
  }
  return { message: error instanceof Error ? error.message : String(error) };
}

export class Output {
  readonly #options: OutputOptions;

  constructor(options: OutputOptions) {
    this.#options = options;
  }

  get json(): boolean {
    return this.#options.json;
  }

  /** True when a person sits there: only then may a question be asked or a line be redrawn. */
  get isInteractive(): boolean {
    return !this.json && this.#options.err.isTTY === true;
  }

  /** The command's answer, in the form that was asked for. */
  result<T>(value: T, human: (value: T) => string): void {
    this.#options.out.write(`${this.json ? toJson(value) : human(value)}\n`);
  }

  /** A list as a table, or as JSON: the array, or `whole` when there is more to say than its rows. */
  list<Row>(rows: readonly Row[], columns: readonly Column<Row>[], whenEmpty: string, whole: unknown = rows): void {
    this.result(whole, () => (rows.length === 0 ? whenEmpty : this.#withTitle(table(rows, columns))));
  }

  /** What goes on meanwhile; for people only, on standard error. */
  note(text: string): void {
    if (!this.json) this.#options.err.write(`${text}\n`);
  }

  error(error: unknown): void {
    const { err, verbose } = this.#options;
    if (this.json) {
      err.write(`${toJson({ error: errorJson(error) })}\n`);
      return;
    }
    const title = err.isTTY ? styleText('red', 'error') : 'error';
    err.write(`${title}: ${describe(error)}\n`);
    if (error instanceof BrokenInvariant) {
      err.write('  This is a fault of Homeport itself. Please report it with the lines below.\n');
    }
    const isOurs = error instanceof HomeportError;
    if (error instanceof Error && (error instanceof BrokenInvariant || (verbose && !isOurs)))
      err.write(`${error.stack}\n`);
    if (error instanceof Error && error.cause !== undefined && verbose)
      err.write(`  Cause: ${describe(error.cause)}\n`);
  }

  #withTitle(text: string): string {
    if (!this.#options.out.isTTY) return text;
    const end = text.indexOf('\n');
    return end < 0 ? styleText('bold', text) : styleText('bold', text.slice(0, end)) + text.slice(end);
  }
}
