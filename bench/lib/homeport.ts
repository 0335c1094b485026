/**
 * Homeport in front of the shard as in earnest: its own NATS server for the directory, the enrolled tables under forced
 * row-level security, one worker, the Unix socket to Postgres, the full tenant check in every transaction.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { stringify } from 'yaml';
import type { Domain, RegionId, ShardId } from '../../src/base/ids.ts';
import { poll, realWorld } from '../../src/base/world.ts';
import { connectBus } from '../../src/bus/connect.ts';
import { startNats } from '../../src/devcluster/nats.ts';
import { findNatsServer } from '../../src/devcluster/nats-binary.ts';
import { allocatePorts } from '../../src/devcluster/ports.ts';
import { startServe } from '../../src/devcluster/serve.ts';
import { initialise } from '../../src/directory/initialise.ts';
import { buildVerifier } from '../../src/pgwire/scram-keys.ts';
import { type AdminTarget, connectAdmin } from '../../src/shards/admin.ts';
import { enrollTables } from '../../src/shards/enroll.ts';
import { migrateShards } from '../../src/shards/migrate.ts';
import { ensureRoles } from '../../src/shards/roles.ts';
import { canConnect } from './connect.ts';
import { ADMIN, fillTenantTables, makeTenantTables, TENANT } from './shard.ts';
import type { Place, Target } from './target.ts';

const HOST = '127.0.0.1';
const REGION = 'eu-west' as RegionId; // cast: a name that follows the rules
const SHARD = 'eu-west-1' as ShardId; // cast: as above
const USER = { user: 'app', password: 'bench-password' } as const;
const NATS = { user: 'homeport', password: 'bench-nats' } as const;
/** What `initialise` makes unless told otherwise. */
const SLOTS = 1024;
const TABLES = ['pgbench_accounts', 'pgbench_branches', 'pgbench_tellers', 'pgbench_history'];

/** Schema, roles, tables and rows, as `homeport migrate` and `homeport enroll` make them. */
async function prepareShard(place: Place, clusterSecret: Buffer): Promise<void> {
  const { shard, scale } = place;
  const where = { host: shard.socketDir, port: shard.port, database: 'app', admin: ADMIN, tls: false };
  const target: AdminTarget = { id: SHARD, ordinal: 0, ...where };
  await migrateShards({ shards: [target], clusterSecret });
  await makeTenantTables(shard.port);
  const admin = await connectAdmin(target);
  try {
    await ensureRoles(admin, { users: [USER.user], clusterSecret, random: realWorld.random });
    await enrollTables(admin, TABLES, { roles: [USER.user] });
    // One shard has every slot, each under the first epoch that `prepareDirectory` gives it.
    await admin.query(
      `insert into homeport.fence (placement, epoch, role)
       select 'slot:global:' || n, 1, 'primary' from generate_series(0, $1::int - 1) n`,
      [SLOTS],
    );
  } finally {
    await admin.end();
  }
  await fillTenantTables(shard.port, scale);
}

async function prepareDirectory(natsUrl: string): Promise<void> {
  const log = pino({ level: 'silent' });
  const bus = await connectBus(
    { servers: [natsUrl], ...NATS },
    { name: 'bench', log, world: realWorld, waitMs: 10_000 },
  );
  try {
    const global = 'global' as Domain; // cast: the one that always exists
    await initialise({
      bus,
      world: realWorld,
      log,
      replicas: 1,
      author: { who: 'bench', why: 'comparison' },
      topology: {
        cluster: 'bench',
        slots: SLOTS,
        regions: [REGION],
        domains: { [global]: 'all' },
        shards: [{ id: SHARD, region: REGION, weight: 1 }],
      },
    });
  } finally {
    await bus.close();
  }
}

async function settings(place: Place, ports: { pg: number; peer: number; http: number; nats: string }, secret: Buffer) {
  const { shard, directory, backends, idle } = place;
  const admin = { user: ADMIN.user, password: { file: file(directory, 'admin-password', ADMIN.password) } };
  const verifier = await buildVerifier(USER.password, { salt: realWorld.random.bytes(16) });
  return {
    cluster: { name: 'bench', secret: { file: file(directory, 'cluster-secret', secret.toString('hex')) } },
    region: REGION,
    listen: { pg: `${HOST}:${ports.pg}`, peer: `${HOST}:${ports.peer}`, http: `${HOST}:${ports.http}` },
    workers: 1,
    nats: {
      servers: [ports.nats],
      user: NATS.user,
      password: { file: file(directory, 'nats-password', NATS.password) },
    },
    shards: {
      [SHARD]: { ordinal: 1, host: shard.socketDir, port: shard.port, database: 'app', admin, tls: false },
    },
    regions: { [REGION]: { peers: [`${HOST}:${ports.peer}`] } },
    users: { [USER.user]: { verifier, tenants: ['*'] } },
    limits: { clients: idle + 200, perTenant: backends, perUser: backends, perShard: backends },
    log: { level: 'warn' },
    stateDir: join(directory, 'state'),
  };
}

function file(directory: string, name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, `${text}\n`, { mode: 0o600 });
  return path;
}

export async function startHomeport(place: Place): Promise<Target> {
  const { directory } = place;
  const secret = realWorld.random.bytes(32);
  const [pg = 0, peer = 0, http = 0, clientPort = 0, monitorPort = 0] = await allocatePorts(5);
  await prepareShard(place, secret);
  const nats = await startNats({
    name: REGION,
    binary: await findNatsServer(process.env, join(directory, 'bin')),
    dataDir: join(directory, 'nats'),
    logFile: join(directory, 'nats.log'),
    clientPort,
    monitorPort,
    ...NATS,
    world: realWorld,
  });
  try {
    await nats.ready();
    await prepareDirectory(nats.url);
    const text = stringify(await settings(place, { pg, peer, http, nats: nats.url }, secret));
    const serve = await startServe({
      entry: fileURLToPath(new URL('../../bin/homeport.mjs', import.meta.url)),
      region: REGION,
      configFile: file(directory, 'homeport.yaml', text),
      logFile: join(directory, 'homeport.log'),
      env: process.env,
      world: realWorld,
    });
    const target: Target = {
      name: 'homeport',
      label: 'Homeport',
      host: HOST,
      port: pg,
      database: 'app',
      ...USER,
      options: `-c homeport.tenant=${TENANT}`,
      proxyPid: serve.identity?.pid,
      leavesOut: () => undefined,
      async stop() {
        await serve.stop();
        await nats.stop();
      },
    };
    if (await poll(realWorld.clock, () => canConnect(target), { everyMs: 100, limitMs: 10_000 })) return target;
    await serve.stop();
    throw new Error(`Homeport does not answer; see ${join(directory, 'homeport.log')}`);
  } catch (error) {
    await nats.stop();
    throw error;
  }
}
