import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PlacementKey, TenantKey } from '../../src/base/ids.ts';
import { poll, realWorld } from '../../src/base/world.ts';
import { enrollTables } from '../../src/shards/enroll.ts';
import { closeFence, hasRows, listFences, openFence, openFresh, readFence } from '../../src/shards/fences.ts';
import { ENTER } from '../../src/shards/sql.ts';
import { addTenant, findTenant, getTenant, listTenants } from '../../src/shards/tenants.ts';
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts';
import { type As, asTenant, backendPid, enter, entry, prepareShard, type Shard, target } from './shard.ts';

let server: TestPostgres;
let shard: Shard;
let slots = 0;

beforeAll(async () => {
  server = await startTestPostgres({ max_connections: '60' });
  shard = await prepareShard(server);
  await shard.admin.query(`create table notes (tenant_id text not null, id bigint, primary key (tenant_id, id));
    insert into notes values ('somebody', 1)`);
  await enrollTables(shard.admin, ['notes'], { roles: ['app', 'other'] });
});
afterAll(() => server.stop());

/** A slot of the test's own. */
function fresh(): PlacementKey {
  slots += 1;
  return `slot:global:${slots}` as PlacementKey; // cast: the form of a slot's placement
}

function pin(tenant: string): PlacementKey {
  return `tenant:${tenant}` as PlacementKey; // cast: the form of a tenant's placement
}

const change = (placement: PlacementKey, epoch: number) => ({ placement, epoch, waitMs: 5_000 });

/** Resolves when the backend waits for a lock. */
async function waitsForLock(pid: number): Promise<void> {
  const waiting = async () => {
    const { rowCount } = await shard.admin.query(
      `select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'`,
      [pid],
    );
    return rowCount === 1 ? true : undefined;
  };
  expect(await poll(realWorld.clock, waiting, { everyMs: 5, limitMs: 5_000 })).toBe(true);
}

async function admin(): Promise<pg.Client> {
  return server.connect({ database: target(server).database });
}

describe('a fence', () => {
  test('is opened, closed and read, and its epoch never goes back', async () => {
    const slot = fresh();
    expect(await readFence(shard.admin, slot)).toBeUndefined();
    await openFence(shard.admin, change(slot, 3));
    expect(await readFence(shard.admin, slot)).toEqual({
      placement: slot,
      epoch: 3,
      role: 'primary',
      through: undefined,
    });
    await openFence(shard.admin, change(slot, 3));
    await closeFence(shard.admin, change(slot, 3));
    for (const epoch of [1, 2, 3]) {
      await expect(openFence(shard.admin, change(slot, epoch))).rejects.toMatchObject({ code: 'HP-S401' });
    }
    await expect(closeFence(shard.admin, change(slot, 2))).rejects.toMatchObject({ code: 'HP-S401' });
    await openFence(shard.admin, change(slot, 4));
    expect((await readFence(shard.admin, slot))?.epoch).toBe(4);
  });

  test.each([
    ['set back', `update homeport.fence set epoch = 1 where placement = $1`],
    ['deleted', 'delete from homeport.fence where placement = $1'],
  ])('can not be %s, not by the owner either', async (_, sql) => {
    const slot = fresh();
    await openFence(shard.admin, change(slot, 2));
    await expect(shard.admin.query(sql, [slot])).rejects.toThrow('I1');
  });

  test('is opened for 1,024 slots in one statement, which leaves those that are there alone', async () => {
    const many = Array.from({ length: 1024 }, (_, i) => `slot:bulk:${i}` as PlacementKey); // cast: a slot's form
    await openFence(shard.admin, change('slot:bulk:5' as PlacementKey, 9)); // cast: a slot's form
    expect((await openFresh(shard.admin, many, 1)).length).toBe(1023);
    const fences = await listFences(shard.admin, 'slot:bulk:');
    expect(fences.length).toBe(1024);
    expect(fences.filter(found => found.epoch === 9).map(found => found.placement)).toEqual(['slot:bulk:5']);
  });
});

