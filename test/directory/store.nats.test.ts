import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { HomeportError } from '../../src/base/errors.ts';
import { parseTenantKey, slotPlacement } from '../../src/base/ids.ts';
import { poll, realWorld } from '../../src/base/world.ts';
import type { Bus } from '../../src/bus/connect.ts';
import { readTrail } from '../../src/directory/audit.ts';
import { initialise } from '../../src/directory/initialise.ts';
import { DIRECTORY_STREAM, kindOf, tenantKvKey } from '../../src/directory/keys.ts';
import {
  changePlacement,
  listShards,
  pinTenant,
  putShard,
  readPlacement,
  unpinTenant,
} from '../../src/directory/placing.ts';
import { DirectoryStore } from '../../src/directory/store.ts';
import { AUTHOR, domain, homeIn, memoryLog, region, shard, TOPOLOGY, testBus } from '../support/directory.ts';
import { type NatsCluster, startNatsCluster } from '../support/nats.ts';

const world = realWorld;
const log = memoryLog();
let cluster: NatsCluster;
let bus: Bus;
let store: DirectoryStore;

beforeAll(async () => {
  cluster = await startNatsCluster();
  bus = await testBus(cluster.urls, log);
});
afterAll(async () => {
  await bus?.close();
  await cluster?.stop();
});

async function slotsNow(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const { key, record, revision } of store.list('slot')) found.set(key, `${record.home.shard}@${revision}`);
  return found;
}

async function codeOf(promise: Promise<unknown>): Promise<HomeportError> {
  const error = await promise.then(
    () => undefined,
    (e: unknown) => e,
  );
  if (!(error instanceof HomeportError)) throw error ?? new Error('it was not refused');
  return error;
}

// The tests of this block build on each other: the life of a directory from its beginning.
describe('initialising', () => {
  test('is refused to those who only open it', async () => {
    expect((await codeOf(DirectoryStore.open({ bus, world, log }))).code).toBe('HP-D303');
  });

  test('that breaks off is finished by the next run as it began', async () => {
    const broken = initialise({
      bus,
      world,
      log,
      author: AUTHOR,
      topology: TOPOLOGY,
      progress: done => {
        if (done === 20) throw new Error('the machine died');
      },
    });
    await expect(broken).rejects.toThrow('the machine died');
    const { store: opened, created } = await initialise({ bus, world, log, author: AUTHOR, topology: TOPOLOGY });
    store = opened;
    expect(created).toBeGreaterThan(0);
    const slots = await slotsNow();
    expect(slots.size).toBe(64 * 2);
    for (const [key, home] of slots) if (key.startsWith('slot.eu.')) expect(home).toMatch(/^eu-west-1@/);
  });

  test('a second time changes nothing', async () => {
    const before = (await bus.jsm.streams.info(DIRECTORY_STREAM)).state.last_seq;
    const again = await initialise({ bus, world, log, author: AUTHOR, topology: TOPOLOGY });
    expect(again.created).toBe(0);
    expect((await bus.jsm.streams.info(DIRECTORY_STREAM)).state.last_seq).toBe(before);
  });

  test('with another number of slots is refused', async () => {
    const other = initialise({ bus, world, log, author: AUTHOR, topology: { ...TOPOLOGY, slots: 128 } });
    const error = await codeOf(other);
    expect(error.code).toBe('HP-D205');
    expect(error.message).toContain('slots is 64, not 128');
  });

  test('has three replicas of both streams, on disk', async () => {
    for (const stream of [DIRECTORY_STREAM, 'homeport_audit']) {
      const { config } = await bus.jsm.streams.info(stream);
      expect([config.num_replicas, config.storage]).toEqual([3, 'file']);
    }
  });

  test('adding a shard moves nobody', async () => {
    const before = await slotsNow();
    await putShard(store, { id: shard('eu-west-2'), region: region('eu-west'), weight: 5 }, AUTHOR);
    expect((await listShards(store)).map(s => s.id)).toContain('eu-west-2');
    expect(await slotsNow()).toEqual(before);
  });
});

