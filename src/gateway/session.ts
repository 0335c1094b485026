/**
 * One client's connection: its state, its input, and what it is told. How a transaction gets a backend and loses it is
 * in transaction.ts, what the client's messages mean in inbound.ts and extended.ts, what the backend's do in relay.ts;
 * driver.ts joins them. States, events and invariants: SPEC.md.
 */
import type { Socket } from 'node:net';
import { HomeportError } from '../base/errors.ts';
import { parseTenantKey, type TenantParts } from '../base/ids.ts';
import { limits } from '../base/limits.ts';
import type { Timer } from '../base/world.ts';
import { errorResponseOf } from '../pgwire/errorresponse.ts';
import { Front, readyFrame, Status } from '../pgwire/frames.ts';
import { FrameInput } from '../pgwire/input.ts';
import { Expect, type Fake, type OnSkipped } from '../pgwire/replies.ts';
import type { Statement } from '../pgwire/sql.ts';
import type { Backend, BackendOwner } from '../shards/backend.ts';
import type { Pool } from '../shards/pool.ts';
import type { Identity } from './identity.ts';
import type { Gateway, GatewayUser } from './ports.ts';
import { NO_SETTINGS, type Settings } from './settings.ts';
import { type Phase, Transaction } from './state.ts';
import { type ClientStatement, ClientStatements } from './statements.ts';

export const POOL_MODE_SESSION = 'homeport.pool_mode = session';

/** What happens to a session, done by the files that know how (driver.ts joins them). */
export interface SessionWork {
  turn(s: Session): void;
  relay(s: Session, chunk: Buffer): void;
  lost(s: Session, why: string): void;
  abandon(s: Session): void;
}

export interface SessionStart {
  readonly gateway: Gateway;
  readonly socket: Socket;
  readonly user: GatewayUser;
  readonly tenant: TenantParts | undefined;
  readonly settings: Settings;
  readonly poolMode: 'transaction' | 'session';
  /** The client is another region's gateway: it says for whom each transaction is. */
  readonly peer: boolean;
  readonly work: SessionWork;
}

export class Session implements BackendOwner {
  readonly gateway: Gateway;
  readonly socket: Socket;
  readonly peer: boolean;
  readonly input = new FrameInput();
  readonly statements: ClientStatements;
  readonly tx = new Transaction();
  user: GatewayUser;
  tenant: TenantParts | undefined;
  settings: Settings;
  /** What it came with: RESET and DISCARD ALL lead back there. */
  readonly startSettings: Settings;
  hops = 0;
  phase: Phase = 'idle';
  backend: Backend | undefined;
  pool: Pool | undefined;
  /** Why the backend stays with this client, or undefined: it is lent for a transaction only. */
  pinned: string | undefined;
  /** The status byte of the last ReadyForQuery. */
  status: number = Status.idle;
  /** ReadyForQuery frames that the client still gets. */
  owed = 0;
  /** The unit at hand, or the first that is owed an answer, has been told an error. */
  unitFailed = false;
  /** Messages of the extended protocol have come since the last Sync or query. */
  unitOpen = false;
  /** The unit may commit a transaction block. */
  mayCommit = false;
  /** Nothing more is read until the server is ready: what comes next depends on how this ends. */
  blocked = false;
  /** After an error in the extended protocol: everything up to the Sync is ignored. */
  skipping = false;
  /** The unit being read holds a statement that may end the transaction. */
  control = false;
  /** The server takes COPY data. */
  copyIn = false;
  /** The simple query at hand was sent in the extended protocol. */
  translated = false;
  /** It was a COPY FROM STDIN: the Sync that went with it was ignored, and another is due behind the data. */
  syncAfterCopy = false;
  /** The unnamed statement has been parsed on this backend in this transaction. */
  unnamedParsed = false;
  /** A portal on a statement that is answered here. */
  virtualPortal: { readonly name: string; readonly entry: ClientStatement } | undefined;
  /** What the statements of bound portals change in the session, for when they are executed; only those that do. */
  readonly bound = new Map<string, Statement>();
  /** A large frame waits for the shard to let the transaction in. */
  awaitEntered = false;
  /** Bytes of a large frame still to be passed on. */
  streaming = 0;
  /** Who gets them: the rest of a frame has to follow its beginning, whatever happens meanwhile. */
  streamingTo: Backend | undefined;
  /** A setting from its start was refused: it is hung up on when the server is ready. */
  doomed = false;
  /** Why `enter` turned the transaction away, while the backend is being brought back to idle. */
  retreatedFrom: { readonly sqlstate: string; readonly error: Buffer } | undefined;
  cancelWait: (() => void) | undefined;
  onClosed: (() => void) | undefined;
  turning = false;
  private readonly work: SessionWork;
  private stalled: Timer | undefined;

