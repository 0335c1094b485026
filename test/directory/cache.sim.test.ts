/**
 * The cache against a stream that is a model: replicas that lag, events that come late, gaps, and look-ups in between, in
 * every order that a seed gives. Checked all the way: no tenant is ever seen at an older version than it was seen at before.
 * And in the end, when everything has been delivered: the cache says what the stream says.
 */
import { join } from 'node:path';
import { type Msg, type MsgHdrs, headers as natsHeaders, type Status } from '@nats-io/transport-node';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseTenantKey, slotPlacement, type TenantParts, tenantPlacement } from '../../src/base/ids.ts';
import { realWorld, type World } from '../../src/base/world.ts';
import type { Bus } from '../../src/bus/connect.ts';
import { DirectoryCache } from '../../src/directory/cache.ts';
import { subjectOf, tenantKvKey } from '../../src/directory/keys.ts';
import { domain, homeIn, memoryLog, REGIONS, scratch, shard } from '../support/directory.ts';

const WRITE = { id: 'w', by: 'sim', why: '', atMs: 0, replaces: null };
const GLOBAL = domain('global');
let folder: Awaited<ReturnType<typeof scratch>>;
beforeAll(async () => {
  folder = await scratch();
});
afterAll(() => folder.remove());

interface Entry {
  readonly sequence: number;
  readonly subject: string;
  readonly data: Uint8Array;
}

/** Lets everything run that waits for nothing but its turn. File writes of the snapshot are left to themselves. */
async function turn(): Promise<void> {
  for (let n = 0; n < 30; n++) await Promise.resolve();
}

function message(subject: string, data: Uint8Array, hdrs: MsgHdrs | undefined, reply?: string): Msg {
  // cast: what the code under test looks at
  return { subject, data, headers: hdrs, reply, respond: () => true } as unknown as Msg;
}

class ModelStream {
  readonly entries: Entry[] = [];
  readonly subscriptions = new Map<string, (error: null, message: Msg) => void>();
  readonly consumers: { inbox: string; subjects: string[]; next: number; sent: number }[] = [];
  /** Sent by the server and not yet received. In one connection nothing overtakes. */
  readonly wire: (() => void)[] = [];
  /** Requests on their way to the server; the schedule says which is answered next. */
  readonly requests: ((lag: number) => void)[] = [];
  readonly statusQueues: ((status: Status | undefined) => void)[] = [];

  get last(): number {
    return this.entries.at(-1)?.sequence ?? 0;
  }

  put(key: string, value: object): number {
    const sequence = this.last + 1;
    const data = Buffer.from(JSON.stringify({ version: 1, ...value, write: WRITE }));
    this.entries.push({ sequence, subject: subjectOf(key), data });
    return sequence;
  }

  at(subject: string, asOf: number): Entry | undefined {
    return this.entries.findLast(e => e.subject === subject && e.sequence <= asOf);
  }

  read(payload: string, reply: string): void {
    const subjects: string[] = JSON.parse(payload).multi_last;
    this.requests.push(lag => {
      const asOf = Math.max(2, this.last - lag); // the topology is the first entry
      const answer = this.subscriptions.get(`${reply.slice(0, reply.lastIndexOf('.'))}.*`);
      const found = subjects.flatMap(s => this.at(s, asOf) ?? []);
      if (found.length === 0) return answer?.(null, message(reply, new Uint8Array(), natsHeaders(404, 'No Results')));
      for (const entry of found) {
        const h = natsHeaders();
        h.set('Nats-Subject', entry.subject);
        h.set('Nats-Sequence', String(entry.sequence));
        answer?.(null, message(reply, entry.data, h));
      }
      const end = natsHeaders(204, 'EOB');
      end.set('Nats-UpTo-Sequence', String(asOf));
      answer?.(null, message(reply, new Uint8Array(), end));
    });
  }

  /** A consumer sends its next message; false when it has none left. Of each subject only the last is stored. */
  send(n: number): boolean {
    const consumer = this.consumers[n];
    if (!consumer) return false;
    const fits = (subject: string) =>
      consumer.subjects.some(s => (s.endsWith('>') ? subject.startsWith(s.slice(0, -1)) : subject === s));
    const stored = (e: Entry) => this.at(e.subject, this.last) === e;
    const left = this.entries.filter(e => e.sequence >= consumer.next && fits(e.subject) && stored(e));
    const [entry] = left;
    if (!entry) return false;
    consumer.next = entry.sequence + 1;
    const reply = `$JS.ACK.s.c.1.${entry.sequence}.${++consumer.sent}.0.${left.length - 1}`;
    const { inbox } = consumer;
    this.wire.push(() => this.subscriptions.get(inbox)?.(null, message(entry.subject, entry.data, undefined, reply)));
    return true;
  }

