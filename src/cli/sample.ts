/** The sample shops of `homeport dev`: thirty tenants where the ring puts them, each with a few customers and orders. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseTenantKey, type ShardId } from '../base/ids.ts';
import { adminTargets, type ControlPlane } from '../control/plane.ts';
import { registerTenant } from '../control/tenants.ts';
import { inTransaction } from '../shards/admin.ts';

export const SAMPLE_TABLES = ['customers', 'orders', 'order_lines'];
const SCHEMA = fileURLToPath(new URL('../devcluster/sample/0001_shop.sql', import.meta.url));

const SHOPS = (
  'acme bolt cedar delta ember fjord grove harbor indigo juniper kestrel lumen maple nimbus onyx ' +
  'pepper quartz raven saffron tundra umber vesper walnut yarrow zephyr eu/anker eu/birke eu/dachs eu/eiche eu/falke'
).split(' ');

const FILL = `
  with people as (
    insert into customers (tenant_id, name, email)
    select $1, name, lower(name) || '@example.com' from unnest(array['Ada', 'Grace', 'Edsger', 'Barbara']) as name
    returning tenant_id, id
  ), placed as (
    insert into orders (tenant_id, customer_id, status, total)
    select tenant_id, id, 'paid', 42.00 from people
    returning tenant_id, id
  )
  insert into order_lines (tenant_id, order_id, line, product, quantity, price)
  select tenant_id, id, line, case line when 1 then 'tea' else 'cake' end, line, 14.00
  from placed, generate_series(1, 2) as line`;

/** By hand and not as a migration: the user's own migrations begin where none of ours stand in the way. */
export async function createSampleTables(plane: ControlPlane): Promise<void> {
  const sql = readFileSync(SCHEMA, 'utf8');
  const create = (id: ShardId) =>
    plane.onShard(id, admin =>
      inTransaction(admin, async () => {
        const { rows } = await admin.query(`select to_regclass('public.customers') is null as missing`);
        if (rows[0]?.missing) await admin.query(sql);
      }),
    );
  await Promise.all(adminTargets(plane.config).map(({ id }) => create(id)));
}

/** Registers the shops and fills those that are new. @returns how many are new. */
export async function addSampleShops(plane: ControlPlane): Promise<number> {
  let added = 0;
  const queue = [...SHOPS];
  const worker = async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      const shop = await registerTenant(plane, parseTenantKey(name));
      if (!shop.added) continue;
      await plane.onShard(shop.shard, admin => admin.query(FILL, [shop.tenant]));
      added++;
    }
  };
  await Promise.all(Array.from({ length: 4 }, worker));
  return added;
}
