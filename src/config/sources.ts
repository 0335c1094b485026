/**
 * Where settings are written: the YAML file, then `HOMEPORT_*` variables, then flags; the later one wins. The result
 * is one plain tree, and a memory of where each part came from, so that an error can name the variable to change.
 */
import { readFileSync } from 'node:fs';
import { LineCounter, parse, parseDocument } from 'yaml';
import { HomeportError } from '../base/errors.ts';
import { didYouMean } from '../base/suggest.ts';
import { parseHostPort } from './forms.ts';
import { type Outline, outlineAt, step, wholeOutline } from './outline.ts';

export type Tree = { [key: string]: unknown };

/** Not settings: ours for other uses, and those that Kubernetes makes for a service called homeport. */
const OTHER_VARIABLES = /^HOMEPORT_(CONFIG$|ADMIN$|TEST|DEV|WORKER_|SERVICE_|PORT$|PORT_)/;

export function formatPath(path: readonly PropertyKey[]): string {
  return path.map(String).join('.') || 'the configuration';
}

/** Remembers which variable or flag wrote a path. */
export class Origins {
  readonly #written = new Map<string, string>();

  set(path: readonly string[], origin: string): void {
    this.#written.set(formatPath(path), origin);
  }

  /** The path, and where it came from unless it was the file. */
  label(path: readonly PropertyKey[]): string {
    for (let length = path.length; length > 0; length--) {
      const origin = this.#written.get(formatPath(path.slice(0, length)));
      if (origin !== undefined) return `${formatPath(path)} (from ${origin})`;
    }
    return formatPath(path);
  }
}

/** @throws HP-C102, HP-C103 */
export function readYaml(file: string): Tree {
  let content: string;
  try {
    content = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new HomeportError(
      'HP-C102',
      { file, reason: cause instanceof Error ? cause.message : String(cause) },
      { cause },
    );
  }
  const lineCounter = new LineCounter();
  const document = parseDocument(content, { lineCounter, prettyErrors: false, merge: true });
  const error = document.errors[0];
  if (error) {
    const { line } = lineCounter.linePos(error.pos[0]);
    throw new HomeportError('HP-C103', { file, line, reason: error.message }, { cause: error });
  }
  const tree: unknown = document.toJS({ maxAliasCount: 100 });
  if (tree === null || tree === undefined) return {};
  if (isTree(tree)) return tree;
  throw new HomeportError('HP-C103', { file, line: 1, reason: 'the file must be a mapping of settings' });
}

export function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !Buffer.isBuffer(value);
}

function assign(tree: Tree, path: readonly string[], value: unknown): void {
  const [key, ...rest] = path;
  if (key === undefined || key === '__proto__') return;
  if (rest.length > 0) {
    const existing = Object.hasOwn(tree, key) ? tree[key] : undefined;
    const inner: Tree = isTree(existing) ? existing : {};
    assign(inner, rest, value);
    tree[key] = inner;
  } else if (isTree(value) && isTree(tree[key])) {
    for (const [name, part] of Object.entries(value)) assign(tree[key], [name], part);
  } else {
    tree[key] = value;
  }
}

/** `LIMITS_PER_TENANT` → `perTenant`, as variables are written. */
function words(key: string): string[] {
  return key
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2')
    .toUpperCase()
    .split(/[_-]/);
}

function afterPrefix(parts: readonly string[], prefix: readonly string[]): string[] | undefined {
  return prefix.every((word, i) => parts[i] === word) ? parts.slice(prefix.length) : undefined;
}

/**
 * The path that a variable's words mean: `SHARDS EU WEST 1 ADMIN USER` → `shards.eu-west-1.admin.user`. Names that the
 * file already has go first; a new entry of a map takes the fewest words with which the rest makes sense.
 */
function pathOf(node: Outline | undefined, parts: readonly string[], existing: unknown): string[] | undefined {
  if (parts.length === 0) return [];
  if (node === undefined) return undefined;
  const names = [
    ...Object.keys(node.properties ?? {}),
    ...(node.additionalProperties && isTree(existing) ? Object.keys(existing) : []),
  ];
  const inside = (key: string, rest: readonly string[]) => {
    const path = pathOf(step(node, key), rest, isTree(existing) ? existing[key] : undefined);
    return path && [key, ...path];
  };
  for (const name of names) {
    const rest = afterPrefix(parts, words(name));
    const path = rest && inside(name, rest);
    if (path) return path;
  }
  if (typeof node.additionalProperties !== 'object') return undefined;
  for (let count = 1; count <= parts.length; count++) {
    const path = inside(parts.slice(0, count).join('-').toLowerCase(), parts.slice(count));
    if (path && path.length > 1) return path;
  }
  return [parts.join('-').toLowerCase()];
}

/** Every variable whose name is fixed: sections and settings, without the entries of maps. */
function knownVariables(node: Outline, prefix = 'HOMEPORT'): string[] {
  return Object.entries(node.properties ?? {}).flatMap(([name, inner]) => {
    const variable = [prefix, ...words(name)].join('_');
    return [variable, ...knownVariables(inner, variable)];
  });
}

/** A slip of the finger is refused; a variable like none of ours may belong to someone else and is left alone. */
function unknownVariable(variable: string): HomeportError | undefined {
  const known = knownVariables(wholeOutline());
  const suggestion = didYouMean(variable, known);
  const isInSection = known.some(name => variable.startsWith(`${name}_`));
  return suggestion || isInSection ? new HomeportError('HP-C110', { path: variable, suggestion }) : undefined;
}

/** Lays the `HOMEPORT_*` variables over the tree. Their values are YAML: numbers, booleans, lists, mappings, text. */
export function applyEnvironment(tree: Tree, env: NodeJS.ProcessEnv, origins: Origins): HomeportError[] {
  const problems: HomeportError[] = [];
  for (const [variable, value] of Object.entries(env)) {
    if (!variable.startsWith('HOMEPORT_') || value === undefined || OTHER_VARIABLES.test(variable)) continue;
    const parts = variable.slice('HOMEPORT_'.length).split(/_+/);
    const path = pathOf(wholeOutline(), parts, tree);
    if (path === undefined) {
      const problem = unknownVariable(variable);
      if (problem) problems.push(problem);
      continue;
    }
    assign(tree, path, parseValue(value));
    origins.set(path, variable);
  }
  return problems;
}

/** A value on the command line or in a variable: YAML where it is some, the plain text otherwise. */
export function parseValue(text: string): unknown {
  if (parseHostPort(text)) return text; // `[::1]:5432` would be a mapping, and `1:30` a number of the sexagesimal kind
  try {
    return parse(text, { prettyErrors: false, logLevel: 'silent' });
  } catch {
    return text; // not YAML (`*`): text, and the schema judges it
  }
}

/** Lays flags over the tree: keys are paths (`listen.pg`) or sections, values are what they should be. */
export function applyOverrides(tree: Tree, overrides: Readonly<Record<string, unknown>>, origins: Origins): void {
  for (const [key, value] of Object.entries(overrides)) {
    if (value === undefined) continue;
    const path = key.split('.');
    assign(tree, path, value);
    origins.set(path, 'the command line');
  }
}

/** An empty mapping in YAML reads as null: a section without settings, not a wrong value. */
export function fillEmpty(value: unknown, path: readonly string[] = []): unknown {
  if (value === null && path.length > 0) {
    const node = outlineAt(path);
    return node?.properties || node?.additionalProperties ? {} : undefined;
  }
  if (!isTree(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, fillEmpty(part, [...path, key])]));
}