describe('pins', () => {
  test('two admins at once: one wins, the other is told what it lost to', async () => {
    for (let round = 0; round < 20; round++) {
      const tenant = parseTenantKey(`contested-${round}`);
      const tries = ['us-east', 'ap-south'].map(async to => {
        const author = { who: `admin of ${to}`, why: `round ${round}` };
        return { to, placement: await pinTenant(store, tenant, { home: homeIn(to), expected: 'absent' }, author) };
      });
      const results = await Promise.allSettled(tries);
      const won = results.flatMap(r => (r.status === 'fulfilled' ? [r.value] : []));
      const lost = results.flatMap(r => (r.status === 'rejected' ? [r.reason] : []));
      expect(won.length).toBe(1);
      const [error] = lost;
      expect(error).toBeInstanceOf(HomeportError);
      expect(error.code).toBe('HP-D201');
      expect(error.message).toContain(`admin of ${won[0]?.to}`);
      expect(error.message).toContain(`home ${won[0]?.to}/${won[0]?.to}-1 at epoch 1 (round ${round})`);
      const now = await store.read('tenant', tenantKvKey(tenant.key));
      expect(now?.record).toMatchObject({ state: 'active', home: homeIn(won[0]?.to ?? '') });
    }
  });

  test('count epochs on when they are taken away and made again', async () => {
    const tenant = parseTenantKey('back-and-forth');
    const first = await pinTenant(store, tenant, { home: homeIn('us-east') }, AUTHOR);
    const same = await pinTenant(store, tenant, { home: homeIn('us-east') }, AUTHOR);
    expect([first.epoch, same.epoch]).toEqual([1, 1]);
    expect(await unpinTenant(store, tenant, AUTHOR)).toBe(true);
    expect(await unpinTenant(store, tenant, AUTHOR)).toBe(false);
    const again = await pinTenant(store, tenant, { home: homeIn('us-east') }, AUTHOR);
    expect(again.epoch).toBe(3);
    expect(again.secondaries.map(s => s.region).sort()).toEqual(['ap-south', 'eu-west']);
  });

  test('never leave the domain, nor name what is not there, nor one region twice', async () => {
    const pin = (tenant: string, home: ReturnType<typeof homeIn>, secondaries?: ReturnType<typeof homeIn>[]) =>
      codeOf(pinTenant(store, parseTenantKey(tenant), secondaries ? { home, secondaries } : { home }, AUTHOR));
    expect((await pin('eu/acme', homeIn('us-east'))).code).toBe('HP-D103');
    expect((await pin('eu/acme', homeIn('eu-west'), [homeIn('us-east')])).code).toBe('HP-D103');
    expect((await pin('mars/acme', homeIn('us-east'))).code).toBe('HP-D102');
    expect((await pin('acme', { region: region('us-east'), shard: shard('us-east-9') })).code).toBe('HP-D104');
    expect((await pin('acme', homeIn('us-east'), [homeIn('eu-west'), homeIn('eu-west')])).code).toBe('HP-D106');
  });
});

describe('changes of a placement', () => {
  test('are meant for the version that was seen, and take a new epoch when the home changes', async () => {
    const seen = (await readPlacement(store, slotPlacement(domain('global'), 5)))?.placement;
    if (!seen) throw new Error('slot 5 was materialised');
    const target = seen.secondaries[0] ?? seen.home;
    const next = { home: target, secondaries: [seen.home], state: 'active' as const };
    expect((await codeOf(changePlacement(store, seen, { ...next, epoch: seen.epoch }, AUTHOR))).code).toBe('HP-D206');
    const moved = await changePlacement(store, seen, { ...next, epoch: seen.epoch + 1 }, { who: 'mover', why: 'm1' });
    expect(moved).toMatchObject({ epoch: 2, home: target });
    const late = await codeOf(changePlacement(store, seen, { ...next, epoch: seen.epoch + 1 }, AUTHOR));
    expect(late.code).toBe('HP-D201');
    expect(late.message).toContain('mover');
  });
});

