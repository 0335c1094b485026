/** Keeps the snapshot file up to date: changes of slots soon, pins now and then, never two writes at once. */
import type { Clock, Timer } from '../base/world.ts';
import type { Log } from '../bus/connect.ts';
import { reasonOf } from '../bus/outage.ts';
import { directoryLimits } from './limits.ts';
import type { SnapshotContent, SnapshotFile } from './snapshot-file.ts';

export class SnapshotKeeper {
  readonly #file: SnapshotFile;
  readonly #clock: Clock;
  readonly #log: Log;
  /** Undefined when there is nothing good to write yet. */
  readonly #content: () => SnapshotContent | undefined;
  #timer: { readonly handle: Timer; readonly dueMs: number } | undefined;
  #writing: Promise<void> | undefined;
  #dirty = false;
  written = 0;
  failed = 0;

  constructor(file: SnapshotFile, clock: Clock, log: Log, content: () => SnapshotContent | undefined) {
    this.#file = file;
    this.#clock = clock;
    this.#log = log;
    this.#content = content;
  }

  /** Something is to be written within `withinMs`; an earlier date that is already set stays. */
  touch(withinMs: number): void {
    this.#dirty = true;
    const dueMs = this.#clock.monotonicMs() + withinMs;
    if (this.#timer && this.#timer.dueMs <= dueMs) return;
    this.#timer?.handle.cancel();
    const handle = this.#clock.after(withinMs, () => {
      this.#timer = undefined;
      void this.flush();
    });
    this.#timer = { handle, dueMs };
  }

  /** Writes what is new, if anything is. A failure is logged and counted, and tried again later. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#writing;
    const content = this.#dirty ? this.#content() : undefined;
    if (!content) return;
    this.#dirty = false;
    this.#writing = this.#file
      .save(content)
      .then(() => {
        this.written++;
      })
      .catch(error => {
        this.failed++;
        this.#log.warn({ why: reasonOf(error), file: this.#file.path }, 'directory snapshot could not be written');
        this.touch(directoryLimits.snapshotPinsMs);
      })
      .finally(() => {
        this.#writing = undefined;
      });
    await this.#writing;
  }

  async close(): Promise<void> {
    this.#cancel();
    await this.flush();
    this.#cancel();
  }

  #cancel(): void {
    this.#timer?.handle.cancel();
    this.#timer = undefined;
  }
}
