/**
 * Ports that are really free: bound to find out, below 32768 (from there up the system hands numbers to outgoing
 * connections), and noted in a file while the process that asked for them lives, so that clusters starting at the same
 * moment don't choose the same ones between the check and the use.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HomeportError } from '../base/errors.ts';
import { realWorld, type World } from '../base/world.ts';
import { clusterLimits } from './limits.ts';
import { identify, isRunning, type ProcessIdentity } from './process.ts';

const { firstPort: FIRST, lastPort: LAST, portTries: TRIES_PER_PORT } = clusterLimits;

export interface PortOptions {
  readonly world?: World;
  /** Taken in their places when they are free: what this cluster used the last time. */
  readonly prefer?: readonly (number | undefined)[];
}

function noteDirectory(): string {
  const directory = join(tmpdir(), `homeport-ports-${process.getuid?.() ?? 'all'}`);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return directory;
}

function readNote(file: string): ProcessIdentity | undefined {
  try {
    const note: unknown = JSON.parse(readFileSync(file, 'utf8'));
    if (typeof note !== 'object' || note === null || !('pid' in note) || !('startedAt' in note)) return undefined;
    return { pid: Number(note.pid), startedAt: String(note.startedAt) };
  } catch {
    return undefined; // gone, or half written by a process that died: nobody holds it
  }
}

const notes = new Set<string>();

function removeNotes(): void {
  for (const note of notes) rmSync(note, { force: true });
}

/** Notes of processes that are gone count for nothing; this only keeps the directory small. */
function noteForThisProcess(file: string, text: string, flag: 'w' | 'wx'): void {
  writeFileSync(file, text, { flag });
  if (notes.size === 0) process.once('exit', removeNotes);
  notes.add(file);
}

/** Writes our note for the port; false when another living process has one (or we have, in this process). */
function reserve(directory: string, port: number, self: ProcessIdentity, again: boolean): boolean {
  const file = join(directory, String(port));
  const text = JSON.stringify(self);
  try {
    noteForThisProcess(file, text, 'wx');
    return true;
  } catch {
    const holder = readNote(file);
    const mine = holder?.pid === self.pid && holder.startedAt === self.startedAt;
    if (mine) return again;
    if (holder && isRunning(holder)) return false;
    noteForThisProcess(file, text, 'w');
    return true;
  }
}

function bind(world: World, port: number): Promise<Server | undefined> {
  return new Promise(resolve => {
    const server = world.network.createServer();
    server.once('error', () => resolve(undefined));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => resolve(server));
  });
}

function close(server: Server): Promise<void> {
  return new Promise(resolve => server.close(() => resolve()));
}

/**
 * @returns `count` different free ports of 127.0.0.1, reserved for this process as long as it runs.
 * @throws HP-L106 when none can be found.
 */
export async function allocatePorts(count: number, options: PortOptions = {}): Promise<number[]> {
  const { world = realWorld, prefer = [] } = options;
  const directory = noteDirectory();
  const self = identify(process.pid) ?? { pid: process.pid, startedAt: '' };
  const held: Server[] = [];
  const taken = new Set<number>();
  const take = async (port: number, again: boolean) => {
    if (taken.has(port) || port < 1024 || port > LAST || !reserve(directory, port, self, again)) return false;
    const server = await bind(world, port);
    if (!server) {
      rmSync(join(directory, String(port)), { force: true });
      return false;
    }
    held.push(server);
    taken.add(port);
    return true;
  };
  const ports: (number | undefined)[] = [];
  for (let i = 0; i < count; i++) {
    const wished = prefer[i];
    ports.push(wished !== undefined && (await take(wished, true)) ? wished : undefined);
  }
  for (let i = 0, tries = 0; i < count; i++) {
    while (ports[i] === undefined) {
      if (++tries > count * TRIES_PER_PORT) throw new HomeportError('HP-L106', { count, from: FIRST, to: LAST });
      const port = FIRST + world.random.below(LAST - FIRST + 1);
      if (await take(port, false)) ports[i] = port;
    }
  }
  await Promise.all(held.map(close));
  return ports.filter(port => port !== undefined);
}
