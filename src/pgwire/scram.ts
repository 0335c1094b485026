/**
 * SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677, RFC 5929 tls-server-end-point) as Postgres speaks them, both
 * sides, without I/O. The user name in the messages is ignored, as Postgres does: the startup packet has named the user.
 */
import {
  type ClientKeyCache,
  type ClientKeys,
  decodeBase64,
  hmac,
  KEY_BYTES,
  MAX_ITERATIONS,
  mockVerifier,
  parseVerifier,
  type ScramVerifier,
  sameBytes,
  sha256,
} from './scram-keys.ts';

export const SCRAM = 'SCRAM-SHA-256';
export const SCRAM_PLUS = 'SCRAM-SHA-256-PLUS';
export type ScramMechanism = typeof SCRAM | typeof SCRAM_PLUS;

/** 18 bytes in base64, as Postgres. */
export const NONCE_BYTES = 18;
const BINDING_FLAG = 'p=tls-server-end-point';
/** Printable ASCII without the comma. */
const NONCE = /^[\x21-\x2b\x2d-\x7e]{1,256}$/;

export type ServerStart =
  | { readonly ok: true; readonly serverFirst: string }
  /** `malformed`: not SCRAM. `downgrade`: somebody in the middle hid that we can bind the channel. */
  | { readonly ok: false; readonly reason: 'malformed' | 'downgrade'; readonly why: string };

export type ServerFinish =
  | { readonly ok: true; readonly serverFinal: string }
  | { readonly ok: false; readonly reason: 'malformed' | 'rejected'; readonly why: string };

export interface ScramServerOptions {
  readonly user: string;
  /** As stored, or undefined for a user who does not exist; what can't be read counts as none. */
  readonly verifier: string | undefined;
  readonly mockSecret: Buffer;
  readonly mechanism: ScramMechanism;
  /** The hash of our certificate; undefined where the connection has none, and then PLUS was not offered. */
  readonly endPoint: Buffer | undefined;
  /** NONCE_BYTES random bytes. */
  readonly nonce: Buffer;
}

/** One login at a server. `start` once, then `finish` once. */
export class ScramServer {
  readonly #options: ScramServerOptions;
  readonly #verifier: ScramVerifier;
  readonly #known: boolean;
  #expected: { nonce: string; binding: string; transcript: string } | undefined;

  constructor(options: ScramServerOptions) {
    this.#options = options;
    // Both are always computed, so that a user who does not exist takes as long as one who does.
    const mock = mockVerifier(options.mockSecret, options.user);
    const real = parseVerifier(options.verifier ?? '');
    this.#known = real !== undefined;
    this.#verifier = real ?? mock;
  }

  start(clientFirst: string): ServerStart {
    const malformed = (why: string): ServerStart => ({ ok: false, reason: 'malformed', why });
    const match = /^([^,]*),([^,]*),(n=[^,]*),r=([^,]*)(,.*)?$/s.exec(clientFirst);
    if (!match) return malformed('the first message does not read gs2-header,n=user,r=nonce');
    const [, flag = '', authzid = '', , clientNonce = ''] = match;
    if (authzid !== '') return malformed('acting for another user (authzid) is not supported');
    if (!NONCE.test(clientNonce)) return malformed('the nonce is empty, too long or not printable');
    const refused = this.#checkFlag(flag);
    if (refused) return refused;

    const header = `${flag},,`;
    const bound = flag === BINDING_FLAG ? this.#options.endPoint : undefined;
    const binding = Buffer.concat([Buffer.from(header), bound ?? Buffer.alloc(0)]).toString('base64');
    const nonce = clientNonce + this.#options.nonce.toString('base64');
    const { salt, iterations } = this.#verifier;
    const serverFirst = `r=${nonce},s=${salt.toString('base64')},i=${iterations}`;
    this.#expected = { nonce, binding, transcript: `${clientFirst.slice(header.length)},${serverFirst}` };
    return { ok: true, serverFirst };
  }

