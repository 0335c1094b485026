/** Wherever a client connects, its rows are at the tenant's home and nowhere else, and it sees nobody's but its own. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildVerifier } from '../../src/pgwire/scram-keys.ts';
import { REGIONS, type Regions, startRegions } from './regions.ts';

let regions: Regions;
/** The sample shops, and where the shards' own register says they live. */
const homes = new Map<string, (typeof REGIONS)[number]>();

beforeAll(async () => {
  const limited = {
    verifier: await buildVerifier('of the limited user', { salt: Buffer.alloc(16, 7) }),
    tenants: ['eu/*', 'acme'],
  };
  const users = { limited };
  regions = await startRegions({
    settings: settings => {
      settings.users = Object.assign({}, settings.users, users);
    },
  });
  for (const region of REGIONS) {
    for (const { tenant } of await regions.onShard<{ tenant: string }>(region, 'select tenant from homeport.tenant'))
      homes.set(tenant, region);
  }
});
afterAll(() => regions?.stop());

/** A shop for each region, so that every pair of entrance and home is seen. */
function oneTenantPerHome(): [string, (typeof REGIONS)[number]][] {
  return REGIONS.map(home => [[...homes].find(([, region]) => region === home)?.[0] ?? '', home]);
}

test('thirty shops live in all three regions, and those of domain eu in eu-west alone', () => {
  expect(homes.size).toBe(30);
  expect(new Set(homes.values()).size).toBe(3);
  for (const [tenant, home] of homes) if (tenant.startsWith('eu/')) expect([tenant, home]).toEqual([tenant, 'eu-west']);
});

test('rows written through any region are at the home of their tenant and nowhere else', async () => {
  for (const entrance of REGIONS) {
    const client = await regions.connect(entrance);
    for (const [tenant, home] of homes) {
      const token = `${entrance} ${tenant}`;
      await client.query(`set homeport.tenant = '${tenant}'`);
      await client.query('insert into customers (name) values ($1)', [token]);
      const { rows } = await client.query('select tenant_id from customers where name = $1', [token]);
      expect(rows).toEqual([{ tenant_id: tenant }]);
      expect([token, await regions.regionsWith('select from customers where name = $1', [token])]).toEqual([
        token,
        [home],
      ]);
    }
    await client.end();
  }
  // and no shard has a row of a tenant that does not live there
  for (const region of REGIONS) {
    const rows = await regions.onShard<{ tenant_id: string }>(
      region,
      'select tenant_id from customers union select tenant_id from orders union select tenant_id from order_lines',
    );
    for (const { tenant_id: tenant } of rows) expect([tenant, homes.get(tenant)]).toEqual([tenant, region]);
  }
});

test('a tenant sees its own rows and no others, through every region', async () => {
  for (const [tenant, home] of oneTenantPerHome()) {
    const own = await regions.onShard(home, 'select id from customers where tenant_id = $1 order by id', [tenant]);
    for (const entrance of REGIONS) {
      const seen = await regions.ask(entrance, tenant, 'select id, tenant_id from customers order by id');
      expect(seen).toEqual(own.map(row => ({ ...row, tenant_id: tenant })));
    }
  }
});

async function show(client: pg.Client, name: string): Promise<string> {
  return (await client.query(`show homeport.${name}`)).rows[0]?.[`homeport.${name}`];
}

test('SHOW tells where the client is and where its tenant lives', async () => {
  for (const [tenant, home] of oneTenantPerHome()) {
    for (const entrance of REGIONS) {
      const client = await regions.connect(entrance, { tenant });
      expect(await show(client, 'tenant')).toBe(tenant);
      expect(await show(client, 'region')).toBe(entrance);
      expect(await show(client, 'home')).toBe(home);
      expect(await show(client, 'shard')).toBe(`${home}-1`);
      expect(await show(client, 'epoch')).toBe('1');
      expect(await show(client, 'placement')).toMatch(/^slot:(global|eu):\d+$/);
      const way = home === entrance ? `shard ${home}-1 in ${home} (here)` : `gateway of ${home} -> shard ${home}-1`;
      expect(await show(client, 'route')).toContain(way);
      expect(await show(client, 'pinned')).toBe('');
      await client.end();
    }
  }
});

