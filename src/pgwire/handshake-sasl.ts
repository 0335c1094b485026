/** The SASL exchange of a login, at the server's side: AuthenticationSASL to AuthenticationSASLFinal. */
import { HomeportError } from '../base/errors.ts';
import type { Random } from '../base/world.ts';
import type { Intake } from './handshake-intake.ts';
import { NONCE_BYTES, SCRAM, SCRAM_PLUS, type ScramMechanism, ScramServer } from './scram.ts';

const AUTH_SASL = 10;
const AUTH_SASL_CONTINUE = 11;
const AUTH_SASL_FINAL = 12;
const SASL_RESPONSE = 0x70; // 'p'

export interface LoginOptions {
  readonly intake: Intake;
  readonly write: (bytes: Buffer) => void;
  /** Sent in front of the first message. */
  readonly before: Buffer | undefined;
  readonly user: string;
  readonly verifier: string | undefined;
  readonly mockSecret: Buffer;
  readonly messageBytes: number;
  readonly endPoint: Buffer | undefined;
  readonly random: Random;
}

/** 'R' with a code and its data. */
function authentication(code: number, data: string): Buffer {
  const dataBytes = Buffer.byteLength(data);
  const message = Buffer.alloc(9 + dataBytes);
  message.write('R', 0, 'latin1');
  message.writeInt32BE(8 + dataBytes, 1);
  message.writeInt32BE(code, 5);
  message.write(data, 9);
  return message;
}

/**
 * @returns 'gone' when the client left in the middle.
 * @throws HP-P108 … HP-P110 when it is refused
 */
export async function authenticate(options: LoginOptions): Promise<'ok' | 'gone'> {
  const { user, endPoint } = options;
  const bad = (why: string) => new HomeportError('HP-P109', { user: user.slice(0, 80), why });
  const mechanisms: ScramMechanism[] = endPoint ? [SCRAM_PLUS, SCRAM] : [SCRAM];
  const offer = authentication(AUTH_SASL, `${mechanisms.join('\0')}\0\0`);
  options.write(options.before ? Buffer.concat([options.before, offer]) : offer);

  const initial = await readResponse(options, bad);
  if (initial === undefined) return 'gone';
  const { mechanism, response } = parseInitial(initial, mechanisms, bad);
  const scram = new ScramServer({
    user,
    verifier: options.verifier,
    mockSecret: options.mockSecret,
    mechanism,
    endPoint,
    nonce: options.random.bytes(NONCE_BYTES),
  });
  const start = scram.start(response);
  if (!start.ok) throw start.reason === 'downgrade' ? new HomeportError('HP-P110', { why: start.why }) : bad(start.why);
  options.write(authentication(AUTH_SASL_CONTINUE, start.serverFirst));

  const final = await readResponse(options, bad);
  if (final === undefined) return 'gone';
  const finish = scram.finish(final.toString('utf8'));
  if (!finish.ok) {
    // Whether it was the user or the password is not for the client to know, nor for an error's text.
    throw finish.reason === 'malformed' ? bad(finish.why) : new HomeportError('HP-P108', { user: user.slice(0, 80) });
  }
  options.write(authentication(AUTH_SASL_FINAL, finish.serverFinal));
  return 'ok';
}

/** The body of one 'p' message. */
async function readResponse(
  { intake, messageBytes }: LoginOptions,
  bad: (why: string) => HomeportError,
): Promise<Buffer | undefined> {
  const head = await intake.take(5);
  if (head === undefined) return undefined;
  if (head[0] !== SASL_RESPONSE) throw bad('expected a SASL response');
  const length = head.readInt32BE(1);
  if (length < 5 || length > messageBytes) throw bad(`a SASL response of ${length} bytes`);
  return intake.take(length - 4);
}

/** SASLInitialResponse: the mechanism, a length, and the client's first message. */
function parseInitial(
  body: Buffer,
  offered: readonly ScramMechanism[],
  bad: (why: string) => HomeportError,
): { mechanism: ScramMechanism; response: string } {
  const end = body.indexOf(0);
  if (end < 0 || body.length < end + 5) throw bad('the initial SASL response is cut short');
  const name = body.toString('latin1', 0, end);
  const mechanism = offered.find(each => each === name);
  if (!mechanism) throw bad('it selected a SASL mechanism that was not offered');
  if (body.readInt32BE(end + 1) !== body.length - end - 5)
    throw bad('the length in the initial SASL response is wrong');
  return { mechanism, response: body.toString('utf8', end + 5) };
}
