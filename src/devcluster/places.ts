/**
 * Where everything of one cluster lies, below its directory (`.homeport/`):
 *
 *   launcher.json            who runs it (the lock)
 *   ports.json               what was used the last time
 *   secrets/  tls/           made once; readable by their owner alone
 *   processes/<name>.json    one small file per child: pid, start time, ports, data directory, log
 *   logs/<name>.log
 *   regions/<region>/        homeport.yaml, nats/, postgres/, state/
 *   run/<region>/            Postgres's local sockets
 *
 * Started by root, Postgres runs as somebody else. When that user can't reach the directory (a checkout below /root),
 * what Postgres needs lies in /var/lib/homeport/<hash> and `elsewhere` points there.
 */
import { createHash } from 'node:crypto';
import { cpSync, existsSync, lstatSync, mkdirSync, realpathSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { clusterLimits } from './limits.ts';
import { blockedAt, type RunAs } from './user.ts';

const SOCKET_PATH_BYTES = clusterLimits.socketPathBytes;
const ELSEWHERE = '/var/lib/homeport';

function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
}

/** The directory itself, or one that `user` can reach. */
function reachableRoot(dir: string, user: RunAs | undefined): string {
  if (!user || !blockedAt(dir, user)) return dir;
  const target = join(ELSEWHERE, shortHash(realpathSync(dir)));
  const link = join(dir, 'elsewhere');
  // without the link this is a new cluster in a directory of an old name: the old one's data was thrown away by hand
  if (!isLink(link)) {
    rmSync(target, { recursive: true, force: true });
    mkdirSync(target, { recursive: true, mode: 0o755 });
    symlinkSync(target, link);
  }
  return target;
}

/** The binaries, or a copy of them that `user` can reach (made once per version). */
export function reachableBinaries(native: string, version: string, user: RunAs | undefined): string {
  if (!user || !blockedAt(native, user)) return native;
  const copy = join(ELSEWHERE, `postgres-${version}`);
  if (!existsSync(copy)) {
    const fresh = `${copy}.${process.pid}`;
    cpSync(native, fresh, { recursive: true, verbatimSymlinks: true });
    try {
      renameSync(fresh, copy);
    } catch (error) {
      rmSync(fresh, { recursive: true, force: true });
      if (!existsSync(copy)) throw error; // else another launcher was faster
    }
  }
  return copy;
}

export class Places {
  readonly dir: string;
  readonly #postgresRoot: string;

  constructor(dir: string, user: RunAs | undefined) {
    this.dir = resolve(dir);
    for (const name of ['', 'processes', 'logs', 'regions']) {
      mkdirSync(join(this.dir, name), { recursive: true, mode: 0o755 });
    }
    for (const name of ['secrets', 'tls', 'bin']) mkdirSync(join(this.dir, name), { recursive: true, mode: 0o700 });
    this.#postgresRoot = reachableRoot(this.dir, user);
  }

  get launcherFile(): string {
    return launcherFile(this.dir);
  }
  get portsFile(): string {
    return join(this.dir, 'ports.json');
  }
  /** Short enough for a socket, wherever the directory is. Only its owner may connect. */
  get controlSocket(): string {
    const inside = join(this.dir, 'control.sock');
    if (Buffer.byteLength(inside) <= SOCKET_PATH_BYTES) return inside;
    return join(this.#shortDirectory(0o700), 'control.sock');
  }
  secret(name: string): string {
    return join(this.dir, 'secrets', name);
  }
  tls(name: string): string {
    return join(this.dir, 'tls', name);
  }
  bin(): string {
    return join(this.dir, 'bin');
  }
  processesDir(): string {
    return join(this.dir, 'processes');
  }
  log(process: string): string {
    return join(this.dir, 'logs', `${process.replaceAll('/', '-')}.log`);
  }
  region(region: string, name: string): string {
    const directory = join(this.dir, 'regions', region);
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    return join(directory, name);
  }
  postgresData(region: string): string {
    const directory = join(this.#postgresRoot, 'regions', region);
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    return join(directory, 'postgres');
  }
  postgresSockets(region: string): string {
    const inside = join(this.#postgresRoot, 'run', region);
    const isShort = Buffer.byteLength(join(inside, '.s.PGSQL.32767.lock')) <= SOCKET_PATH_BYTES;
    const directory = isShort ? inside : join(this.#shortDirectory(0o755), region);
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    return directory;
  }

  #shortDirectory(mode: number): string {
    const kind = mode === 0o700 ? 'c' : 'p';
    const directory = join(tmpdir(), `homeport-${process.getuid?.() ?? 0}-${shortHash(this.dir)}-${kind}`);
    mkdirSync(directory, { recursive: true, mode });
    return directory;
  }
}

export function launcherFile(dir: string): string {
  return join(resolve(dir), 'launcher.json');
}
