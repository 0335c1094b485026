/**
 * What a tenant's SQL may try to reach another tenant's rows, each as a script. A script has won when it saw the
 * victim's secret in a row, a notice or an error, changed a row of the victim's, or says so itself.
 */
import type pg from 'pg';
import { ENTER } from '../../src/shards/sql.ts';
import { type As, backendPid, enter, entry } from './shard.ts';

export const SECRET_TEXT = 'the-secret-of-victim';
export const MALLORY: As = { tenant: 'mallory', placement: 'slot:global:1', epoch: 1 };
export const VICTIM: As = { tenant: 'victim', placement: 'slot:global:1', epoch: 1 };

export interface Scene {
  /** The attacker's connection, as an application role. */
  readonly client: pg.Client;
  /** The victim's, at work in a transaction of its own. */
  readonly victim: pg.Client;
  readonly victimPid: number;
  /** Sends SQL; what comes back is looked through for the secret, errors too. Returns the first row's first column. */
  say(sql: string, values?: unknown[]): Promise<unknown>;
  /** As the gateway begins a transaction. */
  begin(as: As, how?: string): Promise<void>;
  /** The SQLSTATE of the last error, if the last statement failed. */
  readonly failure: string | undefined;
}

export interface Attack {
  readonly name: string;
  /** Gives true when it found something out that it saw nowhere. */
  run(scene: Scene): Promise<unknown>;
  /** Set when even the weakened shard of the test holds against it, with the reason. */
  readonly holdsWhenWeak?: string;
}

const FORGED = `homeport_${Buffer.from('victim').toString('hex')}`;
const LOOK = 'select * from secrets';
/** Where a tenant's context stands; see migrations/0002-context.ts. */
const CONTEXT = `current_setting('backtrace_functions')`;

/** As the victim once, in the same session: what is left of it must not open anything later. */
async function onceTheVictim(scene: Scene): Promise<string> {
  await scene.client.query('begin');
  await enter(scene.client, VICTIM);
  const { rows } = await scene.client.query<{ c: string }>(`select ${CONTEXT} as c`);
  await scene.client.query('commit');
  return rows[0]?.c ?? '';
}

function forging(name: string, ...statements: string[]): Attack {
  return {
    name,
    async run(scene) {
      await scene.begin(MALLORY);
      for (const sql of statements) await scene.say(sql);
    },
  };
}

function needsRights(name: string, holdsWhenWeak: string, ...statements: string[]): Attack {
  return { ...forging(name, ...statements), holdsWhenWeak };
}

