/**
 * Brings docker-compose.yml up as a project of its own, uses it as an application and an admin would, takes it down and up
 * again, and throws it away. Prints what it sees and ends with 1 at the first thing that is not as it should be.
 *
 *   node test/docker/compose-tour.ts [--keep]
 *
 * Needs Docker with Compose (the plugin, or docker-compose 1.29), openssl, the ports of the file free, and the images:
 * from a registry, or stand-ins (build-stand-ins.sh).
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { poll, realWorld } from '../../src/base/world.ts';

const PROJECT = 'homeport-tour';
const REGIONS = { 'eu-west': [6432, 6434], 'us-east': [7432, 7434], 'ap-south': [8432, 8434] } as const;
type Region = keyof typeof REGIONS;
const regions = Object.keys(REGIONS) as Region[]; // cast: the keys of a literal
const root = join(import.meta.dirname, '../..');
const secret = (name: string) => readFileSync(join(root, 'docker/secrets', name), 'utf8').trim();

async function run(command: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(command, args, { cwd: root, maxBuffer: 64 * 1024 * 1024 });
  return stdout.trim();
}

async function findCompose(): Promise<string[]> {
  try {
    return [await run('docker', 'compose', 'version').then(() => 'docker'), 'compose'];
  } catch {
    await run('docker-compose', 'version'); // without either there is nothing to try
    return ['docker-compose'];
  }
}
const [command = '', ...plugin] = await findCompose();
const compose = (...args: string[]) => run(command, ...plugin, '-p', PROJECT, ...args);
const homeport = (...args: string[]) => compose('exec', '-T', 'eu-west-gateway', 'node', 'bin/homeport.mjs', ...args);
const say = (text: string) => process.stdout.write(`${text}\n`);

/** @returns how long it took until every gateway was ready. */
async function up(...flags: string[]): Promise<number> {
  const { clock } = realWorld;
  const startedMs = clock.monotonicMs();
  await compose('up', '-d', ...flags);
  for (const region of regions) {
    const answer = async () => {
      const response = await fetch(`http://127.0.0.1:${REGIONS[region][1]}/readyz`).catch(() => undefined);
      return response?.ok || undefined;
    };
    assert(await poll(clock, answer, { everyMs: 200, limitMs: 60_000 }), `the gateway of ${region} is not ready`);
  }
  return (clock.monotonicMs() - startedMs) / 1000;
}

async function withGateway<T>(
  region: Region,
  options: pg.ClientConfig,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const ssl = { ca: secret('ca.pem'), servername: 'localhost' };
  const own = { host: '127.0.0.1', port: REGIONS[region][0], database: 'app', user: 'app', password: secret('app') };
  const client = new pg.Client({ ...own, ssl, ...options });
  client.on('error', () => undefined); // the query that was running hears of it
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Past the gateways, as the owner: the customers of a tenant that a shard holds. */
async function customersOn(region: Region, tenant: string): Promise<number> {
  const login = `user=homeport_admin dbname=app password=${secret('postgres-admin')}`;
  const sql = `select count(*) from customers where tenant_id = '${tenant}'`;
  return Number(await compose('exec', '-T', `${region}-postgres`, 'psql', login, '-Atc', sql));
}

/** Twelve tenants where the ring puts them; the first of each region. */
async function tenantPerRegion(): Promise<Map<Region, string>> {
  const names = Array.from({ length: 12 }, (_, n) => `shop-${n + 1}`);
  const added: { tenant: string; region: Region }[] = JSON.parse(await homeport('tenants', 'add', ...names, '--json'));
  const homes = new Map(added.reverse().map(({ region, tenant }) => [region, tenant]));
  assert.equal(homes.size, regions.length, 'twelve tenants and not one in every region');
  return homes;
}

async function writeEverywhere(homes: Map<Region, string>): Promise<void> {
  for (const entrance of regions) {
    for (const [home, tenant] of homes) {
      const { route, customers } = await withGateway(entrance, { user: `app.${tenant}` }, async client => {
        await client.query('insert into customers (name) values ($1)', [`through ${entrance}`]);
        const { rows } = await client.query('select name from customers');
        return { route: (await client.query('show homeport.route')).rows[0], customers: rows.length };
      });
      say(`  through ${entrance}, for a tenant of ${home}: ${Object.values(route)[0]}; ${customers} customers`);
    }
  }
}

async function expectRowsAtHome(homes: Map<Region, string>): Promise<void> {
  for (const [home, tenant] of homes) {
    for (const region of regions) {
      const expected = region === home ? regions.length : 0;
      assert.equal(await customersOn(region, tenant), expected, `${tenant} of ${home} on the shard of ${region}`);
    }
  }
  say('  the rows are on the home shards and nowhere else');
}

async function expectRefusals(tenant: string): Promise<void> {
  const query = (client: pg.Client) => client.query('select 1');
  await assert.rejects(withGateway('eu-west', { user: `app.${tenant}`, ssl: false }, query), { code: /^28/ });
  await assert.rejects(withGateway('eu-west', { user: `app.${tenant}`, password: 'wrong' }, query), { code: '28P01' });
  say('  plain text and a wrong password are refused');
}

async function tour(): Promise<void> {
  await run('docker/make-secrets.sh');
  say(`${PROJECT} is ready after ${(await up('--build')).toFixed(1)} s`);
  await homeport('migrate', 'src/devcluster/sample');
  await homeport('enroll', 'customers', 'orders', 'order_lines');
  const homes = await tenantPerRegion();
  await writeEverywhere(homes);
  await expectRowsAtHome(homes);
  await expectRefusals(homes.get('us-east') ?? '');
  await compose('down');
  say(`taken down and up again: ready after ${(await up()).toFixed(1)} s`);
  await expectRowsAtHome(homes);
  say(await compose('ps'));
}

try {
  await tour();
} finally {
  if (!process.argv.includes('--keep')) await compose('down', '-v');
}
