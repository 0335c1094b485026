import { once } from 'node:events';
import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { realWorld } from '../../src/base/world.ts';
import { allocatePorts } from '../../src/devcluster/ports.ts';
import { type RunningPostgres, startPostgres } from '../../src/devcluster/postgres.ts';
import { ownedDirectory, postgresUser } from '../../src/devcluster/user.ts';
import { endPointHash } from '../../src/pgwire/endpoint.ts';
import { readReportField } from '../../src/pgwire/errorresponse.ts';
import { Intake } from '../../src/pgwire/handshake-intake.ts';
import { SCRAM_PLUS, ScramClient } from '../../src/pgwire/scram.ts';
import { buildVerifier, ClientKeyCache, parseVerifier } from '../../src/pgwire/scram-keys.ts';
import { ecdsa } from './certificates.ts';

const directory = mkdtempSync(join(tmpdir(), 'homeport-scram-'));
const keys = new ClientKeyCache();
let postgres: RunningPostgres;
let admin: pg.Client;

beforeAll(async () => {
  const user = postgresUser();
  ownedDirectory(directory, user, 0o755);
  const file = (name: string, text: string) => {
    const path = join(directory, name);
    writeFileSync(path, text, { mode: 0o600 });
    if (user) chownSync(path, user.uid, user.gid);
    return path;
  };
  const [port = 0] = await allocatePorts(1);
  postgres = await startPostgres({
    dataDir: join(directory, 'data'),
    port,
    socketDir: directory,
    superuser: 'homeport_admin',
    password: 'admin',
    settings: { ssl: 'on', ssl_cert_file: file('cert.pem', ecdsa.cert), ssl_key_file: file('key.pem', ecdsa.key) },
    world: realWorld,
  });
  admin = new pg.Client({ host: '127.0.0.1', port, user: 'homeport_admin', password: 'admin', database: 'app' });
  await admin.connect();
});

afterAll(async () => {
  await admin?.end();
  await postgres?.stop();
  rmSync(directory, { recursive: true, force: true });
});

function message(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

function startup(user: string): Buffer {
  const body = Buffer.from(`user\0${user}\0database\0app\0\0`);
  const head = Buffer.alloc(8);
  head.writeInt32BE(8 + body.length);
  head.writeInt32BE(0x30000, 4);
  return Buffer.concat([head, body]);
}

async function connect(tls: boolean): Promise<{ socket: Socket; endPoint: Buffer | undefined }> {
  const socket = realWorld.network.connect(postgres.port, '127.0.0.1');
  if (!tls) return { socket, endPoint: undefined };
  socket.write(Buffer.from('0000000804d2162f', 'hex'));
  expect(String((await once(socket, 'data'))[0])).toBe('S');
  const secure = tlsConnect({ socket, rejectUnauthorized: false });
  await once(secure, 'secureConnect');
  return { socket: secure, endPoint: endPointHash(secure.getPeerCertificate().raw) };
}

/** The SQLSTATE of the refusal, or the mechanism with which it went well. */
async function login(user: string, password: string, { tls = false } = {}): Promise<string> {
  const { socket, endPoint } = await connect(tls);
  const intake = new Intake(socket);
  const next = async (): Promise<{ type: string; code: number; text: string; body: Buffer }> => {
    const head = (await intake.take(5)) ?? Buffer.alloc(5);
    const body = (await intake.take(head.readInt32BE(1) - 4)) ?? Buffer.alloc(4);
    return { type: String.fromCharCode(head[0] ?? 0), code: body.readInt32BE(0), text: body.toString('utf8', 4), body };
  };
  try {
    socket.write(startup(user));
    const offer = await next();
    const offered = offer.text.split('\0').filter(name => name !== '');
    const scram = new ScramClient({ password, nonce: realWorld.random.bytes(18), offered, endPoint, keys });
    const first = scram.first();
    const text = first.ok ? first.message : '';
    const length = Buffer.alloc(4);
    length.writeInt32BE(text.length);
    socket.write(message('p', Buffer.concat([Buffer.from(`${scram.mechanism}\0`), length, Buffer.from(text)])));
    const answer = await scram.answer((await next()).text);
    socket.write(message('p', Buffer.from(answer.ok ? answer.message : '')));
    const final = await next();
    if (final.type === 'E') return readReportField(final.body, 'C') ?? '?';
    expect(scram.verify(final.text)).toBe(true);
    expect((await next()).code).toBe(0);
    return scram.mechanism ?? '?';
  } finally {
    socket.destroy();
  }
}

describe('against PostgreSQL 18', () => {
  it('logs in, and is refused with a wrong password', async () => {
    expect(await login('homeport_admin', 'admin')).toBe('SCRAM-SHA-256');
    expect(await login('homeport_admin', 'wrong')).toBe('28P01');
    expect(await login('nobody_at_all', 'wrong')).toBe('28P01');
  });

  it('binds the channel over TLS', async () => {
    expect(await login('homeport_admin', 'admin', { tls: true })).toBe(SCRAM_PLUS);
  });

  it('makes verifiers that Postgres takes', async () => {
    const verifier = await buildVerifier('s\u00e4cret', { salt: Buffer.alloc(16, 4), iterations: 5000 });
    await admin.query(`create role made login password '${verifier}'`);
    expect(await login('made', 's\u00e4cret')).toBe('SCRAM-SHA-256');
  });

  it('reads verifiers that Postgres makes', async () => {
    await admin.query(`create role theirs login password 'x'`);
    const { rows } = await admin.query(`select rolpassword from pg_authid where rolname = 'theirs'`);
    const parsed = parseVerifier(String(rows[0].rolpassword));
    expect(parsed?.iterations).toBe(4096);
    expect(await buildVerifier('x', { salt: parsed?.salt ?? Buffer.alloc(0) })).toBe(rows[0].rolpassword);
  });

  // Where the two differ in SASLprep, one of these passwords gives other keys.
  it.each([
    'I\u00adX',
    '\u2168 \u00aa',
    'a\u0308\u00a0b',
    '\u0627\u0628',
    '\u0627a\u0628',
    '\u06271',
    '\u{1f600}\u00ad',
    '\u0007\u00ad',
    '\u00ad',
    '\ue000\u00ad',
    '\u0221\u00ad',
    '\u2060\u1680\ufb01',
    '\u05d0\u00ad',
    '\u1100\u1161\u11a8\u00ad',
  ])('prepares %j as Postgres does', async password => {
    await admin.query(`drop role if exists prepared`);
    await admin.query(`create role prepared login password ${pg.escapeLiteral(password)}`);
    const { rows } = await admin.query(`select rolpassword from pg_authid where rolname = 'prepared'`);
    const salt = parseVerifier(String(rows[0].rolpassword))?.salt ?? Buffer.alloc(0);
    expect(await buildVerifier(password, { salt })).toBe(rows[0].rolpassword);
    expect(await login('prepared', password)).toBe('SCRAM-SHA-256');
  });
});
