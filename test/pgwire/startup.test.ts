import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HomeportError } from '../../src/base/errors.ts';
import { cancelRequest } from '../../src/pgwire/cancelkey.ts';
import { firstPacketBytes, parseFirstPacket, parseOptions, splitOptions } from '../../src/pgwire/startup.ts';

function packet(code: number, body: Buffer | string = ''): Buffer {
  const bytes = Buffer.from(body);
  const out = Buffer.alloc(8 + bytes.length);
  out.writeInt32BE(out.length, 0);
  out.writeUInt32BE(code, 4);
  bytes.copy(out, 8);
  return out;
}

function startup(parameters: Record<string, string>, protocol = 0x30000): Buffer {
  const pairs = Object.entries(parameters).map(([name, value]) => `${name}\0${value}\0`);
  return packet(protocol, `${pairs.join('')}\0`);
}

function parse(parameters: Record<string, string>, protocol?: number) {
  const first = parseFirstPacket(startup({ user: 'app', ...parameters }, protocol));
  if (first.kind !== 'startup') throw new Error(first.kind);
  return first;
}

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof HomeportError) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'accepted';
}

describe('lengths', () => {
  it.each([-1, 0, 3, 4, 7, 10_001, 0x7fffffff, -0x80000000])('refuses %d before anything is read', length => {
    const head = Buffer.alloc(8);
    head.writeInt32BE(length);
    expect(refusal(() => firstPacketBytes(head))).toMatch(/^HP-P101/);
  });

  it('takes the longest', () => {
    const head = Buffer.alloc(8);
    head.writeInt32BE(10_000);
    expect(firstPacketBytes(head)).toBe(10_000);
  });
});

describe('requests', () => {
  it('knows SSLRequest and GSSENCRequest', () => {
    expect(parseFirstPacket(packet(80877103))).toEqual({ kind: 'ssl' });
    expect(parseFirstPacket(packet(80877104))).toEqual({ kind: 'gssenc' });
    expect(refusal(() => parseFirstPacket(packet(80877103, 'x')))).toMatch(/^HP-P101/);
  });

  it.each([4, 32, 256])('reads a cancel key of %d bytes', bytes => {
    const key = Buffer.alloc(bytes, 0xab);
    expect(parseFirstPacket(cancelRequest(77, key))).toEqual({ kind: 'cancel', pid: 77, key });
  });

  it.each([0, 3, 257])('refuses a cancel key of %d bytes', bytes => {
    expect(refusal(() => parseFirstPacket(cancelRequest(77, Buffer.alloc(bytes))))).toMatch(/^HP-P101/);
  });
});

