/** Homeport in front of the shard: one worker, a region of its own, every check that production has. */
import type { Place, Target } from './target.ts';

export function startHomeport(_place: Place): Promise<Target> {
  return Promise.reject(new Error('no gateway to start yet: use --targets direct,pgbouncer'));
}
