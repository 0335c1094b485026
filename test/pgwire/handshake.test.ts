import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { connect as tlsConnect } from 'node:tls';
import pg from 'pg';
import postgres from 'postgres';
import { afterEach, describe, expect, it } from 'vitest';
import { realWorld } from '../../src/base/world.ts';
import { cancelRequest } from '../../src/pgwire/cancelkey.ts';
import { endPointHash } from '../../src/pgwire/endpoint.ts';
import { readReportField } from '../../src/pgwire/errorresponse.ts';
import type { AcceptOptions } from '../../src/pgwire/handshake.ts';
import { serverTls } from '../../src/pgwire/handshake-tls.ts';
import { ecdsa, ed25519, rsaSha384 } from './certificates.ts';
import { PASSWORD, startServer, type TestServer, talk } from './server.ts';

const tls = serverTls(ecdsa);
let server: TestServer | undefined;

afterEach(async () => {
  await server?.close();
  server = undefined;
});

async function start(options: Partial<AcceptOptions> = {}): Promise<TestServer> {
  server = await startServer(options);
  return server;
}

function packet(code: number, body = ''): Buffer {
  const out = Buffer.alloc(8 + Buffer.byteLength(body));
  out.writeInt32BE(out.length, 0);
  out.writeUInt32BE(code, 4);
  out.write(body, 8);
  return out;
}

const sslRequest = packet(80877103);
const gssRequest = packet(80877104);
const startup = packet(0x30000, 'user\0app\0\0');

function saslResponse(body: string | Buffer): Buffer {
  const bytes = Buffer.from(body);
  const head = Buffer.alloc(5);
  head.write('p');
  head.writeInt32BE(bytes.length + 4, 1);
  return Buffer.concat([head, bytes]);
}

/** The Homeport code of the last ErrorResponse in what came back. */
function codeIn(received: Buffer): string | undefined {
  const at = received.indexOf('SFATAL\0');
  return at < 0 ? undefined : readReportField(received.subarray(at), 'R');
}

describe('drivers', () => {
  const url = (port: number, user = 'app') => ({ host: '127.0.0.1', port, user, password: PASSWORD, database: 'app' });

  it('lets pg in without TLS, with its settings', async () => {
    const { port, outcomes } = await start({ tls });
    const client = new pg.Client({
      ...url(port, 'app.acme'),
      application_name: 'shop',
      statement_timeout: 1500,
      options: '-c homeport.tenant=eu/acme',
    });
    await client.connect();
    await client.query('');
    await client.end();
    const [first] = outcomes;
    if (first?.kind !== 'session') throw new Error('no session');
    expect(first.startup.user).toBe('app.acme');
    expect(first.startup.homeport.get('tenant')).toBe('eu/acme');
    expect(first.startup.settings.get('statement_timeout')).toBe('1500');
    expect(first.encrypted).toBe(false);
    expect(first.leftover.length).toBe(0);
  });

  it('lets pg in with TLS and channel binding', async () => {
    const { port, outcomes } = await start({ tls, requireTls: true });
    const client = new pg.Client({ ...url(port), ssl: { rejectUnauthorized: false }, enableChannelBinding: true });
    await client.connect();
    await client.query('');
    await client.end();
    expect(outcomes[0]).toMatchObject({ kind: 'session', encrypted: true });
  });

  it('lets pg in with a certificate that can not be bound to', async () => {
    const { port, outcomes } = await start({ tls: serverTls(ed25519) });
    const client = new pg.Client({ ...url(port), ssl: { rejectUnauthorized: false } });
    await client.connect();
    await client.end();
    expect(outcomes[0]).toMatchObject({ kind: 'session', encrypted: true });
  });

  it.each([false, 'require', 'prefer'] as const)('lets postgres.js in with ssl %s', async ssl => {
    const { port, outcomes } = await start({ tls });
    const sql = postgres({ ...url(port), ssl, max: 1, fetch_types: false });
    await sql.unsafe('');
    await sql.end();
    expect(outcomes[0]).toMatchObject({ kind: 'session', encrypted: ssl !== false });
  });

  it('says N to a driver that prefers TLS where there is none', async () => {
    const { port, outcomes } = await start();
    const sql = postgres({ ...url(port), ssl: 'prefer', max: 1, fetch_types: false });
    await sql.unsafe('');
    await sql.end();
    expect(outcomes[0]).toMatchObject({ kind: 'session', encrypted: false });
  });

  it.each([
    ['a wrong password', { password: 'wrong' }],
    ['an unknown user', { user: 'nobody' }],
  ])('refuses %s with 28P01', async (_, change) => {
    const { port } = await start();
    const client = new pg.Client({ ...url(port), ...change });
    await expect(client.connect()).rejects.toMatchObject({ code: '28P01', routine: 'HP-P108', severity: 'FATAL' });
  });

  it('refuses plain text where TLS is required, and says what to add', async () => {
    const { port } = await start({ tls, requireTls: true });
    const client = new pg.Client(url(port));
    await expect(client.connect()).rejects.toMatchObject({ code: '28000', routine: 'HP-P107' });
  });

  it('names the parameter that it does not take', async () => {
    const { port } = await start();
    const client = new pg.Client({ ...url(port), options: '-c role=postgres' });
    await expect(client.connect()).rejects.toMatchObject({
      routine: 'HP-P104',
      message: expect.stringContaining('role'),
    });
  });
});

