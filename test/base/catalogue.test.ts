import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { catalogue } from '../../src/base/errors/catalogue.ts';
import { describe as describeError, HomeportError } from '../../src/base/errors.ts';
import { commandRows } from '../../src/cli/commands.ts';
import { areas, errorDocs } from '../../src/cli/errordocs.ts';

const root = join(import.meta.dirname, '../..');
const CODE = /\bHP-[A-Z]\d{3}\b/g;

function codesIn(patterns: readonly string[]): Map<string, string> {
  const files = globSync([...patterns], { cwd: root }).filter(path => !path.startsWith('src/base/errors/'));
  const found = new Map<string, string>();
  for (const path of files) {
    for (const [code] of withoutComments(readFileSync(join(root, path), 'utf8')).matchAll(CODE)) found.set(code, path);
  }
  return found;
}

/** A code that only a comment mentions is not one that is raised. */
function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*$/gm, '');
}

const entries = Object.entries(catalogue);
const used = codesIn(['src/**/*.{ts,sql}', 'migrations/**/*.{ts,sql}', 'bin/*.mjs']);

describe('the catalogue', () => {
  test('has every code that the sources use', () => {
    const unknown = [...used].filter(([code]) => !Object.hasOwn(catalogue, code));
    expect(unknown).toEqual([]);
  });

  test('has no code that nothing raises', () => {
    expect(entries.map(([code]) => code).filter(code => !used.has(code))).toEqual([]);
  });

  test('is what ERRORS.md says (npm run docs:errors)', () => {
    expect(readFileSync(join(root, 'ERRORS.md'), 'utf8')).toBe(errorDocs());
  });

  test('sends nobody to a command that does not exist', () => {
    const commands = new Set(commandRows.flatMap(row => Object.keys(row.commands)));
    const named = entries.flatMap(([code, { hint, detail = '' }]) =>
      [...`${hint} ${detail}`.matchAll(/\bhomeport ([a-z]+)/g)].map(match => ({ code, command: match[1] ?? '' })),
    );
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter(({ command }) => !commands.has(command))).toEqual([]);
  });

  test('has every code in one area file alone', () => {
    const files = globSync('src/base/errors/*.ts', { cwd: root }).map(path => readFileSync(join(root, path), 'utf8'));
    const keys = files.flatMap(text => [...text.matchAll(/^ {2}'(HP-[A-Z]\d{3})':/gm)].map(match => match[1]));
    expect(keys.toSorted()).toEqual(entries.map(([code]) => code).toSorted());
  });

  test.each(entries)('%s can be read at night', (code, { sqlstate, message, hint, detail, http }) => {
    expect(code).toMatch(/^HP-[A-Z]\d{3}$/);
    expect(Object.keys(areas)).toContain(code[3]);
    expect(sqlstate).toMatch(/^[0-9A-Z]{5}$/);
    expect(message.trim()).not.toBe('');
    expect(hint.trim()).not.toBe('');
    expect(detail?.trim()).not.toBe('');
    expect(http).toBeGreaterThanOrEqual(400);
    expect(http).toBeLessThan(600);
  });
});

describe('an error', () => {
  const error = new HomeportError(
    'HP-D101',
    { tenant: 'a\nb', why: 'it has control characters' },
    { cause: new Error('why') },
  );

  test('fills in what it knows, and keeps its cause', () => {
    expect(error.message).toBe('"a\nb" is not a tenant key: it has control characters');
    expect(error.sqlstate).toBe('22023');
    expect(error.cause).toBeInstanceOf(Error);
    expect(new HomeportError('HP-D101').message).toBe('"?" is not a tenant key: ?');
  });

  test('shows code, sentence and next step on a terminal', () => {
    expect(describeError(error)).toContain('HP-D101 "a\nb" is not a tenant key');
    expect(describeError(error)).toContain('\n  Next: use [domain/]name');
    expect(describeError(new Error('plain'))).toBe('plain');
    expect(describeError('text')).toBe('text');
  });

  test('does not fill in what a value brings along', () => {
    expect(new HomeportError('HP-D101', { tenant: '{why}', why: 'x' }).message).toBe('"{why}" is not a tenant key: x');
  });
});
