/**
 * Prometheus metrics. Every process counts for itself; the supervisor asks its workers for a snapshot, which is plain
 * data, and merges them into one page: sums, unless a metric says how else (`first`, `min`, `max`, `average`).
 */
import {
  AggregatorRegistry,
  Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  type MetricObject,
  Registry,
} from 'prom-client';
import { assert } from '../base/assert.ts';

export type Merge = 'sum' | 'first' | 'min' | 'max' | 'average' | 'omit';

export interface MetricSpec<Label extends string> {
  /** Without the prefix: `connections`, `wait_seconds`, `bytes_total`. Units at the end, counters end in `_total`. */
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly Label[];
  /** How the workers' values become one. Default: the sum. */
  readonly merge?: Merge;
}

/** What a process has counted: plain data, fit for a message between processes. */
export type MetricsSnapshot = readonly MetricObject[];

/** Seconds. From a transaction on a Unix socket to a wait that somebody gives up. */
export const LATENCY_BUCKETS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
];

const PREFIX = 'homeport_';

/** A value by label: `[{ labels: { shard: 'eu-west-1' }, value: 3 }]`, or one number without labels. */
export type Reading<Label extends string> =
  | number
  | readonly { readonly labels: Readonly<Record<Label, string>>; readonly value: number }[];

export class Metrics {
  readonly registry = new Registry();

  /** @param labels what every series carries, such as the region. */
  constructor(labels: Readonly<Record<string, string>> = {}) {
    this.registry.setDefaultLabels(labels);
  }

  counter<Label extends string = never>(spec: MetricSpec<Label>): Counter<Label> {
    assert(spec.name.endsWith('_total'), `the counter ${spec.name} ends in _total`);
    return new Counter(this.#options(spec));
  }

  gauge<Label extends string = never>(spec: MetricSpec<Label>): Gauge<Label> {
    return new Gauge(this.#options(spec));
  }

  histogram<Label extends string = never>(spec: MetricSpec<Label> & { buckets?: readonly number[] }): Histogram<Label> {
    return new Histogram({ ...this.#options(spec), buckets: [...(spec.buckets ?? LATENCY_BUCKETS)] });
  }

  /** A metric that is read when somebody asks, from counters that the data path keeps as plain numbers. */
  observed<Label extends string = never>(spec: MetricSpec<Label>, read: () => Reading<Label>): void {
    const isCounter = spec.name.endsWith('_total');
    const metric = isCounter ? this.counter(spec) : this.gauge(spec);
    // prom-client calls `collect` before each snapshot; a counter is set by starting over
    Object.assign(metric, {
      collect() {
        metric.reset();
        const reading = read();
        if (typeof reading === 'number') metric.inc(reading);
        else for (const { labels, value } of reading) metric.inc(labels, value);
      },
    });
  }

  /** Event loop, heap, CPU and garbage collection of this process, as prom-client names them. */
  withProcessMetrics(): this {
    collectDefaultMetrics({ register: this.registry });
    return this;
  }

  snapshot(): Promise<MetricsSnapshot> {
    return this.registry.getMetricsAsJSON();
  }

  /** The page for Prometheus, with the workers' snapshots merged in. */
  async page(workers: readonly MetricsSnapshot[] = []): Promise<string> {
    if (workers.length === 0) return this.registry.metrics();
    return mergeSnapshots([await this.snapshot(), ...workers]).metrics();
  }

  #options<Label extends string>(spec: MetricSpec<Label>) {
    assert(/^[a-z][a-z0-9_]*$/.test(spec.name), `the metric name ${spec.name} is lower-case with underscores`);
    return {
      name: PREFIX + spec.name,
      help: spec.help,
      labelNames: [...(spec.labels ?? [])],
      aggregator: spec.merge ?? ('sum' as const),
      registers: [this.registry],
    };
  }
}

export function mergeSnapshots(snapshots: readonly MetricsSnapshot[]): Registry {
  // cast: prom-client's type for the argument is too loose to name; it takes the arrays that getMetricsAsJSON gives
  return AggregatorRegistry.aggregate(snapshots as unknown as object[]);
}

/** Adds plain counts key by key: what workers report between two snapshots. */
export function sumCounts(counts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const total: Record<string, number> = {};
  for (const one of counts) {
    for (const [name, value] of Object.entries(one)) total[name] = (total[name] ?? 0) + value;
  }
  return total;
}