  constructor(start: SessionStart) {
    this.gateway = start.gateway;
    this.socket = start.socket;
    this.user = start.user;
    this.tenant = start.tenant;
    this.settings = start.settings ?? NO_SETTINGS;
    this.startSettings = this.settings;
    this.peer = start.peer;
    this.work = start.work;
    this.pinned = start.poolMode === 'session' ? POOL_MODE_SESSION : undefined;
    this.statements = new ClientStatements(
      start.gateway.texts,
      start.peer ? limits.backendStatementBytes + limits.clientStatementBytes : limits.clientStatementBytes,
    );
  }

  /** Takes over the socket. `leftover`: what came behind the login. */
  run(leftover: Buffer): void {
    this.socket.setNoDelay(true);
    this.socket.on('data', (chunk: Buffer) => this.receive(chunk));
    this.socket.on('drain', () => this.clientDrained());
    this.socket.on('error', () => this.socket.destroy());
    this.socket.on('close', () => this.closed());
    if (leftover.length > 0) this.receive(leftover);
    this.socket.resume();
  }

  get currentTenant(): TenantParts | undefined {
    return this.tx.tenant ?? this.tenant;
  }

  private receive(chunk: Buffer): void {
    if (this.phase === 'closed') return;
    this.input.add(chunk);
    this.turn();
  }

  get waiting(): boolean {
    return this.blocked || this.phase === 'seeking' || this.phase === 'closed' || this.tx.retreating;
  }

  /** Another gateway says for whom the next transaction is. */
  assume(identity: Identity): void {
    const user = this.gateway.users.get(identity.user);
    if (!user) return this.end(new HomeportError('HP-G101', { user: identity.user, tenant: identity.tenant }));
    this.user = user;
    this.tenant = identity.tenant === undefined ? undefined : parseTenantKey(identity.tenant);
    this.settings = new Map(identity.settings);
    this.hops = identity.hops;
    if (identity.poolMode === 'session') this.pinned ??= POOL_MODE_SESSION;
    this.gateway.counters.forwarded++;
  }

  /** Not entered and too much sent ahead to be kept for a re-send: wait for the shard's word. */
  get mustSeeEntered(): boolean {
    if (this.phase !== 'attached' || this.tx.entered) return false;
    return this.awaitEntered || this.input.markedBytes > limits.resendBytes;
  }

  /** Whether to wait for the shard's word before the frame at hand is looked at; then it is read again. */
  get mustHaveEntered(): boolean {
    if (this.phase === 'attached' && !this.tx.entered) this.awaitEntered = true;
    return this.awaitEntered;
  }

  /** Reads on, as far as can be read now. */
  turn(): void {
    this.work.turn(this);
  }

  get backlogged(): boolean {
    return (this.backend?.stream.writableLength ?? 0) > limits.writeBacklogBytes;
  }

  /** One of our own answers, in its place behind what the backend still owes. */
  reply(bytes: Buffer, undo?: () => void): void {
    const owing = this.backend?.replies;
    if (owing && owing.length > 0) owing.push(Expect.fake, { bytes, undo } satisfies Fake);
    else this.gateway.toClient.add(bytes);
  }

