import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rolePassword } from '../../src/base/keys.ts';
import { realWorld } from '../../src/base/world.ts';
import { ensureRoles } from '../../src/shards/roles.ts';
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts';
import { prepareShard, SECRET, type Shard } from './shard.ts';

let server: TestPostgres;
let shard: Shard;

beforeAll(async () => {
  server = await startTestPostgres({ log_statement: 'all', log_min_duration_statement: '0' });
  shard = await prepareShard(server);
});
afterAll(() => server.stop());

const ensure = (...users: string[]) =>
  ensureRoles(shard.admin, { users, clusterSecret: SECRET, random: realWorld.random });

describe('application roles', () => {
  test('are made once, and log in with the derived password', async () => {
    expect(await ensure('app', 'fresh')).toEqual(['fresh']);
    expect(await ensure('app', 'fresh')).toEqual([]);
    const app = await shard.app('fresh');
    const { rows } = await app.query('select current_user as me');
    expect(rows[0]?.me).toBe('fresh');
    await app.end();
  });

  test('follow a change of the cluster secret', async () => {
    await ensure('turning');
    const other = Buffer.alloc(32, 9);
    const options = { users: ['turning'], clusterSecret: other, random: realWorld.random };
    expect(await ensureRoles(shard.admin, options)).toEqual(['turning']);
    await expect(server.connect({ user: 'turning', password: rolePassword(SECRET, 'turning') })).rejects.toMatchObject({
      code: '28P01',
    });
    await (await server.connect({ user: 'turning', password: rolePassword(other, 'turning') })).end();
  });

  test('leave neither password nor key in the server’s log', () => {
    const log = readFileSync(join(server.socketDir, '..', 'data.log'), 'utf8');
    expect(log).toContain('create role');
    expect(log).not.toContain(rolePassword(SECRET, 'app'));
    expect(log).toContain('homeport.fence');
    expect(log).not.toMatch(/insert into homeport\.signing_key/);
  });

  test.each([
    ['a superuser', 'alter role bad superuser', 'superuser'],
    ['BYPASSRLS', 'alter role bad bypassrls', 'BYPASSRLS'],
    ['CREATEROLE', 'alter role bad createrole', 'CREATEROLE'],
    ['CREATEDB', 'alter role bad createdb', 'CREATEDB'],
    ['REPLICATION', 'alter role bad replication', 'REPLICATION'],
    ['the right to choose the tenant', 'grant set on parameter backtrace_functions to bad', 'backtrace_functions'],
    ['a membership', 'grant pg_read_all_data to bad', 'pg_read_all_data'],
    ['a possession', 'create table owned (a int); alter table owned owner to bad', 'owns 1 objects'],
  ])('are refused with %s', async (_, sql, reason) => {
    await shard.admin.query(
      'drop table if exists owned; do $$ begin if to_regrole($r$bad$r$) is not null then revoke set on parameter backtrace_functions from bad; drop role bad; end if; end $$; create role bad login',
    );
    await shard.admin.query(sql);
    await expect(ensure('bad')).rejects.toMatchObject({ code: 'HP-S301', message: expect.stringContaining(reason) });
  });

  test('leave those who watch the server what they need', async () => {
    await shard.admin.query(`create role watcher login password 'x' in role pg_monitor, pg_signal_backend`);
    await shard.admin.query('grant connect on database app to watcher');
    const watcher = await server.connect({ user: 'watcher', password: 'x' });
    const { rows } = await watcher.query<{ pid: number }>(`select pid from pg_stat_activity where usename is not null`);
    expect(rows.length).toBeGreaterThan(0);
    const app = await shard.app();
    const pid = (await app.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]?.pid;
    await watcher.query('select pg_cancel_backend($1)', [pid]);
    await Promise.all([watcher.end(), app.end()]);
  });

  test('may lock by one key, which is not our space', async () => {
    const app = await shard.app();
    await app.query('select pg_advisory_lock(42), pg_advisory_unlock(42), pg_advisory_unlock_all()');
    await app.end();
  });
});