const forgeries: Attack[] = [
  forging('SET LOCAL of a context', `set local backtrace_functions = '${FORGED}'`, LOOK),
  forging('SET of a context', `set backtrace_functions = '${FORGED}'`, LOOK),
  forging(
    'set_config in a CTE',
    `with c as materialized (select set_config('backtrace_functions', '${FORGED}', true) s) select * from c, lateral (select c.s, t.* from secrets t) x`,
  ),
  forging(
    'set_config, then a query in the same string',
    `select set_config('backtrace_functions', '${FORGED}', true); ${LOOK}`,
  ),
  forging(
    'DO block',
    `do $$ begin perform set_config('backtrace_functions', '${FORGED}', true); raise notice '%', (select string_agg(body, ',') from secrets); end $$`,
  ),
  forging(
    'an update of pg_settings',
    `update pg_settings set setting = '${FORGED}' where name = 'backtrace_functions'`,
    LOOK,
  ),
  forging('set_config for the session', `select set_config('backtrace_functions', '${FORGED}', false)`, LOOK),
  needsRights(
    'a value that is no tenant at all',
    'what it would give is nobody',
    `set local backtrace_functions = 'homeport_'`,
    `insert into secrets (id, body) values (1, 'x')`,
    'rollback',
    `set backtrace_functions = 'homeport_zz'`,
    LOOK,
  ),
  forging('a savepoint between', 'savepoint s', `set local backtrace_functions = '${FORGED}'`, 'release s', LOOK),
  forging(
    'a rollback to before',
    `savepoint s`,
    `set local backtrace_functions = '${FORGED}'`,
    LOOK,
    'rollback to s',
    LOOK,
  ),
  forging('RESET ALL and a context of one’s own', 'reset all', `set local backtrace_functions = '${FORGED}'`, LOOK),
  forging(
    'an update with a forged context',
    `set local backtrace_functions = '${FORGED}'`,
    `update secrets set body = 'x'`,
    'commit',
  ),
  forging(
    'an insert with a forged context',
    `set local backtrace_functions = '${FORGED}'`,
    `insert into secrets (id, body) values (99, 'x')`,
    'commit',
  ),
  forging(
    'a delete with a forged context',
    `set local backtrace_functions = '${FORGED}'`,
    'delete from secrets',
    'commit',
  ),
  forging('COMMIT AND CHAIN, then a context', 'commit and chain', `set local backtrace_functions = '${FORGED}'`, LOOK),
  forging(
    'an inner COMMIT, then a context',
    `select 1; commit; begin; set local backtrace_functions = '${FORGED}'; ${LOOK}`,
  ),
  {
    name: 'no transaction at all',
    async run(scene) {
      await scene.say(`set backtrace_functions = '${FORGED}'`);
      await scene.say(LOOK);
    },
  },
  {
    name: 'a context kept from an earlier transaction of the victim’s, same backend',
    async run(scene) {
      const kept = await onceTheVictim(scene);
      await scene.begin(MALLORY);
      await scene.say(`select set_config('backtrace_functions', $1, true)`, [kept]);
      await scene.say(LOOK);
    },
  },
  {
    name: 'a context kept over COMMIT AND CHAIN',
    async run(scene) {
      await scene.client.query('begin');
      await enter(scene.client, VICTIM);
      await scene.client.query(`select set_config('my.kept', ${CONTEXT}, false)`);
      await scene.client.query('commit and chain');
      await scene.say(`select set_config('backtrace_functions', current_setting('my.kept'), true)`);
      await scene.say(LOOK);
    },
  },
  {
    name: 'a context kept over an inner COMMIT of one string',
    async run(scene) {
      await scene.client.query('begin');
      await enter(scene.client, VICTIM);
      await scene.say(`select set_config('my.kept', ${CONTEXT}, false) is null; commit; begin;
        select set_config('backtrace_functions', current_setting('my.kept'), true) is null; ${LOOK}`);
    },
  },
  {
    name: 'a context from another backend',
    async run(scene) {
      const { rows } = await scene.victim.query<{ c: string }>(`select ${CONTEXT} as c`);
      await scene.begin(MALLORY);
      await scene.say(`select set_config('backtrace_functions', $1, true)`, [rows[0]?.c]);
      await scene.say(LOOK);
    },
  },
];

const entering: Attack[] = [
  {
    name: 'enter with one’s own proof',
    holdsWhenWeak: 'the proof is still checked',
    async run(scene) {
      const [, placement, epoch, proof] = entry(await backendPid(scene.client), MALLORY);
      await scene.say(ENTER, ['victim', placement, epoch, proof]);
      await scene.say(LOOK);
    },
  },
  {
    name: 'enter with a proof for the victim on another backend',
    holdsWhenWeak: 'the proof is still checked',
    async run(scene) {
      await scene.client.query('begin');
      await scene.say(ENTER, entry(scene.victimPid, VICTIM));
      await scene.say(LOOK);
    },
  },
  needsRights(
    'read the key',
    'the key is still the owner’s',
    'select * from homeport.signing_key',
    'rollback',
    'select homeport.key_inner()',
  ),
  needsRights(
    'read the fences',
    'they are still the owner’s',
    'select placement from homeport.fence where placement = $$x$$',
  ),
  needsRights('become the owner', 'the role is still a member of nothing', 'set role homeport_admin', LOOK),
  needsRights(
    'become the owner for the session',
    'the role is still no superuser',
    'set session authorization homeport_admin',
    LOOK,
  ),
  needsRights('become another application', 'the role is still a member of nothing', 'set role other', LOOK),
  needsRights('drop the role', 'it returns to itself', 'reset role', LOOK, 'reset session authorization', LOOK),
  needsRights('ask for BYPASSRLS', 'the role still has no CREATEROLE', 'alter role app bypassrls', LOOK),
];

