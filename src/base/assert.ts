/**
 * States what is believed. A broken belief in the control plane (directory, changes of home) ends the process, because
 * going on could break I1; on the data path it ends only the connection, because the shard's fence still holds (I6).
 */
export class BrokenInvariant extends Error {
  override readonly name = 'BrokenInvariant';
}

export function assert(condition: unknown, belief: string): asserts condition {
  if (!condition) throw new BrokenInvariant(belief);
}

export function unreachable(value: never): never {
  throw new BrokenInvariant(`a case that the types rule out: ${JSON.stringify(value)}`);
}
