import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ENTER, type StaleDetail } from '../../src/shards/sql.ts';
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts';
import { asTenant, backendPid, type enter, entry, prepareShard, type Shard } from './shard.ts';

let server: TestPostgres;
let shard: Shard;
let app: pg.Client;

const ACME = { tenant: 'acme', placement: 'slot:global:7', epoch: 3 };

beforeAll(async () => {
  server = await startTestPostgres();
  shard = await prepareShard(server);
  app = await shard.app();
  await shard.admin.query(`insert into homeport.fence (placement, epoch, role, through) values
    ('slot:global:7', 3, 'primary', null), ('slot:global:8', 2, 'replica', null), ('slot:global:9', 4, 'closed', null),
    ('tenant:pinned-here', 5, 'primary', 'slot:global:7'), ('tenant:pinned-away', 6, 'closed', 'slot:global:7')`);
});
afterAll(() => server.stop());

async function refusal(as: Parameters<typeof enter>[1]): Promise<{ code: string | undefined; detail: StaleDetail }> {
  const error = await asTenant(app, as, async () => undefined).catch((e: pg.DatabaseError) => e);
  if (!error) throw new Error('it was let in');
  return { code: error.code, detail: JSON.parse(error.detail ?? '{}') };
}

describe('enter', () => {
  test('lets a transaction in and says whose it is', async () => {
    const tenant = await asTenant(app, ACME, async () => (await app.query('select homeport.tenant() as t')).rows[0]?.t);
    expect(tenant).toBe('acme');
  });

  test.each(['b%sé', 'o\'neil \\ "x"', 'eu/acme', 'x'.repeat(200), '日本'])(
    'takes any tenant key: %s',
    async tenant => {
      const seen = await asTenant(
        app,
        { ...ACME, tenant },
        async () => (await app.query('select homeport.tenant() as t')).rows[0]?.t,
      );
      expect(seen).toBe(tenant);
    },
  );

  test.each([
    ['another epoch', { ...ACME, epoch: 2 }, { placement: 'slot:global:7', epoch: 3, role: 'primary' }],
    [
      'a replica',
      { ...ACME, placement: 'slot:global:8', epoch: 2 },
      { placement: 'slot:global:8', epoch: 2, role: 'replica' },
    ],
    [
      'a closed fence',
      { ...ACME, placement: 'slot:global:9', epoch: 4 },
      { placement: 'slot:global:9', epoch: 4, role: 'closed' },
    ],
    ['no fence', { ...ACME, placement: 'slot:global:10' }, { placement: 'slot:global:10', epoch: 0, role: 'absent' }],
    [
      'a pinned tenant through its slot',
      { ...ACME, tenant: 'pinned-away' },
      { placement: 'tenant:pinned-away', epoch: 6, role: 'closed' },
    ],
    [
      'a tenant pinned here through its slot',
      { ...ACME, tenant: 'pinned-here' },
      { placement: 'tenant:pinned-here', epoch: 5, role: 'primary' },
    ],
  ])('refuses %s with HP001 and the fence as it stands', async (_, as, detail) => {
    expect(await refusal(as)).toEqual({ code: 'HP001', detail });
  });

  test('lets a pinned tenant in through its own placement', async () => {
    await asTenant(app, { tenant: 'pinned-here', placement: 'tenant:pinned-here', epoch: 5 }, async () => undefined);
  });

  test.each([
    ['another tenant', (v: unknown[]) => (v[0] = 'globex')],
    ['another placement', (v: unknown[]) => (v[1] = 'slot:global:8')],
    ['another epoch', (v: unknown[]) => (v[2] = 4)],
    ['no proof', (v: unknown[]) => (v[3] = '')],
    ['a null proof', (v: unknown[]) => (v[3] = null)],
    ['a null tenant', (v: unknown[]) => (v[0] = null)],
    ['a guess', (v: unknown[]) => (v[3] = '0'.repeat(64))],
  ])('refuses a proof that was made for %s', async (_, spoil) => {
    const values: unknown[] = entry(await backendPid(app), ACME);
    spoil(values);
    await expect(app.query(ENTER, values)).rejects.toMatchObject({ code: 'HP003' });
  });

  test('refuses a proof from another backend', async () => {
    const other = await shard.app();
    const values = entry(await backendPid(other), ACME);
    await expect(app.query(ENTER, values)).rejects.toMatchObject({ code: 'HP003' });
    await other.end();
  });

  test.each(['on', 'off'])('shows its key in no plan (debug_print_plan %s)', async setting => {
    const client = await shard.app();
    const seen: string[] = [];
    client.on('notice', notice => seen.push(`${notice.message} ${notice.detail}`));
    await client.query(
      `set client_min_messages = log; set debug_print_plan = ${setting}; set debug_print_parse = ${setting}; set debug_print_rewritten = ${setting}`,
    );
    const values = entry(await backendPid(client), ACME);
    const answer = await client.query(ENTER, values).then(
      () => 'entered',
      (e: pg.DatabaseError) => e.code,
    );
    expect(answer).toBe(setting === 'on' ? 'HP003' : 'entered');
    const { rows } = await shard.admin.query('select inner_pad, outer_pad from homeport.signing_key');
    // A bytea constant is printed byte by byte, as signed decimals, broken into lines anywhere.
    const printed = (pad: Buffer) => [...pad.subarray(0, 12)].map(byte => (byte << 24) >> 24).join('');
    const text = seen.join('\n').replaceAll(/\s+/g, '');
    expect(text.includes(printed(rows[0].inner_pad)) || text.includes(printed(rows[0].outer_pad))).toBe(false);
    if (setting === 'on') expect(text).toContain('PLANNEDSTMT');
    await client.end();
  });

  test('shows its parameters in the CONTEXT of its errors to a session that asks: gateways keep that field', async () => {
    const client = await shard.app();
    await client.query('set log_parameter_max_length_on_error = -1');
    const values = entry(await backendPid(client), { ...ACME, epoch: 2 });
    await expect(client.query(ENTER, values)).rejects.toMatchObject({ where: expect.stringContaining(values[3]) });
    await client.end();
  });
});