  bus(): Bus {
    const nc = {
      isClosed: () => false,
      publish: (_subject: string, payload: string, options: { reply: string }) => this.read(payload, options.reply),
      subscribe: (subject: string, options: { callback: (error: null, message: Msg) => void }) => {
        this.subscriptions.set(subject, options.callback);
        return { unsubscribe: () => this.subscriptions.delete(subject), isClosed: () => false };
      },
      status: () => this.statuses(),
    };
    const jsm = {
      streams: {
        info: () =>
          new Promise(resolve => {
            const answer = (lag: number) =>
              resolve({ created: 'the one', state: { last_seq: Math.max(2, this.last - lag) } });
            this.requests.push(answer);
          }),
      },
      consumers: {
        delete: async () => true,
        add: (
          _stream: string,
          config: { deliver_subject: string; filter_subjects: string[]; opt_start_seq?: number },
        ) =>
          new Promise(resolve => {
            this.requests.push(() => {
              const next = config.opt_start_seq ?? 1;
              const inbox = config.deliver_subject;
              this.consumers.push({ inbox, subjects: config.filter_subjects, next, sent: 0 });
              resolve({ num_pending: config.opt_start_seq === undefined ? 1 : 0 });
            });
          }),
      },
    };
    return { nc, jsm, refused: () => undefined, close: async () => undefined } as unknown as Bus; // cast: what is used
  }

  disconnect(): void {
    this.consumers.length = 0;
    this.wire.length = 0;
    for (const push of this.statusQueues) push({ type: 'disconnect', server: 'x' });
  }

  statuses() {
    const waiting: Status[] = [];
    let wake: () => void = () => undefined;
    let stopped = false;
    this.statusQueues.push(status => {
      if (status) waiting.push(status);
      wake();
    });
    return {
      stop: () => {
        stopped = true;
        wake();
      },
      async *[Symbol.asyncIterator]() {
        while (!stopped) {
          const next = waiting.shift();
          if (next) yield next;
          else
            await new Promise<void>(resolve => {
              wake = resolve;
            });
        }
      },
    };
  }
}

/** Time that passes only when told to. */
function virtualWorld(): World & { advance(ms: number): Promise<void> } {
  let nowMs = 0;
  let timers: { atMs: number; fn: () => void }[] = [];
  const after = (delayMs: number, fn: () => void) => {
    const timer = { atMs: nowMs + delayMs, fn };
    timers.push(timer);
    return {
      cancel: () => {
        timers = timers.filter(t => t !== timer);
      },
    };
  };
  const clock: World['clock'] = {
    monotonicMs: () => nowMs,
    wallMs: () => nowMs,
    after,
    every: () => ({ cancel: () => undefined }), // heartbeats: the model's consumers live until a disconnect
    sleep: (delayMs, signal) =>
      new Promise((resolve, reject) => {
        const timer = after(delayMs, resolve);
        signal?.addEventListener('abort', () => {
          timer.cancel();
          reject(signal.reason);
        });
      }),
  };
  return {
    ...realWorld,
    clock,
    async advance(ms) {
      nowMs += ms;
      const due = timers.filter(t => t.atMs <= nowMs);
      timers = timers.filter(t => t.atMs > nowMs);
      for (const { fn } of due) fn();
      await turn();
    },
  };
}

type Step = readonly [kind: string, x: number, together: boolean];

/** Single steps in any order, and the courses of events that races are made of, with anything in between. */
const single = fc.tuple(
  fc.constantFrom('write', 'ask', 'refresh', 'answer', 'answer', 'send', 'send', 'deliver', 'deliver', 'gap', 'time'),
  fc.nat({ max: 7 }),
  fc.boolean(),
);
function course(...kinds: string[]): fc.Arbitrary<Step[]> {
  return fc.tuple(...kinds.map(kind => fc.tuple(fc.constant(kind), fc.nat({ max: 7 }), fc.boolean())));
}
const steps = fc
  .array(
    fc.oneof(
      { weight: 6, arbitrary: single.map((step): Step[] => [step]) },
      { weight: 1, arbitrary: course('ask', 'write', 'send', 'send', 'deliver', 'answer') },
      { weight: 1, arbitrary: course('ask', 'gap', 'write', 'time', 'answer', 'answer', 'answer', 'answer') },
      { weight: 1, arbitrary: course('write', 'send', 'send', 'write', 'ask', 'answer', 'deliver') },
      { weight: 1, arbitrary: course('answer', 'deliver', 'answer', 'deliver', 'answer') },
    ),
    { minLength: 10, maxLength: 60 },
  )
  .map(parts => parts.flat());

const SLOT = { key: slotPlacement(GLOBAL, 0), home: homeIn('eu-west'), secondaries: [], epoch: 1, state: 'active' };

