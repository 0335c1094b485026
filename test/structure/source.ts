/** A source file as the structure rules see it: its imports, functions and comments, from a real parser. */
import { parseSync } from 'vite';

export interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
}

export interface Import {
  /** As written: `../base/ids.ts`, `node:net`, `zod`. */
  readonly specifier: string;
  readonly line: number;
}

export interface Source {
  readonly path: string;
  readonly text: string;
  readonly lines: number;
  /** Static, dynamic and re-exporting ones, also those of types alone. */
  readonly imports: readonly Import[];
  readonly comments: readonly { readonly value: string; readonly line: number; readonly endLine: number }[];
  readonly program: Node;
  lineAt(offset: number): number;
}

export interface Violation {
  readonly rule: string;
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

/** Files by their path from the root of the repository. */
export type Tree = ReadonlyMap<string, Source>;

export function isNode(value: unknown): value is Node {
  return (
    typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string' && 'start' in value
  );
}

/** Calls `visit` for every node, with its ancestors, nearest last. */
export function walk(
  node: Node,
  visit: (node: Node, ancestors: readonly Node[]) => void,
  ancestors: Node[] = [],
): void {
  visit(node, ancestors);
  ancestors.push(node);
  for (const child of Object.values(node)) {
    if (Array.isArray(child)) {
      for (const item of child) if (isNode(item)) walk(item, visit, ancestors);
    } else if (isNode(child)) walk(child, visit, ancestors);
  }
  ancestors.pop();
}

function lineIndex(text: string): (offset: number) => number {
  const starts = [0];
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return offset => {
    let low = 0;
    let high = starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle;
    }
    return low + 1;
  };
}

/** @throws when the file is not TypeScript that parses. */
export function parseSource(path: string, text: string): Source {
  const { program, module, comments, errors } = parseSync(path, text);
  const [error] = errors;
  if (error) throw new Error(`${path}: ${error.message}`);
  const lineAt = lineIndex(text);
  const fixed = [...module.staticImports, ...module.staticExports.flatMap(({ entries }) => entries)].flatMap(entry => {
    const request = entry.moduleRequest;
    return request ? [{ specifier: request.value, line: lineAt(request.start) }] : [];
  });
  const dynamic = module.dynamicImports.map(({ moduleRequest: { start, end } }) => {
    return { specifier: text.slice(start + 1, end - 1), line: lineAt(start) };
  });
  return {
    path,
    text,
    lines: text.split('\n').length - (text.endsWith('\n') ? 1 : 0),
    imports: [...fixed, ...dynamic],
    comments: comments.map(({ value, start, end }) => ({ value, line: lineAt(start), endLine: lineAt(end) })),
    program,
    lineAt,
  };
}

export function treeOf(files: Readonly<Record<string, string>>): Tree {
  return new Map(Object.entries(files).map(([path, text]) => [path, parseSource(path, text)]));
}
