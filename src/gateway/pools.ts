/** The pools of one worker: each shard of this region, and the gateways of each other region. */
import { readFileSync } from 'node:fs';
import { isIPv4, isIPv6 } from 'node:net';
import type { Logger } from 'pino';
import type { RegionId, ShardId } from '../base/ids.ts';
import { deriveKey, rolePassword } from '../base/keys.ts';
import { isLocalHost } from '../config/forms.ts';
import type { Config, HostPort, ShardConfig } from '../config/schema.ts';
import type { Backend, BackendContext, BackendTarget } from '../shards/backend.ts';
import { prepareEnter } from '../shards/enter.ts';
import { Pool, type PoolLimits } from '../shards/pool.ts';
import { PEER_USER } from './server.ts';

/** What gateways prove to each other that they know. */
export function peerPassword(clusterSecret: Buffer): string {
  return deriveKey(clusterSecret, 'peer-auth').toString('base64url');
}

/** Limits are a region's; each worker gets its share, rounded up. */
export function shareOfLimits({ limits, workers }: Config): PoolLimits {
  const share = (limit: number) => Math.ceil(limit / workers);
  return {
    max: share(limits.perShard),
    perTenant: share(limits.perTenant),
    perUser: share(limits.perUser),
    queue: share(limits.queue),
    queueMs: limits.queueMs,
  };
}

const SHARD_PARAMETERS = { application_name: 'homeport', client_encoding: 'UTF8' };

/** What the pools tell the rest of the worker. */
export interface PoolNews {
  readonly log: Logger;
  /** What a shard's server says about itself at login. */
  readonly learned: (parameters: ReadonlyMap<string, string>) => void;
}

function silenceTold(log: Logger, name: string): (silent: boolean) => void {
  return silent => {
    if (silent) log.warn({ pool: name }, 'it answers nothing any more, new logins neither: nobody is sent there');
    else log.info({ pool: name }, 'it answers again');
  };
}

export function shardPools(config: Config, context: BackendContext, { log, learned }: PoolNews): Map<ShardId, Pool> {
  const limits = shareOfLimits(config);
  const pools = new Map<ShardId, Pool>();
  for (const [id, shard] of Object.entries(config.shards) as [ShardId, ShardConfig][]) {
    // cast: Object.entries forgets the brand of its keys
    const target = (user: string): BackendTarget => ({
      name: `shard ${id}`,
      host: shard.host,
      port: shard.port,
      tls: shard.tls ? tlsFor(shard.host, undefined) : undefined,
      user,
      password: rolePassword(config.cluster.secret, user),
      database: shard.database,
      parameters: SHARD_PARAMETERS,
    });
    const prepare = (backend: Backend) => {
      learned(backend.parameters);
      return prepareEnter(backend);
    };
    const silenceChanged = silenceTold(log, id);
    pools.set(id, new Pool({ name: id, target, prepare, limits, shared: false, silenceChanged, context }));
  }
  return pools;
}

export function peerPools(config: Config, context: BackendContext, { log }: PoolNews): Map<RegionId, Pool> {
  const limits = shareOfLimits(config);
  const password = peerPassword(config.cluster.secret);
  const { tls, insecure } = config.listen;
  const ca = tls?.ca === undefined ? undefined : readFileSync(tls.ca, 'utf8');
  const plain = (host: string) => isLocalHost(host) || (insecure && tls === undefined);
  const pools = new Map<RegionId, Pool>();
  for (const [region, { peers }] of Object.entries(config.regions) as [RegionId, { peers: HostPort[] }][]) {
    // cast: Object.entries forgets the brand of its keys
    if (region === config.region || peers.length === 0) continue;
    let next = 0;
    const target = (): BackendTarget => {
      const peer = peers[next++ % peers.length] as HostPort; // cast: the list is not empty
      return {
        name: `gateway of ${region} at ${peer.host}:${peer.port}`,
        ...peer,
        tls: plain(peer.host) ? undefined : tlsFor(peer.host, ca),
        user: PEER_USER,
        password,
        database: 'peer',
        parameters: {},
      };
    };
    const prepare = () => Promise.resolve();
    const name = `gateway of ${region}`;
    const silenceChanged = silenceTold(log, name);
    pools.set(region, new Pool({ name, target, prepare, limits, shared: true, silenceChanged, context }));
  }
  return pools;
}

/** @param ca the authorities to trust, PEM; without it those that Node trusts. */
function tlsFor(host: string, ca: string | undefined): NonNullable<BackendTarget['tls']> {
  const named = isIPv4(host) || isIPv6(host) ? {} : { servername: host };
  return ca === undefined ? named : { ca, ...named };
}
