import { JetStreamApiError } from '@nats-io/jetstream';
import type { KV, KvEntry } from '@nats-io/kv';
import { expect, test } from 'vitest';
import { realWorld, type World } from '../../src/base/world.ts';
import { type CasRequest, compareAndSet } from '../../src/directory/cas.ts';

/** A record's ids, as JSON, are all that these tests store. */
interface Value {
  readonly id: string;
  readonly replaces: string | null;
}

/** A KV with one key that can lose answers. Time passes only by sleeping. */
function fakeKv(script: ('ok' | 'lost answer' | 'never arrives' | 'late')[]) {
  let current: { value: Value; revision: number } | undefined;
  const late: (() => void)[] = [];
  const refuse = () => {
    throw new JetStreamApiError({ code: 400, err_code: 10071, description: 'wrong last sequence' });
  };
  const store = (value: Value, expected: number) => {
    if ((current?.revision ?? 0) !== expected) refuse();
    current = { value, revision: expected + 1 };
    return current.revision;
  };
  const kv = {
    async put(_key: string, data: Uint8Array, options: { previousSeq: number }) {
      const value: Value = JSON.parse(Buffer.from(data).toString());
      const how = script.shift() ?? 'ok';
      if (how === 'ok') return store(value, options.previousSeq);
      if (how === 'lost answer') store(value, options.previousSeq);
      if (how === 'late') late.push(() => store(value, options.previousSeq));
      throw new Error('timeout');
    },
    async get(): Promise<KvEntry | null> {
      if (!current) return null;
      const { value, revision } = current;
      // cast: what compareAndSet looks at
      return { revision, operation: 'PUT', json: () => value } as unknown as KvEntry;
    },
  } as unknown as KV; // cast: the two verbs that are used
  return { kv, store, late, now: () => current };
}

function fakeWorld(onSleep: () => void = () => undefined): World {
  let nowMs = 0;
  const clock = {
    ...realWorld.clock,
    monotonicMs: () => nowMs,
    sleep: async (ms: number) => {
      nowMs += ms;
      onSleep();
    },
  };
  return { ...realWorld, clock };
}

function request(expected = 0, wasReplaced = async () => false): CasRequest {
  const value: Value = { id: 'mine', replaces: null };
  return {
    key: 'tenant.acme',
    bytes: Buffer.from(JSON.stringify(value)),
    expected,
    writeId: 'mine',
    idsIn: entry => entry.json<Value>(),
    wasReplaced,
  };
}

test('an acknowledged write is stored', async () => {
  const { kv } = fakeKv(['ok']);
  expect(await compareAndSet(kv, fakeWorld(), request())).toEqual({ kind: 'stored', revision: 1 });
});

test('a write whose answer was lost is recognised by its id', async () => {
  const { kv } = fakeKv(['lost answer']);
  expect(await compareAndSet(kv, fakeWorld(), request())).toEqual({ kind: 'stored', revision: 1 });
});

test('a write that never arrived is sent again', async () => {
  const { kv } = fakeKv(['never arrives', 'never arrives', 'ok']);
  expect(await compareAndSet(kv, fakeWorld(), request())).toEqual({ kind: 'stored', revision: 1 });
});

test('a late copy and a second one are stored once', async () => {
  const fake = fakeKv(['late', 'ok']);
  expect(await compareAndSet(fake.kv, fakeWorld(), request())).toEqual({ kind: 'stored', revision: 1 });
  expect(() => fake.late[0]?.()).toThrow('wrong last sequence');
});

test('a copy that arrives late, between two attempts, is found', async () => {
  const fake = fakeKv(['late', 'never arrives']);
  const world = fakeWorld(() => fake.late.shift()?.());
  expect(await compareAndSet(fake.kv, world, request())).toEqual({ kind: 'stored', revision: 1 });
});

test('somebody else was first: lost, and to whom', async () => {
  const fake = fakeKv(['ok']);
  fake.store({ id: 'theirs', replaces: null }, 0);
  const outcome = await compareAndSet(fake.kv, fakeWorld(), request());
  expect(outcome).toMatchObject({ kind: 'lost', entry: { revision: 1 } });
});

test('stored without an answer, then replaced by one who had read it: stored', async () => {
  const fake = fakeKv(['lost answer']);
  const { kv, store } = fake;
  const put = kv.put.bind(kv);
  kv.put = async (...args) => {
    try {
      return await put(...args);
    } catch (error) {
      if (fake.now()?.value.id === 'mine') store({ id: 'theirs', replaces: 'mine' }, 1);
      throw error;
    }
  };
  expect(await compareAndSet(kv, fakeWorld(), request())).toMatchObject({ kind: 'stored' });
});

test('stored without an answer, then replaced twice: the trail tells', async () => {
  const fake = fakeKv(['never arrives']);
  fake.store({ id: 'mine', replaces: null }, 0);
  fake.store({ id: 'second', replaces: 'mine' }, 1);
  fake.store({ id: 'third', replaces: 'second' }, 2);
  expect(
    await compareAndSet(
      fake.kv,
      fakeWorld(),
      request(0, async () => true),
    ),
  ).toMatchObject({ kind: 'stored' });
  const again = fakeKv(['never arrives']);
  again.store({ id: 'third', replaces: 'second' }, 0);
  expect(
    await compareAndSet(
      again.kv,
      fakeWorld(),
      request(0, async () => false),
    ),
  ).toMatchObject({ kind: 'lost' });
});

test('no answer ever: unknown, after a bounded time', async () => {
  const { kv } = fakeKv(Array.from({ length: 1_000 }, () => 'never arrives' as const));
  expect(await compareAndSet(kv, fakeWorld(), request())).toMatchObject({ kind: 'unknown' });
});

test('refused while the winner can not be read: lost, not unknown', async () => {
  const { kv, store } = fakeKv([]);
  store({ id: 'theirs', replaces: null }, 0);
  kv.get = async () => null;
  expect(await compareAndSet(kv, fakeWorld(), request())).toEqual({ kind: 'lost', entry: undefined });
});
