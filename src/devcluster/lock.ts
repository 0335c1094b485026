/**
 * One launcher per directory. The file says who it is; a launcher that is gone (SIGKILL, loss of power) holds nothing,
 * because its pid and start time no longer name a running process.
 */
import { linkSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { HomeportError } from '../base/errors.ts';
import { readIfThere, writeWhole } from './files.ts';
import { launcherFile } from './places.ts';
import { identify, isRunning } from './process.ts';

const launcherSchema = z.object({ pid: z.number(), startedAt: z.string(), control: z.string(), logFile: z.string() });
/** `control` is the path of its control socket. */
export type LauncherRecord = Readonly<z.output<typeof launcherSchema>>;

function parse(file: string): LauncherRecord | undefined {
  const text = readIfThere(file);
  if (!text) return undefined;
  try {
    return launcherSchema.parse(JSON.parse(text));
  } catch {
    return undefined; // not written by us whole: then nobody can hold it either
  }
}

/** @returns undefined when none runs there. */
export function runningLauncher(dir: string): LauncherRecord | undefined {
  const record = parse(launcherFile(dir));
  return record && isRunning(record) ? record : undefined;
}

/**
 * @returns how to release it.
 * @throws HP-L120 when another launcher runs there.
 */
export function lockDirectory(dir: string, control: string, logFile: string): () => void {
  const file = launcherFile(dir);
  const self = identify(process.pid) ?? { pid: process.pid, startedAt: '' };
  const mine = join(dir, `launcher.${process.pid}.json`);
  writeWhole(mine, JSON.stringify({ ...self, control, logFile }));
  try {
    for (let attempt = 0; attempt < 10; attempt++) {
      if (tryLink(mine, file)) return () => rmSync(file, { force: true });
      const holder = runningLauncher(dir);
      if (holder) throw new HomeportError('HP-L120', { dir, pid: holder.pid });
      removeStale(file, dir);
    }
  } finally {
    rmSync(mine, { force: true });
  }
  throw new HomeportError('HP-L120', { dir, pid: parse(file)?.pid });
}

/** A hard link appears whole or fails: of two launchers at the same moment one gets it. */
function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    // cast: errors of node:fs carry a code
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function removeStale(file: string, dir: string): void {
  const aside = join(dir, `launcher.stale.${process.pid}.json`);
  try {
    renameSync(file, aside);
  } catch (error) {
    // cast: as above; another launcher was faster
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  // between our look and our move another launcher may have taken its place: give that back
  const moved = parse(aside);
  if (moved && isRunning(moved)) tryLink(aside, file);
  rmSync(aside, { force: true });
}
