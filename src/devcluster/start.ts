/** Brings a cluster up: lock, leftovers, ports, secrets, configuration, then the processes, as parallel as they allow. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HomeportError } from '../base/errors.ts';
import type { World } from '../base/world.ts';
import { buildVerifier } from '../pgwire/scram-keys.ts';
import { Cluster, type ClusterOptions, type RegionAddresses, settleAll } from './cluster.ts';
import { serveControl } from './control-server.ts';
import { dockerLauncher } from './docker.ts';
import { LinkFaults } from './faults.ts';
import { writeWhole } from './files.ts';
import { type Launcher, processLauncher } from './launcher.ts';
import { lockDirectory } from './lock.ts';
import { endLeftovers, Member } from './member.ts';
import { Handles, memberSpecs } from './members.ts';
import { Places } from './places.ts';
import { type DevRegion, makePlan, type Plan, REGIONS } from './plan.ts';
import { ensureCertificate, ensureSecrets, type Secrets } from './secrets.ts';
import { ADMIN, APP_USER, DATABASE, NATS_USER, type SettingsInput, settingsText, shardOf } from './settings.ts';
import { postgresUser } from './user.ts';

const HOST = '127.0.0.1';
const HOMEPORT = fileURLToPath(new URL('../../bin/homeport.mjs', import.meta.url));

function addresses(region: DevRegion, places: Places, plan: Plan, secrets: Secrets): RegionAddresses {
  const url = (user: string, password: string, port: number) =>
    `postgresql://${user}:${password}@${HOST}:${port}/${DATABASE}`;
  const shard = url(ADMIN, secrets['postgres-admin'], plan.port(region, 'postgres'));
  return {
    name: region,
    pg: url(APP_USER, secrets.app, plan.port(region, 'gateway')),
    http: `http://${HOST}:${plan.port(region, 'http')}`,
    shards: [{ id: shardOf(region), pg: shard }],
    nats: `nats://${NATS_USER}:${secrets.nats}@${HOST}:${plan.port(region, 'nats')}`,
    configFile: places.region(region, 'homeport.yaml'),
  };
}

function eachRegion<T>(make: (region: DevRegion) => T): Record<DevRegion, T> {
  // cast: one entry for each region
  return Object.fromEntries(REGIONS.map(region => [region, make(region)])) as Record<DevRegion, T>;
}

async function writeSettings(input: SettingsInput): Promise<void> {
  for (const region of REGIONS) writeWhole(input.places.region(region, 'homeport.yaml'), settingsText(region, input));
}

function chooseLauncher(env: NodeJS.ProcessEnv, places: Places): Launcher {
  return env.HOMEPORT_TEST === 'docker' ? dockerLauncher(places.dir) : processLauncher(env, places.bin());
}

/** Everything that is made before the first process, under the lock. */
async function assemble(options: ClusterOptions, places: Places, unlock: () => void): Promise<Cluster> {
  const { world, env = process.env, onProgress = () => undefined } = options;
  const launcher = options.launcher ?? chooseLauncher(env, places);
  await launcher.check();
  const left = await endLeftovers(places.processesDir(), world.clock);
  if (left.length > 0) onProgress(`ended what an earlier start had left behind: ${left.join(', ')}`);
  const secrets = ensureSecrets(places, world);
  const [plan, certificate, verifier] = await Promise.all([
    makePlan(places.portsFile, world),
    ensureCertificate(places),
    buildVerifier(secrets.app, { salt: world.random.bytes(16) }),
  ]);
  if (!certificate) onProgress('there is no openssl to make a certificate: the gateways listen without TLS');
  await writeSettings({ places, plan, secrets, certificate, verifiers: { [APP_USER]: verifier } });
  const faults = new LinkFaults();
  for (const rtt of options.rtt ?? []) faults.rtt(rtt);
  const handles = new Handles();
  const { postgresSettings: settings = {}, serveEntry: entry = HOMEPORT } = options;
  const specs = memberSpecs(
    { places, plan, secrets, launcher, faults, env, world, settings, entry },
    handles,
    options.serve ?? true,
  );
  const members = specs.map(spec => new Member(spec, places.processesDir(), onProgress));
  const regions = eachRegion(region => addresses(region, places, plan, secrets));
  const control = await serveControl(places.controlSocket, world, () => cluster);
  const release = async () => {
    await control.close();
    unlock();
  };
  const cluster = new Cluster({ dir: places.dir, regions, members, handles, faults, progress: onProgress, release });
  return cluster;
}

async function bringUp(cluster: Cluster, options: ClusterOptions): Promise<void> {
  const { world, prepare, onProgress = () => undefined } = options;
  // routes are dialled through the links: a server that finds none waits a second before it tries again
  await settleAll([
    cluster.startMembers(['links']).then(() => cluster.startMembers(['nats'])),
    cluster.startMembers(['postgres']),
  ]);
  onProgress('NATS elects its leaders (seconds, when it was stopped before)');
  await cluster.natsReady();
  const marker = join(cluster.dir, 'prepared');
  await prepare?.({
    regions: cluster.regions,
    appUser: APP_USER,
    empty: options.empty ?? false,
    firstStart: !existsSync(marker),
    progress: onProgress,
    world,
  });
  if (prepare) writeFileSync(marker, '');
  await cluster.startMembers(['gateway']);
  cluster.ready = true;
}

/**
 * Ends what a launcher that was killed has left running in a directory where none runs now.
 * @returns the names of what was still there.
 */
export async function cleanUp(dir: string, world: World): Promise<string[]> {
  if (!existsSync(dir)) return [];
  const places = new Places(dir, postgresUser());
  const unlock = lockDirectory(places.dir, places.controlSocket, places.log('launcher'));
  try {
    return await endLeftovers(places.processesDir(), world.clock);
  } finally {
    unlock();
  }
}

/**
 * Starts, or starts again, the cluster of a directory. Everything that was begun is ended again when it fails.
 * @throws HP-L120 when one runs there already; otherwise what its parts throw, each with its remedy.
 */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  try {
    return await begin(options);
  } catch (error) {
    // casts: errors of node:fs carry a code and a path
    const { code, path } = error as NodeJS.ErrnoException;
    if (code !== 'EACCES' && code !== 'EPERM') throw error;
    throw new HomeportError('HP-L131', { path, dir: options.dir }, { cause: error });
  }
}

async function begin(options: ClusterOptions): Promise<Cluster> {
  const places = new Places(options.dir, postgresUser(options.env));
  const unlock = lockDirectory(places.dir, places.controlSocket, places.log('launcher'));
  let cluster: Cluster;
  try {
    cluster = await assemble(options, places, unlock);
  } catch (error) {
    unlock();
    throw error;
  }
  // whoever aborts hears of a failed stop through the same promise, below
  const abort = () => void cluster.stop().catch(() => undefined);
  options.signal?.addEventListener('abort', abort);
  try {
    options.signal?.throwIfAborted();
    await bringUp(cluster, options);
  } catch (error) {
    await cluster.stop();
    throw error;
  } finally {
    options.signal?.removeEventListener('abort', abort);
  }
  return cluster;
}
