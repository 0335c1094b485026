/** The links as their supervisor holds them: a child process and a channel to it. */
import { fileURLToPath } from 'node:url';
import { HomeportError } from '../base/errors.ts';
import type { Clock } from '../base/world.ts';
import type { Unit } from './launcher.ts';
import { processUnit } from './launcher.ts';
import { clusterLimits } from './limits.ts';
import type { LinkConditions } from './link.ts';
import type { LinkRoute, LinkStatus } from './links.ts';
import type { LinkMessage, LinkOrder, LinkReply } from './links-main.ts';
import { type Child, endProcess, type ProcessIdentity, startChild } from './process.ts';

interface Waiting {
  readonly resolve: (reply: LinkReply) => void;
  readonly reject: (error: unknown) => void;
}

export class LinksProcess {
  readonly unit: Unit;
  readonly #child: Child;
  readonly #clock: Clock;
  readonly #logFile: string;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;

  private constructor(child: Child, clock: Clock, logFile: string) {
    this.#child = child;
    this.#clock = clock;
    this.#logFile = logFile;
    const stop = () => endProcess(clock, child.identity, [{ signal: 'SIGTERM', waitMs: clusterLimits.linksStopMs }]);
    this.unit = processUnit({ identity: child.identity, exited: child.exited, stop });
    // cast: the child is our own code and sends nothing else
    child.process.on('message', message => this.#answer(message as LinkReply));
    child.process.on('exit', () => this.#fail('its process ended'));
  }

  /** @throws HP-L126 when it can't listen on all ports. */
  static async start(options: {
    routes: readonly LinkRoute[];
    logFile: string;
    clock: Clock;
    onProcess?: (identity: ProcessIdentity) => void;
  }): Promise<LinksProcess> {
    const { logFile, clock, onProcess } = options;
    const main = fileURLToPath(new URL('./links-main.ts', import.meta.url));
    const child = await startChild({
      command: process.execPath,
      args: [main],
      logFile,
      ipc: true,
      deathSignal: 'TERM',
      onProcess,
    });
    const links = new LinksProcess(child, clock, logFile);
    try {
      await links.#ask({ kind: 'listen', routes: options.routes });
    } catch (error) {
      await links.unit.stop();
      throw error;
    }
    return links;
  }

  async change(from: string, to: string, conditions: LinkConditions): Promise<void> {
    await this.#ask({ kind: 'change', from, to, conditions });
  }

  async status(): Promise<readonly LinkStatus[]> {
    return (await this.#ask({ kind: 'status' })).status ?? [];
  }

  #ask(order: LinkOrder): Promise<LinkReply> {
    const message: LinkMessage = { ...order, id: ++this.#lastId };
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(clusterLimits.linksAnswerMs, () => this.#fail('no answer'));
      const settle = () => {
        timer.cancel();
        this.#waiting.delete(message.id);
      };
      const fail = (why: string) => new HomeportError('HP-L126', { why, logFile: this.#logFile });
      this.#waiting.set(message.id, {
        resolve(reply) {
          settle();
          if (reply.failure === undefined) resolve(reply);
          else reject(fail(reply.failure));
        },
        reject(error) {
          settle();
          reject(error);
        },
      });
      if (this.#child.exit) this.#fail('its process ended');
      else this.#child.process.send(message, error => error && this.#fail(error.message));
    });
  }

  #answer(reply: LinkReply): void {
    this.#waiting.get(reply.id)?.resolve(reply);
  }

  #fail(why: string): void {
    const error = new HomeportError('HP-L126', { why, logFile: this.#logFile });
    for (const waiting of [...this.#waiting.values()]) waiting.reject(error);
  }
}
