/**
 * The backends of one place (a shard, or the gateways of another region), lent to one transaction at a time.
 * Bounded everywhere: connections in all, for each tenant and for each user, and a first-come queue with a length and a
 * time (I10). A waiter whose tenant is at its limit does not block the ones behind it.
 */
import { HomeportError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Timer } from '../base/world.ts';
import { Backend, type BackendContext, type BackendTarget } from './backend.ts';
import { Liveness } from './liveness.ts';
import { LoginRefused } from './login.ts';
import { resetSession } from './reset.ts';

export interface PoolLimits {
  readonly max: number;
  readonly perTenant: number;
  readonly perUser: number;
  readonly queue: number;
  readonly queueMs: number;
}

/** Somebody who wants a backend, now or later. Exactly one of the two is called, once, never from within `take`. */
export interface Borrower {
  readonly user: string;
  readonly tenant: string | undefined;
  granted(backend: Backend): void;
  refused(error: HomeportError): void;
}

/** What the session that gives a backend back knows about its state. */
export type Condition = 'clean' | 'settings-changed' | 'broken';

interface Waiter {
  readonly borrower: Borrower;
  readonly sinceMs: number;
  cancelled: boolean;
}

interface Loan {
  readonly user: string;
  readonly tenant: string | undefined;
}

function count(map: Map<string, number>, key: string | undefined, by: 1 | -1): void {
  if (key === undefined) return;
  const now = (map.get(key) ?? 0) + by;
  if (now === 0) map.delete(key);
  else map.set(key, now);
}

export interface PoolOptions {
  readonly name: string;
  /** How to log in as this user. */
  readonly target: (user: string) => BackendTarget;
  /** Runs on each new connection before anybody gets it; rejects to have it thrown away. */
  readonly prepare: (backend: Backend) => Promise<void>;
  readonly limits: PoolLimits;
  /** All users share the connections (those to other gateways); otherwise each logs in as itself. */
  readonly shared: boolean;
  /** It has stopped to answer, or does so again. */
  readonly silenceChanged?: (silent: boolean) => void;
  readonly context: BackendContext;
}

export class Pool {
  readonly name: string;
  private readonly options: PoolOptions;
  private readonly idle = new Map<string, Backend[]>();
  private readonly loans = new Map<Backend, Loan>();
  private readonly byTenant = new Map<string, number>();
  private readonly byUser = new Map<string, number>();
  private waiters: Waiter[] = [];
  private idleCount = 0;
  private opening = 0;
  private serving = false;
  private sweeper: Timer | undefined;
  private closed = false;
  private readonly liveness: Liveness<Backend>;
  private lastUser = '';

  constructor(options: PoolOptions) {
    this.options = options;
    this.name = options.name;
    this.liveness = new Liveness({
      clock: options.context.world.clock,
      watched: () => this.loans.keys(),
      knock: () => this.knock(),
      changed: silent => options.silenceChanged?.(silent),
    });
  }

  /** A login, for the sake of an answer; also a refusal is one. */
  private async knock(): Promise<boolean> {
    try {
      const backend = await Backend.connect(this.options.target(this.lastUser), this.options.context);
      backend.destroy('it answers');
      return true;
    } catch (error) {
      return error instanceof HomeportError && error.cause instanceof LoginRefused;
    }
  }

  get stats(): { idle: number; busy: number; opening: number; waiting: number } {
    return { idle: this.idleCount, busy: this.loans.size, opening: this.opening, waiting: this.waiters.length };
  }

  private stackOf(user: string): string {
    return this.options.shared ? '' : user;
  }

  private within(tenant: string | undefined, user: string): boolean {
    const { perTenant, perUser } = this.options.limits;
    if ((this.byUser.get(user) ?? 0) >= perUser) return false;
    return tenant === undefined || (this.byTenant.get(tenant) ?? 0) < perTenant;
  }

  /** A backend at once, or undefined: nobody overtakes a queue. */
  tryTake(user: string, tenant: string | undefined): Backend | undefined {
    if (this.waiters.length > 0 || this.liveness.silent !== undefined || !this.within(tenant, user)) return undefined;
    return this.lendIdle({ user, tenant });
  }

