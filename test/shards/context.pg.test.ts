import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rolePassword } from '../../src/base/keys.ts';
import { enrollTables } from '../../src/shards/enroll.ts';
import { ENTER } from '../../src/shards/sql.ts';
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts';
import { asTenant, backendPid, enter, entry, prepareShard, SECRET, type Shard } from './shard.ts';

let server: TestPostgres;
let shard: Shard;
let app: pg.Client;
const ACME = { tenant: 'acme', placement: 'slot:global:1', epoch: 1 };
const GLOBEX = { tenant: 'globex', placement: 'slot:global:1', epoch: 1 };

beforeAll(async () => {
  server = await startTestPostgres();
  shard = await prepareShard(server);
  await shard.admin.query(`insert into homeport.fence (placement, epoch, role) values ('slot:global:1', 1, 'primary');
    create table notes (tenant_id text not null, id bigint generated always as identity, body text, primary key (tenant_id, id))`);
  await enrollTables(shard.admin, ['notes'], { roles: ['app'] });
  app = await shard.app();
  await asTenant(app, ACME, () => app.query(`insert into notes (body) select 'a' || i from generate_series(1, 3) i`));
  await asTenant(app, GLOBEX, () => app.query(`insert into notes (body) values ('g')`));
});
afterAll(() => server.stop());

/** What the driver hides: messages sent one by one, and the errors that come back. */
interface Wire {
  parse(query: { text: string; name: string; types: number[] }): void;
  bind(config: { portal: string; statement: string; values: unknown[] }): void;
  execute(config: { portal: string; rows: number }): void;
  query(text: string): void;
  on(event: 'errorMessage', listener: (error: { code: string }) => void): void;
  once(event: 'readyForQuery', listener: () => void): void;
}

describe('the context ends with its transaction, loudly', () => {
  test.each([
    ['COMMIT', 'commit'],
    ['COMMIT AND CHAIN', 'commit and chain'],
    ['ROLLBACK AND CHAIN', 'rollback and chain'],
    ['a COMMIT inside a string', 'select 1; commit; select 2'],
    ['RESET ALL', 'reset all'],
    ['DISCARD ALL after it', 'commit; discard plans'],
  ])('after %s', async (_, sql) => {
    const client = await shard.app();
    await client.query('begin');
    await enter(client, ACME);
    await client.query(sql);
    await expect(client.query('select * from notes')).rejects.toMatchObject({ code: 'HP004' });
    await client.query('rollback');
    await expect(client.query(`insert into notes (body) values ('x')`)).rejects.toMatchObject({ code: 'HP004' });
    await client.end();
  });

  /** The lock would be gone and the fence unchecked. */
  test('a block can not commit in the transaction that was entered', async () => {
    const client = await shard.app();
    const values = entry(await backendPid(client), ACME);
    // cast: the driver's connection is public and has no type
    const wire = (client as unknown as { connection: Wire }).connection;
    const codes: string[] = [];
    wire.on('errorMessage', error => codes.push(error.code));
    const ready = new Promise<void>(resolve => wire.once('readyForQuery', resolve));
    wire.parse({ text: ENTER, name: '', types: [] });
    wire.bind({ portal: '', statement: '', values: values.map(String) });
    wire.execute({ portal: '', rows: 0 });
    wire.query(`do $$ declare kept text := current_setting('backtrace_functions'); begin
      perform count(*) from notes;
      commit;
      perform set_config('backtrace_functions', kept, true);
      perform count(*) from notes;
    end $$`);
    await ready;
    expect(codes).toEqual(['2D000']);
    await client.end().catch(() => undefined);
  });

  test('a rollback to a savepoint keeps it', async () => {
    const rows = await asTenant(app, ACME, async () => {
      await app.query('savepoint s');
      await app.query('select 1/0').catch(() => undefined);
      await app.query('rollback to s');
      return (await app.query('select * from notes')).rowCount;
    });
    expect(rows).toBe(3);
  });
});