describe('direct TLS', () => {
  const connectTls = (port: number, ALPNProtocols?: string[]) =>
    tlsConnect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...(ALPNProtocols ? { ALPNProtocols } : {}) });

  it('starts at once when the client names the protocol', async () => {
    const { port, outcomes } = await start({ tls });
    const socket = connectTls(port, ['postgresql']);
    await once(socket, 'secureConnect');
    socket.write(startup);
    const [offer] = await once(socket, 'data');
    expect(String(offer)).toContain('SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0');
    socket.destroy();
    expect(outcomes).toEqual([]);
  });

  it('keeps records under the 8 KiB beyond which libpq hangs in its asynchronous mode', async () => {
    const { port } = await start({ tls });
    const raw = realWorld.network.connect(port, '127.0.0.1');
    const received: Buffer[] = [];
    const through = new Duplex({ read: () => undefined, write: (chunk, _, done) => void raw.write(chunk, done) });
    raw.on('data', (chunk: Buffer) => {
      received.push(chunk);
      through.push(chunk);
    });
    const socket = tlsConnect({ socket: through, rejectUnauthorized: false, ALPNProtocols: ['postgresql'] });
    await once(socket, 'secureConnect');
    // The longest answer that a startup packet can ask for: its unknown option is named in full.
    socket.write(packet(0x30000, `user\0app\0_pq_.${'x'.repeat(9900)}\0\0\0`));
    let answeredBytes = 0;
    for await (const chunk of socket) {
      answeredBytes += (chunk as Buffer).length; // cast: no encoding is set
      if (answeredBytes >= 9900) break;
    }
    // Each record: type, version, length.
    const bytes = Buffer.concat(received);
    for (let at = 0; at + 5 <= bytes.length; at += 5 + bytes.readUInt16BE(at + 3)) {
      expect(bytes.readUInt16BE(at + 3)).toBeLessThanOrEqual(8192 + 256);
    }
    socket.destroy();
    raw.destroy();
  });

  it.each([[undefined], [['http/1.1']]])('is refused with ALPN %j', async protocols => {
    const running = await start({ tls });
    const socket = connectTls(running.port, protocols);
    socket.on('error', () => socket.destroy());
    await once(socket, 'close').catch(() => undefined);
    expect(await running.outcome(0)).toMatchObject({ kind: 'closed' });
  });

  it('is closed where there is no certificate', async () => {
    const running = await start();
    await talk(running.port, Buffer.from([0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5]));
    expect(await running.outcome(0)).toMatchObject({ kind: 'closed' });
  });

  it('does not allow another SSLRequest inside', async () => {
    const running = await start({ tls });
    const socket = connectTls(running.port, ['postgresql']);
    socket.on('error', () => socket.destroy());
    await once(socket, 'secureConnect');
    socket.write(sslRequest);
    await running.outcome(0);
    expect(running.outcomes[0]).toMatchObject({ kind: 'closed', why: 'a second ssl request' });
  });
});

