/**
 * Every refusal has a code that never changes, a sentence for the person who reads it at night, and the next thing to
 * do. Texts live in the catalogue (`errors/*.ts`), which the documentation and a test read too. Nothing decides by text.
 */
import { catalogue, type ErrorCode } from './errors/catalogue.ts';
import type { ErrorSpec } from './errors/spec.ts';

export type ErrorParams = Readonly<Record<string, string | number | undefined>>;

function fill(template: string, params: ErrorParams): string {
  return template.replaceAll(/\{(\w+)\}/g, (_, name: string) => String(params[name] ?? '?'));
}

export class HomeportError extends Error {
  override readonly name = 'HomeportError';
  readonly code: ErrorCode;
  readonly params: ErrorParams;

  constructor(code: ErrorCode, params: ErrorParams = {}, options?: { cause?: unknown }) {
    super(fill(catalogue[code].message, params), options);
    this.code = code;
    this.params = params;
  }

  get spec(): ErrorSpec {
    return catalogue[this.code];
  }
  get sqlstate(): string {
    return this.spec.sqlstate;
  }
  get detail(): string | undefined {
    return this.spec.detail === undefined ? undefined : fill(this.spec.detail, this.params);
  }
  get hint(): string {
    return fill(this.spec.hint, this.params);
  }
}

/** One line (or two, with a hint) for a terminal: `HP-D101 …` and what to do next. */
export function describe(error: unknown): string {
  if (error instanceof HomeportError) {
    const detail = error.detail ? `\n  ${error.detail}` : '';
    return `${error.code} ${error.message}${detail}\n  Next: ${error.hint}`;
  }
  return error instanceof Error ? error.message : String(error);
}
