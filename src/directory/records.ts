/**
 * The values in the KV bucket. JSON, checked by schema on the way in, because other versions and other tools write
 * there too. Every record carries the write that made it: who, when, why, and an id of its own by which a writer whose
 * acknowledgement got lost recognises its own work.
 */
import { z } from 'zod';
import { HomeportError } from '../base/errors.ts';
import { type Domain, isName, type PlacementKey, type RegionId, type ShardId } from '../base/ids.ts';
import { changeKey, placementToKvKey, type RecordKind, shardKey, TOPOLOGY_KEY } from './keys.ts';

const regionId = z.custom<RegionId>(value => typeof value === 'string' && isName(value), 'a region name');
const shardId = z.custom<ShardId>(value => typeof value === 'string' && isName(value), 'a shard id');
const domainName = z.custom<Domain>(value => typeof value === 'string' && isName(value), 'a domain name');
export const placementKeySchema = z.custom<PlacementKey>(
  value => typeof value === 'string' && placementToKvKey(value as PlacementKey) !== undefined, // cast: being checked
  'a placement key',
);
const epoch = z.int().positive();

const writeSchema = z.object({
  /** Unique to this write. */
  id: z.string().min(1),
  by: z.string().min(1),
  why: z.string(),
  /** Wall clock of the writer, milliseconds. For people. */
  atMs: z.number(),
  /** The write that this one replaced, as the writer knew it: the chain by which the audit trail is reconciled. */
  replaces: z.string().nullable(),
});

export const homeSchema = z.object({ region: regionId, shard: shardId });

export const shardSpecSchema = z.object({ id: shardId, region: regionId, weight: z.number().nonnegative().finite() });

const topologySchema = z.object({
  version: z.literal(1),
  cluster: z.string().min(1),
  slots: z.int().min(1).max(65_536),
  secondaries: z.int().min(0).max(16),
  regions: z.array(regionId).min(1),
  domains: z.record(domainName, z.union([z.literal('all'), z.array(regionId).min(1)])),
  /** The shards that the first placements were computed from, so that a broken-off initialisation ends as it began. */
  seeded: z.array(shardSpecSchema).min(1),
});

const shardSchema = shardSpecSchema.extend({ version: z.literal(1) });

const placementSchema = z.object({
  version: z.literal(1),
  key: placementKeySchema,
  home: homeSchema,
  secondaries: z.array(homeSchema),
  epoch,
  state: z.enum(['active', 'opening']),
});

/** A pin that was taken away. It stays, so that a later pin of the same tenant goes on counting epochs from here. */
const releasedSchema = z.object({
  version: z.literal(1),
  key: placementKeySchema,
  state: z.literal('released'),
  epoch,
});

const changeSchema = z.object({
  version: z.literal(1),
  id: z.string().min(1),
  /** Which state machine, and where it stands; `data` is the machine's own. */
  machine: z.string().min(1),
  state: z.string().min(1),
  placements: z.array(placementKeySchema),
  data: z.json(),
});

const written = { write: writeSchema };
export const storedTopologySchema = topologySchema.extend(written);
const schemas: { readonly [K in RecordKind]: z.ZodType<Stored<K>> } = {
  topology: storedTopologySchema,
  shard: shardSchema.extend(written),
  slot: placementSchema.extend(written),
  tenant: z.discriminatedUnion('state', [placementSchema.extend(written), releasedSchema.extend(written)]),
  change: changeSchema.extend(written),
};

export type Write = z.infer<typeof writeSchema>;
export type Home = Readonly<z.infer<typeof homeSchema>>;
export type ShardSpec = Readonly<z.infer<typeof shardSpecSchema>>;

/** What a writer hands over: a record without its write, which the store adds. */
export interface RecordBodies {
  topology: z.infer<typeof topologySchema>;
  shard: z.infer<typeof shardSchema>;
  slot: z.infer<typeof placementSchema>;
  tenant: z.infer<typeof placementSchema> | z.infer<typeof releasedSchema>;
  change: z.infer<typeof changeSchema>;
}
export type Stored<K extends RecordKind = RecordKind> = RecordBodies[K] & { write: Write };
export type StoredTopology = Stored<'topology'>;
export type StoredShard = Stored<'shard'>;
export type StoredTenant = Stored<'tenant'>;

/** A placement as everything outside the directory sees it. */
export interface Placement {
  readonly key: PlacementKey;
  readonly home: Home;
  readonly secondaries: readonly Home[];
  readonly epoch: number;
  readonly state: 'active' | 'opening';
  /** The KV revision that it was read at: orders two versions of the same epoch. */
  readonly revision: number;
}

export function placementFrom(record: z.infer<typeof placementSchema>, revision: number): Placement {
  const { key, home, secondaries, epoch, state } = record;
  return { key, home, secondaries, epoch, state, revision };
}

/** @throws HP-D307 for what `decodeRecord` would refuse: nothing is written that can't be read again. */
export function encodeRecord<K extends RecordKind>(kind: K, key: string, record: Stored<K>): Uint8Array {
  const bytes = Buffer.from(JSON.stringify(record));
  decodeRecord(kind, key, bytes);
  return bytes;
}

/** Where a record belongs, by what it says of itself. */
function homeKey(kind: RecordKind, stored: Stored): string | undefined {
  const record = stored as { readonly id?: string; readonly key?: PlacementKey }; // cast: each kind has one or the other
  if (kind === 'topology') return TOPOLOGY_KEY;
  if (kind === 'slot' || kind === 'tenant') return record.key && placementToKvKey(record.key);
  if (kind === 'shard') return shardKey(record.id as ShardId); // cast: the schema checked it
  return changeKey(record.id ?? '');
}

/** @throws HP-D307 when it is not a record of this kind, which only another tool or another version can have written. */
export function decodeRecord<K extends RecordKind>(kind: K, key: string, bytes: Uint8Array): Stored<K> {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new HomeportError('HP-D307', { key, why: 'it is not JSON' }, { cause });
  }
  const parsed = schemas[kind].safeParse(json);
  if (parsed.success) {
    const belongs = homeKey(kind, parsed.data);
    if (belongs === key) return parsed.data;
    throw new HomeportError('HP-D307', { key, why: `it is the record of ${belongs}` });
  }
  const why = parsed.error.issues.map(issue => `${issue.path.join('.') || 'it'}: ${issue.message}`).join('; ');
  throw new HomeportError('HP-D307', { key, why }, { cause: parsed.error });
}