  replyReady(): void {
    const bytes = readyFrame(this.status);
    const owing = this.backend?.replies;
    if (owing && owing.length > 0) owing.push(Expect.fake, { bytes, ready: true } satisfies Fake);
    else this.gateway.toClient.add(bytes);
  }

  /**
   * The unit at hand (a simple query, or everything to the next Sync) can't run. Only while no backend works on it.
   * In a transaction block it fails the block, as a server's error would.
   */
  failUnit(error: Buffer): void {
    if (this.phase === 'closed') return;
    this.gateway.counters.refusals++;
    this.reply(error);
    if (this.phase !== 'attached') {
      this.phase = this.phase === 'failed' || this.tx.begin.length > 0 ? 'failed' : 'idle';
      this.status = this.phase === 'failed' ? Status.failed : Status.idle;
      if (this.phase === 'idle') this.tx.reset(false);
    }
    const found = this.input.next(limits.frameBytes);
    const whole = this.input.type === Front.query || this.input.type === Front.functionCall;
    if (found === 'frame' && whole && !this.skipping) {
      this.unitOpen = false;
      this.input.advance();
      this.replyReady();
    } else this.skipping = true;
  }

  /** The gateway goes: this session may finish the transaction that it is in. */
  drain(): void {
    if (this.phase === 'idle' && this.input.bytes === 0 && !this.unitOpen) this.end(new HomeportError('HP-G401'));
  }

  /** Says why, and hangs up. */
  end(error: HomeportError): void {
    if (this.phase === 'closed') return;
    this.gateway.toClient.add(errorResponseOf(error, 'FATAL'));
    this.gateway.toClient.flush(this.socket);
    this.socket.destroySoon();
    this.closed();
  }

  /** The client said goodbye; it may still read what it has asked for. */
  hangUp(): void {
    this.gateway.toClient.flush(this.socket);
    this.socket.destroySoon();
    this.closed();
  }

  private closed(): void {
    if (this.phase === 'closed') return;
    this.work.abandon(this);
    this.phase = 'closed';
    this.stalled?.cancel();
    this.statements.clear();
    this.onClosed?.();
  }

  /** An entry of the reply queue that an error made void. */
  readonly skipped: OnSkipped = (kind, extra) => {
    switch (kind) {
      case Expect.fake:
        ((extra as Fake).undo as (() => void) | undefined)?.(); // casts: what `reply` pushes
        return;
      case Expect.parse:
      case Expect.silentParse: {
        const statement = extra as ClientStatement | undefined; // cast: what extended.ts pushes
        if (statement?.name === '') this.unnamedParsed = false;
        else if (statement) this.backend?.statements.forget(statement.text);
        if (statement && kind === Expect.parse) this.statements.undo(statement);
        return;
      }
      case Expect.silentClose:
        this.backend?.statements.evicted.push(extra as string); // cast: what extended.ts pushes
        return;
      case Expect.query:
      case Expect.functionCall:
      case Expect.abortQuery:
        // Ignored with the rest up to the Sync, which has yet to be read.
        this.owed--;
        return;
      default:
    }
  };

  // ---- BackendOwner

  fromBackend(chunk: Buffer): void {
    this.work.relay(this, chunk);
  }

  backendGone(why: string): void {
    this.work.lost(this, why);
  }

  backendDrained(): void {
    if (this.socket.isPaused() && !this.waiting) this.socket.resume();
  }

  // ---- a slow client

  /** What was written to the client is still under way: let the backend wait, but not for ever. */
  clientBacklog(): void {
    if (this.socket.writableLength <= limits.writeBacklogBytes || !this.backend) return;
    this.backend.pauseReading();
    this.stalled ??= this.gateway.world.clock.after(limits.stalledClientMs, () => {
      this.gateway.log.warn({ code: 'HP-G408', user: this.user.name }, 'client stalled');
      this.socket.destroy();
    });
  }

  private clientDrained(): void {
    this.stalled?.cancel();
    this.stalled = undefined;
    this.backend?.resumeReading();
  }
}