const around: Attack[] = [
  needsRights('row_security = off', 'the server refuses rather than show all', 'set local row_security = off', LOOK),
  needsRights(
    'switch the policy off',
    'the table is still another’s',
    'alter table secrets disable row level security',
    'rollback',
    LOOK,
  ),
  forging('TRUNCATE', 'truncate secrets cascade', 'commit'),
  needsRights(
    'write rows as another tenant',
    'the claimed tenant is one’s own',
    `insert into secrets (tenant_id, id, body) values ('victim', 77, 'x')`,
    'commit',
  ),
  needsRights(
    'give rows to another tenant',
    'the claimed tenant is one’s own',
    `update secrets set tenant_id = 'victim'`,
    'commit',
  ),
  needsRights(
    'name the other tenant',
    'the claimed tenant is one’s own',
    `update secrets set body = 'x' where tenant_id = 'victim'`,
    `delete from secrets where tenant_id = 'victim'`,
    'commit',
  ),
  needsRights(
    'MERGE',
    'the claimed tenant is one’s own',
    `merge into secrets t using (values ('victim', 1)) v(tenant_id, id) on t.tenant_id = v.tenant_id and t.id = v.id
    when matched then update set body = 'x' when not matched then do nothing`,
    'commit',
  ),
  {
    name: 'probe a key by inserting it',
    holdsWhenWeak: 'the key starts with the tenant',
    async run(scene) {
      await scene.begin(MALLORY);
      await scene.say(`insert into secrets (id, body) values (1, 'mine')`);
      const taken = scene.failure === '23505';
      await scene.begin(MALLORY);
      await scene.say(`insert into secrets (tenant_id, id, body) values ('victim', 1, 'x') on conflict do nothing`);
      const there = scene.failure;
      await scene.begin(MALLORY);
      await scene.say(
        `insert into secrets (tenant_id, id, body) values ('victim', 424242, 'x') on conflict do nothing`,
      );
      return taken || there !== scene.failure;
    },
  },
  {
    name: 'probe a foreign key',
    holdsWhenWeak: 'the key starts with the tenant',
    async run(scene) {
      await scene.begin(MALLORY);
      await scene.say('insert into details (id, secret) values (1, 1)');
      return scene.failure === undefined;
    },
  },
  {
    name: 'an operator that fails on what it must not see',
    holdsWhenWeak: 'the policy is a security barrier',
    async run(scene) {
      await scene.begin(MALLORY);
      await scene.say(`select 1 from secrets where 1 / (case when tenant_id = 'victim' then 0 else 1 end) = 1`);
      const leaked = scene.failure === '22012';
      await scene.begin(MALLORY);
      await scene.say(`select 1 from secrets where body::int = 1 and tenant_id = 'victim'`);
      return leaked;
    },
  },
  needsRights(
    'most common values',
    'views of statistics hide tables with policies',
    `select most_common_vals::text, histogram_bounds::text from pg_stats where tablename = 'secrets'`,
  ),
  forging('a view', 'select * from all_secrets'),
  {
    name: 'a plan prepared by the victim',
    holdsWhenWeak: 'the tenant is read at each execution',
    async run(scene) {
      await scene.client.query('begin');
      await enter(scene.client, VICTIM);
      await scene.client.query(`prepare look as ${LOOK}`);
      for (let i = 0; i < 7; i++) await scene.client.query('execute look');
      await scene.client.query('commit');
      await scene.begin(MALLORY);
      await scene.say('execute look');
    },
  },
  forging('statements of others', `select query from pg_stat_activity`),
  {
    name: 'prepared statements of others',
    async run(scene) {
      await scene.client.query(`prepare theirs as select '${SECRET_TEXT}'`);
      await scene.begin(MALLORY);
      await scene.say('select statement from pg_prepared_statements');
    },
  },
  {
    name: 'end the victim’s session',
    async run(scene) {
      await scene.begin(MALLORY);
      await scene.say('select pg_cancel_backend($1)', [scene.victimPid]);
      return scene.failure === undefined;
    },
  },
  {
    name: 'hold the lock of the victim’s placement',
    async run(scene) {
      await scene.begin(MALLORY);
      await scene.say(`select pg_try_advisory_lock(${0x484f4d45}, hashtext('slot:global:2'))`);
      return scene.failure === undefined;
    },
  },
  forging(
    'a large object',
    `select encode(lo_get(oid), 'escape') from pg_largeobject_metadata`,
    `select lo_from_bytea(0, '${SECRET_TEXT}') is null, '${SECRET_TEXT}'`,
  ),
  needsRights(
    'files of the server',
    'the role is still no superuser',
    `copy secrets to program 'cat'`,
    'rollback',
    `select pg_read_file('postgresql.conf')`,
  ),
  needsRights(
    'objects of one’s own',
    'nobody may create here',
    'create temp table t as select * from secrets',
    'rollback',
    'create table public.t (a int)',
    'rollback',
    'create schema mine',
  ),
];

export const attacks: readonly Attack[] = [...forgeries, ...entering, ...around];
