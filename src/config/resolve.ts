/** From what was written to what it means: secrets read, paths made absolute, what follows from other settings filled in. */
import { accessSync, constants } from 'node:fs';
import { resolve } from 'node:path';
import { HomeportError } from '../base/errors.ts';
import { DEFAULT_DOMAIN, type RegionId, type ShardId } from '../base/ids.ts';
import { regionOfShard } from './checks.ts';
import { isLocalHost } from './forms.ts';
import type { Config, Settings, ShardConfig, TlsFiles } from './schema.ts';
import { readClusterSecret, readPassword, type SecretSources } from './secrets.ts';

type Written<Key extends keyof Settings> = Partial<Settings>[Key];
type ShardSettings = Settings['shards'][string];

/** Collects every problem instead of stopping at the first. */
export interface Resolver extends SecretSources {
  /** Runs a step that may refuse; notes the refusal and goes on. */
  attempt<T>(step: () => T): T | undefined;
}

function readableFile(path: string, file: string, { baseDir }: SecretSources): string {
  const absolute = resolve(baseDir, file);
  try {
    accessSync(absolute, constants.R_OK);
    return absolute;
  } catch (cause) {
    const reason = `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`;
    const remedy = 'correct the path, or let the user that runs homeport read the file';
    throw new HomeportError('HP-C112', { path, source: absolute, reason, remedy }, { cause });
  }
}

export function resolveCluster(cluster: NonNullable<Written<'cluster'>>, via: Resolver): Config['cluster'] | undefined {
  const secret = via.attempt(() => readClusterSecret(cluster.secret, 'cluster.secret', via));
  return secret && { name: cluster.name, secret };
}

export function resolveListen(listen: NonNullable<Written<'listen'>>, via: Resolver): Config['listen'] | undefined {
  const { tls: files, ...rest } = listen;
  if (!files) return { ...rest, tls: undefined };
  const cert = via.attempt(() => readableFile('listen.tls.cert', files.cert, via));
  const key = via.attempt(() => readableFile('listen.tls.key', files.key, via));
  const ca = via.attempt(() => files.ca && readableFile('listen.tls.ca', files.ca, via));
  if (cert === undefined || key === undefined) return undefined;
  const tls: TlsFiles = { cert, key, required: files.required, ...(ca ? { ca } : {}) };
  return { ...rest, tls };
}

export function resolveNats(nats: NonNullable<Written<'nats'>>, via: Resolver): Config['nats'] {
  const password = via.attempt(() => nats.password && readPassword(nats.password, 'nats.password', via));
  const ca = via.attempt(() => nats.tls?.ca && readableFile('nats.tls.ca', nats.tls.ca, via));
  return {
    servers: nats.servers,
    ...(nats.user === undefined ? {} : { user: nats.user }),
    ...(password ? { password } : {}),
    ...(nats.tls ? { tls: ca ? { ca } : {} } : {}),
  };
}

function resolveShard(path: string, shard: ShardSettings, via: Resolver): ShardConfig {
  const { user, password: ref } = shard.admin;
  const password = via.attempt(() => readPassword(ref, `${path}.admin.password`, via)) ?? '';
  const { host, port, database, weight, ordinal } = shard;
  return { host, port, database, admin: { user, password }, tls: shard.tls ?? !isLocalHost(host), weight, ordinal };
}

/** @param withRegion adds what a shard of another region has besides. */
export function resolveShards<Extra extends object>(
  section: 'shards' | 'remoteShards',
  shards: Readonly<Record<string, ShardSettings>>,
  via: Resolver,
  withRegion: (id: string) => Extra,
): Record<ShardId, ShardConfig & Extra> {
  const entries = Object.entries(shards).map(([id, shard]) => {
    return [id, { ...resolveShard(`${section}.${id}`, shard, via), ...withRegion(id) }] as const;
  });
  return Object.fromEntries(entries) as Record<ShardId, ShardConfig & Extra>; // cast: ids were checked by the schema
}

export function resolveSettings(written: Partial<Settings>, via: Resolver): Partial<Config> {
  const {
    cluster,
    region,
    listen,
    nats,
    shards,
    regions,
    remoteShards,
    domains,
    stateDir,
    users,
    limits,
    log,
    workers,
  } = written;
  const regionOf = (id: string) => ({ region: (regionOfShard(id) ?? id) as RegionId }); // cast: checked against regions
  // casts: the schema and the checks have judged every name that becomes an id here
  return clean({
    cluster: cluster && resolveCluster(cluster, via),
    region: region as RegionId | undefined,
    listen: listen && resolveListen(listen, via),
    nats: nats && resolveNats(nats, via),
    shards: shards && resolveShards('shards', shards, via, () => ({})),
    regions: regions as Config['regions'] | undefined,
    remoteShards: remoteShards && resolveShards('remoteShards', remoteShards, via, regionOf),
    domains: domains && ({ [DEFAULT_DOMAIN]: 'all', ...domains } as Config['domains']), // cast: as above
    stateDir: stateDir === undefined ? undefined : resolve(via.baseDir, stateDir),
    users,
    limits,
    log,
    workers,
  });
}

function clean(parts: { [Key in keyof Config]: Config[Key] | undefined }): Partial<Config> {
  return Object.fromEntries(Object.entries(parts).filter(([, part]) => part !== undefined)) as Partial<Config>; // cast: only absent ones left out
}
