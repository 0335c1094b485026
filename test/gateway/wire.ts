/** A client that speaks the protocol frame by frame, for what no driver would send. */
import type { Socket } from 'node:net';
import { realWorld } from '../../src/base/world.ts';
import { readReportField } from '../../src/pgwire/errorresponse.ts';
import { Back, Front, frame, frameBytes, HEADER_BYTES, queryFrame, SYNC } from '../../src/pgwire/frames.ts';
import { ClientKeyCache } from '../../src/pgwire/scram-keys.ts';
import { Login } from '../../src/shards/login.ts';
import { APP_PASSWORD, type TestRegion } from './fixture.ts';

const zero = (...texts: string[]) => Buffer.from(texts.map(text => `${text}\0`).join(''));
const int16 = (n: number) => {
  const out = Buffer.alloc(2);
  out.writeInt16BE(n);
  return out;
};
const int32 = (n: number) => {
  const out = Buffer.alloc(4);
  out.writeInt32BE(n);
  return out;
};

export const query = queryFrame;
export const sync = SYNC;
export const flush = frame(Front.flush, Buffer.alloc(0));
export const copyDone = frame(Front.copyDone, Buffer.alloc(0));
export const copyData = (data: string | Buffer) => frame(Front.copyData, Buffer.from(data));
export const copyFail = (why: string) => frame(Front.copyFail, zero(why));
export const parse = (name: string, sql: string) => frame(Front.parse, Buffer.concat([zero(name, sql), int16(0)]));
export const describe = (what: 'S' | 'P', name: string) => frame(Front.describe, Buffer.from(`${what}${name}\0`));
export const close = (what: 'S' | 'P', name: string) => frame(Front.close, Buffer.from(`${what}${name}\0`));
export const execute = (portal = '', rows = 0) => frame(Front.execute, Buffer.concat([zero(portal), int32(rows)]));

export function bind(portal: string, statement: string, ...values: (string | Buffer)[]): Buffer {
  const given = values.flatMap(value => [int32(Buffer.byteLength(value)), Buffer.from(value)]);
  return frame(
    Front.bind,
    Buffer.concat([zero(portal, statement), int16(0), int16(values.length), ...given, int16(0)]),
  );
}

/** Parse, Bind and Execute of the unnamed statement. */
export const run = (sql: string, ...values: string[]) =>
  Buffer.concat([parse('', sql), bind('', '', ...values), execute()]);

interface Waiter {
  readonly done: (seen: readonly string[]) => boolean;
  readonly resolve: (seen: readonly string[]) => void;
  readonly reject: (error: Error) => void;
}

export class Wire {
  readonly socket: Socket;
  pid = 0;
  key: Buffer = Buffer.alloc(0);
  /** What has come since the last look, one short text for each frame: `1`, `D a|b`, `C INSERT 0 1`, `E 22012`, `Z I`. */
  seen: string[] = [];
  ended = false;
  /** Bytes of rows and COPY data, when `counting` keeps them out of `seen`. */
  counting = false;
  counted = 0;
  private chunks: Buffer[] = [];
  private bytes = 0;
  private needed = HEADER_BYTES;
  private waiter: Waiter | undefined;
  private login: Login | undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => (this.login ? this.login.feed(chunk) : this.feed(chunk)));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.ended = true;
      this.login?.fail(new Error('closed'));
      this.settle();
    });
  }

  static async open(
    region: Pick<TestRegion, 'port'>,
    { tenant, user = 'app', ...more }: { tenant?: string; user?: string; [name: string]: string | undefined } = {},
  ): Promise<Wire> {
    const wire = new Wire(realWorld.network.connect(region.port, '127.0.0.1'));
    const options = tenant === undefined ? undefined : `-c homeport.tenant=${tenant}`;
    const given = Object.entries({ ...more, options }).filter(([, value]) => value !== undefined);
    const login = new Login(
      {
        user,
        password: APP_PASSWORD,
        database: 'app',
        parameters: Object.fromEntries(given) as Record<string, string>, // cast: the undefined ones are filtered out
        keys: new ClientKeyCache(),
        random: realWorld.random,
      },
      bytes => wire.socket.write(bytes),
    );
    wire.login = login;
    wire.socket.once('connect', () => login.start());
    const { pid, key } = await login.done;
    wire.login = undefined;
    Object.assign(wire, { pid, key });
    return wire;
  }

  send(...frames: Buffer[]): this {
    this.socket.write(Buffer.concat(frames));
    return this;
  }

  /** One byte in each segment. */
  async drip(...frames: Buffer[]): Promise<void> {
    for (const byte of Buffer.concat(frames)) {
      await new Promise<void>(resolve => this.socket.write(Buffer.from([byte]), () => resolve()));
    }
  }

  /** Waits for `many` ReadyForQuery (or the end) and takes what has come. */
  ready(many = 1): Promise<readonly string[]> {
    return this.until(seen => seen.filter(text => text.startsWith('Z')).length >= many);
  }

  until(done: (seen: readonly string[]) => boolean): Promise<readonly string[]> {
    return new Promise((resolve, reject) => {
      this.waiter = { done, resolve, reject };
      this.settle();
    });
  }

  get closed(): Promise<readonly string[]> {
    return this.until(() => this.ended);
  }

  async ask(sql: string): Promise<readonly string[]> {
    return this.send(query(sql)).ready();
  }

  end(): void {
    this.socket.destroy();
  }

  private settle(): void {
    const { waiter } = this;
    if (!waiter || !(this.ended || waiter.done(this.seen))) return;
    this.waiter = undefined;
    const { seen } = this;
    this.seen = [];
    waiter.resolve(seen);
  }

  private feed(chunk: Buffer): void {
    this.chunks.push(chunk);
    this.bytes += chunk.length;
    if (this.bytes < this.needed) return;
    let rest = this.chunks.length === 1 ? chunk : Buffer.concat(this.chunks);
    while (rest.length >= HEADER_BYTES && rest.length >= frameBytes(rest, 0)) {
      const length = frameBytes(rest, 0);
      const type = rest[0] ?? 0;
      const row = type === Back.dataRow || type === Back.copyData;
      if (this.counting && row) this.counted += length;
      else this.seen.push(describeFrame(type, rest.subarray(HEADER_BYTES, length)));
      rest = rest.subarray(length);
    }
    this.chunks = rest.length === 0 ? [] : [rest];
    this.bytes = rest.length;
    this.needed = rest.length < HEADER_BYTES ? HEADER_BYTES : frameBytes(rest, 0);
    this.settle();
  }
}

function describeFrame(type: number, body: Buffer): string {
  const letter = String.fromCharCode(type);
  switch (type) {
    case Back.error:
    case Back.notice:
      return `${letter} ${readReportField(body, 'C') ?? ''}`;
    case Back.commandComplete:
      return `${letter} ${body.toString('utf8', 0, body.length - 1)}`;
    case Back.ready:
      return `${letter} ${body.toString('latin1')}`;
    case Back.dataRow: {
      const values: string[] = [];
      for (let at = 2; at < body.length; ) {
        const length = body.readInt32BE(at);
        values.push(length < 0 ? 'null' : body.toString('utf8', at + 4, at + 4 + length));
        at += 4 + Math.max(length, 0);
      }
      return `${letter} ${values.join('|')}`;
    }
    default:
      return letter;
  }
}
