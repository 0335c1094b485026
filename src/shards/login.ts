/**
 * Logging in to a Postgres server, or to another gateway, from StartupMessage to the first ReadyForQuery. The other side
 * is not trusted: lengths are checked before memory is taken, and only SCRAM (or an explicit `trust`) is accepted, so
 * that an impostor never sees a password.
 */
import type { Random } from '../base/world.ts';
import { readReportField } from '../pgwire/errorresponse.ts';
import { Back, Front, frame, frameBytes, HEADER_BYTES } from '../pgwire/frames.ts';
import { ScramClient } from '../pgwire/scram.ts';
import type { ClientKeyCache } from '../pgwire/scram-keys.ts';

const PROTOCOL_3_0 = 0x0003_0000;
const AUTH_OK = 0;
const AUTH_SASL = 10;
const AUTH_SASL_CONTINUE = 11;
const AUTH_SASL_FINAL = 12;
/** Frames before ReadyForQuery are small: parameters, a key, an error. */
const MAX_LOGIN_FRAME_BYTES = 64 * 1024;

export interface LoginOptions {
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly parameters: Readonly<Record<string, string>>;
  readonly keys: ClientKeyCache;
  readonly random: Random;
  readonly endPoint?: Buffer | undefined;
}

export interface LoggedIn {
  readonly pid: number;
  readonly key: Buffer;
  readonly parameters: Map<string, string>;
}

export class LoginRefused extends Error {
  override readonly name = 'LoginRefused';
  readonly sqlstate: string;
  constructor(sqlstate: string, message: string) {
    super(message);
    this.sqlstate = sqlstate;
  }
}

export function startupMessage(options: LoginOptions): Buffer {
  const pairs = { user: options.user, database: options.database, ...options.parameters };
  const text = Object.entries(pairs).flat();
  const body = Buffer.from(`${text.join('\0')}\0\0`);
  const head = Buffer.alloc(8);
  head.writeInt32BE(body.length + 8, 0);
  head.writeInt32BE(PROTOCOL_3_0, 4);
  return Buffer.concat([head, body]);
}

export class Login {
  private readonly options: LoginOptions;
  private readonly send: (bytes: Buffer) => void;
  private readonly parameters = new Map<string, string>();
  private pending: Buffer = Buffer.alloc(0);
  private busy = false;
  private scram: ScramClient | undefined;
  private verified = false;
  private authenticated = false;
  private pid = 0;
  private key: Buffer = Buffer.alloc(0);
  private settle: { resolve: (done: LoggedIn) => void; reject: (error: Error) => void } | undefined;
  readonly done: Promise<LoggedIn>;

  constructor(options: LoginOptions, send: (bytes: Buffer) => void) {
    this.options = options;
    this.send = send;
    this.done = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
  }

  start(): void {
    this.send(startupMessage(this.options));
  }

  fail(error: Error): void {
    this.settle?.reject(error);
    this.settle = undefined;
  }

  /** Bytes from the server; copied, because the caller reuses its buffer. */
  feed(chunk: Buffer): void {
    this.pending = Buffer.concat([this.pending, chunk]);
    if (!this.busy) this.drain();
  }

  private drain(): void {
    while (this.settle && !this.busy && this.pending.length >= HEADER_BYTES) {
      const length = frameBytes(this.pending, 0);
      if (length < HEADER_BYTES || length > MAX_LOGIN_FRAME_BYTES) {
        return this.fail(new LoginRefused('08P01', `a frame of ${length} bytes while logging in`));
      }
      if (this.pending.length < length) return;
      const type = this.pending[0] ?? 0;
      const body = this.pending.subarray(HEADER_BYTES, length);
      this.pending = this.pending.subarray(length);
      this.handle(type, body);
    }
  }

  private handle(type: number, body: Buffer): void {
    switch (type) {
      case Back.authentication:
        return this.authentication(body);
      case Back.parameterStatus: {
        const [name = '', value = ''] = body.toString('utf8').split('\0');
        this.parameters.set(name, value);
        return;
      }
      case Back.backendKey:
        if (body.length < 8) return this.fail(new LoginRefused('08P01', 'a cancel key of less than 4 bytes'));
        this.pid = body.readInt32BE(0);
        this.key = Buffer.from(body.subarray(4));
        return;
      case Back.error: {
        const message = readReportField(body, 'M') ?? 'the login was refused';
        return this.fail(new LoginRefused(readReportField(body, 'C') ?? '08006', message));
      }
      case Back.ready:
        if (!this.authenticated) return this.fail(new LoginRefused('08P01', 'ReadyForQuery before authentication'));
        this.settle?.resolve({ pid: this.pid, key: this.key, parameters: this.parameters });
        this.settle = undefined;
        return;
      case Back.notice:
      case Back.negotiate:
        return;
      default:
        return this.fail(
          new LoginRefused('08P01', `an unexpected frame '${String.fromCharCode(type)}' while logging in`),
        );
    }
  }

  private authentication(body: Buffer): void {
    const kind = body.length >= 4 ? body.readInt32BE(0) : -1;
    const text = body.toString('utf8', 4);
    if (kind === AUTH_OK) {
      // A server that skips SCRAM has not proved that it knows the verifier.
      if (!this.verified) return this.fail(new LoginRefused('28000', 'the server asked for no SCRAM proof'));
      this.authenticated = true;
      return;
    }
    if (kind === AUTH_SASL) return this.firstMessage(text.split('\0').filter(name => name.length > 0));
    if (kind === AUTH_SASL_CONTINUE && this.scram) return this.answer(this.scram, text);
    if (kind === AUTH_SASL_FINAL && this.scram?.verify(text)) {
      this.verified = true;
      return;
    }
    this.fail(new LoginRefused('28000', `authentication step ${kind} is not SCRAM-SHA-256 as expected`));
  }

  private firstMessage(offered: string[]): void {
    const { password, keys, random, endPoint } = this.options;
    this.scram = new ScramClient({ password, nonce: random.bytes(18), offered, endPoint, keys });
    const first = this.scram.first();
    if (!first.ok) return this.fail(new LoginRefused('28000', first.why));
    const message = Buffer.from(first.message);
    const length = Buffer.alloc(4);
    length.writeInt32BE(message.length);
    this.send(frame(Front.password, Buffer.concat([Buffer.from(`${this.scram.mechanism}\0`), length, message])));
  }

  private answer(scram: ScramClient, serverFirst: string): void {
    this.busy = true;
    scram
      .answer(serverFirst)
      .then(step => {
        this.busy = false;
        if (!step.ok) return this.fail(new LoginRefused('28000', step.why));
        this.send(frame(Front.password, Buffer.from(step.message)));
        this.drain();
      })
      .catch((error: unknown) => this.fail(error instanceof Error ? error : new Error(String(error))));
  }
}
