/** The configuration file of each region's `homeport serve`, as a person would write it. */
import { availableParallelism } from 'node:os';
import { stringify } from 'yaml';
import type { Places } from './places.ts';
import { type DevRegion, others, type Plan, REGIONS } from './plan.ts';
import type { Certificate, Secrets } from './secrets.ts';

const HOST = '127.0.0.1';
export const ADMIN = 'homeport_admin';
export const DATABASE = 'app';
export const APP_USER = 'app';
export const NATS_USER = 'homeport';

export function shardOf(region: DevRegion): string {
  return `${region}-1`;
}

export interface SettingsInput {
  readonly places: Places;
  readonly plan: Plan;
  readonly secrets: Secrets;
  readonly certificate: Certificate | undefined;
  /** SCRAM verifiers by user. */
  readonly verifiers: Readonly<Record<string, string>>;
}

function shard(input: SettingsInput, region: DevRegion, host: string, port: number) {
  const admin = { user: ADMIN, password: { file: input.places.secret('postgres-admin') } };
  return { host, port, database: DATABASE, admin, tls: false, ordinal: REGIONS.indexOf(region) + 1 };
}

/** The own shard through its Unix socket, everything elsewhere through the links. */
export function regionSettings(region: DevRegion, input: SettingsInput): Record<string, unknown> {
  const { places, plan, certificate, verifiers } = input;
  const at = (port: number) => `${HOST}:${port}`;
  const peers = (to: DevRegion) => (to === region ? plan.port(to, 'peer') : plan.linkPort(region, to, 'peer'));
  const remote = (to: DevRegion) => shard(input, to, HOST, plan.linkPort(region, to, 'postgres'));
  const own = shard(input, region, places.postgresSockets(region), plan.port(region, 'postgres'));
  return {
    cluster: { name: 'homeport-dev', secret: { file: places.secret('cluster') } },
    region,
    listen: {
      pg: at(plan.port(region, 'gateway')),
      peer: at(plan.port(region, 'peer')),
      http: at(plan.port(region, 'http')),
      ...(certificate ? { tls: { ...certificate, required: false } } : {}),
    },
    // three regions share this machine
    workers: Math.max(1, Math.min(4, Math.floor(availableParallelism() / REGIONS.length))),
    nats: {
      servers: [`nats://${at(plan.port(region, 'nats'))}`],
      user: NATS_USER,
      password: { file: places.secret('nats') },
    },
    shards: { [shardOf(region)]: own },
    regions: Object.fromEntries(REGIONS.map(to => [to, { peers: [at(peers(to))] }])),
    remoteShards: Object.fromEntries(others(region).map(to => [shardOf(to), remote(to)])),
    domains: { global: 'all', eu: ['eu-west'] },
    users: Object.fromEntries(
      Object.entries(verifiers).map(([user, verifier]) => [user, { verifier, tenants: ['*'] }]),
    ),
    stateDir: places.region(region, 'state'),
  };
}

export function settingsText(region: DevRegion, input: SettingsInput): string {
  return `# Written by homeport dev at every start.\n${stringify(regionSettings(region, input), { lineWidth: 0 })}`;
}
