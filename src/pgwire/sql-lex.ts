/** Where words, quotes, comments and statements end, as Postgres reads them with standard_conforming_strings on. */

const isSpace = (c: number) => c === 32 || (c >= 9 && c <= 13);
export const isWord = (c: number) =>
  (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || c === 95 || (c >= 48 && c <= 57) || c === 36 || c > 127;

/** Skips white space and comments from `at` (nested block comments, as Postgres has them). */
export function skipBlank(sql: string, at: number): number {
  let i = at;
  for (;;) {
    const c = sql.charCodeAt(i);
    if (isSpace(c)) i++;
    else if (c === 45 && sql.charCodeAt(i + 1) === 45) {
      const line = sql.indexOf('\n', i);
      i = line < 0 ? sql.length : line + 1;
    } else if (c === 47 && sql.charCodeAt(i + 1) === 42) i = skipBlockComment(sql, i);
    else return i;
  }
}

function skipBlockComment(sql: string, at: number): number {
  let depth = 0;
  for (let i = at; i < sql.length; i++) {
    const two = sql.charCodeAt(i + 1);
    if (sql.charCodeAt(i) === 47 && two === 42) {
      depth++;
      i++;
    } else if (sql.charCodeAt(i) === 42 && two === 47) {
      i++;
      if (--depth === 0) return i + 1;
    }
  }
  return sql.length;
}

/** A literal goes on behind white space with a line break in it, and in the same form: E'a' ⏎ 'b\'c'. */
const GOES_ON = /[ \t\f\v]*(?:--[^\n\r]*)?[\n\r](?:\s|--[^\n\r]*[\n\r])*'/y;

/** The end of a quoted piece that starts at `at`. With `escapes`, a backslash takes the next character along. */
function skipQuoted(sql: string, at: number, quote: number, escapes: boolean): number {
  for (let i = at + 1; i < sql.length; i++) {
    const c = sql.charCodeAt(i);
    if (escapes && c === 92) i++;
    else if (c === quote) {
      if (sql.charCodeAt(i + 1) === quote) i++;
      else {
        GOES_ON.lastIndex = i + 1;
        if (!escapes || !GOES_ON.test(sql)) return i + 1;
        i = GOES_ON.lastIndex - 1;
      }
    }
  }
  return sql.length;
}

const DOLLAR = /\$(?:[A-Za-z_\u0080-\uffff][A-Za-z_0-9\u0080-\uffff]*)?\$/y;

/** The index of the semicolon that ends the statement at `at`, or the text's length. */
export function statementEnd(sql: string, at: number): number {
  let i = at;
  while (i < sql.length) {
    const c = sql.charCodeAt(i);
    if (c === 59) return i;
    if (c === 39) {
      const before = sql.charCodeAt(i - 1);
      const escapes = (before === 69 || before === 101) && !isWord(sql.charCodeAt(i - 2));
      i = skipQuoted(sql, i, 39, escapes);
    } else if (c === 34) i = skipQuoted(sql, i, 34, false);
    else if (c === 36 && !isWord(sql.charCodeAt(i - 1))) i = skipDollar(sql, i);
    else if ((c === 45 && sql.charCodeAt(i + 1) === 45) || (c === 47 && sql.charCodeAt(i + 1) === 42)) {
      i = skipBlank(sql, i);
    } else i++;
  }
  return sql.length;
}

function skipDollar(sql: string, at: number): number {
  DOLLAR.lastIndex = at;
  const tag = DOLLAR.exec(sql)?.[0];
  if (!tag) return at + 1;
  const close = sql.indexOf(tag, at + tag.length);
  return close < 0 ? sql.length : close + tag.length;
}
