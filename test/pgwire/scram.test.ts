import { describe, expect, it } from 'vitest';
import { realWorld } from '../../src/base/world.ts';
import { saslPrep } from '../../src/pgwire/saslprep.ts';
import { SCRAM, SCRAM_PLUS, ScramClient, type ScramMechanism, ScramServer } from '../../src/pgwire/scram.ts';
import {
  buildVerifier,
  ClientKeyCache,
  deriveKeys,
  formatVerifier,
  mockVerifier,
  parseVerifier,
} from '../../src/pgwire/scram-keys.ts';

const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
const mockSecret = Buffer.alloc(32, 7);
const endPoint = Buffer.alloc(32, 9);
const verifier = await buildVerifier('pencil', { salt, iterations: 4096 });
const nonce = () => realWorld.random.bytes(18);

function server(
  options: { verifier?: string | undefined; mechanism?: ScramMechanism; endPoint?: Buffer; nonce?: Buffer } = {},
) {
  return new ScramServer({
    user: 'app',
    verifier,
    mockSecret,
    mechanism: SCRAM,
    endPoint: undefined,
    nonce: nonce(),
    ...options,
  });
}

function client(
  options: { password?: string; offered?: string[]; endPoint?: Buffer; requireBinding?: boolean; nonce?: Buffer } = {},
) {
  return new ScramClient({
    password: 'pencil',
    nonce: nonce(),
    offered: [SCRAM],
    keys: new ClientKeyCache(),
    ...options,
  });
}

async function exchange(us: ScramServer, them: ScramClient) {
  const first = them.first();
  if (!first.ok) throw new Error(first.why);
  const start = us.start(first.message);
  if (!start.ok) return { start, finish: undefined, proved: false };
  const answer = await them.answer(start.serverFirst);
  if (!answer.ok) throw new Error(answer.why);
  const finish = us.finish(answer.message);
  return { start, finish, proved: finish.ok && them.verify(finish.serverFinal) };
}

describe('verifiers', () => {
  it('has the keys of the RFC 7677 example', async () => {
    const keys = await deriveKeys('pencil', salt, 4096);
    const parsed = parseVerifier(verifier);
    expect(parsed?.storedKey).toEqual(keys.storedKey);
    expect(keys.serverKey.toString('base64')).toBe('wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=');
  });

  it('reads what it writes', () => {
    const parsed = parseVerifier(verifier);
    expect(parsed && formatVerifier(parsed)).toBe(verifier);
  });

  it.each([
    '',
    'md5abc',
    'pencil',
    verifier.replace('4096', '0'),
    verifier.replace('4096', '99999999999'),
    verifier.slice(0, -1),
    `${verifier}:`,
    verifier.replace('SHA-256', 'SHA-1'),
    verifier.replace(/\$[^$]*$/, '$AAAA:AAAA'),
  ])('refuses %j', text => {
    expect(parseVerifier(text)).toBeUndefined();
  });

  it('makes up the same verifier for the same unknown user, and another for another', () => {
    expect(mockVerifier(mockSecret, 'a')).toEqual(mockVerifier(mockSecret, 'a'));
    expect(mockVerifier(mockSecret, 'a').salt).not.toEqual(mockVerifier(mockSecret, 'b').salt);
    expect(parseVerifier(formatVerifier(mockVerifier(mockSecret, 'a')))).toEqual(mockVerifier(mockSecret, 'a'));
  });
});

describe('the RFC 7677 example', () => {
  const clientFirst = 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO';
  const proof = 'p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=';

  it('is accepted when its nonces are ours, word for word', async () => {
    // The example's server nonce is not base64, so its transcript is checked through the keys.
    const us = server({ nonce: Buffer.from('hvYDpWUa2RaTCAfuxFIlj)hNlF$k0', 'latin1') });
    const start = us.start(clientFirst);
    expect(start.ok && start.serverFirst).toMatch(/^r=rOprNGfwEbeRWgbNEkqO[^,]+,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096$/);
    const { clientKey, storedKey, serverKey } = await deriveKeys('pencil', salt, 4096);
    const { createHmac } = await import('node:crypto');
    const nonces = 'rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0';
    const auth = `n=user,r=rOprNGfwEbeRWgbNEkqO,r=${nonces},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=${nonces}`;
    const signature = createHmac('sha256', storedKey).update(auth).digest();
    expect(`p=${Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] ?? 0))).toString('base64')}`).toBe(proof);
    expect(createHmac('sha256', serverKey).update(auth).digest('base64')).toBe(
      '6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
    );
  });
});

describe('a login', () => {
  it('succeeds with the password, and each side has proved itself', async () => {
    const { finish, proved } = await exchange(server(), client());
    expect(finish?.ok).toBe(true);
    expect(proved).toBe(true);
  });

  it('fails with another password', async () => {
    const { finish } = await exchange(server(), client({ password: 'pencil2' }));
    expect(finish).toMatchObject({ ok: false, reason: 'rejected' });
  });

  it('fails for an unknown user in the same shape, even with the same message lengths', async () => {
    const unknown = await exchange(server({ verifier: undefined }), client());
    const known = await exchange(server(), client({ password: 'wrong' }));
    expect(unknown.finish).toMatchObject({ ok: false, reason: 'rejected' });
    const length = (r: typeof known) => (r.start.ok ? r.start.serverFirst.length : 0);
    expect(length(unknown)).toBe(length(known));
  });

  it('never accepts an unknown user, not even with the keys of the made-up verifier', async () => {
    const mock = formatVerifier(mockVerifier(mockSecret, 'app'));
    expect(parseVerifier(mock)).toBeDefined();
    const { finish } = await exchange(server({ verifier: 'garbage' }), client());
    expect(finish?.ok).toBe(false);
  });

  it('can finish once only', async () => {
    const us = server();
    const them = client();
    const first = them.first();
    const start = us.start(first.ok ? first.message : '');
    const answer = await them.answer(start.ok ? start.serverFirst : '');
    const message = answer.ok ? answer.message : '';
    expect(us.finish(message).ok).toBe(true);
    expect(us.finish(message)).toMatchObject({ ok: false, reason: 'malformed' });
  });
});

