/** Turns what the schema found into sentences with a path, a reason and a remedy; never one of them alone. */
import type * as z from 'zod';
import { HomeportError } from '../base/errors.ts';
import { didYouMean } from '../base/suggest.ts';
import { outlineAt } from './outline.ts';
import { formatPath, type Origins } from './sources.ts';

/** All that is wrong with a configuration, together. */
export class ConfigError extends HomeportError {
  readonly problems: readonly HomeportError[];

  constructor(problems: readonly HomeportError[]) {
    const lines = problems.map(problem => `${problem.code} ${problem.message}\n      remedy: ${problem.hint}`);
    super('HP-C101', {
      count: problems.length === 1 ? 'one problem' : `${problems.length} problems`,
      problems: lines.join('\n  '),
    });
    this.problems = problems;
  }
}

type Issue = z.core.$ZodIssue;
type Path = readonly PropertyKey[];

function remedyAt(path: Path): string {
  const node = outlineAt(path);
  return node?.description === undefined ? `correct ${formatPath(path)}` : `write there: ${node.description}`;
}

function unknownKeys(path: Path, keys: readonly string[], origins: Origins): HomeportError[] {
  const known = Object.keys(outlineAt(path)?.properties ?? {});
  return keys.map(key => {
    const label = origins.label([...path, key]);
    return new HomeportError('HP-C110', { path: label, suggestion: didYouMean(key, known) });
  });
}

/** What zod says in its own words, in ours: `must be …`, to follow the path. */
function reasonOf(issue: Issue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${article(issue.expected === 'record' ? 'object' : issue.expected)}`;
    case 'too_small':
      return issue.origin === 'array' || issue.origin === 'string'
        ? 'must not be empty'
        : `must be at least ${issue.minimum}`;
    case 'too_big':
      return `must be at most ${issue.maximum}`;
    case 'invalid_value':
      return `must be one of ${issue.values.map(String).join(', ')}`;
    case 'invalid_key':
      return `is not a name that may stand there: it ${issue.issues[0]?.message ?? 'is malformed'}`;
    default:
      return issue.message;
  }
}

function article(type: string): string {
  const words: Record<string, string> = { int: 'a whole number', array: 'a list', object: 'a mapping', string: 'text' };
  return words[type] ?? `a ${type}`;
}

function isMissing(issue: Issue, present: boolean): boolean {
  if (issue.code === 'custom') return issue.params?.isMissing === true;
  return issue.code === 'invalid_type' && !present;
}

/** @param written what the sources gave, to tell an absent setting from a wrong one. */
export function problemsOf(issues: readonly Issue[], written: unknown, origins: Origins): HomeportError[] {
  return issues.flatMap(issue => {
    if (issue.code === 'unrecognized_keys') return unknownKeys(issue.path, issue.keys, origins);
    const path = origins.label(issue.path);
    const ownRemedy = issue.code === 'custom' ? issue.params?.remedy : undefined;
    const remedy = typeof ownRemedy === 'string' ? ownRemedy : remedyAt(issue.path);
    if (issue.code === 'custom' && issue.params?.problem === 'HP-C111') return new HomeportError('HP-C111', { path });
    if (isMissing(issue, has(written, issue.path))) return new HomeportError('HP-C114', { path, remedy });
    return new HomeportError('HP-C113', { path, reason: reasonOf(issue), remedy });
  });
}

function has(value: unknown, path: Path): boolean {
  let at: unknown = value;
  for (const key of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return false;
    at = (at as Record<PropertyKey, unknown>)[key]; // cast: hasOwn has just said so
  }
  return at !== undefined;
}