describe('closing a fence', () => {
  test('waits for writers in flight; those that come meanwhile wait, and are refused', async () => {
    const slot = fresh();
    await openFence(shard.admin, change(slot, 1));
    const as: As = { tenant: 'acme', placement: slot, epoch: 1 };
    const [writer, late, changer] = [await shard.app(), await shard.app(), await admin()];
    const [latePid, changerPid] = [await backendPid(late), await backendPid(changer)];
    await writer.query('begin');
    await enter(writer, as);
    await writer.query('insert into notes (id) values (1)');

    const order: string[] = [];
    const closing = closeFence(changer, change(slot, 1)).then(() => order.push('closed'));
    await waitsForLock(changerPid);
    const entering = asTenant(late, as, async () => undefined).catch((error: pg.DatabaseError) => {
      order.push('late');
      return error;
    });
    await waitsForLock(latePid);
    order.push('committing');
    await writer.query('commit');
    await closing;
    const refused = await entering;
    expect(refused).toMatchObject({ code: 'HP001' });
    expect(JSON.parse(refused?.detail ?? '{}')).toEqual({ placement: slot, epoch: 1, role: 'closed' });
    expect(order[0]).toBe('committing');
    await Promise.all([writer.end(), late.end(), changer.end()]);
  });

  test('gives up after its time, says so, and leaves the fence as it was', async () => {
    const slot = fresh();
    await openFence(shard.admin, change(slot, 1));
    const writer = await shard.app();
    await writer.query('begin');
    await enter(writer, { tenant: 'acme', placement: slot, epoch: 1 });
    await expect(closeFence(shard.admin, { placement: slot, epoch: 1, waitMs: 50 })).rejects.toMatchObject({
      code: 'HP-S402',
    });
    await writer.query('insert into notes (id) values (2)');
    await writer.query('commit');
    expect((await readFence(shard.admin, slot))?.role).toBe('primary');
    await writer.end();
  });

  /** What a transaction does that waited for a change, by its isolation level; the shard is closed when it gets in. */
  async function lateWriter(
    begin: string,
    enterSql: string,
    work: string,
    closes: (changer: pg.Client) => Promise<unknown>,
    as: As,
  ) {
    const [writer, late, changer] = [await shard.app(), await shard.app(), await admin()];
    const values = entry(await backendPid(late), as);
    await writer.query('begin');
    await enter(writer, as);
    const changerPid = await backendPid(changer);
    const closing = closes(changer);
    await waitsForLock(changerPid);
    await late.query(begin);
    const entering = late.query(enterSql, values).then(
      async () => {
        await late.query(work);
        await late.query('commit');
        return 'let through';
      },
      async (error: pg.DatabaseError) => {
        await late.query('rollback');
        return error.code;
      },
    );
    await somebodyWaits();
    await writer.query('commit');
    await closing;
    const outcome = await entering;
    await Promise.all([writer.end(), late.end(), changer.end()]);
    return outcome;
  }

  /** Resolves when somebody waits to enter. */
  async function somebodyWaits(): Promise<void> {
    const waiting = async () => {
      const { rowCount } = await shard.admin.query(
        `select from pg_locks where locktype = 'advisory' and mode = 'ShareLock' and not granted`,
      );
      return rowCount ? true : undefined;
    };
    expect(await poll(realWorld.clock, waiting, { everyMs: 5, limitMs: 5_000 })).toBe(true);
  }

  const LEVELS = ['read committed', 'read uncommitted', 'repeatable read', 'serializable'];
  const STALE: Record<string, string> = {
    'read committed': 'HP001',
    'read uncommitted': 'HP001',
    'repeatable read': '40001',
    serializable: '40001',
  };

  test.each(LEVELS)('no late writer gets in under %s', async level => {
    const slot = fresh();
    await openFence(shard.admin, change(slot, 1));
    const as = { tenant: 'acme', placement: slot, epoch: 1 };
    const outcome = await lateWriter(
      `begin isolation level ${level}`,
      ENTER,
      'select 1',
      c => closeFence(c, change(slot, 1)),
      as,
    );
    expect(outcome).toBe(STALE[level]);
  });

  test.each(LEVELS)(
    'no late writer gets in through the slot of a tenant that was pinned away, under %s',
    async level => {
      const slot = fresh();
      await openFence(shard.admin, change(slot, 1));
      const tenant = `away-${slots}`;
      const as = { tenant, placement: slot, epoch: 1 };
      const away = (c: pg.Client) => closeFence(c, { ...change(pin(tenant), 2), through: slot });
      expect(await lateWriter(`begin isolation level ${level}`, ENTER, 'select 1', away, as)).toBe(STALE[level]);
      // Its neighbours in the slot are not disturbed.
      const app = await shard.app();
      await asTenant(app, { tenant: 'neighbour', placement: slot, epoch: 1 }, async () => undefined);
      await app.end();
    },
  );

  test.each(['repeatable read', 'serializable'])(
    'a reader under %s goes on with what its snapshot shows',
    async level => {
      const slot = fresh();
      await openFence(shard.admin, change(slot, 1));
      const as = { tenant: 'acme', placement: slot, epoch: 1 };
      const begin = `begin isolation level ${level} read only`;
      const outcome = await lateWriter(begin, ENTER, 'select * from notes', c => closeFence(c, change(slot, 1)), as);
      expect(outcome).toBe('let through');
    },
  );

  test('a reader can not turn into a writer', async () => {
    const slot = fresh();
    await openFence(shard.admin, change(slot, 1));
    const app = await shard.app();
    const as = { tenant: 'acme', placement: slot, epoch: 1 };
    for (const sql of [
      'set transaction read write',
      'set transaction_read_only = off',
      `select set_config('transaction_read_only', 'off', true)`,
    ]) {
      const tried = asTenant(app, as, () => app.query(sql), 'begin isolation level repeatable read read only');
      await expect(tried).rejects.toMatchObject({ code: '25001' });
    }
    await app.end();
  });

  const withoutRowLock = (sql: string) => sql.replaceAll('for share', '');
  const inOneSnapshot = (sql: string) => withoutRowLock(sql).replace('LANGUAGE plpgsql', 'LANGUAGE plpgsql STABLE');

  /** The mitigations, taken out one by one: each must let the late writer through, or the tests above test nothing. */
  test.each([
    ['the row lock', 'repeatable read', withoutRowLock],
    ['the row lock', 'serializable', withoutRowLock],
    ['a snapshot taken after the lock', 'read committed', inOneSnapshot],
  ])('lets a late writer through without %s (%s)', async (_, level, weaken) => {
    const slot = fresh();
    await openFence(shard.admin, change(slot, 1));
    const { rows } = await shard.admin.query<{ sql: string }>(
      `select pg_get_functiondef('homeport.enter'::regproc) as sql`,
    );
    const sql = (rows[0]?.sql ?? '').replace('homeport.enter(', 'homeport.weak(').replaceAll('enter.', 'weak.');
    await shard.admin.query(`${weaken(sql)}; grant execute on function homeport.weak to app`);
    const as = { tenant: 'acme', placement: slot, epoch: 1 };
    const id = 1000 + slots;
    const outcome = await lateWriter(
      `begin isolation level ${level}`,
      'select homeport.weak($1,$2,$3,$4)',
      `insert into notes (id) values (${id})`,
      changer => closeFence(changer, change(slot, 1)),
      as,
    );
    expect(outcome).toBe('let through');
    expect((await shard.admin.query('select from notes where id = $1', [id])).rowCount).toBe(1);
    await shard.admin.query('drop function homeport.weak');
  });
});

