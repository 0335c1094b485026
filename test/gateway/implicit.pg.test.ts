import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Pair, startPair } from './fixture.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await startPair();
  await pair.settle('acme', 'west');
});
afterAll(() => pair?.stop());

describe('a simple query that is a transaction by itself', () => {
  const forms = [
    "insert into items (note) values ('one')",
    "insert into items (note) values ('one');",
    "insert into items (note) values ('one');;",
    "insert into items (note) values ('one') ; /* nothing */ ; -- more of it",
    "insert into items (note) values ('one'); select 1",
    "insert into items (note) values ('zero'); insert into items (note) values ('one')",
    "begin; insert into items (note) values ('one'); commit",
    "insert into items (note) values ('one'); commit",
    ";insert into items (note) values ('one')",
  ];
  test.each(forms)('is committed when it is acknowledged: %s', async sql => {
    for (const region of [pair.west, pair.east]) {
      await pair.west.admin.query('delete from items');
      const client = await region.connect({ tenant: 'acme' });
      await client.query(sql);
      const { rows } = await pair.west.admin.query("select count(*)::int as n from items where note = 'one'");
      expect(rows).toEqual([{ n: 1 }]);
      // and the backend is as good as new
      expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
      await client.end();
    }
  });

  test('leaves nothing when a later statement of its string fails', async () => {
    await pair.west.admin.query('delete from items');
    const client = await pair.west.connect({ tenant: 'acme' });
    await expect(client.query("insert into items (note) values ('gone'); select 1/0")).rejects.toMatchObject({
      code: '22012',
    });
    expect((await client.query('select * from items')).rows).toEqual([]);
    await client.end();
  });
});
