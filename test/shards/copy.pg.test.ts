import { once } from 'node:events';
import type { Socket } from 'node:net';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { enrollTables } from '../../src/shards/enroll.ts';
import { copyDoor, copyDoorName } from '../../src/shards/enroll-copy.ts';
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts';
import { asTenant, prepareShard, type Shard } from './shard.ts';

let server: TestPostgres;
let shard: Shard;
const ACME = { tenant: 'acme', placement: 'slot:global:1', epoch: 1 };
const GLOBEX = { tenant: 'globex', placement: 'slot:global:1', epoch: 1 };

beforeAll(async () => {
  server = await startTestPostgres();
  shard = await prepareShard(server);
  await shard.admin.query(`insert into homeport.fence (placement, epoch, role) values ('slot:global:1', 1, 'primary');
    create table notes (tenant_id text not null, id bigint generated always as identity, body text default 'none',
      loud text generated always as (upper(body)) stored, old_id bigserial, primary key (tenant_id, id))`);
  await enrollTables(shard.admin, ['notes'], { roles: ['app', 'other'] });
});
afterAll(() => server.stop());

interface Wire {
  stream: Socket;
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
}

/** The driver answers CopyInResponse by failing the copy; a query object of our own sends the lines. */
async function copyIn(client: pg.Client, sql: string, lines: string): Promise<void> {
  let failure: Error | undefined;
  const copying = {
    submit: (wire: Wire) => wire.query(sql),
    handleCopyInResponse(wire: Wire) {
      wire.sendCopyFromChunk(Buffer.from(lines));
      wire.endCopyFrom();
    },
    handleCommandComplete: () => undefined,
    handleError(error: Error) {
      failure = error;
    },
    handleReadyForQuery: () => undefined,
  };
  // cast: the driver takes any object with these methods (its Submittable), which its types do not spell out
  client.query(copying as unknown as pg.Submittable);
  await once(client, 'drain');
  if (failure) throw failure;
}

describe('COPY FROM through the door of an enrolled table', () => {
  test('gives the rows to the tenant, with defaults and given ids', async () => {
    const app = await shard.app();
    await asTenant(app, ACME, () => copyIn(app, `copy ${copyDoor('public', 'notes')} (body) from stdin`, 'a\nb\n'));
    await asTenant(app, GLOBEX, () =>
      copyIn(app, `copy ${copyDoor('public', 'notes')} (id, body) from stdin`, '77\tg\n'),
    );
    const { rows } = await shard.admin.query(
      'select tenant_id, id::int, body, loud, old_id is not null as old from notes order by 1, 2',
    );
    expect(rows).toEqual([
      { tenant_id: 'acme', id: 1, body: 'a', loud: 'A', old: true },
      { tenant_id: 'acme', id: 1025, body: 'b', loud: 'B', old: true },
      { tenant_id: 'globex', id: 77, body: 'g', loud: 'G', old: true },
    ]);
    await app.end();
  });

  test('gives nothing to another tenant, and nobody anything without one', async () => {
    const app = await shard.app();
    const door = copyDoor('public', 'notes');
    await expect(
      asTenant(app, ACME, () => copyIn(app, `copy ${door} (tenant_id, body) from stdin`, 'globex\tx\n')),
    ).rejects.toMatchObject({ code: '42501' });
    await expect(copyIn(app, `copy ${door} (tenant_id, body) from stdin`, 'globex\tx\n')).rejects.toMatchObject({
      code: 'HP004',
    });
    await expect(asTenant(app, ACME, () => app.query(`select * from ${door}`))).rejects.toMatchObject({
      code: '42501',
    });
    await app.end();
  });

  test('does not keep the table from being changed, and follows when it is enrolled again', async () => {
    await shard.admin.query(
      `create table moving (tenant_id text not null, id bigserial, a int, primary key (tenant_id, id))`,
    );
    await enrollTables(shard.admin, ['moving'], { roles: ['app', 'other'] });
    await shard.admin.query('alter table moving alter column a type bigint, add column b text');
    const report = await enrollTables(shard.admin, ['moving'], { roles: ['app', 'other'] });
    expect(report.tables[0]?.steps.filter(step => step.state === 'done').map(step => step.why)).toEqual([
      expect.stringContaining('COPY FROM'),
    ]);
    const app = await shard.app();
    await asTenant(app, ACME, () =>
      copyIn(app, `copy ${copyDoor('public', 'moving')} (a, b) from stdin`, '5000000000\tx\n'),
    );
    expect((await shard.admin.query('select b from moving')).rows).toEqual([{ b: 'x' }]);
    await shard.admin.query('drop table moving');
    await app.end();
  });

  test('has a name that fits', () => {
    expect(copyDoorName('public', 'orders')).toBe('public.orders');
    expect(copyDoorName('public', 'o'.repeat(60))).toHaveLength(63);
  });
});
