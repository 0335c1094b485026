/**
 * Cancel requests that came to one worker and are for a session of another: the parent hands them on. Whoever sent one
 * is kept waiting until it has landed, so that what the client does next is out of its reach.
 */
import { limits } from '../base/limits.ts';
import type { World } from '../base/world.ts';
import type { FromWorker } from './workers.ts';

export class PassedCancels {
  private readonly world: World;
  private readonly say: (message: FromWorker) => void;
  private readonly waiting = new Map<number, () => void>();
  private nextId = 0;

  constructor(world: World, say: (message: FromWorker) => void) {
    this.world = world;
    this.say = say;
  }

  /** Resolves when it has landed, when there is nobody to carry it out, or after the connect limit. */
  pass(worker: number, pid: number, key: Buffer): Promise<void> {
    const id = this.nextId++;
    return new Promise(resolve => {
      const timer = this.world.clock.after(limits.connectMs, () => this.landed(id));
      this.waiting.set(id, () => {
        timer.cancel();
        resolve();
      });
      this.say({ kind: 'cancel', worker, id, pid, key: key.toString('hex') });
    });
  }

  /** The parent's word. Unknown ids are those that took too long. */
  landed(id: number): void {
    const done = this.waiting.get(id);
    this.waiting.delete(id);
    done?.();
  }
}
