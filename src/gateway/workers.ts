/**
 * The worker processes of one gateway: they listen on the same port, and the kernel spreads connections over them. One
 * that dies is started again after a pause; cancel requests find their worker through here.
 */
import { type ChildProcess, fork } from 'node:child_process';
import type { Logger } from 'pino';
import { limits } from '../base/limits.ts';
import type { World } from '../base/world.ts';
import type { MetricsSnapshot } from '../observe/metrics.ts';

/** What a worker says to its parent. */
export type FromWorker =
  | { readonly kind: 'ready'; readonly pg: number; readonly peer: number }
  | {
      readonly kind: 'cancel';
      readonly worker: number;
      readonly id: number;
      readonly pid: number;
      readonly key: string;
    }
  /** The cancel request `id` of worker `from` has landed. */
  | { readonly kind: 'cancelled'; readonly from: number; readonly id: number }
  | { readonly kind: 'report'; readonly id: number; readonly report: WorkerReport };

export type ToWorker =
  | { readonly kind: 'cancel'; readonly from: number; readonly id: number; readonly pid: number; readonly key: string }
  | { readonly kind: 'cancelled'; readonly id: number }
  | { readonly kind: 'report'; readonly id: number }
  | { readonly kind: 'drain' };

export interface WorkerReport {
  readonly metrics: MetricsSnapshot;
  /** `fresh` when the directory is followed, `stale` when it is the snapshot on disk, `absent` without either. */
  readonly directory: string;
}

export interface WorkersOptions {
  readonly count: number;
  /** The file that runs a worker, and its arguments; `--worker <n>` is added. */
  readonly entry: string;
  readonly args: readonly string[];
  readonly world: World;
  readonly log: Logger;
}

/**
 * The data path makes little garbage, so a large nursery only holds memory: 6.1 against 8 to 11 KiB for each idle
 * connection, at the same transactions per second (measured with 5,000).
 */
const WORKER_FLAGS = ['--max-semi-space-size=2'];

interface Worker {
  readonly index: number;
  child: ChildProcess | undefined;
  restarts: number;
}

export class Workers {
  private readonly options: WorkersOptions;
  private readonly workers: Worker[];
  private readonly answers = new Map<number, (report: WorkerReport) => void>();
  private nextReport = 0;
  private stopping = false;
  private readyWorkers = 0;
  private onAllReady: ((ports: { pg: number; peer: number }) => void) | undefined;

  constructor(options: WorkersOptions) {
    this.options = options;
    this.workers = Array.from({ length: options.count }, (_, index) => ({ index, child: undefined, restarts: 0 }));
  }

  /** Resolves when every worker listens. */
  start(): Promise<{ pg: number; peer: number }> {
    return new Promise(resolve => {
      this.onAllReady = resolve;
      for (const worker of this.workers) this.launch(worker);
    });
  }

  get alive(): number {
    return this.workers.filter(worker => worker.child?.connected).length;
  }

  private launch(worker: Worker): void {
    const { entry, args, log } = this.options;
    const child = fork(entry, [...args, '--worker', String(worker.index)], {
      stdio: 'inherit',
      execArgv: WORKER_FLAGS,
    });
    worker.child = child;
    child.on('message', message => this.heard(worker, message as FromWorker)); // cast: our own workers, our own protocol
    child.on('exit', (code, signal) => {
      worker.child = undefined;
      if (this.stopping) return;
      const pauseMs = Math.min(limits.workerRestartMs, 100 * 2 ** worker.restarts++);
      log.error({ worker: worker.index, code, signal, pauseMs }, 'a worker ended; it is started again');
      this.options.world.clock.after(pauseMs, () => this.stopping || this.launch(worker), { keepAlive: true });
    });
  }

  private heard({ index }: Worker, message: FromWorker): void {
    if (message.kind === 'ready') {
      if (++this.readyWorkers === this.workers.length) this.onAllReady?.(message);
    } else if (message.kind === 'cancel') {
      const { worker, id, pid, key } = message;
      // Without that worker there is no session left to cancel.
      if (!this.tell(worker, { kind: 'cancel', from: index, id, pid, key }))
        this.tell(index, { kind: 'cancelled', id });
    } else if (message.kind === 'cancelled') {
      this.tell(message.from, { kind: 'cancelled', id: message.id });
    } else {
      this.answers.get(message.id)?.(message.report);
      this.answers.delete(message.id);
    }
  }

  /** @returns false when there is nobody to hear it. */
  private tell(index: number, message: ToWorker): boolean {
    const child = this.workers[index]?.child;
    if (!child?.connected) return false;
    child.send(message, error => {
      if (error) this.options.log.info({ worker: index, kind: message.kind, why: error.message }, 'a worker is gone');
    });
    return true;
  }

  /** What each worker that answers in time has to say. */
  async reports(): Promise<WorkerReport[]> {
    const { clock } = this.options.world;
    const asked = this.workers.map(({ index }) => {
      const id = this.nextReport++;
      return new Promise<WorkerReport | undefined>(resolve => {
        const timer = clock.after(limits.workerReportMs, () => {
          this.answers.delete(id);
          resolve(undefined);
        });
        this.answers.set(id, report => {
          timer.cancel();
          resolve(report);
        });
        if (!this.tell(index, { kind: 'report', id })) {
          timer.cancel();
          this.answers.delete(id);
          resolve(undefined);
        }
      });
    });
    return (await Promise.all(asked)).filter(report => report !== undefined);
  }

  /** Lets running transactions finish, refuses new ones, and ends; what hangs beyond the limit is killed. */
  async stop(): Promise<void> {
    this.stopping = true;
    const { clock } = this.options.world;
    await Promise.all(
      this.workers.map(({ index, child }) => {
        if (!child || child.exitCode !== null) return undefined;
        return new Promise<void>(resolve => {
          const timer = clock.after(limits.drainMs + 2_000, () => child.kill('SIGKILL'), { keepAlive: true });
          child.once('exit', () => {
            timer.cancel();
            resolve();
          });
          if (!this.tell(index, { kind: 'drain' })) child.kill('SIGTERM');
        });
      }),
    );
  }
}
