/** What is compared: ways to the same Postgres. */
import { startHomeport } from './homeport.ts';
import type { TargetName } from './options.ts';
import { startPgbouncer } from './pgbouncer.ts';
import { BENCH_USER } from './shard.ts';
import type { Place, Target } from './target.ts';

function direct({ shard }: Place): Target {
  return {
    name: 'direct',
    label: 'direct',
    host: '127.0.0.1',
    port: shard.port,
    database: 'plain',
    ...BENCH_USER,
    options: '',
    proxyPid: undefined,
    leavesOut: () => undefined,
    stop: () => Promise.resolve(),
  };
}

export function startTarget(name: TargetName, place: Place): Promise<Target> {
  switch (name) {
    case 'direct':
      return Promise.resolve(direct(place));
    case 'pgbouncer':
      return startPgbouncer(place);
    case 'homeport':
      return startHomeport(place);
  }
}