  /** The gs2 flag says what the client believes about channel binding; a lie in between must not pass. */
  #checkFlag(flag: string): ServerStart | undefined {
    const plus = this.#options.mechanism === SCRAM_PLUS;
    const malformed = (why: string): ServerStart => ({ ok: false, reason: 'malformed', why });
    if (plus && this.#options.endPoint === undefined) return malformed('channel binding was not offered');
    if (flag === BINDING_FLAG) return plus ? undefined : malformed('channel binding data without SCRAM-SHA-256-PLUS');
    if (flag.startsWith('p=')) return malformed('unsupported channel binding type');
    if (plus) return malformed('SCRAM-SHA-256-PLUS without channel binding data');
    if (flag === 'n') return undefined;
    if (flag !== 'y') return malformed('unexpected channel binding flag');
    if (this.#options.endPoint === undefined) return undefined;
    return { ok: false, reason: 'downgrade', why: 'the client thinks that we do not offer channel binding, but we do' };
  }

  finish(clientFinal: string): ServerFinish {
    const malformed = (why: string): ServerFinish => ({ ok: false, reason: 'malformed', why });
    const expected = this.#expected;
    this.#expected = undefined;
    if (!expected) return malformed('the final message came first');
    const match = /^(c=([^,]*),r=([^,]*)(?:,.*)?),p=([^,]*)$/s.exec(clientFinal);
    if (!match) return malformed('the final message does not read c=binding,r=nonce,p=proof');
    const [, withoutProof = '', binding = '', nonce = '', proofText = ''] = match;
    const proof = decodeBase64(proofText);
    if (proof?.length !== KEY_BYTES) return malformed('the proof is not 32 bytes in base64');
    if (!sameBytes(Buffer.from(nonce), Buffer.from(expected.nonce))) return malformed('the nonce is not ours');
    if (!sameBytes(Buffer.from(binding), Buffer.from(expected.binding))) {
      return { ok: false, reason: 'rejected', why: 'the channel binding does not fit this connection' };
    }
    const authMessage = `${expected.transcript},${withoutProof}`;
    const clientKey = xor(proof, hmac(this.#verifier.storedKey, authMessage));
    const fits = sameBytes(sha256(clientKey), this.#verifier.storedKey);
    const signature = hmac(this.#verifier.serverKey, authMessage);
    if (!fits || !this.#known) {
      return { ok: false, reason: 'rejected', why: this.#known ? 'wrong password' : 'no such user, or no verifier' };
    }
    return { ok: true, serverFinal: `v=${signature.toString('base64')}` };
  }
}

function xor(a: Buffer, b: Buffer): Buffer {
  const out = Buffer.alloc(a.length);
  for (let i = 0; i < a.length; i++) out[i] = (a[i] ?? 0) ^ (b[i] ?? 0);
  return out;
}

export interface ScramClientOptions {
  readonly password: string;
  /** NONCE_BYTES random bytes. */
  readonly nonce: Buffer;
  /** What AuthenticationSASL listed. */
  readonly offered: readonly string[];
  /** The hash of the server's certificate when the connection has TLS and we can bind to it. */
  readonly endPoint?: Buffer | undefined;
  /** Refuse a server that does not bind the channel. */
  readonly requireBinding?: boolean;
  readonly keys: ClientKeyCache;
}

export type ClientStep = { readonly ok: true; readonly message: string } | { readonly ok: false; readonly why: string };

/** One login at somebody else's server: `first`, `answer`, `verify`, in this order. */
export class ScramClient {
  readonly #options: ScramClientOptions;
  readonly #nonce: string;
  readonly #header: string;
  readonly mechanism: ScramMechanism | undefined;
  #expectedSignature: Buffer | undefined;

  constructor(options: ScramClientOptions) {
    this.#options = options;
    this.#nonce = options.nonce.toString('base64');
    const binds = options.endPoint !== undefined && options.offered.includes(SCRAM_PLUS);
    const plain = options.offered.includes(SCRAM) && !options.requireBinding;
    this.mechanism = binds ? SCRAM_PLUS : plain ? SCRAM : undefined;
    // 'y' lets the server find out that somebody removed PLUS from its offer.
    this.#header = binds ? `${BINDING_FLAG},,` : options.endPoint !== undefined ? 'y,,' : 'n,,';
  }

  /** For SASLInitialResponse. Not ok when the server offers nothing that we take. */
  first(): ClientStep {
    if (!this.mechanism)
      return { ok: false, why: `the server offers only ${this.#options.offered.join(', ') || 'nothing'}` };
    return { ok: true, message: `${this.#header}n=,r=${this.#nonce}` };
  }

  /** From the server's first message to our final one; only here PBKDF2 may run. */
  async answer(serverFirst: string): Promise<ClientStep> {
    const match = /^r=([^,]*),s=([^,]*),i=([1-9][0-9]{0,9})(,.*)?$/s.exec(serverFirst);
    const [, nonce = '', saltText = '', iterationsText = ''] = match ?? [];
    const salt = decodeBase64(saltText);
    if (!match || !salt || salt.length === 0) return { ok: false, why: 'its first message is malformed' };
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length || !NONCE.test(nonce)) {
      return { ok: false, why: 'its nonce does not continue ours' };
    }
    const iterations = Number(iterationsText);
    if (iterations > MAX_ITERATIONS) return { ok: false, why: `it asks for ${iterations} iterations` };
    const keys = await this.#options.keys.get(this.#options.password, salt, iterations);
    return { ok: true, message: this.#final(keys, nonce, serverFirst) };
  }

  #final(keys: ClientKeys, nonce: string, serverFirst: string): string {
    const bound = this.mechanism === SCRAM_PLUS ? this.#options.endPoint : undefined;
    const binding = Buffer.concat([Buffer.from(this.#header), bound ?? Buffer.alloc(0)]).toString('base64');
    const withoutProof = `c=${binding},r=${nonce}`;
    const authMessage = `n=,r=${this.#nonce},${serverFirst},${withoutProof}`;
    const proof = xor(keys.clientKey, hmac(keys.storedKey, authMessage));
    this.#expectedSignature = hmac(keys.serverKey, authMessage);
    return `${withoutProof},p=${proof.toString('base64')}`;
  }

  /** True when the server has proved that it knows the verifier too. AuthenticationOk before that is an impostor's. */
  verify(serverFinal: string): boolean {
    const signature = decodeBase64(/^v=([^,]*)/.exec(serverFinal)?.[1] ?? '');
    const expected = this.#expectedSignature;
    this.#expectedSignature = undefined;
    return expected !== undefined && signature !== undefined && sameBytes(signature, expected);
  }
}