test('explain says the same as SHOW, and tells a script so in one line', async () => {
  for (const [tenant, home] of [...oneTenantPerHome(), ['eu/anker', 'eu-west'] as const]) {
    const { code, out, err } = await regions.homeport('explain', tenant);
    expect([code, err, out.trimEnd().split('\n').length]).toEqual([0, '', 1]);
    const client = await regions.connect('ap-south', { tenant });
    expect(JSON.parse(out)).toMatchObject({
      tenant,
      placement: await show(client, 'placement'),
      epoch: Number(await show(client, 'epoch')),
      home: { region: home, shard: `${home}-1` },
    });
    await client.end();
  }
});

test('TLS is there for who asks for it, and the certificate can be verified', async () => {
  const ca = readFileSync(join(regions.cluster.dir, 'tls', 'cert.pem'), 'utf8');
  for (const region of REGIONS) {
    for (const ssl of [{ rejectUnauthorized: false }, { ca, servername: 'localhost' }]) {
      const client = await regions.connect(region, { tenant: 'acme', ssl });
      expect((await client.query('select count(*)::int > 0 as any from customers')).rows).toEqual([{ any: true }]);
      await client.end();
    }
    await expect(regions.connect(region, { ssl: { rejectUnauthorized: true } })).rejects.toThrow(/self-signed/);
  }
});

test('a wrong password and an unknown user are told the same, before anything else', async () => {
  for (const region of REGIONS) {
    const wrong = regions.connect(region, { password: 'wrong', tenant: 'acme' });
    await expect(wrong).rejects.toMatchObject({ code: '28P01', message: expect.stringContaining('HP-P108') });
    const unknown = regions.connect(region, { user: 'nobody', password: 'wrong' });
    await expect(unknown).rejects.toMatchObject({ code: '28P01' });
  }
});

test('a user limited to some tenants reaches those through every region, and is told which it may not', async () => {
  const login = { user: 'limited', password: 'of the limited user' };
  for (const region of REGIONS) {
    for (const tenant of ['acme', 'eu/birke']) {
      const client = await regions.connect(region, { ...login, tenant });
      expect((await client.query('select distinct tenant_id from customers')).rows).toEqual([{ tenant_id: tenant }]);
      await expect(client.query(`set homeport.tenant = 'bolt'`)).rejects.toMatchObject({ code: '42501' });
      await expect(client.query('begin; select 1')).resolves.toBeDefined();
      await client.query('rollback');
      await client.end();
    }
    const refused = regions.connect(region, { ...login, tenant: 'bolt' });
    await expect(refused).rejects.toMatchObject({ code: '42501', message: expect.stringContaining('HP-G101') });
    const byName = regions.connect(region, { ...login, user: 'limited.bolt' });
    await expect(byName).rejects.toMatchObject({ code: '42501' });
  }
});

test('a client without a tenant, or with one in an unknown domain, is told what to do', async () => {
  for (const region of REGIONS) {
    const client = await regions.connect(region);
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    const without = client.query('select * from customers');
    await expect(without).rejects.toMatchObject({ code: 'HP004', hint: expect.stringContaining('homeport.tenant') });
    await client.query(`set homeport.tenant = 'mars/acme'`);
    await expect(client.query('select * from customers')).rejects.toMatchObject({
      code: '3D000',
      message: expect.stringContaining('HP-G102'),
      hint: expect.stringContaining('domain'),
    });
    await client.end();
  }
});

test('the tenant given by startup option, by user name, by SET and by SET LOCAL is the same tenant', async () => {
  for (const [tenant] of oneTenantPerHome()) {
    const whose = async (client: pg.Client) =>
      (await client.query('select distinct tenant_id as t from customers')).rows;
    for (const region of REGIONS) {
      const byName = await regions.connect(region, { user: `app.${tenant}` });
      expect(await whose(byName)).toEqual([{ t: tenant }]);
      await byName.query('begin');
      await byName.query(`set local homeport.tenant = 'eu/falke'`);
      expect(await whose(byName)).toEqual([{ t: 'eu/falke' }]);
      await byName.query('commit');
      expect(await whose(byName)).toEqual([{ t: tenant }]);
      await byName.query('begin');
      await whose(byName);
      await expect(byName.query(`set local homeport.tenant = 'eu/falke'`)).rejects.toMatchObject({ code: '25001' });
      await byName.query('rollback');
      await byName.end();
    }
  }
});
