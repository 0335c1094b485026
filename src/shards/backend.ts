/**
 * One connection to a shard's Postgres, or to another region's gateway, as the data path uses it: a raw socket, the
 * queue of what the server owes, the statements prepared on it, and the settings that it carries. It belongs to one
 * session at a time, its owner, and to nobody while it waits in a pool.
 */
import type { Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { HomeportError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { World } from '../base/world.ts';
import { cancelRequest } from '../pgwire/cancelkey.ts';
import { readReportField } from '../pgwire/errorresponse.ts';
import { Back, frameBytes, HEADER_BYTES, SYNC, TERMINATE } from '../pgwire/frames.ts';
import { ReplyQueue } from '../pgwire/replies.ts';
import type { ClientKeyCache } from '../pgwire/scram-keys.ts';
import { Login, LoginRefused } from './login.ts';
import { BackendStatements, type PreparedTexts } from './prepared.ts';

const READ_BUFFER_BYTES = 64 * 1024;

export interface BackendTarget {
  /** For messages and metrics: `eu-west-1`, `gateway us-east`. */
  readonly name: string;
  /** A host name, or a directory with a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly tls: { readonly ca?: string; readonly servername?: string } | undefined;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly parameters: Readonly<Record<string, string>>;
}

export interface BackendOwner {
  /** Bytes from the server, valid only during the call unless `Backend.keepReadBuffer` is called in it. */
  fromBackend(chunk: Buffer): void;
  backendGone(why: string): void;
  /** What was written has left; more may be sent. */
  backendDrained(): void;
}

export interface BackendContext {
  readonly world: World;
  readonly keys: ClientKeyCache;
  readonly texts: PreparedTexts;
  /** Prepared statements kept on one backend, when not `limits.backendStatements`. */
  readonly backendStatements?: number;
}

export class Backend {
  readonly target: BackendTarget;
  readonly replies = new ReplyQueue();
  readonly statements: BackendStatements;
  /** Session settings that differ from the login's, as last applied (name → SQL text). */
  settings: ReadonlyMap<string, string> = new Map();
  /** Enter messages made before, by their key; see enter.ts. */
  readonly enters = new Map<string, { epoch: number; placement: string; bytes: Buffer }>();
  owner: BackendOwner | undefined;
  parameters = new Map<string, string>();
  pid = 0;
  key: Buffer = Buffer.alloc(0);
  /** A partial frame that waits for its rest. */
  carry: Buffer | undefined;
  /** Bytes still to come of a large frame that passes through, and whether the client gets them. */
  passing = 0;
  passingForward = false;
  /** Grows with every chunk; see liveness.ts. */
  heard = 0;
  /** Cancel requests under way: they must have landed before the next client gets this backend. */
  cancels = 0;
  /** A cancel request may still be on its way and there is no telling when it lands: nobody else may have this backend. */
  straying = false;
  /** It has been sent a cancel request since it was opened. */
  wasCancelled = false;
  gone: string | undefined;
  private dying: string | undefined;
  private socket: Socket;
  private readBuffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
  private readBufferKept = false;
  private login: Login | undefined;
  private readonly world: World;

  private constructor(target: BackendTarget, context: BackendContext) {
    this.target = target;
    this.world = context.world;
    this.statements = new BackendStatements(context.texts, context.backendStatements);
    this.socket = this.open();
  }

  /**
   * @throws HP-G301 when the server can't be reached or refuses the login.
   */
  static async connect(target: BackendTarget, context: BackendContext): Promise<Backend> {
    const backend = new Backend(target, context);
    const login = new Login(
      {
        user: target.user,
        password: target.password,
        database: target.database,
        parameters: target.parameters,
        keys: context.keys,
        random: context.world.random,
      },
      bytes => backend.socket.write(bytes),
    );
    const timer = context.world.clock.after(limits.connectMs, () =>
      login.fail(new Error(`no answer within ${limits.connectMs} ms`)),
    );
    backend.login = login;
    if (target.tls === undefined) backend.socket.once('connect', () => login.start());
    else backend.upgrade(target.tls, () => login.start());
    try {
      const { pid, key, parameters } = await login.done;
      Object.assign(backend, { pid, key, parameters });
      backend.login = undefined;
      return backend;
    } catch (cause) {
      backend.destroy('login failed');
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new HomeportError('HP-G301', { target: target.name, why }, { cause });
    } finally {
      timer.cancel();
    }
  }

  private open(): Socket {
    const { host, port, tls } = this.target;
    const onread = {
      buffer: () => this.nextReadBuffer(),
      callback: (length: number, buffer: Uint8Array) => {
        // cast: the buffer is the one that nextReadBuffer gave
        this.received((buffer as Buffer).subarray(0, length));
        return true;
      },
    };
    const address = host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port };
    const socket = this.world.network.connect(tls === undefined ? { ...address, onread } : address);
    this.attachEvents(socket);
    return socket;
  }

  private attachEvents(socket: Socket): void {
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 10_000);
    socket.on('drain', () => this.owner?.backendDrained());
    socket.on('error', error => this.ended(error.message));
    socket.on('close', () => this.ended('the server closed the connection'));
  }

  /** SSLRequest, 'S', then TLS over the same socket. */
  private upgrade(options: { ca?: string; servername?: string }, ready: () => void): void {
    const raw = this.socket;
    raw.once('connect', () => {
      const request = Buffer.alloc(8);
      request.writeInt32BE(8, 0);
      request.writeInt32BE(80877103, 4);
      raw.write(request);
    });
    raw.once('data', (answer: Buffer) => {
      if (answer.length !== 1 || answer[0] !== 0x53) {
        return this.login?.fail(new Error('the server does not offer TLS'));
      }
      const secure = tlsConnect({ socket: raw, ...options }, ready);
      this.attachEvents(secure);
      secure.on('data', (chunk: Buffer) => this.received(chunk));
      this.socket = secure;
    });
  }

  private nextReadBuffer(): Buffer {
    if (this.readBufferKept) {
      this.readBuffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
      this.readBufferKept = false;
    }
    return this.readBuffer;
  }

  /** Slices of the current chunk are still being written to somebody: read into a new buffer from now on. */
  keepReadBuffer(): void {
    this.readBufferKept = true;
  }

  get awaitsAnswer(): boolean {
    return this.replies.length > 0;
  }

  private received(chunk: Buffer): void {
    this.heard++;
    if (this.login) this.login.feed(chunk);
    else if (this.owner) this.owner.fromBackend(chunk);
    // An idle server speaks only to say that it goes (57P01) or that a setting changed under us: not to be reused.
    else this.destroy('the server spoke while idle');
  }

  private ended(why: string): void {
    if (this.gone !== undefined) return;
    this.gone = this.dying ?? why;
    this.login?.fail(new Error(why));
    this.statements.clear();
    const owner = this.owner;
    this.owner = undefined;
    owner?.backendGone(this.gone);
  }

  /** The server has said that it goes, and why: its owner hears that once the connection is down. */
  hangUp(why: string): void {
    this.dying ??= why;
    this.socket.destroy();
  }

  /**
   * Sends simple queries or a batch with one Sync and waits for its ReadyForQuery; only while nobody owns the backend.
   * @throws LoginRefused with the server's SQLSTATE when something in it failed, HP-G301 when there was no answer in time.
   */
  exchange(bytes: Buffer): Promise<void> {
    let pending: Buffer = Buffer.alloc(0);
    let failed: Error | undefined;
    return new Promise<void>((resolve, reject) => {
      const finish = (error: Error | undefined) => {
        timer.cancel();
        this.owner = undefined;
        if (error) reject(error);
        else resolve();
      };
      const timer = this.world.clock.after(limits.connectMs, () =>
        finish(new HomeportError('HP-G301', { target: this.target.name, why: 'no answer in time' })),
      );
      this.owner = {
        fromBackend: chunk => {
          pending = Buffer.concat([pending, chunk]);
          while (pending.length >= HEADER_BYTES && pending.length >= frameBytes(pending, 0)) {
            const length = Math.max(frameBytes(pending, 0), HEADER_BYTES);
            const body = pending.subarray(HEADER_BYTES, length);
            if (pending[0] === Back.error) {
              const message = readReportField(body, 'M') ?? 'failed';
              failed ??= new LoginRefused(readReportField(body, 'C') ?? 'XX000', message);
            }
            if (pending[0] === Back.ready) return finish(failed);
            pending = pending.subarray(length);
          }
        },
        backendGone: why => finish(new HomeportError('HP-G301', { target: this.target.name, why })),
        backendDrained: () => undefined,
      };
      this.socket.write(bytes);
    });
  }

  get stream(): Socket {
    return this.socket;
  }

  pauseReading(): void {
    this.socket.pause();
  }

  resumeReading(): void {
    this.socket.resume();
  }

  /** The end of this connection, without a word to its owner. */
  destroy(why: string): void {
    this.owner = undefined;
    if (this.gone === undefined) {
      this.gone = why;
      this.statements.clear();
    }
    if (this.socket.writable && !this.socket.connecting) this.socket.write(TERMINATE);
    this.socket.destroySoon();
  }

  /** A Sync of ours, for a server that is mute after an error. */
  sendSync(): void {
    this.socket.write(SYNC);
  }

  /**
   * Asks the server to cancel what this backend runs, on a connection of its own. Resolves when the server has taken
   * note (it closes that connection), or after the connect limit; until then the backend must not change hands. When it
   * is not known to have landed, it never may again.
   */
  cancel(): Promise<void> {
    this.cancels++;
    this.wasCancelled = true;
    const { host, port } = this.target;
    const address = host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port };
    return new Promise<void>(resolve => {
      let sent = false;
      const socket = this.world.network.connect(address, () => {
        sent = true;
        socket.end(cancelRequest(this.pid, this.key));
      });
      const finish = (landed: boolean) => {
        timer.cancel();
        if (!landed) this.straying = true;
        socket.destroy();
        resolve();
      };
      const timer = this.world.clock.after(limits.connectMs, () => finish(false));
      // A connection that was never made carried nothing.
      socket.once('error', () => finish(!sent));
      socket.once('close', () => finish(true));
      socket.resume();
    }).then(() => {
      this.cancels--;
    });
  }
}
