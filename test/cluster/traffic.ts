/**
 * Applications that write while homes change: each transaction puts one token down, and afterwards every token that was
 * acknowledged must be on exactly one shard.
 */
import type pg from 'pg';
import type { DevRegion } from '../../src/devcluster/plan.ts';
import { REGIONS, type Regions } from './regions.ts';

export interface Written {
  readonly token: string;
  readonly tenant: string;
}

export interface Stood extends Written {
  readonly region: DevRegion;
  readonly at: Date;
}

const INSERT = 'insert into ledger (token, tenant) values ($1, $2)';

/** The ways in which drivers open a transaction: each meets a stale route at another message. */
const WAYS: readonly ((client: pg.Client, token: string, tenant: string) => Promise<unknown>)[] = [
  (client, token, tenant) => client.query(INSERT, [token, tenant]),
  (client, token, tenant) => client.query(`insert into ledger (token, tenant) values ('${token}', '${tenant}')`),
  (client, token, tenant) => client.query({ name: 'put', text: INSERT, values: [token, tenant] }),
  async (client, token, tenant) => {
    await client.query('begin');
    await client.query('select 1');
    await client.query(INSERT, [token, tenant]);
    await client.query('commit');
  },
  async (client, token, tenant) => {
    await client.query('begin isolation level repeatable read');
    await client.query(INSERT, [token, tenant]);
    await client.query('commit');
  },
  (client, token, tenant) =>
    client.query(`begin; insert into ledger (token, tenant) values ('${token}', '${tenant}'); commit`),
];

export class Traffic {
  readonly acknowledged: Written[] = [];
  readonly errors: { readonly token: string; readonly error: unknown }[] = [];
  readonly #regions: Regions;
  readonly #workers: Promise<void>[] = [];
  readonly #waiting: { readonly at: number; readonly resolve: () => void }[] = [];
  #running = true;

  constructor(regions: Regions) {
    this.#regions = regions;
  }

  /** One client for each tenant, entrance and way, or fewer. */
  async start(
    tenants: readonly string[],
    entrances: readonly DevRegion[] = REGIONS,
    ways = WAYS.length,
  ): Promise<this> {
    for (const tenant of tenants) {
      for (const entrance of entrances) {
        for (const [n, way] of WAYS.slice(0, ways).entries()) {
          const client = await this.#regions.connect(entrance, { tenant });
          this.#workers.push(this.#run(client, tenant, `${tenant} ${entrance} ${n}`, way));
        }
      }
    }
    return this;
  }

  async #run(client: pg.Client, tenant: string, name: string, way: (typeof WAYS)[number]): Promise<void> {
    for (let n = 0; this.#running; n++) {
      const token = `${name} ${n}`;
      try {
        await way(client, token, tenant);
        this.acknowledged.push({ token, tenant });
      } catch (error) {
        this.errors.push({ token, error });
        if (this.errors.length > 20) this.#running = false;
        await client.query('rollback').catch(() => undefined); // the error has been kept
      }
      for (const { resolve } of this.#waiting.filter(({ at }) => this.acknowledged.length >= at)) resolve();
    }
    await client.end();
  }

  /** Until that many more transactions have been acknowledged. */
  async more(count: number): Promise<void> {
    const at = this.acknowledged.length + count;
    const reached = new Promise<void>(resolve => this.#waiting.push({ at, resolve }));
    await Promise.race([reached, Promise.all(this.#workers)]);
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#workers);
  }

  /** Everything that stands on any shard for these tenants, oldest first. */
  async stood(tenants: readonly string[]): Promise<Stood[]> {
    const lists = await Promise.all(
      REGIONS.map(async region =>
        (
          await this.#regions.onShard<Written & { at: Date }>(
            region,
            'select token, tenant, at from ledger where tenant = any($1) order by at',
            [tenants],
          )
        ).map(row => ({ ...row, region })),
      ),
    );
    return lists.flat().sort((a, b) => a.at.getTime() - b.at.getTime());
  }
}

/** Tokens that were acknowledged and stand nowhere, stand more than once, or stand though nobody was told so. */
export function discrepancies(acknowledged: readonly Written[], stood: readonly Stood[]) {
  const counts = new Map<string, number>();
  for (const { token } of stood) counts.set(token, (counts.get(token) ?? 0) + 1);
  const told = new Set(acknowledged.map(({ token }) => token));
  return {
    lost: [...told].filter(token => !counts.has(token)),
    doubled: [...counts].filter(([, count]) => count > 1).map(([token]) => token),
    untold: [...counts.keys()].filter(token => !told.has(token)),
  };
}

/** The shards that took a tenant's writes, in the order of time: `[eu-west, us-east]` is one clean change of home. */
export function homesInOrder(stood: readonly Stood[], tenant: string): DevRegion[] {
  const order: DevRegion[] = [];
  for (const row of stood) if (row.tenant === tenant && order.at(-1) !== row.region) order.push(row.region);
  return order;
}