let runs = 0;

/** A stream of one slot, and a cache that has been opened on it. */
async function opened(maxPins: number) {
  const stream = new ModelStream();
  const seeded = REGIONS.map(r => ({ id: shard(`${r}-1`), region: r, weight: 1 }));
  const topology = { cluster: 'sim', slots: 1, secondaries: 1, regions: REGIONS, domains: { global: 'all' }, seeded };
  stream.put('topology', topology);
  stream.put('slot.global.0', SLOT);
  const world = virtualWorld();
  const snapshotFile = join(folder.path, `sim-${++runs}`);
  const opening = DirectoryCache.open({ bus: stream.bus(), snapshotFile, world, log: memoryLog(), maxPins });
  const found: DirectoryCache[] = [];
  void opening.then(cache => found.push(cache));
  /** Everything that is on its way arrives, and nothing lags. */
  const drain = async () => {
    for (let n = 0; n < 200; n++) {
      stream.requests.shift()?.(0);
      for (let c = 0; c < stream.consumers.length; c++) stream.send(c);
      stream.wire.shift()?.();
      await turn();
    }
  };
  for (;;) {
    const [cache] = found;
    if (cache) return { stream, world, cache, drain };
    await new Promise(resolve => setImmediate(resolve)); // the snapshot file is looked for on the real disk
    await drain();
  }
}

/** What was written of one tenant, and the oldest version that may still be seen. */
class Tenant {
  readonly parts: TenantParts;
  readonly versions: { sequence: number; pinned: boolean }[] = [{ sequence: 0, pinned: false }];
  #floor = 0;

  constructor(name: string) {
    this.parts = parseTenantKey(name);
  }

  write(stream: ModelStream, pinned: boolean): void {
    const key = tenantPlacement(this.parts.key);
    const epoch = this.versions.length;
    const body = pinned ? { ...SLOT, key, home: homeIn('us-east'), epoch } : { key, state: 'released', epoch };
    this.versions.push({ sequence: stream.put(tenantKvKey(this.parts.key), body), pinned });
  }

  look(cache: DirectoryCache): void {
    const located = cache.locate(this.parts);
    if (located.kind !== 'placed') return;
    const pinned = located.placement.key.startsWith('tenant:');
    // Which "no pin" it is does not show: the latest, for the benefit of the doubt.
    const absent = this.versions.findLast(v => !v.pinned)?.sequence ?? 0;
    const seen = pinned ? located.placement.revision : absent;
    expect(seen, `${this.parts.key} was seen at ${this.#floor}`).toBeGreaterThanOrEqual(this.#floor);
    if (pinned) this.#floor = seen;
  }

  /** What the stream says in the end. */
  expected() {
    const last = this.versions.at(-1);
    return last?.pinned ? { key: tenantPlacement(this.parts.key), revision: last.sequence } : { key: SLOT.key };
  }
}

async function simulate(schedule: readonly Step[]): Promise<void> {
  // With one entry every other look-up evicts a tenant, and with it what was known of it; with two, what is wrong stays.
  const { stream, world, cache, drain } = await opened(schedule.length % 4 === 0 ? 1 : 2);
  const [a, b] = [new Tenant('a'), new Tenant('b')];
  const pending: Promise<unknown>[] = [];
  for (const [step, x, together] of schedule) {
    const tenant = x === 7 ? b : a; // mostly one: races need two to meet
    if (step === 'write') tenant.write(stream, x % 3 !== 0);
    else if (step === 'ask') pending.push(cache.resolve(tenant.parts).catch(e => e));
    else if (step === 'refresh') pending.push(cache.refresh(tenant.parts).catch(e => e));
    else if (step === 'answer') stream.requests.splice(x % Math.max(1, stream.requests.length), 1)[0]?.(x % 4);
    else if (step === 'send') stream.send(x % Math.max(1, stream.consumers.length));
    else if (step === 'deliver') stream.wire.shift()?.();
    else if (step === 'gap') stream.disconnect();
    else await world.advance(150);
    // Sometimes several things arrive before anybody gets a turn.
    if (!together) await turn();
    a.look(cache);
    b.look(cache);
  }
  for (let round = 0; round < 8; round++) {
    await drain();
    await world.advance(2_500);
  }
  await drain();
  await Promise.all(pending);
  for (const tenant of [a, b]) {
    const asked = cache.resolve(tenant.parts);
    await drain();
    expect(await asked).toMatchObject({ placement: tenant.expected() });
    tenant.look(cache);
  }
  const closing = cache.close();
  await drain();
  await closing;
}

test('in whatever order things happen, no tenant is seen older than before, and all ends at the last word', async () => {
  await fc.assert(fc.asyncProperty(steps, simulate), { numRuns: 300, endOnFailure: true });
}, 120_000);