describe('the context can not come from outside a transaction', () => {
  const forged = `homeport_${Buffer.from('acme').toString('hex')}`;

  test('as a startup option', async () => {
    const password = rolePassword(SECRET, 'app');
    const options = `-c backtrace_functions=${forged}`;
    await expect(server.connect({ user: 'app', password, options })).rejects.toMatchObject({ code: '42501' });
  });

  test('as a default of the role', async () => {
    const client = await shard.app();
    const sql = `alter role app set backtrace_functions = '${forged}'`;
    await expect(client.query(sql)).rejects.toMatchObject({ code: '42501' });
    await client.end();
  });

  test('as what an operator has set for the server', async () => {
    await shard.admin.query(`alter role other set backtrace_functions = 'errstart,palloc'`);
    const client = await shard.app('other');
    await expect(client.query('select homeport.tenant()')).rejects.toMatchObject({ code: 'HP004' });
    await client.end();
  });
});

describe('the context holds for', () => {
  test('a plan that another tenant’s transaction made', async () => {
    const look = { name: 'look', text: 'select body from notes order by id' };
    for (let i = 0; i < 8; i++) {
      expect((await asTenant(app, ACME, () => app.query(look))).rowCount).toBe(3);
      expect((await asTenant(app, GLOBEX, () => app.query(look))).rowCount).toBe(1);
    }
  });

  test('cursors, functions, subqueries and parallel plans', async () => {
    await shard.admin.query(
      `create or replace function count_notes() returns bigint language sql stable return (select count(*) from notes)`,
    );
    await asTenant(app, ACME, async () => {
      await app.query('declare c cursor for select * from notes');
      expect((await app.query('fetch all from c')).rowCount).toBe(3);
      expect((await app.query('select count_notes()::int as n')).rows[0]?.n).toBe(3);
      await app.query('set local debug_parallel_query = on');
      expect((await app.query('select count(*)::int as n from notes')).rows[0]?.n).toBe(3);
    });
  });

  test('any time zone, date style, encoding of bytes and search_path of the client', async () => {
    await asTenant(app, ACME, async () => {
      await app.query(`set local timezone = 'Asia/Tokyo'; set local datestyle = 'SQL, DMY'; set local bytea_output = 'escape';
        set local search_path = 'nowhere'; set local extra_float_digits = -5; set local intervalstyle = 'sql_standard'`);
      expect((await app.query('select * from public.notes')).rowCount).toBe(3);
    });
  });

  test('once per scan, as the key of the index, not once per row', async () => {
    await asTenant(app, ACME, async () => {
      const plan = async (sql: string) => JSON.stringify((await app.query(`explain (costs off) ${sql}`)).rows);
      const whole = await plan('select * from notes');
      expect(whole).toContain('Index Cond: (tenant_id = homeport.tenant())');
      expect(whole).not.toContain('Filter');
      // What is written is checked row by row, so there the tenant is asked once for the statement.
      expect(await plan("insert into notes (body) select 'x' from generate_series(1, 9)")).toContain('InitPlan');
    });
  });

  test('COPY out; COPY in is not possible into a table with policies', async () => {
    await asTenant(app, ACME, () => app.query('copy notes to stdout'));
    await expect(asTenant(app, ACME, () => app.query('copy notes (body) from stdin'))).rejects.toMatchObject({
      code: '0A000',
    });
  });
});

test('a plan that showed the key would be noticed', async () => {
  await shard.admin.query(`create function unguarded() returns bytea language sql immutable as 'select inner_pad from homeport.signing_key';
    create function show_it() returns bytea language plpgsql security definer as $$ begin return sha256(unguarded() || int4send(pg_backend_pid())); end $$;
    create function shown() returns bytea language plpgsql security definer as $$ begin return sha256(homeport.key_inner() || int4send(pg_backend_pid())); end $$`);
  const client = await shard.app();
  let seen = '';
  client.on('notice', notice => {
    seen += `${notice.message} ${notice.detail}`.replaceAll(/\s+/g, '');
  });
  await client.query('set client_min_messages = log; set debug_print_plan = on');
  const { rows } = await shard.admin.query<{ inner_pad: Buffer }>('select inner_pad from homeport.signing_key');
  const printed = [...(rows[0]?.inner_pad.subarray(0, 12) ?? [])].map(byte => (byte << 24) >> 24).join('');
  await expect(client.query('select shown()')).rejects.toMatchObject({ code: 'HP003' });
  expect(seen).not.toContain(printed);
  await client.query('select show_it()');
  expect(seen).toContain(printed);
  await client.end();
});
