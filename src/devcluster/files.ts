/** Small things about files that the parts of the cluster share. */
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync, renameSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { HomeportError } from '../base/errors.ts';

export async function logTail(logFile: string, lines = 6): Promise<string> {
  if (!existsSync(logFile)) return '(no log)';
  return (await readFile(logFile, 'utf8')).trimEnd().split('\n').slice(-lines).join('\n    ');
}

/** A reader sees the old text or the new one, never half of it. */
export function writeWhole(path: string, text: string, mode = 0o600): void {
  const fresh = `${path}.new`;
  writeFileSync(fresh, text, { mode });
  renameSync(fresh, path);
}

export function readIfThere(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

/**
 * @returns undefined when the file is not there.
 * @throws HP-L128 when it is not JSON.
 */
export function readJson(path: string): unknown {
  const text = readIfThere(path);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new HomeportError('HP-L128', { file: path, why }, { cause });
  }
}

/** What a file has from `offset` on. */
export function readFrom(file: string, offset: number): string {
  const handle = openSync(file, 'r');
  try {
    const bytes = Buffer.alloc(Math.max(0, fstatSync(handle).size - offset));
    return bytes.toString('utf8', 0, readSync(handle, bytes, 0, bytes.length, offset));
  } finally {
    closeSync(handle);
  }
}