describe('cancel requests', () => {
  it('are handed over with their key, before any authentication', async () => {
    const running = await start({ tls, requireTls: true });
    const key = Buffer.alloc(32, 5);
    await talk(running.port, cancelRequest(2 ** 30 + 7, key));
    expect(await running.outcome(0)).toMatchObject({ kind: 'cancel', pid: 2 ** 30 + 7, key });
  });

  it('may come after a declined GSSENC request', async () => {
    const running = await start();
    const socket = realWorld.network.connect(running.port, '127.0.0.1');
    socket.write(gssRequest);
    expect(String((await once(socket, 'data'))[0])).toBe('N');
    socket.end(cancelRequest(1, Buffer.alloc(4)));
    expect(await running.outcome(0)).toMatchObject({ kind: 'cancel', pid: 1 });
  });
});

describe('hostile starts', () => {
  const header = (length: number, code: number) => {
    const out = Buffer.alloc(8);
    out.writeInt32BE(length);
    out.writeUInt32BE(code, 4);
    return out;
  };

  it.each([
    ['a length under 4', header(3, 0x30000), 'HP-P101'],
    ['a negative length', header(-1, 0x30000), 'HP-P101'],
    ['a giant length', header(0x7fffffff, 0x30000), 'HP-P101'],
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\n\r\n'), 'HP-P101'],
    ['protocol 2', packet(0x20000, 'user\0app\0\0'), 'HP-P102'],
    ['a second StartupMessage instead of a password', Buffer.concat([startup, startup]), 'HP-P109'],
    ['a query instead of a password', Buffer.concat([startup, Buffer.from('Q\0\0\0\x08abc\0')]), 'HP-P109'],
    ['a giant password', Buffer.concat([startup, Buffer.from('p\x7f\xff\xff\xff', 'latin1')]), 'HP-P109'],
    ['another mechanism', Buffer.concat([startup, saslResponse('SCRAM-SHA-1\0\0\0\0\0')]), 'HP-P109'],
    [
      'PLUS where it was not offered',
      Buffer.concat([startup, saslResponse('SCRAM-SHA-256-PLUS\0\0\0\0\0')]),
      'HP-P109',
    ],
    ['a clear-text password', Buffer.concat([startup, saslResponse('secret\0')]), 'HP-P109'],
    ['a wrong inner length', Buffer.concat([startup, saslResponse('SCRAM-SHA-256\0\0\0\0\x7fn,,n=,r=a')]), 'HP-P109'],
  ])('%s ends the connection', async (_, bytes, code) => {
    const running = await start();
    const received = await talk(running.port, bytes);
    expect(await running.outcome(0)).toMatchObject({ kind: 'closed', error: { code } });
    expect(codeIn(received) ?? code).toBe(code);
  });

  it.each([
    ['bytes in plain text after SSLRequest', Buffer.concat([sslRequest, startup])],
    ['bytes after GSSENCRequest', Buffer.concat([gssRequest, startup])],
  ])('%s end the connection without a word', async (_, bytes) => {
    const running = await start({ tls });
    expect((await talk(running.port, bytes)).length).toBe(0);
    expect(await running.outcome(0)).toMatchObject({ kind: 'closed' });
  });

  it('a second SSLRequest ends the connection', async () => {
    const running = await start();
    const socket = realWorld.network.connect(running.port, '127.0.0.1');
    socket.write(sslRequest);
    expect(String((await once(socket, 'data'))[0])).toBe('N');
    socket.write(sslRequest);
    expect(await running.outcome(0)).toMatchObject({ kind: 'closed', why: 'a second ssl request' });
    socket.destroy();
  });

  it('garbage where TLS should begin ends the connection', async () => {
    const running = await start({ tls });
    const socket = realWorld.network.connect(running.port, '127.0.0.1');
    socket.on('error', () => socket.destroy());
    socket.write(sslRequest);
    expect(String((await once(socket, 'data'))[0])).toBe('S');
    socket.write(Buffer.alloc(200, 0x41));
    expect(await running.outcome(0)).toMatchObject({
      kind: 'closed',
      why: 'the client went away in the TLS handshake',
    });
    socket.destroy();
  });

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['half a startup packet', startup.subarray(0, 11)],
    ['a startup packet and no password', startup],
  ])('a client that sends %s is gone when its time is up', async (_, bytes) => {
    const running = await start({ limits: { authenticationMs: 50, authMessageBytes: 4096 } });
    await talk(running.port, bytes);
    expect(await running.outcome(0)).toMatchObject({ kind: 'closed', error: { code: 'HP-P111' } });
  });

  it('a client that stops in the TLS handshake is gone when its time is up', async () => {
    const running = await start({ tls, limits: { authenticationMs: 80, authMessageBytes: 4096 } });
    await talk(running.port, sslRequest);
    expect(await running.outcome(0)).toMatchObject({ kind: 'closed', error: { code: 'HP-P111' } });
  });

  it('a client that hangs up early leaves nothing behind', async () => {
    const running = await start();
    const socket = realWorld.network.connect(running.port, '127.0.0.1');
    socket.end(startup.subarray(0, 5));
    expect(await running.outcome(0)).toMatchObject({ kind: 'closed', error: undefined });
  });
});

