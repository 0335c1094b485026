/** The effective configuration for people: everything as it is in force, and not one secret. */
import { stringify } from 'yaml';
import { formatHostPort, type HostPort } from './forms.ts';
import type { Config, RemoteShardConfig, ShardConfig } from './schema.ts';

const MASK = '***';

function maskShard(shard: ShardConfig | RemoteShardConfig): object {
  return { ...shard, admin: { user: shard.admin.user, password: MASK } };
}

/** The salt and the keys of a verifier are enough to try passwords on: only its form is shown. */
function maskVerifier(verifier: string): string {
  return `${verifier.slice(0, verifier.indexOf(':'))}:${MASK}`;
}

function mapValues<From, To>(map: Readonly<Record<string, From>>, change: (value: From) => To): Record<string, To> {
  return Object.fromEntries(Object.entries(map).map(([key, value]) => [key, change(value)]));
}

/** Built by naming what may be shown, so that a secret which is added later is not shown by forgetting it here. */
export function maskConfig(config: Config): Record<string, unknown> {
  const { cluster, listen, nats } = config;
  const addresses = (list: readonly HostPort[]) => list.map(formatHostPort);
  return {
    cluster: { name: cluster.name, secret: MASK },
    region: config.region,
    listen: {
      pg: formatHostPort(listen.pg),
      peer: formatHostPort(listen.peer),
      http: formatHostPort(listen.http),
      tls: listen.tls ?? null,
      insecure: listen.insecure,
    },
    workers: config.workers,
    nats: {
      servers: nats.servers,
      ...(nats.user === undefined ? {} : { user: nats.user }),
      ...(nats.password === undefined ? {} : { password: MASK }),
      ...(nats.tls ? { tls: nats.tls } : {}),
    },
    shards: mapValues(config.shards, maskShard),
    regions: mapValues(config.regions, region => ({ peers: addresses(region.peers) })),
    remoteShards: mapValues(config.remoteShards, maskShard),
    domains: config.domains,
    users: mapValues(config.users, user => ({ ...user, verifier: maskVerifier(user.verifier) })),
    limits: config.limits,
    log: config.log,
    stateDir: config.stateDir,
  };
}

export function printConfig(config: Config): string {
  return stringify(maskConfig(config), { lineWidth: 120, aliasDuplicateObjects: false });
}
