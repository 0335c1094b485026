/**
 * One launcher per directory. The file says who it is; a launcher that is gone (SIGKILL, loss of power) holds nothing,
 * because its pid and start time no longer name a running process.
 */
import { existsSync, linkSync, renameSync, rmSync } from 'node:fs';
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
    for (let attempt = 0; attempt < 100; attempt++) {
      const holder = parse(file);
      if (holder && isRunning(holder)) throw new HomeportError('HP-L120', { dir, pid: holder.pid });
      if (existsSync(file) ? takeOver(mine, file, holder) : tryLink(mine, file))
        return () => rmSync(file, { force: true });
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

/**
 * Replaces a launcher that is gone. Only who holds the mark of *that* launcher's succession may do it, and only while
 * its record still stands there, so that nobody ever removes a living one that was faster.
 */
function takeOver(mine: string, file: string, gone: LauncherRecord | undefined): boolean {
  // unreadable is what a full disk or an editor leaves: nobody's
  const mark = `${file}.after-${gone ? `${gone.pid}-${gone.startedAt.replaceAll(/\W/g, '')}` : 'nobody'}`;
  if (!tryLink(mine, mark)) {
    const other = parse(mark);
    if (other && !isRunning(other)) rmSync(mark, { force: true }); // it died between two lines
    return false;
  }
  try {
    const now = parse(file);
    if (now?.pid !== gone?.pid || now?.startedAt !== gone?.startedAt) return false;
    if (!existsSync(file)) return false;
    const fresh = `${mine}.taken`;
    linkSync(mine, fresh);
    renameSync(fresh, file);
    return true;
  } finally {
    rmSync(mark, { force: true });
  }
}
