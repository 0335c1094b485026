/**
 * A client's connection from accept to authenticated, at the server's side. One phase with its own resources: when it
 * is over, the socket has no listener of ours and nothing was read that is not in the result.
 *
 *   first byte 0x16 ─▶ TLS ─┐
 *   SSLRequest ─'S'─▶ TLS ──┤
 *   SSLRequest ─'N'─┐       ├─▶ StartupMessage ─▶ SCRAM ─▶ session
 *   GSSENCRequest 'N'┴──────┘   CancelRequest ─▶ cancel     everything else ─▶ closed
 *
 * Guarantees:
 * 1. A length is checked before a byte of its message is waited for; before authentication a peer holds no more
 *    than one startup packet and one socket buffer of ours, and no longer than `authenticationMs`.
 * 2. Nothing that came in plain text is taken as if it had come through TLS.
 * 3. A user who does not exist looks like one who does, in shape and in time.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { HomeportError } from '../base/errors.ts';
import type { World } from '../base/world.ts';
import { errorResponseOf } from './errorresponse.ts';
import { Intake } from './handshake-intake.ts';
import { authenticate } from './handshake-sasl.ts';
import { encrypt, type ServerTls } from './handshake-tls.ts';
import { FIRST_HEADER_BYTES, firstPacketBytes, type ProtocolMinor, parseFirstPacket, type Startup } from './startup.ts';

const TLS_HANDSHAKE_BYTE = 0x16;

export interface AcceptOptions {
  /** Undefined: SSLRequest is answered with 'N'. */
  readonly tls: ServerTls | undefined;
  readonly requireTls: boolean;
  /** The verifier of a user, by the name in the startup packet; undefined when there is none. */
  readonly lookupVerifier: (user: string, startup: Startup) => string | undefined;
  /** The same in every process of the cluster, secret, and used for nothing else. */
  readonly mockSecret: Buffer;
  /** `limits` of base fits. */
  readonly limits: HandshakeLimits;
  readonly world: World;
}

export interface HandshakeLimits {
  readonly authenticationMs: number;
  readonly authMessageBytes: number;
}

export type Accepted =
  | {
      /** Authenticated; AuthenticationOk is due. */
      readonly kind: 'session';
      readonly socket: Socket | TLSSocket;
      readonly encrypted: boolean;
      readonly startup: Startup;
      readonly minor: ProtocolMinor;
      /** What came after the last message of the handshake; usually nothing. */
      readonly leftover: Buffer;
    }
  /** To be carried out; then the socket is to be closed without an answer. */
  | { readonly kind: 'cancel'; readonly socket: Socket | TLSSocket; readonly pid: number; readonly key: Buffer }
  /** Told what there was to tell, and closing. `why` is for the log. */
  | { readonly kind: 'closed'; readonly why: string; readonly error: HomeportError | undefined };

/** Never rejects for anything that the peer does. */
export async function acceptClient(socket: Socket, options: AcceptOptions): Promise<Accepted> {
  const phase = new Handshake(socket, options);
  try {
    return await phase.run();
  } catch (error) {
    if (!(error instanceof HomeportError)) {
      phase.destroy();
      throw error;
    }
    return phase.refuse(error);
  } finally {
    phase.release();
  }
}

class Handshake {
  readonly #options: AcceptOptions;
  readonly #cancelTimer: () => void;
  #socket: Socket | TLSSocket;
  #intake: Intake;
  #endPoint: Buffer | undefined;
  #encrypted = false;
  #timedOut = false;

  constructor(socket: Socket, options: AcceptOptions) {
    this.#options = options;
    this.#socket = socket;
    this.#intake = new Intake(socket);
    const timer = options.world.clock.after(options.limits.authenticationMs, () => {
      this.#timedOut = true;
      // Whoever waits for bytes wakes up without them. No word to the peer: it may not be reading.
      socket.destroy();
    });
    this.#cancelTimer = () => timer.cancel();
  }

