import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Pair, startPair } from './fixture.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await startPair();
  await pair.settle('acme', 'west');
  await pair.west.admin.query('create table secrets (id int)');
});
afterAll(() => pair?.stop());

test('what Postgres refuses for reasons of ours says so, in both protocols and from the other region', async () => {
  for (const region of [pair.west, pair.east]) {
    const client = await region.connect({ tenant: 'acme' });
    for (const parameters of [undefined, []]) {
      await expect(client.query('select * from secrets', parameters)).rejects.toMatchObject({
        code: '42501',
        message: 'permission denied for table secrets',
        hint: expect.stringMatching(/^HP-G413 .*homeport enroll/),
      });
      await expect(client.query("insert into items (tenant_id) values ('bolt')", parameters)).rejects.toMatchObject({
        code: '42501',
        hint: expect.stringMatching(/^HP-G414 /),
      });
    }
    // another 42501 is left as it is
    await expect(client.query('create role intruder')).rejects.toMatchObject({ code: '42501', hint: undefined });
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    await client.end();
    const nobody = await region.connect();
    await expect(nobody.query('select * from items')).rejects.toMatchObject({
      code: 'HP004',
      message: expect.stringMatching(/^HP-S601 no tenant/),
    });
    await nobody.end();
  }
});
