/**
 * The worker processes of one gateway: they listen on the same port, and the kernel spreads connections over them. One
 * that dies is started again after a pause; cancel requests find their worker through here.
 */
import { type ChildProcess, fork } from 'node:child_process';
import type { Logger } from 'pino';
import { HomeportError } from '../base/errors.ts';
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
  | { readonly kind: 'report'; readonly id: number; readonly report: WorkerReport }
  /** It ends, for this reason. */
  | { readonly kind: 'failed'; readonly why: string };

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
  /** It has listened once: what it was started with is fit for use, and it is started again for ever. */
  proven: boolean;
  /** What it said before it ended. */
  lastWords: string | undefined;
}

export class Workers {
  private readonly options: WorkersOptions;
  private readonly workers: Worker[];
  private readonly answers = new Map<number, (report: WorkerReport) => void>();
  private nextReport = 0;
  private stopping = false;
  private readonly started = Promise.withResolvers<{ pg: number; peer: number }>();

  constructor(options: WorkersOptions) {
    this.options = options;
    this.workers = Array.from({ length: options.count }, (_, index) => ({
      index,
      child: undefined,
      restarts: 0,
      proven: false,
      lastWords: undefined,
    }));
  }

  /**
   * Resolves when every worker listens.
   * @throws HP-A111 when one of them never does, however often it is started; then none runs any more.
   */
  start(): Promise<{ pg: number; peer: number }> {
    for (const worker of this.workers) this.launch(worker);
    return this.started.promise;
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
      if (!worker.proven && worker.restarts + 1 >= limits.workerFirstStarts) return this.giveUp(worker, code, signal);
      const pauseMs = Math.min(limits.workerRestartMs, 100 * 2 ** worker.restarts++);
      log.error({ worker: worker.index, code, signal, pauseMs }, 'a worker ended; it is started again');
      this.options.world.clock.after(pauseMs, () => this.stopping || this.launch(worker), { keepAlive: true });
    });
  }

  /** What ends again and again before it listens is not fit to be served with: somebody has to act, and must be told. */
  private giveUp({ index, lastWords }: Worker, code: number | null, signal: string | null): void {
    const why = lastWords ?? (signal === null ? `it ended with exit code ${code}` : `it was ended by ${signal}`);
    const error = new HomeportError('HP-A111', { worker: index, times: limits.workerFirstStarts, why });
    this.stop().then(() => this.started.reject(error), this.started.reject);
  }

  private heard(worker: Worker, message: FromWorker): void {
    const { index } = worker;
    if (message.kind === 'ready') {
      worker.proven = true;
      if (this.workers.every(({ proven }) => proven)) this.started.resolve(message);
    } else if (message.kind === 'failed') {
      worker.lastWords = message.why;
    } else if (message.kind === 'cancel') {
      const { worker: to, id, pid, key } = message;
      // Without that worker there is no session left to cancel.
      if (!this.tell(to, { kind: 'cancel', from: index, id, pid, key })) this.tell(index, { kind: 'cancelled', id });
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
      this.workers.map(({ index, child, proven }) => {
        if (!child || child.exitCode !== null) return undefined;
        return new Promise<void>(resolve => {
          const timer = clock.after(limits.drainMs + 2_000, () => child.kill('SIGKILL'), { keepAlive: true });
          child.once('exit', () => {
            timer.cancel();
            resolve();
          });
          // One that has not listened yet has nothing to finish, and may be waiting for something before it hears us.
          if (!proven || !this.tell(index, { kind: 'drain' })) child.kill('SIGTERM');
        });
      }),
    );
  }
}
