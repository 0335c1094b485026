/**
 * The last good snapshot on disk, from which a gateway starts when NATS can't be reached. One header line with a
 * checksum, then JSON. Written to a temporary file, synced, renamed, and the folder synced: after a crash the file is
 * the old one or the new one. A file that doesn't check out is reported and treated as absent.
 */
import { hash } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import type { Domain, TenantKey } from '../base/ids.ts';
import type { World } from '../base/world.ts';
import type { Log } from '../bus/connect.ts';
import { reasonOf } from '../bus/outage.ts';
import type { PinFact } from './pins.ts';
import { homeSchema, placementKeySchema, shardSpecSchema, storedTopologySchema } from './records.ts';
import type { Snapshot } from './snapshot.ts';

const HEADER = 'homeport-directory-snapshot 1 sha256=';

export interface SnapshotContent {
  /** Which stream it was read from: revisions of another stream mean nothing. */
  readonly identity: string;
  readonly savedAtMs: number;
  readonly snapshot: Snapshot;
  readonly pins: readonly (readonly [TenantKey, PinFact])[];
}

const placement = z.object({
  key: placementKeySchema,
  home: homeSchema,
  secondaries: z.array(homeSchema),
  epoch: z.int().positive(),
  state: z.enum(['active', 'opening']),
  revision: z.int().positive(),
});
const contentSchema = z.object({
  identity: z.string(),
  savedAtMs: z.number(),
  topology: z.object({ record: storedTopologySchema, revision: z.number() }),
  shards: z.array(z.object({ spec: shardSpecSchema, revision: z.number() })),
  slots: z.array(z.tuple([z.string(), z.array(placement.nullable())])),
  pins: z.array(z.tuple([z.string(), z.number(), z.number(), placement.nullable()])),
});

export class SnapshotFile {
  readonly path: string;
  readonly #world: World;
  readonly #log: Log;

  constructor(path: string, world: World, log: Log) {
    this.path = path;
    this.#world = world;
    this.#log = log;
  }

  /** @returns undefined when there is none, or none that can be trusted. */
  async load(): Promise<SnapshotContent | undefined> {
    let text: string;
    try {
      text = await readFile(this.path, 'utf8');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      this.#log.warn({ why: reasonOf(error), file: this.path }, 'directory snapshot can not be read');
      return undefined;
    }
    const end = text.indexOf('\n');
    const body = text.slice(end + 1);
    if (text.slice(0, end) !== `${HEADER}${hash('sha256', body, 'hex')}`) {
      this.#log.warn({ file: this.path }, 'directory snapshot has a wrong checksum; going on without it');
      return undefined;
    }
    const parsed = contentSchema.safeParse(JSON.parse(body));
    if (parsed.success) return contentOf(parsed.data);
    this.#log.warn(
      { why: reasonOf(parsed.error), file: this.path },
      'directory snapshot is of another form; going on without it',
    );
    return undefined;
  }

  async save(content: SnapshotContent): Promise<void> {
    const body = JSON.stringify(plainOf(content));
    const folder = dirname(this.path);
    await mkdir(folder, { recursive: true });
    const temporary = `${this.path}.${this.#world.random.uuid()}.tmp`;
    try {
      const file = await open(temporary, 'wx', 0o600);
      try {
        await file.writeFile(`${HEADER}${hash('sha256', body, 'hex')}\n${body}`);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, this.path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    const directory = await open(folder, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }
}

function plainOf(content: SnapshotContent) {
  const { topology, shards, slots } = content.snapshot;
  return {
    identity: content.identity,
    savedAtMs: content.savedAtMs,
    topology,
    shards: [...shards.values()],
    slots: [...slots].map(([domain, table]) => [domain, Array.from(table, p => p ?? null)]),
    pins: content.pins.map(([tenant, { asOf, epoch, pin }]) => [tenant, asOf, epoch, pin ?? null]),
  };
}

function contentOf(plain: z.infer<typeof contentSchema>): SnapshotContent {
  // casts of names: they were checked when they were written, and the checksum says that it is what was written
  const slots = plain.slots.map(([domain, table]) => [domain as Domain, table.map(p => p ?? undefined)] as const);
  const snapshot: Snapshot = {
    topology: plain.topology,
    shards: new Map(plain.shards.map(s => [s.spec.id, s])),
    slots: new Map(slots),
  };
  const pins = plain.pins.map(([tenant, asOf, epoch, pin]): [TenantKey, PinFact] => [
    tenant as TenantKey, // cast: as above
    { asOf, epoch, pin: pin ?? undefined },
  ]);
  return { identity: plain.identity, savedAtMs: plain.savedAtMs, snapshot, pins };
}