describe('what is left on the socket', () => {
  it('is no listener, and every byte that came too early', async () => {
    const early = Buffer.from('Q\0\0\0\x05\0');
    const seen: { listeners: number; leftover: string }[] = [];
    const { ScramClient } = await import('../../src/pgwire/scram.ts');
    const { ClientKeyCache } = await import('../../src/pgwire/scram-keys.ts');
    const running = await start();
    const socket = realWorld.network.connect(running.port, '127.0.0.1');
    const scram = new ScramClient({
      password: PASSWORD,
      nonce: Buffer.alloc(18, 2),
      offered: ['SCRAM-SHA-256'],
      keys: new ClientKeyCache(),
    });
    socket.write(startup);
    await once(socket, 'data');
    const first = scram.first();
    const message = first.ok ? first.message : '';
    const inner = Buffer.alloc(4);
    inner.writeInt32BE(message.length);
    socket.write(saslResponse(Buffer.concat([Buffer.from('SCRAM-SHA-256\0'), inner, Buffer.from(message)])));
    const [reply] = (await once(socket, 'data')) as [Buffer];
    const answer = await scram.answer(reply.toString('utf8', 9));
    // Byte by byte up to the last, which comes together with a query.
    const final = Buffer.concat([saslResponse(answer.ok ? answer.message : ''), early]);
    socket.setNoDelay(true);
    for (const byte of final.subarray(0, 20)) socket.write(Buffer.from([byte]));
    socket.write(final.subarray(20));
    const accepted = await running.outcome(0);
    if (accepted.kind !== 'session') throw new Error(accepted.kind);
    const names = ['readable', 'end', 'data'].map(name => accepted.socket.listenerCount(name));
    seen.push({ listeners: names[0] ?? 0, leftover: accepted.leftover.toString() });
    expect(seen).toEqual([{ listeners: 0, leftover: early.toString() }]);
    socket.destroy();
  });
});

describe('the end point of a certificate', () => {
  const der = (pem: string) => Buffer.from(pem.replaceAll(/-----[A-Z ]+-----|\s/g, ''), 'base64');

  it("is hashed by its signature's own hash", () => {
    expect(endPointHash(der(ecdsa.cert))?.length).toBe(32);
    expect(endPointHash(der(rsaSha384.cert))?.length).toBe(48);
    expect(endPointHash(der(ed25519.cert))).toBeUndefined();
  });

  it('is not found in what is no certificate', () => {
    expect(endPointHash(Buffer.alloc(0))).toBeUndefined();
    expect(endPointHash(Buffer.from('3084ffffffff', 'hex'))).toBeUndefined();
  });
});
