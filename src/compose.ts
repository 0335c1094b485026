/** Builds the object graph of a gateway worker: the only file that knows all parts, and with no logic of its own. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TenantParts } from './base/ids.ts';
import { deriveKey } from './base/keys.ts';
import { limits } from './base/limits.ts';
import type { World } from './base/world.ts';
import { connectBus } from './bus/connect.ts';
import { matchesTenant, parseTenantPattern } from './config/patterns.ts';
import type { Config, UserConfig } from './config/schema.ts';
import { DirectoryCache } from './directory/cache.ts';
import { gatewayMetrics } from './gateway/metrics.ts';
import { peerPassword, peerPools, shardPools } from './gateway/pools.ts';
import type { Gateway, GatewayUser } from './gateway/ports.ts';
import { GatewayServer, type ServerOptions } from './gateway/server.ts';
import { DEFAULT_PARAMETERS, learn } from './gateway/welcome.ts';
import type { WorkerReport } from './gateway/workers.ts';
import type { Logger } from './observe/log.ts';
import { serverTls } from './pgwire/handshake-tls.ts';
import { Output } from './pgwire/output.ts';
import { buildVerifier, ClientKeyCache } from './pgwire/scram-keys.ts';
import { PreparedTexts } from './shards/prepared.ts';

export interface WorkerParts {
  readonly server: GatewayServer;
  readonly report: () => Promise<WorkerReport>;
  readonly close: () => Promise<void>;
}

export interface WorkerOptions {
  readonly config: Config;
  readonly worker: number;
  readonly world: World;
  readonly log: Logger;
  readonly passCancel: ServerOptions['passCancel'];
}

function users(config: Config): Map<string, GatewayUser> {
  const entries = Object.entries(config.users).map(([name, { tenants, poolMode }]) => {
    const patterns = tenants.map(parseTenantPattern);
    const mayUse = (tenant: TenantParts) => patterns.some(pattern => matchesTenant(pattern, tenant));
    return [name, { name, mayUse, poolMode }] as const;
  });
  return new Map(entries);
}

async function serverOptions({ config, worker, world, passCancel }: WorkerOptions): Promise<ServerOptions> {
  const { secret } = config.cluster;
  const { tls, pg, peer } = config.listen;
  const verifiers = Object.entries(config.users).map(
    ([name, user]: [string, UserConfig]) => [name, user.verifier] as const,
  );
  return {
    pg,
    peer,
    tls: tls && serverTls({ cert: readFileSync(tls.cert), key: readFileSync(tls.key) }),
    requireTls: tls?.required ?? false,
    verifiers: new Map(verifiers),
    peerVerifier: await buildVerifier(peerPassword(secret), { salt: world.random.bytes(16) }),
    mockSecret: deriveKey(secret, 'scram-mock'),
    maxClients: Math.ceil(config.limits.clients / config.workers),
    worker,
    passCancel,
  };
}

/** @throws what a worker can't start without: a directory (fresh or saved), certificates that can be read. */
export async function composeWorker(options: WorkerOptions): Promise<WorkerParts> {
  const { config, worker, world, log } = options;
  const bus = connectBus(config.nats, { name: `gateway ${config.region} ${worker}`, log, world, waitMs: Infinity });
  const snapshotFile = join(config.stateDir, `directory-${worker}.json`);
  const directory = await DirectoryCache.open({ bus, snapshotFile, world, log });
  const texts = new PreparedTexts();
  const context = { world, keys: new ClientKeyCache(), texts };
  const serverParameters = new Map(DEFAULT_PARAMETERS);
  const news = { log, learned: (parameters: ReadonlyMap<string, string>) => learn(serverParameters, parameters) };
  const gateway: Gateway = {
    region: config.region,
    database: Object.values(config.shards)[0]?.database ?? 'app',
    world,
    log,
    locator: directory,
    shards: shardPools(config, context, news),
    peers: peerPools(config, context, news),
    signingKey: deriveKey(config.cluster.secret, 'shard-signing'),
    texts,
    users: users(config),
    toClient: new Output(),
    toBackend: new Output(),
    serverParameters,
    counters: { transactions: 0, forwarded: 0, reroutes: 0, refusals: 0, clients: 0 },
    draining: false,
  };
  const metrics = gatewayMetrics(gateway);
  return {
    server: new GatewayServer(gateway, await serverOptions(options)),
    report: async () => ({ metrics: await metrics.snapshot(), directory: directory.stale ? 'stale' : 'fresh' }),
    close: async () => {
      for (const pool of [...gateway.shards.values(), ...gateway.peers.values()]) pool.close();
      await directory.close();
      const connected = await Promise.race([bus, world.clock.sleep(limits.connectMs)]);
      await connected?.close();
    },
  };
}