  private lendIdle(loan: Loan): Backend | undefined {
    const stack = this.idle.get(this.stackOf(loan.user));
    for (;;) {
      const backend = stack?.pop();
      if (!backend) return undefined;
      this.idleCount--;
      if (backend.gone !== undefined) continue;
      this.lend(backend, loan);
      return backend;
    }
  }

  private lend(backend: Backend, loan: Loan): void {
    this.loans.set(backend, loan);
    this.lastUser = loan.user;
    this.liveness.start();
    count(this.byTenant, loan.tenant, 1);
    count(this.byUser, loan.user, 1);
  }

  /** @returns a function that withdraws the wish; after it neither callback comes. */
  take(borrower: Borrower): () => void {
    const { queue } = this.options.limits;
    const waiter: Waiter = { borrower, sinceMs: this.options.context.world.clock.monotonicMs(), cancelled: false };
    const refuse = (error: HomeportError) =>
      queueMicrotask(() => {
        if (!waiter.cancelled) borrower.refused(error);
      });
    const { silent } = this.liveness;
    if (this.closed) refuse(new HomeportError('HP-G401'));
    else if (silent !== undefined) refuse(new HomeportError('HP-G301', { target: this.name, why: silent }));
    else if (this.waiters.length >= queue) {
      refuse(new HomeportError('HP-G202', { target: this.name, waiting: this.waiters.length, limit: queue }));
    } else {
      this.waiters.push(waiter);
      this.sweeper ??= this.options.context.world.clock.every(50, () => this.sweep());
      this.serveSoon();
    }
    return () => {
      waiter.cancelled = true;
    };
  }

  /**
   * Never at once: whoever gives a backend back, or ends, is in the middle of its own turn, and a borrower that is
   * granted one starts its turn right away. What two sessions send must not meet in one write.
   */
  private serveSoon(): void {
    if (this.serving || this.waiters.length === 0) return;
    this.serving = true;
    queueMicrotask(() => {
      this.serving = false;
      this.serve();
    });
  }

  /** Gives what is free to those who may have it, in order. */
  private serve(): void {
    let at = 0;
    while (at < this.waiters.length) {
      const waiter = this.waiters[at];
      if (!waiter || waiter.cancelled) {
        this.waiters.splice(at, 1);
        continue;
      }
      const { user, tenant } = waiter.borrower;
      if (!this.within(tenant, user)) {
        at++;
        continue;
      }
      const backend = this.lendIdle({ user, tenant });
      if (backend) {
        this.waiters.splice(at, 1);
        waiter.borrower.granted(backend);
        continue;
      }
      if (!this.openFor(user)) return;
      at++;
    }
  }

  /** Opens a connection for this user if there is room, or makes room. False: none can be had now. */
  private openFor(user: string): boolean {
    const wanting = this.waiters.filter(waiter => !waiter.cancelled).length;
    if (this.opening >= wanting) return true;
    if (this.loans.size + this.idleCount + this.opening >= this.options.limits.max && !this.evictOther(user))
      return false;
    this.opening++;
    const { target, context, prepare } = this.options;
    Backend.connect(target(user), context)
      .then(async backend => {
        try {
          await prepare(backend);
        } catch (error) {
          backend.destroy('could not be prepared');
          throw error;
        }
        return backend;
      })
      .then(
        backend => {
          this.opening--;
          this.putIdle(backend, user);
        },
        (error: unknown) => {
          this.opening--;
          this.refuseOne(user, error);
        },
      );
    return true;
  }

  private evictOther(user: string): boolean {
    for (const [other, stack] of this.idle) {
      if (other === this.stackOf(user)) continue;
      const victim = stack.shift();
      if (!victim) continue;
      this.idleCount--;
      victim.destroy('another user needs the place');
      return true;
    }
    return false;
  }

