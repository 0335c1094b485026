/** What every file keeps to: sizes, and words that may not be written. Each rule is a function from files to violations. */
import { checkCycles, checkFloors, checkPackages } from './floors.ts';
import { isNode, type Node, type Source, type Tree, type Violation, walk } from './source.ts';

export const MAX_FILE_LINES = 380;
export const MAX_FUNCTION_LINES = 70;

const WORLD = 'src/base/world.ts';

type Found = readonly [node: Node, message: string];

function report(rule: string, source: Source, found: readonly Found[]): Violation[] {
  return found.map(([node, message]) => ({ rule, path: source.path, line: source.lineAt(node.start), message }));
}

function collect(source: Source, visit: (node: Node, ancestors: readonly Node[]) => string | undefined): Found[] {
  const found: Found[] = [];
  walk(source.program, (node, ancestors) => {
    const message = visit(node, ancestors);
    if (message !== undefined) found.push([node, message]);
  });
  return found;
}

/** A field of a node, when it is a node itself. */
function field(node: Node | undefined, name: string): Node | undefined {
  const value: unknown = node && Object.entries(node).find(([key]) => key === name)?.[1];
  return isNode(value) ? value : undefined;
}

/** The plain name that an identifier or a fixed property has. */
function nameOf(node: Node | undefined): string | undefined {
  return node && 'name' in node && typeof node.name === 'string' ? node.name : undefined;
}

function dotted(node: Node): string | undefined {
  if (node.type !== 'MemberExpression') return undefined;
  const object = field(node, 'object');
  const property = nameOf(field(node, 'property'));
  const left = nameOf(object) ?? (object && dotted(object));
  return left && property && `${left}.${property}`;
}

export function checkFileSizes(source: Source): Violation[] {
  if (source.lines <= MAX_FILE_LINES) return [];
  const message = `${source.lines} lines, more than ${MAX_FILE_LINES}: split it`;
  return [{ rule: 'file-size', path: source.path, line: MAX_FILE_LINES + 1, message }];
}

const FUNCTIONS = new Set(['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression']);

/** In a test file, what is handed to `describe` groups tests and is as long as they are. */
function isTestGroup(source: Source, parent: Node | undefined): boolean {
  if (!source.path.endsWith('.test.ts') || parent?.type !== 'CallExpression') return false;
  const callee = field(parent, 'callee');
  const name = callee && (nameOf(callee) ?? dotted(callee) ?? nameOf(field(field(callee, 'callee'), 'object')));
  return name?.startsWith('describe') ?? false;
}

export function checkFunctionSizes(source: Source): Violation[] {
  const found = collect(source, (node, ancestors) => {
    const lines = source.lineAt(node.end - 1) - source.lineAt(node.start) + 1;
    if (!FUNCTIONS.has(node.type) || lines <= MAX_FUNCTION_LINES || isTestGroup(source, ancestors.at(-1)))
      return undefined;
    const parent = ancestors.at(-1);
    const name =
      nameOf(field(node, 'id')) ?? nameOf(field(parent, 'key')) ?? nameOf(field(parent, 'id')) ?? 'a function';
    return `${name} has ${lines} lines, more than ${MAX_FUNCTION_LINES}: it does not fit a screen`;
  });
  return report('function-size', source, found);
}

const BANNED_CALLS = new Set([
  'Date.now',
  'Math.random',
  'performance.now',
  'process.hrtime',
  'process.uptime',
  'net.connect',
]);
for (const name of ['net.createServer', 'net.createConnection', 'crypto.randomBytes', 'crypto.randomUUID'])
  BANNED_CALLS.add(name);
const BANNED_IDENTIFIERS = new Set([
  'setTimeout',
  'setInterval',
  'setImmediate',
  'randomUUID',
  'randomBytes',
  'getRandomValues',
]);
/** Tests may read clocks, but never wait for one, nor roll dice that no seed repeats. */
const BANNED_IN_TESTS = new Set(['setTimeout', 'setInterval', 'Math.random']);
const BANNED_MODULES = /^(node:)?timers(\/|$)/;
const NETWORK_IMPORTS = new Set(['connect', 'createConnection', 'createServer']);

function bannedName(node: Node, parent: Node | undefined): string | undefined {
  const path = dotted(node);
  if (path && BANNED_CALLS.has(path)) return path;
  if (path?.startsWith('globalThis.') && BANNED_IDENTIFIERS.has(path.slice(11))) return path.slice(11);
  if (node.type === 'NewExpression' && nameOf(field(node, 'callee')) === 'Date') {
    return 'arguments' in node && Array.isArray(node.arguments) && node.arguments.length === 0
      ? 'new Date()'
      : undefined;
  }
  const name = node.type === 'Identifier' ? nameOf(node) : undefined;
  const isProperty = parent && (field(parent, 'property') === node || field(parent, 'key') === node);
  return name && BANNED_IDENTIFIERS.has(name) && !isProperty ? name : undefined;
}

