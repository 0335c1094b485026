import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Pair, startPair } from './fixture.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await startPair();
  await pair.settle('acme', 'west');
  await pair.settle('bolt', 'east');
});
afterAll(() => pair?.stop());

describe('a transaction', () => {
  test('runs on the home shard, from the region of the home and from another', async () => {
    for (const region of [pair.west, pair.east]) {
      for (const [tenant, home] of [
        ['acme', pair.west],
        ['bolt', pair.east],
      ] as const) {
        const client = await region.connect({ tenant });
        await client.query('insert into items (note) values ($1)', [`from ${region.name}`]);
        const { rows } = await client.query('select tenant_id, note from items where note = $1', [
          `from ${region.name}`,
        ]);
        expect(rows).toEqual([{ tenant_id: tenant, note: `from ${region.name}` }]);
        const away = home === pair.west ? pair.east : pair.west;
        expect((await home.admin.query('select 1 from items where tenant_id = $1', [tenant])).rowCount).toBeGreaterThan(
          0,
        );
        expect((await away.admin.query('select 1 from items where tenant_id = $1', [tenant])).rowCount).toBe(0);
        await client.end();
      }
    }
  });

  test('commits and rolls back as a block', async () => {
    const client = await pair.east.connect({ tenant: 'acme' });
    await client.query('begin isolation level serializable');
    await client.query("insert into items (id, note) values (1001, 'kept')");
    await client.query('commit');
    await client.query('begin');
    await client.query("insert into items (id, note) values (1002, 'dropped')");
    await client.query('rollback');
    const { rows } = await client.query('select id from items where id in (1001, 1002)');
    expect(rows).toEqual([{ id: '1001' }]);
    await client.end();
  });

  test('takes its tenant from SET LOCAL, SET, the user name and the options', async () => {
    const client = await pair.west.connect();
    await client.query('begin');
    await client.query("set local homeport.tenant = 'bolt'");
    expect((await client.query('show homeport.home')).rows).toEqual([{ 'homeport.home': 'us-east' }]);
    await client.query("insert into items (note) values ('set local')");
    await client.query('commit');
    await expect(client.query('select * from items')).rejects.toMatchObject({ code: 'HP004' });
    await client.query("set homeport.tenant to 'acme'");
    expect((await client.query('select distinct tenant_id from items')).rows).toEqual([{ tenant_id: 'acme' }]);
    await client.end();
    const named = await pair.west.connect({ user: 'app.bolt' });
    expect((await named.query('select distinct tenant_id from items')).rows).toEqual([{ tenant_id: 'bolt' }]);
    await named.end();
  });
});