  /** A connection that could not be opened costs the first who waited for it; the others try again. */
  private refuseOne(user: string, cause: unknown): void {
    const at = this.waiters.findIndex(
      waiter => !waiter.cancelled && this.stackOf(waiter.borrower.user) === this.stackOf(user),
    );
    const [waiter] = at < 0 ? [] : this.waiters.splice(at, 1);
    const error =
      cause instanceof HomeportError ? cause : new HomeportError('HP-G301', { target: this.name, why: String(cause) });
    waiter?.borrower.refused(error);
    this.serveSoon();
  }

  private putIdle(backend: Backend, user: string): void {
    if (this.closed || backend.gone !== undefined) {
      backend.destroy('no longer needed');
    } else {
      const key = this.stackOf(user);
      const stack = this.idle.get(key);
      if (stack) stack.push(backend);
      else this.idle.set(key, [backend]);
      this.idleCount++;
    }
    this.serveSoon();
  }

  /** The end of a loan. What may carry residue is reset first; what is broken is destroyed. */
  giveBack(backend: Backend, condition: Condition): void {
    const loan = this.loans.get(backend);
    if (!loan) return;
    backend.owner = undefined;
    // Another gateway acknowledges a cancel by hanging up, but only for so long: a late one must not meet a stranger.
    const straying = backend.straying || (this.options.shared && backend.wasCancelled);
    if (condition === 'broken' || backend.gone !== undefined || straying) {
      backend.destroy('given back broken');
      this.endLoan(backend, loan);
      this.serveSoon();
    } else if (condition === 'clean' && backend.cancels === 0) {
      this.endLoan(backend, loan);
      this.putIdle(backend, loan.user);
    } else {
      this.restore(backend, loan, condition).catch(() => this.giveBack(backend, 'broken'));
    }
  }

  private endLoan(backend: Backend, loan: Loan): void {
    this.loans.delete(backend);
    count(this.byTenant, loan.tenant, -1);
    count(this.byUser, loan.user, -1);
  }

  /** The loan goes on until cancels have landed and the session is as new: the next client must meet neither. */
  private async restore(backend: Backend, loan: Loan, condition: Condition): Promise<void> {
    const { clock } = this.options.context.world;
    const startedMs = clock.monotonicMs();
    while (backend.cancels > 0) {
      if (clock.monotonicMs() - startedMs > limits.connectMs) throw new Error('a cancel never landed');
      await clock.sleep(5);
    }
    if (backend.gone !== undefined || backend.straying) throw new Error('it is beyond use');
    if (condition === 'settings-changed') {
      await backend.exchange(resetSession(backend.statements.size + 1));
      backend.settings = new Map();
    }
    this.endLoan(backend, loan);
    this.putIdle(backend, loan.user);
  }

  private sweep(): void {
    const { clock } = this.options.context.world;
    const { queueMs } = this.options.limits;
    const nowMs = clock.monotonicMs();
    const late = this.waiters.filter(waiter => nowMs - waiter.sinceMs > queueMs || waiter.cancelled);
    if (late.length > 0) this.waiters = this.waiters.filter(waiter => !late.includes(waiter));
    for (const waiter of late) {
      if (waiter.cancelled) continue;
      const { busy, waiting } = this.stats;
      const waitedMs = Math.round(nowMs - waiter.sinceMs);
      waiter.borrower.refused(new HomeportError('HP-G201', { target: this.name, waitedMs, busy, waiting }));
    }
    if (this.waiters.length > 0) return;
    this.sweeper?.cancel();
    this.sweeper = undefined;
  }

  /** Closes what is idle and refuses who waits; loans end as their sessions do. */
  close(): void {
    this.closed = true;
    for (const stack of this.idle.values()) for (const backend of stack) backend.destroy('shutting down');
    this.idle.clear();
    this.idleCount = 0;
    const waiters = this.waiters;
    this.waiters = [];
    for (const waiter of waiters) if (!waiter.cancelled) waiter.borrower.refused(new HomeportError('HP-G401'));
    this.sweeper?.cancel();
    this.liveness.stop();
  }
}
