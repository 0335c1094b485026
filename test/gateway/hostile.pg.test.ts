/** Clients that do what no driver would: the process lives, the next client is served, nobody gets another's things. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { identityFrame } from '../../src/gateway/identity.ts';
import { Front, frame } from '../../src/pgwire/frames.ts';
import { type Pair, startPair } from './fixture.ts';
import { bind, execute, parse, query, run, sync, Wire } from './wire.ts';

let pair: Pair;
beforeAll(async () => {
  // One backend: whatever is left on it, the next client gets.
  pair = await startPair({ max: 1 });
  await pair.settle('acme', 'west');
  await pair.settle('bolt', 'west');
});
afterAll(() => pair?.stop());

const announced = (type: string, length: number) => {
  const out = Buffer.alloc(5);
  out.write(type);
  out.writeInt32BE(length, 1);
  return out;
};

const FRAMES: [string, Buffer[]][] = [
  ['a length of zero', [announced('Q', 0)]],
  ['a negative length', [announced('Q', -1)]],
  ['a length of 1 GiB on a Query', [announced('Q', 2 ** 30 - 2)]],
  ['a length of 1 GiB on a Bind', [parse('', 'select $1'), announced('B', 2 ** 30 - 2), Buffer.from('\0\0')]],
  ['a length of 1 GiB on COPY data', [announced('d', 2 ** 30 - 2)]],
  ['a length beyond that', [announced('d', 2 ** 31 - 1)]],
  ['an unknown type', [announced('!', 4)]],
  ['a long Sync', [announced('S', 1_000_000)]],
  ['a password', [frame(Front.password, Buffer.from('hello\0'))]],
  [
    'an identity on the port of applications',
    [identityFrame({ user: 'app', tenant: 'bolt', settings: [], hops: 1, poolMode: 'transaction' })],
  ],
  [
    'an identity inside a transaction',
    [query('begin'), query('select 1'), identityFrame({ user: 'app', settings: [], hops: 1, poolMode: 'transaction' })],
  ],
  ['a Query without its end', [frame(Front.query, Buffer.from('select 1'))]],
  ['an empty Query frame', [frame(Front.query, Buffer.alloc(0))]],
  ['a Parse without a text', [frame(Front.parse, Buffer.from('a\0'))]],
  ['a Bind without names', [frame(Front.bind, Buffer.from('a'))]],
  ['a Bind with a nonsense body', [parse('', 'select 1'), frame(Front.bind, Buffer.from('\0\0\x7f\xff')), sync]],
  ['a Query in the middle of COPY', [query('copy items (note) from stdin'), query('select 1')]],
  ['a Query with text behind its NUL', [query('select 1\0, 2; drop table items')]],
  ['a function call', [frame(Front.functionCall, Buffer.from([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]))]],
  ['a Terminate in the middle of a block', [query('begin'), query('select 1'), announced('X', 4)]],
  ['a Terminate in the middle of COPY', [query('copy items (note) from stdin'), announced('X', 4)]],
];

async function nextClientIsServed(): Promise<void> {
  for (const tenant of ['bolt', 'acme']) {
    const next = await Wire.open(pair.west, { tenant });
    expect(await next.ask('select homeport.tenant()')).toEqual(['T', `D ${tenant}`, 'C SELECT 1', 'Z I']);
    expect(await next.send(run('select 1'), sync).ready()).toEqual(['1', '2', 'D 1', 'C SELECT 1', 'Z I']);
    next.end();
  }
}

describe('a client that sends', () => {
  test.each(FRAMES)('%s', async (_, frames) => {
    for (const region of [pair.west, pair.east]) {
      const before = process.memoryUsage().rss;
      const hostile = await Wire.open(region, { tenant: 'acme' });
      hostile.send(...frames);
      // Hung up on, or answered, or still asked for the rest: then it goes by itself.
      hostile.socket.end();
      await hostile.closed;
      await nextClientIsServed();
      expect(process.memoryUsage().rss - before).toBeLessThan(200 * 1024 * 1024);
      hostile.end();
    }
  });
});

describe('what one client leaves behind', () => {
  const THEFT = `do $x$ begin
    execute 'deallocate hp_enter';
    execute 'prepare hp_enter(text, text, bigint, text) as select set_config(''stolen.proof'', $4, false), homeport.enter($1, $2, $3, $4)';
  end $x$`;
  const forms: [string, (wire: Wire) => Promise<unknown>][] = [
    ['enter under another text', wire => wire.ask(THEFT)],
    ['enter under another text, in a string', wire => wire.ask(`select 1; ${THEFT}; select 1`)],
    ['enter under another text, in a batch', wire => wire.send(run(THEFT), sync).ready()],
    [
      'enter under another text, hidden from the tokenizer',
      wire => wire.ask(`select E'a'\n'\\'; '; ${THEFT}; select '1'`),
    ],
    [
      'a statement of ours under another text',
      async wire => {
        await wire.send(parse('mine', 'select 1 as one'), bind('', 'mine'), execute(), sync).ready();
        return wire.ask("do $x$ begin execute 'deallocate hp_1'; execute 'prepare hp_1 as select 666'; end $x$");
      },
    ],
    ['no enter at all', wire => wire.ask("do $x$ begin execute 'deallocate all'; end $x$")],
    ['a setting, through set_config', wire => wire.ask("select set_config('search_path', 'nowhere', false)")],
    [
      'a setting, through pg_settings',
      wire => wire.ask("update pg_settings set setting = 'nowhere' where name = 'search_path'"),
    ],
    [
      'a setting, from a DO block',
      wire => wire.ask("do $x$ begin perform set_config('search_path', 'nowhere', false); end $x$"),
    ],
    [
      'a setting, through a value that says more',
      wire => wire.ask("set application_name to E'a'\n'\\'; set search_path to nowhere; --'"),
    ],
    [
      'a setting after an error that a savepoint took back',
      async wire => {
        for (const sql of [
          'begin',
          'savepoint a',
          'select 1/0',
          'rollback to a',
          'set search_path to nowhere',
          'commit',
        ])
          await wire.ask(sql);
      },
    ],
    ['a setting in a string', wire => wire.ask('select 1; set search_path to nowhere')],
    ['a cursor WITH HOLD', wire => wire.ask('select 1; declare c cursor with hold for select 1')],
    ['an advisory lock', wire => wire.ask('select pg_advisory_lock(42)')],
    ['a listener', wire => wire.ask('select 1; listen gossip')],
    ['a prepared statement', wire => wire.ask('select 1; prepare hp_1 as select 666')],
    ['a forged context', wire => wire.ask("select set_config('homeport.context', repeat('a', 64) || 'bolt', false)")],
  ];

  test.each(forms)('is not met by the next: %s', async (_, work) => {
    const hostile = await Wire.open(pair.west, { tenant: 'acme' });
    await work(hostile);
    hostile.end();
    const next = await Wire.open(pair.west, { tenant: 'bolt' });
    expect(await next.send(parse('s', 'select 1 as one'), bind('', 's'), execute(), sync).ready()).toEqual([
      '1',
      '2',
      'D 1',
      'C SELECT 1',
      'Z I',
    ]);
    expect(
      await next.ask("select coalesce(current_setting('stolen.proof', true), ''), current_setting('search_path')"),
    ).toContain('D |"$user", public');
    expect(await next.ask('select count(*) from pg_locks where objid = 42')).toContain('D 0');
    expect(await next.ask('select count(*) from pg_listening_channels()')).toContain('D 0');
    expect(await next.ask('select count(*) from pg_cursors where is_holdable')).toContain('D 0');
    next.end();
    await nextClientIsServed();
  });
});
