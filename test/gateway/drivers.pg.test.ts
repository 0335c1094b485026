/** Real drivers with their statement caches and pipelines, many clients on few backends, tenants mixed. */
import pg from 'pg';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { APP_PASSWORD, type Pair, startPair } from './fixture.ts';

let pair: Pair;
const TENANTS = ['acme', 'bolt', 'crux', 'dyne'];
beforeAll(async () => {
  pair = await startPair({ max: 8, perTenant: 8, perUser: 8, queueMs: 20_000 }, { backendStatements: 6 });
  for (const [i, tenant] of TENANTS.entries()) await pair.settle(tenant, i % 2 ? 'east' : 'west');
});
afterAll(() => pair?.stop());

const clientsOf = (many: number) =>
  Promise.all(
    Array.from({ length: many }, async (_, i) => {
      const tenant = TENANTS[i % TENANTS.length] ?? '';
      const region = i % 3 ? pair.west : pair.east;
      return { tenant, i, client: await region.connect({ tenant }) };
    }),
  );

describe('named statements of `pg`', () => {
  test('shared by 32 clients on 8 backends that keep 6', async () => {
    const clients = await clientsOf(32);
    await Promise.all(
      clients.map(async ({ client, tenant, i }) => {
        for (let n = 0; n < 30; n++) {
          const which = (n + i) % 10;
          const text = `select $1::int + ${which} as sum, homeport.tenant() as tenant`;
          const { rows } = await client.query({ name: `s${which}`, text, values: [n] });
          expect(rows).toEqual([{ sum: n + which, tenant }]);
        }
        await client.end();
      }),
    );
  });

  test('under the same name and another text on each client', async () => {
    const clients = await clientsOf(8);
    await Promise.all(
      clients.map(async ({ client, i }) => {
        for (let n = 0; n < 20; n++) {
          const { rows } = await client.query({ name: 'same', text: `select ${i} as mine, $1::int as n`, values: [n] });
          expect(rows).toEqual([{ mine: i, n }]);
        }
        await client.end();
      }),
    );
  });

  test('whose result type changes under a cached plan fail once at most for each backend, and recover', async () => {
    await pair.west.admin.query(
      'create table shapes (a int); grant select on shapes to app; insert into shapes values (1)',
    );
    const client = await pair.west.connect({ tenant: 'acme' });
    const ask = () => client.query({ name: 'shape', text: 'select * from shapes' });
    expect((await ask()).rows).toEqual([{ a: 1 }]);
    await pair.west.admin.query('alter table shapes add b int default 2');
    const outcomes = [];
    for (let i = 0; i < 20; i++)
      outcomes.push(
        await ask().then(
          result => result.rows.length,
          (error: { code: string }) => error.code,
        ),
      );
    expect(outcomes.filter(outcome => outcome !== 1).length).toBeLessThanOrEqual(8);
    expect(outcomes.at(-1)).toBe(1);
    await client.end();
  });
});

describe('postgres.js', () => {
  test('with its pipelines, transactions and savepoints', async () => {
    for (const region of [pair.west, pair.east]) {
      const sql = postgres({
        ...{
          host: '127.0.0.1',
          port: region.port,
          user: 'app.acme',
          password: APP_PASSWORD,
          database: 'app',
          max: 4,
          onnotice: () => undefined,
        },
      });
      const results = await Promise.all(
        Array.from({ length: 200 }, (_, i) => sql`select ${i}::int as i, homeport.tenant() as tenant`),
      );
      for (const [i, rows] of results.entries()) expect(rows[0]).toEqual({ i, tenant: 'acme' });
      await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          sql.begin(async tx => {
            await Promise.all([tx`insert into items (n, note) values (${i}, 'pjs')`, tx`select 1`]);
            await tx
              .savepoint(async sp => sp`select 1 / ${0}::int`)
              .catch((error: { code: string }) => expect(error.code).toBe('22012'));
            await tx`update items set n = n + 100 where n = ${i} and note = 'pjs'`;
          }),
        ),
      );
      const [sum] = await sql`select count(*)::int as many, sum(n)::int as total from items where note = 'pjs'`;
      expect(sum).toEqual({ many: 20, total: 2190 });
      await sql`delete from items where note = 'pjs'`;
      const failing = await Promise.allSettled([sql`select 1`, sql`select 1 / 0`, sql`select 2`, sql`selekt`]);
      expect(failing.map(result => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'rejected']);
      await sql.end();
    }
  });
});

describe('64 clients on 16 backends', () => {
  test('never run anything under another tenant', async () => {
    const clients = await clientsOf(64);
    const counts = new Map<string, number>();
    await Promise.all(
      clients.map(async ({ client, tenant, i }) => {
        for (let n = 0; n < 25; n++) {
          const block = (n + i) % 3 === 0;
          if (block) await client.query('begin');
          await client.query(
            n % 2
              ? 'insert into items (note, n) values ($1, $2)'
              : `insert into items (note, n) values ('${tenant}', ${n})`,
            n % 2 ? [tenant, n] : undefined,
          );
          const { rows } = await client.query(
            'select homeport.tenant() as tenant, count(*) filter (where note <> homeport.tenant())::int as strange from items',
          );
          expect(rows).toEqual([{ tenant, strange: 0 }]);
          if ((n + i) % 7 === 0) await client.query('select 1 / 0').catch(() => undefined);
          const ended = block ? await client.query('commit') : undefined;
          if (ended?.command !== 'ROLLBACK') counts.set(tenant, (counts.get(tenant) ?? 0) + 1);
        }
        await client.end();
      }),
    );
    for (const [i, tenant] of TENANTS.entries()) {
      const home = i % 2 ? pair.east : pair.west;
      const { rows } = await home.admin.query(
        'select count(*)::int as many from items where tenant_id = $1 and note = $1',
        [tenant],
      );
      expect(rows).toEqual([{ many: counts.get(tenant) }]);
    }
  });
});

test('a connection string works as with Postgres', async () => {
  const client = new pg.Client(`${pair.west.url('acme')}?application_name=mine&options=-c%20statement_timeout%3D1234`);
  await client.connect();
  expect(
    (await client.query("select current_setting('application_name') as a, current_setting('statement_timeout') as b"))
      .rows,
  ).toEqual([{ a: 'mine', b: '1234ms' }]);
  await client.end();
});