describe('a pin', () => {
  test('keeps its tenant out of the slot until it is taken back', async () => {
    const slot = fresh();
    await openFence(shard.admin, change(slot, 1));
    const app = await shard.app();
    const through = { tenant: 'pinny', placement: slot, epoch: 1 };
    await openFence(shard.admin, { ...change(pin('pinny'), 2), through: slot });
    await expect(asTenant(app, through, async () => undefined)).rejects.toMatchObject({ code: 'HP001' });
    await asTenant(app, { tenant: 'pinny', placement: pin('pinny'), epoch: 2 }, async () => undefined);
    await closeFence(shard.admin, { ...change(pin('pinny'), 2), through: null });
    await asTenant(app, through, async () => undefined);
    // Closed and forgotten by the slot, but its epoch is remembered.
    await expect(openFence(shard.admin, change(pin('pinny'), 2))).rejects.toMatchObject({ code: 'HP-S401' });
    await app.end();
  });

  test('made before its slot was opened here counts too', async () => {
    const slot = fresh();
    await closeFence(shard.admin, { ...change(pin('early'), 2), through: slot });
    await openFence(shard.admin, change(slot, 1));
    const app = await shard.app();
    await expect(
      asTenant(app, { tenant: 'early', placement: slot, epoch: 1 }, async () => undefined),
    ).rejects.toMatchObject({ code: 'HP001' });
    await app.end();
  });
});

describe('what lives here', () => {
  test('a tenant with rows is known by its tables', async () => {
    // casts: keys of the test's
    expect(await hasRows(shard.admin, 'somebody' as TenantKey)).toEqual(['"public"."notes"']);
    expect(await hasRows(shard.admin, 'nobody' as TenantKey)).toEqual([]);
  });

  test('tenants are registered once', async () => {
    const tenant = 'eu/acme' as TenantKey; // cast: a key of the test's
    expect(await addTenant(shard.admin, { tenant, createdBy: 'ann', durability: 'quorum' })).toBe(true);
    expect(await addTenant(shard.admin, { tenant, createdBy: 'bob' })).toBe(false);
    expect(await findTenant(shard.admin, tenant)).toMatchObject({
      createdBy: 'ann',
      durability: 'quorum',
      isolation: 'shared',
    });
    expect((await listTenants(shard.admin)).map(found => found.tenant)).toContain(tenant);
    const missing = getTenant(shard.admin, target(server).id, 'x' as TenantKey); // cast: a key of the test's
    await expect(missing).rejects.toMatchObject({ code: 'HP-S501' });
  });
});
