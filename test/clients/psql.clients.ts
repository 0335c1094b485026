/** psql as people use it: several statements, files, COPY both ways, errors, \d, TLS, Ctrl-C. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { clock, REGIONS, type Regions, startRegions } from '../cluster/regions.ts';
import { psql, requirePrograms, urlOf } from './programs.ts';

let regions: Regions;
const scratch = mkdtempSync(join(tmpdir(), 'hp-psql-'));

beforeAll(async () => {
  await requirePrograms('psql');
  regions = await startRegions();
});
afterAll(async () => {
  await regions?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

test('statements, transactions and errors through every region', async () => {
  for (const region of REGIONS) {
    const url = urlOf(regions, region, 'acme');
    expect((await psql(url, 'select count(*) from customers')).out).toBe('4');
    const script = `begin; insert into customers (name) values ('psql'); select count(*) from customers; rollback`;
    expect((await psql(url, script)).out).toBe('5');
    expect((await psql(url, 'select count(*) from customers')).out).toBe('4');
    await expect(psql(url, 'select 1 / 0')).rejects.toMatchObject({
      stderr: expect.stringContaining('division by zero'),
    });
    await expect(psql(url, 'vacuum customers')).rejects.toThrow();
    expect((await psql(url, 'select count(*) from customers')).out).toBe('4');
  }
});

test('COPY in and out, from files, through every region', async () => {
  for (const region of REGIONS) {
    const url = urlOf(regions, region, `copy-${region}`);
    const [input, output] = [join(scratch, `${region}.in`), join(scratch, `${region}.out`)];
    const lines = Array.from({ length: 2_000 }, (_, n) => `customer ${n}\tc${n}@example.com`);
    writeFileSync(input, `${lines.join('\n')}\n`);
    await psql(url, `\\copy customers (name, email) from '${input}'`);
    await psql(url, `\\copy (select name, email from customers order by id) to '${output}'`);
    expect(readFileSync(output, 'utf8')).toBe(readFileSync(input, 'utf8'));
  }
});

test('\\d, \\conninfo, TLS required and TLS verified', async () => {
  const ca = join(regions.cluster.dir, 'tls', 'cert.pem');
  expect((await psql(urlOf(regions, 'us-east', 'acme'), '\\d customers')).out).toContain('tenant_id');
  for (const parameters of [{ sslmode: 'require' }, { sslmode: 'verify-full', sslrootcert: ca }]) {
    const { out } = await psql(
      urlOf(regions, 'ap-south', 'acme', parameters),
      '\\conninfo',
      'select count(*) from orders',
    );
    expect(out).toMatch(/SSL connection[\s\S]*\n4$/);
  }
  const plain = await psql(urlOf(regions, 'ap-south', 'acme', { sslmode: 'disable' }), 'select 1');
  expect(plain.out).toBe('1');
});

test('a statement to a far home is one round trip, BEGIN none, COMMIT one', async () => {
  const rttMs = 80;
  const home = (await regions.ask('eu-west', 'acme', 'show homeport.home'))[0]['homeport.home'];
  const entrance = home === 'eu-west' ? 'us-east' : 'eu-west';
  await regions.cluster.rtt({ from: entrance, to: home, rttMs });
  const client = await regions.connect(entrance, { tenant: 'acme' });
  await client.query('select 1'); // the connection between the gateways, and its login
  const took = async (sql: string | { name: string; text: string }) => {
    const startedMs = clock.monotonicMs();
    await client.query(sql);
    return (clock.monotonicMs() - startedMs) / rttMs;
  };
  const median = async (work: () => Promise<number>) => {
    const all: number[] = [];
    for (let n = 0; n < 7; n++) all.push(await work());
    return all.sort((a, b) => a - b)[3] ?? 0;
  };
  // in round trips; the margin is for a busy machine, and well below a second round trip
  const one = (trips: number) => expect(trips).toSatisfy(n => n > 0.95 && n < 1.6);
  const none = (trips: number) => expect(trips).toBeLessThan(0.5);
  one(await median(() => took('select count(*) from customers')));
  one(await median(() => took({ name: 'count', text: 'select count(*) from customers' })));
  one(await median(() => took(`insert into customers (name) values ('far')`)));
  const inBlock: number[][] = [];
  for (let n = 0; n < 5; n++) {
    const steps = ['begin', 'select count(*) from customers', `insert into customers (name) values ('far')`, 'commit'];
    const trips: number[] = [];
    for (const sql of steps) trips.push(await took(sql));
    inBlock.push(trips);
  }
  const [begin = 0, select = 0, insert = 0, commit = 0] = [0, 1, 2, 3].map(
    step => inBlock.map(trips => trips[step] ?? 0).sort((a, b) => a - b)[2] ?? 0,
  );
  none(begin);
  one(select);
  one(insert);
  one(commit);
  await client.end();
  await regions.cluster.rtt({ from: entrance, to: home, rttMs: 0 });
}, 60_000);
