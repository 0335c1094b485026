import { describe, expect, test } from 'vitest';
import { BrokenInvariant } from '../../src/base/assert.ts';
import { Metrics, sumCounts } from '../../src/observe/metrics.ts';

function series(page: string): string[] {
  return page.split('\n').filter(line => line !== '' && !line.startsWith('#'));
}

function worker(count: number) {
  const metrics = new Metrics({ region: 'eu-west' });
  metrics.counter({ name: 'transactions_total', help: 'x', labels: ['shard'] }).inc({ shard: 'eu-west-1' }, count);
  metrics.gauge({ name: 'lag_seconds', help: 'x', merge: 'max' }).set(count);
  metrics.histogram({ name: 'wait_seconds', help: 'x', buckets: [0.1, 1] }).observe(count / 10);
  return metrics;
}

describe('the page of a process', () => {
  test('has its metrics with prefix and labels', async () => {
    expect(series(await worker(3).page())).toContain(
      'homeport_transactions_total{shard="eu-west-1",region="eu-west"} 3',
    );
  });

  test('reads plain numbers when it is asked', async () => {
    const metrics = new Metrics();
    const counts = { accepted: 0 };
    const backends = new Map([['eu-west-1', 2]]);
    metrics.observed({ name: 'clients_total', help: 'x' }, () => counts.accepted);
    metrics.observed({ name: 'backends', help: 'x', labels: ['shard'] }, () =>
      [...backends].map(([shard, value]) => ({ labels: { shard }, value })),
    );
    counts.accepted = 5;
    expect(series(await metrics.page())).toEqual([
      'homeport_clients_total 5',
      'homeport_backends{shard="eu-west-1"} 2',
    ]);
    counts.accepted = 6;
    backends.clear();
    expect(series(await metrics.page())).toEqual(['homeport_clients_total 6']);
  });

  test('knows the process itself, when asked to', async () => {
    expect(await new Metrics().withProcessMetrics().page()).toContain('process_cpu_seconds_total');
  });
});

test("workers' snapshots, sent as JSON, are merged as each metric says", async () => {
  const sent = await Promise.all([2, 7].map(count => worker(count).snapshot()));
  const page = await worker(1).page(JSON.parse(JSON.stringify(sent)));
  const lines = series(page);
  expect(lines.find(line => line.startsWith('homeport_transactions_total'))).toMatch(/ 10$/);
  expect(lines.find(line => line.startsWith('homeport_lag_seconds'))).toMatch(/ 7$/);
  expect(lines.find(line => line.startsWith('homeport_wait_seconds_count'))).toMatch(/ 3$/);
  expect(lines.find(line => line.startsWith('homeport_wait_seconds_bucket{') && line.includes('le="0.1"'))).toMatch(
    / 1$/,
  );
});

test('plain counts add up by name', () => {
  expect(sumCounts([{ a: 1, b: 2 }, { b: 3, c: 4 }, {}])).toEqual({ a: 1, b: 5, c: 4 });
});

test('names that Prometheus would not like are our fault', () => {
  expect(() => new Metrics().counter({ name: 'clients', help: 'x' })).toThrow(BrokenInvariant);
  expect(() => new Metrics().gauge({ name: 'Bad-Name', help: 'x' })).toThrow(BrokenInvariant);
});