describe('a startup message', () => {
  it('gives user, database and the settings of drivers', () => {
    const {
      startup: read,
      minor,
      negotiate,
    } = parse({
      database: 'shop',
      client_encoding: "'utf-8'",
      datestyle: 'ISO, MDY',
      TIMEZONE: 'Europe/Berlin',
      extra_float_digits: '2',
      application_name: 'caf\u00e9\n',
      statement_timeout: '30s',
      search_path: 'public, "Shop"',
      'homeport.tenant': 'eu/acme',
      default_transaction_isolation: 'Repeatable Read',
      jit: 'false',
    });
    expect(read.user).toBe('app');
    expect(read.database).toBe('shop');
    expect(Object.fromEntries(read.settings)).toEqual({
      client_encoding: 'UTF8',
      DateStyle: 'ISO, MDY',
      TimeZone: 'Europe/Berlin',
      extra_float_digits: '2',
      application_name: 'caf??',
      statement_timeout: '30s',
      search_path: 'public, "Shop"',
      default_transaction_isolation: 'repeatable read',
      jit: 'off',
    });
    expect(Object.fromEntries(read.homeport)).toEqual({ tenant: 'eu/acme' });
    expect(minor).toBe(0);
    expect(negotiate).toBeUndefined();
  });

  it('takes the name of the user for the database, as Postgres', () => {
    expect(parse({}).startup.database).toBe('app');
  });

  it.each(['replication', 'role', 'session_authorization', 'synchronous_commit', 'row_security', 'nonsense'])(
    'refuses %s by name',
    name => {
      expect(refusal(() => parse({ [name]: 'on' }))).toContain(`HP-P104 the startup parameter "${name}"`);
      expect(refusal(() => parse({ options: `-c ${name}=on` }))).toMatch(/^HP-P104/);
    },
  );

  it.each([
    ['client_encoding', 'LATIN1'],
    ['standard_conforming_strings', 'off'],
    ['search_path', 'public, pg_temp'],
    ['search_path', 'public, pg_catalog'],
    ['search_path', 'homeport'],
    ['search_path', '"HOME"; DROP'],
    ['search_path', '"homeport"'],
    ['statement_timeout', "0'; DROP TABLE x; --"],
    ['TimeZone', "UTC'"],
    ['DateStyle', 'ISO; DROP'],
    ['default_transaction_isolation', 'snapshot'],
    ['jit', 'o'],
  ])('refuses %s = %j', (name, value) => {
    expect(refusal(() => parse({ [name]: value }))).toMatch(/^HP-P105/);
  });

  it('lets a parameter of the packet win over the same one in options', () => {
    const { startup: read } = parse({ options: '-c TimeZone=UTC --homeport.tenant=a', timezone: 'Asia/Tokyo' });
    expect(read.settings.get('TimeZone')).toBe('Asia/Tokyo');
    expect(read.homeport.get('tenant')).toBe('a');
  });

  it.each([
    ['no user', packet(0x30000, 'database\0x\0\0'), 'HP-P103'],
    ['an empty user', startup({ user: '' }), 'HP-P103'],
    ['no terminator', packet(0x30000, 'user\0app\0x'), 'HP-P101'],
    ['nothing', packet(0x30000), 'HP-P101'],
    ['a name without a value', packet(0x30000, 'user\0'), 'HP-P101'],
    ['a duplicate', packet(0x30000, 'user\0a\0user\0b\0\0'), 'HP-P101'],
    ['more after its end', packet(0x30000, 'user\0a\0\0more\0'), 'HP-P101'],
    ['bytes that are not UTF-8', packet(0x30000, Buffer.from('user\0\xff\0\0', 'latin1')), 'HP-P101'],
    ['protocol 2', startup({ user: 'a' }, 0x20000), 'HP-P102'],
    ['protocol 4', startup({ user: 'a' }, 0x40000), 'HP-P102'],
  ])('refuses %s', (_, bytes, code) => {
    expect(refusal(() => parseFirstPacket(bytes))).toContain(code);
  });

  it('negotiates a newer minor version and unknown protocol options down', () => {
    const first = parse({ '_pq_.test': '1' }, 0x3270f);
    expect(first.minor).toBe(2);
    expect(first.negotiate?.toString('hex')).toBe(
      `76${'00000017'}${'00030002'}${'00000001'}${Buffer.from('_pq_.test\0').toString('hex')}`.replace(
        '00000017',
        (12 + 10).toString(16).padStart(8, '0'),
      ),
    );
    expect(parse({}, 0x30002)).toMatchObject({ minor: 2, negotiate: undefined });
    expect(parse({}, 0x30001).negotiate?.readInt32BE(5)).toBe(0x30000);
  });

  it('never fails with anything but an error of the catalogue, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(0x30000, 0x30002, 80877102), (bytes, code) => {
        refusal(() => parseFirstPacket(packet(code, Buffer.from(bytes))));
      }),
    );
  });
});

describe('options', () => {
  it.each([
    [
      '-c a=b  --c-d=e',
      [
        ['a', 'b'],
        ['c_d', 'e'],
      ],
    ],
    ['-ca=b', [['a', 'b']]],
    ['-c a=x\\ y\\\\z', [['a', 'x y\\z']]],
    ['-c\ta=', [['a', '']]],
    ['-c a=b=c', [['a', 'b=c']]],
    ['', []],
  ])('reads %j', (text, pairs) => {
    expect(parseOptions(text)).toEqual(pairs);
  });

  it.each(['a=b', '-c', '-c a', '-d 5', '--', '--=x', '-f s', '-c =x'])('refuses %j', text => {
    expect(refusal(() => parseOptions(text))).toMatch(/^HP-P106/);
  });

  it('splits what was escaped back into the same words', () => {
    const word = fc.string({ minLength: 1, unit: 'grapheme' }).filter(text => !text.includes('\0'));
    fc.assert(
      fc.property(fc.array(word), words => {
        const text = words.map(each => each.replaceAll(/[\\ \t\n\r\v\f]/g, '\\$&')).join(' ');
        expect(splitOptions(text)).toEqual(words);
      }),
    );
  });
});
