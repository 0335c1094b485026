import { describe, expect, test } from 'vitest';
import { checkTree, MAX_FILE_LINES, MAX_FUNCTION_LINES } from './rules.ts';
import { treeOf } from './source.ts';

const declared = new Set(['zod']);

/** The violations in files that exist in memory alone: `rule path:line`. */
function check(files: Readonly<Record<string, string>>): string[] {
  return checkTree(treeOf(files), declared).map(({ rule, path, line }) => `${rule} ${path}:${line}`);
}

function lines(count: number, line = '// filler'): string {
  return `${line}\n`.repeat(count);
}

const body = (statements: number) => lines(statements, '  work();');

describe('the floors', () => {
  test('let a higher folder import a lower one, and a folder itself', () => {
    const files = {
      'src/gateway/a.ts': "import '../shards/b.ts';\nimport './c.ts';\nimport '../base/d.ts';",
      'src/gateway/c.ts': '',
      'src/shards/b.ts': '',
      'src/base/d.ts': '',
      'src/compose.ts': "import './gateway/a.ts';",
      'src/shards/migrate.ts': "import '../../migrations/0001-a.ts';",
      'migrations/0001-a.ts': "import '../src/base/d.ts';",
    };
    expect(check(files)).toEqual([]);
  });

  test.each([
    ['upwards', 'src/base/a.ts', "import { x } from '../config/b.ts';"],
    ['sideways', 'src/directory/a.ts', "import '../shards/b.ts';"],
    ['upwards for a type alone', 'src/shards/a.ts', "import type { X } from '../gateway/b.ts';"],
    ['upwards by import()', 'src/pgwire/a.ts', "export const f = () => import('../gateway/b.ts');"],
    ['upwards by re-export', 'src/base/a.ts', "export { x } from '../bus/b.ts';\nexport const y = 1;"],
    ['to what wires everything', 'src/cli/a.ts', "import '../compose.ts';"],
    ['from a migration upwards', 'migrations/0001-a.ts', "import '../src/shards/b.ts';"],
    ['out of src', 'src/cli/a.ts', "import '../../test/x.ts';"],
    ['from the client to anything but base', 'src/client/a.ts', "import '../pgwire/b.ts';"],
  ])('refuse an import %s', (_, path, text) => {
    expect(check({ [path]: text })).toEqual([`floor ${path}:1`]);
  });

  test('let the serve command alone reach what main.ts wires', () => {
    expect(check({ 'src/cli/serve.ts': "export const f = () => import('../main.ts');" })).toEqual([]);
  });

  test('refuse folders and root files that have no floor', () => {
    expect(check({ 'src/utils/a.ts': '', 'src/helper.ts': '' })).toEqual([
      'floor src/utils/a.ts:1',
      'floor src/helper.ts:1',
    ]);
  });
});

describe('circles', () => {
  test('are found, also through a type and over several files', () => {
    const files = {
      'src/base/a.ts': "import './b.ts';",
      'src/base/b.ts': "\nimport type { C } from './c.ts';",
      'src/base/c.ts': "\n\nimport './a.ts';",
    };
    expect(check(files)).toEqual(['cycle src/base/c.ts:3']);
  });

  test('are not seen where two ways lead to one file', () => {
    const files = {
      'src/base/a.ts': "import './b.ts';\nimport './c.ts';",
      'src/base/b.ts': "import './c.ts';",
      'src/base/c.ts': '',
    };
    expect(check(files)).toEqual([]);
  });
});

