import { globSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkTree } from './rules.ts';
import { parseSource, type Tree, type Violation } from './source.ts';

const root = join(import.meta.dirname, '../..');

function readTree(): Tree {
  const files = globSync(['src/**/*.ts', 'test/**/*.ts', 'bench/**/*.ts', 'migrations/**/*.ts'], { cwd: root });
  return new Map(files.sort().map(path => [path, parseSource(path, readFileSync(join(root, path), 'utf8'))]));
}

function declaredPackages(): Set<string> {
  const manifest: Record<string, unknown> = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const kinds = ['dependencies', 'devDependencies', 'optionalDependencies'];
  return new Set(kinds.flatMap(kind => Object.keys(manifest[kind] ?? {})));
}

function show({ rule, path, line, message }: Violation): string {
  return `${relative('.', path)}:${line} [${rule}] ${message}`;
}

describe('the sources', () => {
  test('keep to the floors, the sizes and the words', () => {
    const tree = readTree();
    expect(tree.size).toBeGreaterThan(20);
    expect(checkTree(tree, declaredPackages()).map(show)).toEqual([]);
  });
});
