/** What a worker tells Prometheus: read from plain numbers when asked, so that the data path pays nothing for it. */
import { Metrics } from '../observe/metrics.ts';
import type { Pool } from '../shards/pool.ts';
import type { Gateway } from './ports.ts';

export function gatewayMetrics(gateway: Gateway): Metrics {
  const metrics = new Metrics({ region: gateway.region });
  const { counters } = gateway;
  metrics.observed({ name: 'clients', help: 'Connected clients.' }, () => counters.clients);
  metrics.observed(
    { name: 'transactions_total', help: 'Transactions given to a backend.' },
    () => counters.transactions,
  );
  metrics.observed(
    { name: 'transactions_forwarded_total', help: 'Transactions that gateways of other regions sent here.' },
    () => counters.forwarded,
  );
  metrics.observed(
    { name: 'reroutes_total', help: 'Times that a transaction which had run nothing was held and looked up again.' },
    () => counters.reroutes,
  );
  metrics.observed(
    { name: 'refusals_total', help: 'Errors of our own that clients were given.' },
    () => counters.refusals,
  );
  const pools = (): Pool[] => [...gateway.shards.values(), ...gateway.peers.values()];
  metrics.observed(
    { name: 'backends', help: 'Connections to shards and other gateways.', labels: ['pool', 'state'] },
    () =>
      pools().flatMap(pool =>
        Object.entries(pool.stats)
          .filter(([state]) => state !== 'waiting')
          .map(([state, value]) => ({ labels: { pool: pool.name, state }, value })),
      ),
  );
  metrics.observed(
    { name: 'waiting_transactions', help: 'Transactions that wait for a backend.', labels: ['pool'] },
    () => pools().map(pool => ({ labels: { pool: pool.name }, value: pool.stats.waiting })),
  );
  metrics.observed({ name: 'prepared_texts', help: 'Prepared statement texts in memory.' }, () => gateway.texts.size);
  return metrics;
}
