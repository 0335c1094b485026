/** Imports point to a lower floor only; folders on one floor never import each other; nothing imports in a circle. */
import { dirname, join } from 'node:path/posix';
import type { Source, Tree, Violation } from './source.ts';

export const floors: Readonly<Record<string, number>> = {
  base: 0,
  config: 1,
  observe: 1,
  pgwire: 1,
  bus: 1,
  migrations: 1, // stands beside src/: what a shard contains, used by shards/
  directory: 2,
  shards: 2,
  replication: 3,
  admission: 3,
  gateway: 4,
  control: 4,
  failover: 4,
  moves: 4,
  http: 5,
  client: 6,
  devcluster: 6,
  drills: 7,
  cli: 8,
};

/** Files that stand directly in `src/`: they wire everything together and are above all folders. */
export const rootFiles = ['src/compose.ts', 'src/main.ts', 'src/index.ts'];
const ROOT_FLOOR = 9;

/** The few ways up, each with its reason. */
export const allowedWaysUp: readonly { readonly from: string; readonly to: string; readonly because: string }[] = [
  { from: 'src/cli/serve.ts', to: 'src/main.ts', because: 'the command that starts what main.ts wires together' },
];

/** The path that a relative import means, or undefined for a package. */
export function targetOf(source: Source, specifier: string): string | undefined {
  return specifier.startsWith('.') ? join(dirname(source.path), specifier) : undefined;
}

function folderOf(path: string): string | undefined {
  return path.startsWith('migrations/') ? 'migrations' : /^src\/([^/]+)\//.exec(path)?.[1];
}

function isProduct(path: string): boolean {
  return path.startsWith('src/') || path.startsWith('migrations/');
}

function isAllowedUp(from: string, to: string): boolean {
  return allowedWaysUp.some(way => way.from === from && way.to === to);
}

function whyNot(from: string, to: string): string | undefined {
  const fromFolder = folderOf(from);
  const toFolder = folderOf(to);
  if (!isProduct(to)) return `${to} is no part of the product`;
  if (fromFolder === toFolder) return undefined;
  const fromFloor = fromFolder === undefined ? ROOT_FLOOR : (floors[fromFolder] ?? ROOT_FLOOR);
  const toFloor = toFolder === undefined ? ROOT_FLOOR : (floors[toFolder] ?? ROOT_FLOOR);
  if (fromFolder === 'client' && toFolder !== 'base') return 'client/ imports base/ alone';
  if (toFloor < fromFloor || isAllowedUp(from, to)) return undefined;
  const relation = toFloor === fromFloor ? 'beside it' : 'above it';
  return `${toFolder ?? to} (floor ${toFloor}) is ${relation}, ${fromFolder ?? from} is on floor ${fromFloor}`;
}

export function checkFloors(tree: Tree): Violation[] {
  const violations: Violation[] = [];
  for (const source of tree.values()) {
    if (!isProduct(source.path)) continue;
    const folder = folderOf(source.path);
    if (folder === undefined ? !rootFiles.includes(source.path) : floors[folder] === undefined) {
      const message = folder === undefined ? `only ${rootFiles.join(', ')} stand there` : `${folder}/ has no floor`;
      violations.push({ rule: 'floor', path: source.path, line: 1, message });
    }
    for (const { specifier, line } of source.imports) {
      const target = targetOf(source, specifier);
      const why = target === undefined ? undefined : whyNot(source.path, target);
      if (why) violations.push({ rule: 'floor', path: source.path, line, message: why });
    }
  }
  return violations;
}

/** Finds each circle once, by depth-first search; a file is grey while the search is inside it. */
export function checkCycles(tree: Tree): Violation[] {
  const violations: Violation[] = [];
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (path: string) => {
    const source = tree.get(path);
    if (!source || done.has(path)) return;
    trail.push(path);
    for (const { specifier, line } of source.imports) {
      const target = targetOf(source, specifier);
      if (target === undefined) continue;
      const start = trail.indexOf(target);
      if (start >= 0) {
        const message = `imports in a circle: ${[...trail.slice(start), target].join(' → ')}`;
        violations.push({ rule: 'cycle', path, line, message });
      } else visit(target);
    }
    trail.pop();
    done.add(path);
  };
  for (const path of tree.keys()) visit(path);
  return violations;
}

export function checkPackages(tree: Tree, declared: ReadonlySet<string>): Violation[] {
  const violations: Violation[] = [];
  for (const source of tree.values()) {
    for (const { specifier, line } of source.imports) {
      if (specifier.startsWith('.') || specifier.startsWith('node:')) continue;
      const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
      if (declared.has(name)) continue;
      violations.push({ rule: 'package', path: source.path, line, message: `${name} is not in package.json` });
    }
  }
  return violations;
}
