import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { enrollTables } from '../../src/shards/enroll.ts';
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts';
import { type Attack, attacks, MALLORY, type Scene, SECRET_TEXT, VICTIM } from './attacks.ts';
import { asTenant, backendPid, enter, prepareShard, type Shard, target } from './shard.ts';

let server: TestPostgres;

beforeAll(async () => {
  server = await startTestPostgres();
});
afterAll(() => server.stop());

async function furnish(database: string): Promise<Shard> {
  await server.database(database);
  const shard = await prepareShard(server, target(server, database));
  await shard.admin.query(`insert into homeport.fence (placement, epoch, role) values ('slot:global:1', 1, 'primary');
    create table secrets (tenant_id text not null, id bigint, body text, primary key (tenant_id, id));
    create table details (tenant_id text not null, id bigint, secret bigint, primary key (tenant_id, id),
      foreign key (tenant_id, secret) references secrets);
    insert into secrets select 'victim', i, '${SECRET_TEXT}' from generate_series(1, 20) i;
    create view all_secrets with (security_invoker = true) as select * from secrets;
    grant select on all_secrets to app`);
  await enrollTables(shard.admin, ['secrets', 'details'], { roles: ['app', 'other'] });
  await shard.admin.query('analyze secrets');
  return shard;
}

/** Runs one attack. @returns what it achieved, or undefined when the shard held. */
async function carryOut(shard: Shard, attack: Attack): Promise<string | undefined> {
  const [client, victim] = [await shard.app(), await shard.app()];
  const digest = `select md5(string_agg(t::text, ';' order by id)) as d from secrets t where tenant_id = 'victim'`;
  const before = (await shard.admin.query(digest)).rows[0]?.d;
  let heard = '';
  let failure: string | undefined;
  client.on('notice', notice => {
    heard += `notice ${notice.message}\n`;
  });
  await victim.query('begin');
  await enter(victim, VICTIM);
  const victimPid = await backendPid(victim);
  // Its last statement is what others could see of it.
  await victim.query(`select 1 where 'x' <> '${SECRET_TEXT}'`);
  const scene: Scene = {
    client,
    victim,
    victimPid,
    async say(sql, values) {
      try {
        const result = await client.query(sql, values);
        failure = undefined;
        const all: pg.QueryResult[] = Array.isArray(result) ? result : [result];
        heard += `${JSON.stringify(all.map(one => one.rows))}\n`;
        return Object.values(all.at(-1)?.rows[0] ?? {})[0];
      } catch (error) {
        // cast: the driver rejects with what the server said
        const refused = error as pg.DatabaseError;
        failure = refused.code;
        heard += `${refused.message} ${refused.detail ?? ''} ${refused.where ?? ''}\n`;
        return undefined;
      }
    },
    async begin(as, how = 'begin') {
      await client.query('rollback');
      await client.query(how);
      await enter(client, as);
    },
    get failure() {
      return failure;
    },
  };
  await asTenant(client, MALLORY, () =>
    client.query(`insert into secrets (id, body) values (500, 'mine') on conflict do nothing`),
  );
  const won = await attack.run(scene);
  await Promise.all([client.end(), victim.end()]);
  const after = (await shard.admin.query(digest)).rows[0]?.d;
  await shard.admin.query(`delete from secrets where tenant_id = 'mallory' or id > 20`);
  if (won === true) return 'it found out';
  if (after !== before) return 'it changed the victim’s rows';
  return heard.includes(SECRET_TEXT) ? 'it saw the secret' : undefined;
}

describe('a shard', () => {
  let shard: Shard;
  beforeAll(async () => {
    shard = await furnish('sound');
  });
  test.each(attacks.map(attack => [attack.name, attack] as const))('holds against: %s', async (_, attack) => {
    expect(await carryOut(shard, attack)).toBeUndefined();
  });

  test('shows the victim its own rows', async () => {
    const app = await shard.app();
    expect((await asTenant(app, VICTIM, () => app.query('select * from secrets'))).rowCount).toBe(20);
    await app.end();
  });
});

/** The same attacks on a shard with its guards taken down: an attack that fails there too would show nothing. */
describe('a weakened shard', () => {
  let shard: Shard;
  beforeAll(async () => {
    shard = await furnish('weak');
  });
  beforeEach(async () => {
    await shard.admin.query(`
      grant set on parameter backtrace_functions to app;
      grant all on secrets, details to app;
      alter view all_secrets set (security_invoker = false);
      alter table secrets no force row level security;
      grant execute on all functions in schema pg_catalog to app;
      update secrets set body = '${SECRET_TEXT}' where tenant_id = 'victim';
      insert into secrets select 'victim', i, '${SECRET_TEXT}' from generate_series(1, 20) i on conflict do nothing`);
  });
  afterEach(() => shard.admin.query(`delete from secrets where tenant_id = 'victim'`));

  const expected = attacks.map(attack => [attack.name, attack.holdsWhenWeak ?? 'falls', attack] as const);
  test.each(expected)('shows that the attack is one: %s (%s)', async (_name, _why, attack) => {
    const outcome = await carryOut(shard, attack);
    if (attack.holdsWhenWeak) expect(outcome).toBeUndefined();
    else expect(outcome).toMatch(/^it /);
  });
});
