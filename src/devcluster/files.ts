/** Small things about files that the parts of the cluster share. */
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync, renameSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

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