describe('channel binding', () => {
  it('is used when both sides can', async () => {
    const them = client({ offered: [SCRAM_PLUS, SCRAM], endPoint });
    expect(them.mechanism).toBe(SCRAM_PLUS);
    const { proved } = await exchange(server({ mechanism: SCRAM_PLUS, endPoint }), them);
    expect(proved).toBe(true);
  });

  it('fails when the certificates differ', async () => {
    const them = client({ offered: [SCRAM_PLUS], endPoint: Buffer.alloc(32, 1) });
    const { finish } = await exchange(server({ mechanism: SCRAM_PLUS, endPoint }), them);
    expect(finish).toMatchObject({ ok: false, reason: 'rejected' });
  });

  it('finds out that somebody removed PLUS from the offer', async () => {
    const { start } = await exchange(server({ endPoint }), client({ offered: [SCRAM], endPoint }));
    expect(start).toMatchObject({ ok: false, reason: 'downgrade' });
  });

  it('accepts "y" where we have nothing to bind to', async () => {
    const { proved } = await exchange(server(), client({ offered: [SCRAM], endPoint }));
    expect(proved).toBe(true);
  });

  it.each([
    ['n,,n=,r=abc', SCRAM_PLUS],
    ['y,,n=,r=abc', SCRAM_PLUS],
    ['p=tls-unique,,n=,r=abc', SCRAM_PLUS],
    ['p=tls-server-end-point,,n=,r=abc', SCRAM],
  ] as const)('refuses %j under %s', (message, mechanism) => {
    expect(server({ mechanism, endPoint }).start(message)).toMatchObject({ ok: false, reason: 'malformed' });
  });

  it('is demanded by a client that requires it', () => {
    expect(client({ offered: [SCRAM], endPoint, requireBinding: true }).first().ok).toBe(false);
  });
});

describe('hostile messages', () => {
  it.each([
    '',
    'n,,',
    'n,,n=,r=',
    'n,a=admin,n=,r=abc',
    'n,,m=ext,n=,r=abc',
    'x,,n=,r=abc',
    'n,,n=,r=a\u00e4',
    `n,,n=,r=${'a'.repeat(300)}`,
    'n,,r=abc,n=',
  ])('the server refuses the first message %j', message => {
    expect(server().start(message)).toMatchObject({ ok: false, reason: 'malformed' });
  });

  it.each(['', 'c=biws', 'c=biws,r=abc,p=AAAA', 'r=abc,c=biws,p=', `c=biws,r=other,p=${'A'.repeat(43)}=`])(
    'the server refuses the final message %j',
    message => {
      const us = server();
      us.start('n,,n=,r=abc');
      expect(us.finish(message).ok).toBe(false);
    },
  );

  it.each(['', 'r=abc,s=AAAA,i=4096', 'e=other-error', `r=NONCE,s=AAAA,i=4096`, 'r=NONCEx,s=,i=4096'])(
    'the client refuses the first message %j of a server',
    async message => {
      const own = Buffer.alloc(18, 5);
      const them = client({ nonce: own });
      expect((await them.answer(message.replace('NONCE', own.toString('base64')))).ok).toBe(false);
    },
  );

  it('the client does not work for a server that asks for a billion iterations', async () => {
    const own = Buffer.alloc(18, 5);
    const answer = await client({ nonce: own }).answer(`r=${own.toString('base64')}x,s=AAAA,i=1000000000`);
    expect(answer.ok).toBe(false);
  });

  it('the client does not take a signature before it has sent its proof, nor an empty one', () => {
    expect(client().verify('v=')).toBe(false);
    expect(client().verify('')).toBe(false);
  });
});

describe('the cache of client keys', () => {
  it('computes once for the same password, salt and iterations, and keeps a bounded number', async () => {
    const keys = new ClientKeyCache(2);
    const one = keys.get('a', salt, 1);
    expect(keys.get('a', salt, 1)).toBe(one);
    expect(keys.get('b', salt, 1)).not.toBe(one);
    await Promise.all([keys.get('c', salt, 1), keys.get('d', salt, 1)]);
    expect(keys.get('a', salt, 1)).not.toBe(one);
  });
});

describe('SASLprep', () => {
  it.each([
    ['plain', 'plain'],
    ['I\u00adX', 'IX'],
    ['user\u00a0name\u2003x', 'user name x'],
    ['\u2168', 'IX'],
    ['\u00aa', 'a'],
    ['p\u0061\u0308ss', 'p\u00e4ss'],
    ['a\u200b\u00e4', 'a \u00e4'],
  ])('prepares %j as %j', (password, prepared) => {
    expect(saslPrep(password)).toBe(prepared);
  });

  it.each([
    ['control characters', '\u0007\u00e4'],
    ['nothing left', '\u00ad\u2060'],
    ['mixed directions', '\u0627a\u0628'],
    ['right-to-left that ends in a digit', '\u06271'],
    ['private use', '\ue000'],
    ['unassigned in Unicode 3.2', '\u{1f600}'],
    ['half a surrogate pair', 'a\ud800'],
  ])('leaves a password with %s as it is', (_, password) => {
    expect(saslPrep(password)).toBe(password);
  });

  it('takes right-to-left text that is so throughout', () => {
    expect(saslPrep('\u0627\u00ad1\u0628')).toBe('\u06271\u0628');
  });
});
