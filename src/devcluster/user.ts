/**
 * Postgres refuses to run as root. Started by root (a container, a CI machine), it runs as a user that is there already:
 * nothing is added to the system. initdb looks its user up by name, so a bare number won't do.
 */
import { chownSync, mkdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { HomeportError } from '../base/errors.ts';

export interface RunAs {
  readonly uid: number;
  readonly gid: number;
  readonly name: string;
}

/** Who has the fewest surprises first: who called sudo, then the users meant to own nothing. */
export function chooseUser(passwd: string, sudoUid: string | undefined): RunAs | undefined {
  const users = passwd
    .split('\n')
    .map(line => line.split(':'))
    .flatMap(([name, , uid, gid]) => (name && uid && gid ? [{ name, uid: Number(uid), gid: Number(gid) }] : []))
    .filter(user => user.uid > 0);
  const named = (name: string) => users.find(user => user.name === name);
  const caller = sudoUid ? users.find(user => user.uid === Number(sudoUid)) : undefined;
  return caller ?? named('nobody') ?? named('postgres') ?? named('daemon') ?? users[0];
}

/**
 * @returns the user that Postgres must run as, or undefined when this process is not root and can run it itself.
 * @throws HP-L103 when this is root and the machine knows no other user.
 */
export function postgresUser(env: NodeJS.ProcessEnv = process.env): RunAs | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const user = chooseUser(readFileSync('/etc/passwd', 'utf8'), env.SUDO_UID);
  if (!user) throw new HomeportError('HP-L103');
  return user;
}

function mayTraverse(directory: string, user: RunAs): boolean {
  const stat = statSync(directory);
  if (stat.uid === user.uid) return (stat.mode & 0o100) !== 0;
  if (stat.gid === user.gid) return (stat.mode & 0o010) !== 0;
  return (stat.mode & 0o001) !== 0;
}

/** The nearest directory at or above `path` that `user` may not pass through, or undefined when the way is free. */
export function blockedAt(path: string, user: RunAs): string | undefined {
  let at = realpathSync(path);
  if (!statSync(at).isDirectory()) at = dirname(at);
  for (;;) {
    if (!mayTraverse(at, user)) return at;
    const parent = dirname(at);
    if (parent === at) return undefined;
    at = parent;
  }
}

/**
 * Makes a directory that belongs to `user` (when there is one) and checks that it can be reached.
 * @throws HP-L104 when a directory above it keeps the user out.
 */
export function ownedDirectory(path: string, user: RunAs | undefined, mode = 0o700): void {
  mkdirSync(path, { recursive: true, mode });
  if (!user) return;
  chownSync(path, user.uid, user.gid);
  const blocked = blockedAt(path, user);
  if (blocked) throw new HomeportError('HP-L104', { path, blocked, user: user.name });
}
