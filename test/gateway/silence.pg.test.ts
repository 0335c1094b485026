import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pauseTree, resumeTree } from '../../src/devcluster/process.ts';
import { type Pair, startPair } from './fixture.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await startPair();
  await pair.settle('acme', 'west');
});
afterAll(async () => {
  if (pair) resumeTree(pair.west.postgres.pid);
  await pair?.stop();
});

describe('a shard whose processes are stopped', () => {
  test('keeps nobody waiting for ever: what may have run is unknown, what has not is refused, and then it goes on', async () => {
    const implicit = await pair.west.connect({ tenant: 'acme' });
    const far = await pair.east.connect({ tenant: 'acme' });
    const block = await pair.west.connect({ tenant: 'acme' });
    // at the same time, so that there is a backend for each
    await Promise.all([implicit, far, block].map(client => client.query('select pg_sleep(0.3)')));
    await block.query('begin');
    await block.query("insert into items (note) values ('in a block')");
    pauseTree(pair.west.postgres.pid);
    const told = await Promise.allSettled([
      implicit.query("insert into items (note) values ('implicit')"),
      far.query("insert into items (note) values ('from afar')"),
      block.query('select 1'),
    ]);
    expect(told.map(each => each.status === 'rejected' && each.reason.code)).toEqual(['08007', '08007', '08006']);
    await expect(block.query('select 1')).rejects.toMatchObject({ code: '25P02' });
    await block.query('rollback');
    await expect(implicit.query('select 1')).rejects.toMatchObject({
      code: '08006',
      message: expect.stringMatching(/^HP-G302 .*answered nothing/),
    });
    resumeTree(pair.west.postgres.pid);
    await expect
      .poll(() => implicit.query('select 1 as one').then(({ rows }) => rows, String), { timeout: 20_000 })
      .toEqual([{ one: 1 }]);
    const { rows } = await implicit.query("select count(*)::int as n from items where note = 'in a block'");
    expect(rows).toEqual([{ n: 0 }]);
    await Promise.all([implicit, far, block].map(client => client.end()));
  }, 60_000);

  test('a long query is no silence', async () => {
    const client = await pair.west.connect({ tenant: 'acme' });
    expect((await client.query("select pg_sleep(11), 'done' as what")).rows).toMatchObject([{ what: 'done' }]);
    await client.end();
  }, 30_000);
});
