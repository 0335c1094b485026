/** Walks the configuration's JSON Schema: which names may stand at a path, and what belongs there. */
import { settingsJsonSchema } from './schema.ts';

export interface Outline {
  readonly description?: string;
  /** Fixed names, in a section. */
  readonly properties?: Readonly<Record<string, Outline>>;
  /** The form of every entry, in a map that the operator keys (regions, shards, users). */
  readonly additionalProperties?: Outline | boolean;
  readonly items?: Outline;
}

let outline: Outline | undefined;

/** The outline of the whole file. Made once: it takes a few milliseconds. */
export function wholeOutline(): Outline {
  outline ??= settingsJsonSchema() as Outline; // cast: the three keywords read here are what zod writes for objects, records and arrays
  return outline;
}

export function step(node: Outline | undefined, key: PropertyKey): Outline | undefined {
  if (node === undefined) return undefined;
  if (typeof key === 'number') return node.items;
  const named = node.properties?.[String(key)];
  if (named) return named;
  return typeof node.additionalProperties === 'object' ? node.additionalProperties : undefined;
}

export function outlineAt(path: readonly PropertyKey[]): Outline | undefined {
  return path.reduce<Outline | undefined>(step, wholeOutline());
}