describe('the audit trail', () => {
  test('has who, why, before and after of every change, and what became of it', async () => {
    const tenant = parseTenantKey('audited');
    await pinTenant(store, tenant, { home: homeIn('us-east') }, { who: 'ada', why: 'ticket 7' });
    await pinTenant(store, tenant, { home: homeIn('eu-west') }, { who: 'bob', why: 'ticket 8' });
    const trail = [];
    for await (const record of readTrail(bus, world, tenantKvKey(tenant.key))) trail.push(record);
    expect(trail.map(r => r.phase)).toEqual(['intent', 'outcome', 'intent', 'outcome']);
    expect(trail[2]).toMatchObject({
      write: { by: 'bob', why: 'ticket 8' },
      before: { home: homeIn('us-east'), epoch: 1, write: { by: 'ada' } },
      after: { home: homeIn('eu-west'), epoch: 2 },
    });
    expect(trail[3]).toMatchObject({ result: 'stored' });
  });

  test('is settled for an intent that a crash left without an outcome', async () => {
    const key = tenantKvKey(parseTenantKey('crashed').key);
    const { storeIntent } = await import('../../src/directory/audit.ts');
    const write = { id: 'crashed-1', by: 'ada', why: 'died', atMs: 0, replaces: null };
    await storeIntent(bus, world, { phase: 'intent', key, write, expected: 0, before: null, after: null });
    const find = async () => (await store.reconcileAudit()).find(r => r.intent.write.id === 'crashed-1')?.settled.kind;
    expect(await find()).toBe('open'); // a copy might still be on its way
    await pinTenant(store, parseTenantKey('crashed'), { home: homeIn('us-east') }, AUTHOR);
    expect(await find()).toBe('not-stored');
    expect(await find()).toBeUndefined(); // settled for good
  });
});

test('writes go on over the loss of any node, none is lost or done twice, and the trail agrees', async () => {
  const tenant = parseTenantKey('survivor');
  const key = tenantKvKey(tenant.key);
  const leader = (await bus.jsm.streams.info(DIRECTORY_STREAM)).cluster?.leader;
  const victim = cluster.nodes.find(n => n.name === leader);
  const paused = cluster.nodes.find(n => n.name !== leader);
  if (!victim || !paused) throw new Error('the stream has a leader');
  let acknowledged = 0;
  for (let n = 1; n <= 12; n++) {
    if (n === 4) await victim.kill();
    if (n === 8) {
      await victim.start();
      paused.pause();
    }
    const was = await untilRead(key);
    const epoch = (was?.record.epoch ?? 0) + 1;
    const home = homeIn(n % 2 ? 'us-east' : 'eu-west');
    const body = {
      version: 1 as const,
      key: `tenant:survivor` as never,
      home,
      secondaries: [],
      epoch,
      state: 'active' as const,
    };
    await store.write('tenant', key, body, was ?? 'absent', { who: 'test', why: `write ${n}` });
    acknowledged++;
    expect(epoch, 'every acknowledged write is there, once').toBe(acknowledged);
  }
  paused.resume();
  const now = await untilRead(key);
  expect(now?.record.epoch).toBe(12);
  // The server that hung reads its part of the trail late.
  const complete = async () => {
    const stored = new Set<string>();
    for await (const record of readTrail(bus, world, key)) {
      if (record.phase === 'outcome' && record.result === 'stored') stored.add(record.write);
    }
    return stored.size === 12 ? true : undefined;
  };
  expect(await poll(world.clock, complete, { everyMs: 200, limitMs: 30_000 })).toBe(true);
}, 90_000);

/** Reads fail while a leader is elected. */
async function untilRead(key: string) {
  expect(kindOf(key)).toBe('tenant');
  for (let attempt = 0; ; attempt++) {
    try {
      return await store.read('tenant', key);
    } catch (error) {
      if (attempt > 30) throw error;
      await world.clock.sleep(500);
    }
  }
}
