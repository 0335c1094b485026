/** The programs that the comparison needs and that npm does not bring. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

export interface Tool {
  readonly path: string;
  readonly version: readonly [major: number, minor: number];
}

const PACKAGES = { pgbench: 'postgresql-contrib (or postgresql-15)', pgbouncer: 'pgbouncer' } as const;
/** Since 1.21 pgbouncer follows prepared statements in transaction mode. */
export const PGBOUNCER_PREPARED = [1, 21] as const;

/** Debian keeps pgbench with its server, outside PATH where there is no wrapper, and pgbouncer in sbin. */
function places(name: string): string[] {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const directories = [
    ...versions.map(version => join(debian, version, 'bin')),
    ...(process.env.PATH ?? '').split(':'),
  ];
  return [...directories, '/usr/sbin', '/usr/local/bin'].map(directory => join(directory, name));
}

/** @throws Error that names the package to install. */
export function findTool(name: keyof typeof PACKAGES): Tool {
  const path = places(name).find(existsSync);
  if (!path) {
    throw new Error(`${name} is not installed. On Debian: apt-get install ${PACKAGES[name]}`);
  }
  const text = execFileSync(path, ['--version'], { encoding: 'utf8' });
  const match = /(\d+)\.(\d+)/.exec(text);
  return { path, version: [Number(match?.[1] ?? 0), Number(match?.[2] ?? 0)] };
}

export function atLeast(tool: Tool, [major, minor]: readonly [number, number]): boolean {
  return tool.version[0] > major || (tool.version[0] === major && tool.version[1] >= minor);
}
