/** A small cluster's directory for tests. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Domain, RegionId, ShardId } from '../../src/base/ids.ts';
import { realWorld } from '../../src/base/world.ts';
import { type Bus, connectBus, type Log } from '../../src/bus/connect.ts';
import type { InitialTopology } from '../../src/directory/initialise.ts';
import type { Home } from '../../src/directory/records.ts';
import { NATS_PASSWORD, NATS_USER } from './nats.ts';

// casts: names written here are names
export const region = (name: string) => name as RegionId;
export const shard = (name: string) => name as ShardId;
export const domain = (name: string) => name as Domain;

export const REGIONS = ['ap-south', 'eu-west', 'us-east'].map(region);

export const TOPOLOGY: InitialTopology = {
  cluster: 'test',
  slots: 64,
  secondaries: 2,
  regions: REGIONS,
  domains: { [domain('global')]: 'all', [domain('eu')]: [region('eu-west')] },
  shards: REGIONS.map(r => ({ id: shard(`${r}-1`), region: r, weight: 1 })),
};

export const AUTHOR = { who: 'test', why: 'because' };

export function homeIn(name: string): Home {
  return { region: region(name), shard: shard(`${name}-1`) };
}

/** Keeps what was logged; a test prints it when it fails. */
export function memoryLog(): Log & { readonly lines: string[] } {
  const lines: string[] = [];
  const write = (level: string) => (fields: object, message: string) => {
    lines.push(`${level} ${message} ${JSON.stringify(fields, (_, v) => (v instanceof Error ? String(v) : v))}`);
  };
  return { lines, info: write('info'), warn: write('warn'), error: write('error') };
}

export function testBus(servers: readonly string[], log: Log = memoryLog()): Promise<Bus> {
  const options = { servers, user: NATS_USER, password: NATS_PASSWORD };
  return connectBus(options, { name: 'test', log, world: realWorld, waitMs: 10_000 });
}

export async function scratch(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'homeport-directory-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}