  async run(): Promise<Accepted> {
    const asked = { ssl: false, gssenc: false };
    const head = await this.#intake.take(1);
    if (head === undefined) return this.#gone('before it said anything');
    this.#intake.putBack(head);
    if (head[0] === TLS_HANDSHAKE_BYTE) {
      if (!this.#options.tls) return this.#close('TLS without being asked, and there is no certificate');
      if (!(await this.#encrypt(this.#options.tls, true))) return this.#gone('in the TLS handshake');
      asked.ssl = true;
      asked.gssenc = true;
    }
    for (;;) {
      const packet = await this.#firstPacket();
      if (packet === undefined) return this.#gone('before its startup packet was complete');
      const first = parseFirstPacket(packet);
      if (first.kind === 'cancel') return { ...first, socket: this.#socket };
      if (first.kind === 'startup') return await this.#login(first);
      if (asked[first.kind]) return this.#close(`a second ${first.kind} request`);
      asked[first.kind] = true;
      // Guarantee 2: what was sent ahead of our answer was sent in plain text.
      if (this.#intake.hasMore) return this.#close(`bytes in plain text after its ${first.kind} request`);
      if (first.kind === 'ssl' && this.#options.tls) {
        this.#socket.write('S');
        if (!(await this.#encrypt(this.#options.tls, false))) return this.#gone('in the TLS handshake');
        asked.gssenc = true;
      } else {
        this.#socket.write('N');
      }
    }
  }

  async #firstPacket(): Promise<Buffer | undefined> {
    const head = await this.#intake.take(FIRST_HEADER_BYTES);
    if (head === undefined) return undefined;
    const length = firstPacketBytes(head);
    if (length === FIRST_HEADER_BYTES) return head;
    const body = await this.#intake.take(length - FIRST_HEADER_BYTES);
    return body && Buffer.concat([head, body]);
  }

  async #encrypt(tls: ServerTls, direct: boolean): Promise<boolean> {
    this.#intake.release();
    const encrypted = await encrypt(this.#socket, tls, { direct });
    if (!encrypted) return false;
    this.#socket = encrypted.socket;
    this.#endPoint = encrypted.endPoint;
    this.#encrypted = true;
    this.#intake = new Intake(encrypted.socket);
    return true;
  }

  async #login(first: { startup: Startup; minor: ProtocolMinor; negotiate: Buffer | undefined }): Promise<Accepted> {
    const { startup, minor } = first;
    if (this.#options.requireTls && !this.#encrypted) throw new HomeportError('HP-P107');
    const outcome = await authenticate({
      intake: this.#intake,
      write: bytes => this.#socket.write(bytes),
      before: first.negotiate,
      user: startup.user,
      verifier: this.#options.lookupVerifier(startup.user, startup),
      mockSecret: this.#options.mockSecret,
      messageBytes: this.#options.limits.authMessageBytes,
      endPoint: this.#endPoint,
      random: this.#options.world.random,
    });
    if (outcome === 'gone') return this.#gone('during authentication');
    const [socket, encrypted, leftover] = [this.#socket, this.#encrypted, this.#intake.rest()];
    return { kind: 'session', socket, encrypted, startup, minor, leftover };
  }

  refuse(error: HomeportError): Accepted {
    this.#guard();
    if (!this.#socket.destroyed) {
      this.#socket.write(errorResponseOf(error, 'FATAL'));
      this.#socket.destroySoon();
    }
    return { kind: 'closed', why: `${error.code} ${error.message}`, error };
  }

  #close(why: string): Accepted {
    this.destroy();
    return { kind: 'closed', why, error: undefined };
  }

  #gone(when: string): Accepted {
    this.destroy();
    const { authenticationMs } = this.#options.limits;
    if (!this.#timedOut) return { kind: 'closed', why: `the client went away ${when}`, error: undefined };
    const error = new HomeportError('HP-P111', { limitMs: authenticationMs });
    return { kind: 'closed', why: `${error.code} ${error.message}, ${when}`, error };
  }

  destroy(): void {
    this.#guard();
    this.#socket.destroy();
  }

  /** The socket is ours to the end: a reset while it closes has nobody left to tell. */
  #guard(): void {
    this.#socket.on('error', () => this.#socket.destroy());
  }

  release(): void {
    this.#cancelTimer();
    this.#intake.release();
  }
}
