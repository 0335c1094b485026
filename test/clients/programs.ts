/** Debian's Postgres clients, run as a person would. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { DevRegion } from '../../src/devcluster/plan.ts';
import type { Regions } from '../cluster/regions.ts';

const run = promisify(execFile);

export interface Ran {
  readonly out: string;
  readonly err: string;
}

/** @throws with the way to get it, when the machine has none. */
export async function requirePrograms(...programs: string[]): Promise<void> {
  for (const program of programs) {
    await run(program, ['--version']).catch((cause: unknown) => {
      throw new Error(`${program} is not on PATH: install postgresql-client and postgresql-contrib (Debian)`, {
        cause,
      });
    });
  }
}

/** The connection string of a region for a tenant. */
export function urlOf(
  regions: Regions,
  region: DevRegion,
  tenant: string,
  parameters: Record<string, string> = {},
): string {
  const url = new URL(regions.cluster.regions[region].pg);
  url.username = `app.${tenant}`;
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return url.href;
}

export async function psql(url: string, ...commands: string[]): Promise<Ran> {
  const args = ['-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', ...commands.flatMap(command => ['-c', command]), url];
  const { stdout, stderr } = await run('psql', args, { timeout: 60_000 });
  return { out: stdout.trimEnd(), err: stderr };
}

export async function pgbench(url: string, ...args: string[]): Promise<Ran> {
  const { stdout, stderr } = await run('pgbench', [...args, url], { timeout: 100_000 });
  return { out: stdout, err: stderr };
}