describe('sizes', () => {
  test('stop at the longest file', () => {
    expect(check({ 'src/base/a.ts': lines(MAX_FILE_LINES) })).toEqual([]);
    expect(check({ 'src/base/a.ts': lines(MAX_FILE_LINES + 1) })).toEqual([
      `file-size src/base/a.ts:${MAX_FILE_LINES + 1}`,
    ]);
  });

  test.each([
    ['function', `function f() {\n${body(MAX_FUNCTION_LINES - 1)}}`],
    ['arrow', `const f = () => {\n${body(MAX_FUNCTION_LINES - 1)}};`],
    ['method', `class A { m() {\n${body(MAX_FUNCTION_LINES - 1)}} }`],
  ])('stop at the longest %s, whatever braces stand in its strings', (_, text) => {
    expect(check({ 'src/base/a.ts': text })).toEqual(['function-size src/base/a.ts:1']);
    expect(
      check({ 'src/base/a.ts': text.replace('  work();\n', '').replace('work()', 'say("}}}", `}}`, /[}]/)') }),
    ).toEqual([]);
  });

  test('leave groups of tests alone, not the tests', () => {
    const group = `describe('x', () => {\n${body(MAX_FUNCTION_LINES)}});\n`;
    expect(check({ 'test/base/a.test.ts': group })).toEqual([]);
    expect(check({ 'test/base/a.test.ts': group.replace('describe', 'test') })).toEqual([
      'function-size test/base/a.test.ts:1',
    ]);
  });
});

describe('words', () => {
  test.each([
    ['banned-name', 'const t = Date.now();'],
    ['banned-name', 'const t = new Date();'],
    ['banned-name', 'const t = Math.random();'],
    ['banned-name', 'const t = performance.now();'],
    ['banned-name', 'setTimeout(f, 1);'],
    ['banned-name', 'const f = (later = setTimeout) => later;'],
    ['banned-name', 'globalThis.setInterval(f, 1);'],
    ['banned-name', "import { connect } from 'node:net';"],
    ['banned-name', "import { createServer as listen } from 'net';"],
    ['banned-name', "import { setTimeout as sleep } from 'node:timers/promises';"],
    ['banned-name', 'const id = crypto.randomUUID();'],
    ['banned-word', 'const f = (x: any) => x;'],
    ['banned-word', 'try { f(); } catch {}'],
    ['banned-word', '// TODO later'],
    ['banned-word', '/* @ts-ignore */ f();'],
    ['cast', 'const x = f() as string;'],
    ['cast', 'const x = f()!;'],
    ['barrel', "export * from './b.ts';\nexport const x = 1;"],
    ['barrel', "export { b } from './b.ts';"],
    ['package', "import 'left-pad';"],
  ])('%s: %s', (rule, text) => {
    expect(check({ 'src/base/a.ts': text })).toContain(`${rule} src/base/a.ts:1`);
  });

  test.each([
    'const d = new Date(0);',
    'socket.setTimeout(1); const o = { setTimeout: 1, randomBytes: 2 };',
    "const s = 'Date.now() TODO any'; // a TO-DO list of many",
    "import { Socket } from 'node:net'; import * as z from 'zod';",
    "const x = ['a'] as const;",
    'const x = f() as string; // cast: f gives text',
    '// cast: checked above\nconst x =\n  f() as string;',
    'try { f(); } catch { g(); }',
    "export { b } from './b.ts';\nexport const x = 1;",
  ])('are left alone in: %s', text => {
    expect(check({ 'src/base/a.ts': text })).toEqual([]);
  });

  test('about time, chance and the network are allowed in base/world.ts', () => {
    const text =
      "import { randomBytes } from 'node:crypto';\nimport { connect } from 'node:net';\nconst t = Date.now(); setTimeout(f, 1);";
    expect(check({ 'src/base/world.ts': text })).toEqual([]);
  });
});

describe('tests', () => {
  test('may not be left out, sleep, or roll unseeded dice', () => {
    const text =
      "test.skip('a', f);\ndescribe.only('b', f);\nit.each([1]).todo;\ntest.todo('d');\nsetTimeout(f, 1);\nMath.random();\nDate.now();";
    const rules = check({ 'test/base/a.test.ts': text });
    expect(rules).toEqual([
      'banned-name test/base/a.test.ts:5',
      'banned-name test/base/a.test.ts:6',
      'test test/base/a.test.ts:1',
      'test test/base/a.test.ts:2',
      'test test/base/a.test.ts:4',
    ]);
  });

  test('are named by folder, behaviour and what they need', () => {
    expect(check({ 'test/gateway/lazy-begin.pg.test.ts': '', 'test/base/lsn.test.ts': '' })).toEqual([]);
    expect(check({ 'test/Route.7.test.ts': '' })).toEqual(['test test/Route.7.test.ts:1']);
  });
});
