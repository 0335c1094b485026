/**
 * 64 clients share at most 16 backends of each shard and change tenants all the time, through all three gateways. Every
 * statement looks at whose rows it sees. Ten seconds here; `npm run test:long` takes a minute.
 */
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { clock, REGIONS, type Regions, startRegions } from './regions.ts';

const CLIENTS = 64;
const BACKENDS = 16;
const seconds = Number(process.env.HOMEPORT_TEST_MIX_SECONDS ?? 10);
const seed = Number(process.env.HOMEPORT_TEST_SEED ?? 1);

let regions: Regions;
let shops: string[];

beforeAll(async () => {
  const limits = {
    HOMEPORT_LIMITS_PER_SHARD: String(BACKENDS),
    HOMEPORT_LIMITS_PER_TENANT: String(BACKENDS),
    HOMEPORT_WORKERS: '1',
  };
  regions = await startRegions({ env: limits });
  const { out } = await regions.homeport('tenants', 'list');
  shops = JSON.parse(out).tenants.map(({ tenant }: { tenant: string }) => tenant);
});
afterAll(() => regions?.stop());

/** mulberry32: small, and the same on every machine. */
function dice(start: number): (below: number) => number {
  let state = start;
  return below => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

interface Tally {
  statements: number;
  inserted: number;
  /** Statements that saw another tenant's row, or not their own. */
  readonly wrong: string[];
}

/** What each statement asks: the tenants whose rows there are, and who the shard thinks is asking. */
const WHOSE = 'select array(select distinct tenant_id from customers) as seen, homeport.tenant() as self';

/** Through Parse and Bind although it has no parameters; the driver's types do not know the option. */
const EXTENDED = Object.assign({ text: WHOSE }, { queryMode: 'extended' });

async function look(tally: Tally, tenant: string, ask: () => Promise<pg.QueryResult>): Promise<void> {
  const row = (await ask()).rows.at(-1);
  tally.statements++;
  if (row?.self !== tenant || row.seen?.length !== 1 || row.seen[0] !== tenant) {
    tally.wrong.push(`${tenant} saw ${JSON.stringify(row)}`);
  }
}

type Step = (client: pg.Client, tenant: string, tally: Tally) => Promise<void>;

const inTransaction = async (client: pg.Client, tenant: string, end: string, work: () => Promise<void>) => {
  await client.query('begin');
  await client.query(`set local homeport.tenant = '${tenant}'`);
  await work();
  await client.query(end);
};

/** Each leaves something behind that the next client of the backend must not meet: settings, statements, errors. */
const STEPS: readonly Step[] = [
  (client, tenant, tally) =>
    inTransaction(client, tenant, 'commit', () => look(tally, tenant, () => client.query(WHOSE))),
  (client, tenant, tally) =>
    inTransaction(client, tenant, 'commit', () =>
      look(tally, tenant, () => client.query({ name: 'whose', text: WHOSE })),
    ),
  (client, tenant, tally) =>
    inTransaction(client, tenant, 'rollback', async () => {
      await look(tally, tenant, () => client.query(EXTENDED));
      await expect(client.query('select 1 / 0')).rejects.toMatchObject({ code: '22012' });
    }),
  (client, tenant, tally) =>
    inTransaction(client, tenant, 'commit', async () => {
      await client.query('insert into customers (name) values ($1)', [`mix of ${tenant}`]);
      tally.inserted++;
      await look(tally, tenant, () => client.query(WHOSE));
    }),
  (client, tenant, tally) =>
    inTransaction(client, tenant, 'commit', async () => {
      await client.query("set local work_mem = '1MB'");
      await look(tally, tenant, () => client.query(WHOSE));
    }),
];

/** One client in four was told its tenant when it connected and stays with it; the others choose anew each time. */
async function run(n: number, untilMs: number, tally: Tally): Promise<void> {
  const roll = dice(seed * 1000 + n);
  const entrance = REGIONS[n % REGIONS.length] ?? 'eu-west';
  const own = n % 4 === 0 ? shops[roll(shops.length)] : undefined;
  const client = await regions.connect(entrance, own === undefined ? {} : { tenant: own });
  while (clock.monotonicMs() < untilMs) {
    if (own !== undefined && roll(2) === 0) {
      await look(tally, own, () => client.query(WHOSE));
      await look(tally, own, () => client.query(`set search_path = public; ${WHOSE}`).then(lastOf));
      continue;
    }
    const step = STEPS[roll(STEPS.length)];
    await step?.(client, own ?? shops[roll(shops.length)] ?? '', tally);
  }
  await client.end();
}

/** The driver gives an array when there was more than one statement. */
function lastOf(result: pg.QueryResult | pg.QueryResult[]): pg.QueryResult {
  const last = Array.isArray(result) ? result.at(-1) : result;
  if (!last) throw new Error('no result');
  return last;
}

test(
  `64 clients mix tenants for ${seconds} s and no statement sees another tenant's rows (seed ${seed})`,
  async () => {
    const tally: Tally = { statements: 0, inserted: 0, wrong: [] };
    const untilMs = clock.monotonicMs() + seconds * 1000;
    await Promise.all(Array.from({ length: CLIENTS }, (_, n) => run(n, untilMs, tally)));
    expect(tally.wrong).toEqual([]);
    expect(tally.statements).toBeGreaterThan(seconds * 100);
    let stood = 0;
    for (const region of REGIONS) {
      const [counts] = await regions.onShard<{ mixed: number; strays: number; backends: number }>(
        region,
        `select (select count(*)::int from customers where name like 'mix of %') as mixed,
         (select count(*)::int from customers where name like 'mix of %' and name <> 'mix of ' || tenant_id) as strays,
         (select count(*)::int from pg_stat_activity where usename = 'app') as backends`,
      );
      stood += counts?.mixed ?? 0;
      expect(counts?.strays).toBe(0);
      expect(counts?.backends).toBeLessThanOrEqual(BACKENDS);
    }
    expect(stood).toBe(tally.inserted);
  },
  seconds * 1000 + 60_000,
);