function bannedImport(node: Node): string | undefined {
  if (node.type !== 'ImportDeclaration') return undefined;
  const source = field(node, 'source');
  const from = source && 'value' in source ? String(source.value) : '';
  if (BANNED_MODULES.test(from)) return from;
  if (!/^(node:)?net$/.test(from) || !('specifiers' in node) || !Array.isArray(node.specifiers)) return undefined;
  const names = node.specifiers.map((specifier: Node) => nameOf(field(specifier, 'imported')));
  const banned = names.find(name => name !== undefined && NETWORK_IMPORTS.has(name));
  return banned && `net.${banned}`;
}

/** Time, chance and the network come from the world alone. */
export function checkBannedNames(source: Source): Violation[] {
  const isTest = source.path.startsWith('test/');
  const isProduct = /^(src|migrations)\//.test(source.path);
  if (source.path === WORLD || !(isTest || isProduct)) return [];
  const found = collect(source, (node, ancestors) => {
    const name = bannedName(node, ancestors.at(-1)) ?? bannedImport(node);
    if (name === undefined || (isTest && !BANNED_IN_TESTS.has(name) && !BANNED_MODULES.test(name))) return undefined;
    return `${name} is for base/world.ts alone: take a World or a Clock`;
  });
  return report('banned-name', source, found);
}

/** What hides a fault: `any`, a swallowed error, a silenced compiler, work put off. */
export function checkBannedWords(source: Source): Violation[] {
  const nodes = collect(source, node => {
    if (node.type === 'TSAnyKeyword') return 'any switches the types off: use unknown, or say the shape';
    const body = node.type === 'CatchClause' ? field(node, 'body') : undefined;
    if (body && 'body' in body && Array.isArray(body.body) && body.body.length === 0) return 'an error is swallowed';
    return undefined;
  });
  const comments = source.comments.flatMap(({ value, line }) => {
    const word = /\b(TODO|FIXME|XXX)\b|@ts-(ignore|nocheck)/.exec(value)?.[0];
    return word ? [{ rule: 'banned-word', path: source.path, line, message: `${word} in a comment` }] : [];
  });
  return [...report('banned-word', source, nodes), ...comments];
}

/** A cast says the compiler is wrong: the reason stands beside it, or in the lines just above. */
export function checkCasts(source: Source): Violation[] {
  if (!source.path.startsWith('src/')) return [];
  const commented = new Set(source.comments.flatMap(({ line, endLine }) => [line, endLine]));
  const found = collect(source, (node, ancestors) => {
    if (node.type !== 'TSAsExpression' && node.type !== 'TSNonNullExpression') return undefined;
    const type = field(node, 'typeAnnotation');
    if (nameOf(field(type, 'typeName')) === 'const') return undefined;
    const statement = ancestors.findLast(
      ({ type: kind }) => /Statement$|Declaration$|Definition$/.test(kind) && kind !== 'BlockStatement',
    );
    const first = Math.max(source.lineAt(statement?.start ?? node.start), source.lineAt(node.start) - 5) - 2;
    for (let line = first; line <= source.lineAt(node.end) + 1; line++) if (commented.has(line)) return undefined;
    return 'a cast without its reason in a comment';
  });
  return report('cast', source, found);
}

export function checkBarrels(source: Source): Violation[] {
  if (!source.path.startsWith('src/') || source.path === 'src/index.ts') return [];
  const isIndex = /\/index\.ts$/.test(source.path);
  const found = collect(source, node => (node.type === 'ExportAllDeclaration' ? 'export * makes a barrel' : undefined));
  const body = 'body' in source.program && Array.isArray(source.program.body) ? source.program.body.filter(isNode) : [];
  const isAllExports = body.length > 0 && body.every(node => field(node, 'source') && node.type.startsWith('Export'));
  const whole: Found[] = isIndex || isAllExports ? [[source.program, 'a barrel: import from where things are']] : [];
  return report('barrel', source, [...found, ...whole]);
}

const TEST_WORDS = /^(it|test|describe|suite|bench)(\.\w+)*\.(skip|only|todo)$/;
const TEST_NAME = /^test\/[a-z]+\/[a-z0-9-]+(\.(pg|nats|cluster|sim))?\.test\.ts$/;

export function checkTests(source: Source): Violation[] {
  if (!source.path.startsWith('test/')) return [];
  const found = collect(source, node => {
    const path = dotted(node);
    return path && TEST_WORDS.test(path) ? `${path} leaves tests out` : undefined;
  });
  const isBadlyNamed = source.path.endsWith('.test.ts') && !TEST_NAME.test(source.path);
  const name: Found[] = isBadlyNamed
    ? [[source.program, 'not test/<folder>/<behaviour>[.pg|.nats|.cluster|.sim].test.ts']]
    : [];
  return report('test', source, [...found, ...name]);
}

const fileRules = [
  checkFileSizes,
  checkFunctionSizes,
  checkBannedNames,
  checkBannedWords,
  checkCasts,
  checkBarrels,
  checkTests,
];

/** @param declared the packages in package.json. */
export function checkTree(tree: Tree, declared: ReadonlySet<string>): Violation[] {
  const each = [...tree.values()].flatMap(source => fileRules.flatMap(rule => rule(source)));
  return [...checkFloors(tree), ...checkCycles(tree), ...checkPackages(tree, declared), ...each];
}
