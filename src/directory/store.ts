/**
 * Writes to the directory. Every write is a compare-and-set on the revision of the record that it is meant for, with an
 * intent in the audit trail before it and an outcome after it (`audit.ts`, `cas.ts`). Nothing here decides by a read: a
 * read only says what a change is meant for, and if that was stale the compare-and-set fails.
 */
import type { KV, KvEntry } from '@nats-io/kv';
import { assert } from '../base/assert.ts';
import { HomeportError } from '../base/errors.ts';
import type { World } from '../base/world.ts';
import type { Bus, Log } from '../bus/connect.ts';
import { reasonOf } from '../bus/outage.ts';
import { scan } from '../bus/scan.ts';
import { type AuditIntent, reconcileTrail, storeIntent, storeOutcome, wasReplaced } from './audit.ts';
import { bucketExists } from './buckets.ts';
import { type CasOutcome, compareAndSet } from './cas.ts';
import {
  DIRECTORY_BUCKET,
  DIRECTORY_STREAM,
  kindOf,
  kvKeyOfSubject,
  type RecordKind,
  subjectOf,
  TOPOLOGY_KEY,
} from './keys.ts';
import { directoryLimits } from './limits.ts';
import { decodeRecord, encodeRecord, type RecordBodies, type Stored, type Write } from './records.ts';

export interface Versioned<K extends RecordKind> {
  readonly record: Stored<K>;
  readonly revision: number;
}

/** Who makes a change, and why: both go into the record and the audit trail. */
export interface Author {
  readonly who: string;
  readonly why: string;
}

export interface StoreOptions {
  readonly bus: Bus;
  readonly world: World;
  readonly log: Log;
}

/** What a change is meant for: the record as it was read, or that there is none. */
export type Expected<K extends RecordKind> = Versioned<K> | 'absent';

export class DirectoryStore {
  readonly bus: Bus;
  readonly world: World;
  readonly #kv: KV;
  readonly #log: Log;

  private constructor(options: StoreOptions, kv: KV) {
    this.bus = options.bus;
    this.world = options.world;
    this.#log = options.log;
    this.#kv = kv;
  }

  /** @throws HP-D303 when the bucket doesn't exist: `initialise` creates it. */
  static async open(options: StoreOptions): Promise<DirectoryStore> {
    if (!(await bucketExists(options.bus))) {
      throw new HomeportError('HP-D303', { missing: `there is no bucket ${DIRECTORY_BUCKET}` });
    }
    // Without direct reads: the leader answers, which is at most one election behind, and not any lagging replica.
    const kv = await options.bus.kvm.open(DIRECTORY_BUCKET, { allow_direct: false });
    return new DirectoryStore(options, kv);
  }

  /** As the leader has it, which can be stale. Undefined when there is none. @throws HP-D307 */
  async read<K extends RecordKind>(kind: K, key: string): Promise<Versioned<K> | undefined> {
    assert(kindOf(key) === kind, `${key} holds a ${kind}`);
    const entry = await this.#kv.get(key);
    if (entry?.operation !== 'PUT') return undefined;
    return { record: decodeRecord(kind, key, entry.value), revision: entry.revision };
  }

  /** All records of a kind, in the order of their last change, as some replica has them. */
  async *list<K extends RecordKind>(kind: K): AsyncGenerator<Versioned<K> & { key: string }> {
    const subject = subjectOf(kind === 'topology' ? TOPOLOGY_KEY : `${kind}.>`);
    for await (const message of scan(this.bus, this.world, DIRECTORY_STREAM, {
      subjects: [subject],
      lastOfEach: true,
    })) {
      if (message.deleted) continue;
      const key = kvKeyOfSubject(message.subject);
      yield { key, record: decodeRecord(kind, key, message.data), revision: message.sequence };
    }
  }

  /**
   * Writes a record if it still is what was expected.
   * @throws HP-D201 when somebody else was first (who, when, what), HP-D202 when that can't be read yet, HP-D203 when it
   * is not known whether it was stored, HP-D204 when the audit trail could not take it (nothing changed),
   * HP-D206 when the epoch would go back.
   */
  async write<K extends RecordKind>(
    kind: K,
    key: string,
    body: RecordBodies[K],
    expected: Expected<K>,
    author: Author,
  ): Promise<Versioned<K>> {
    assert(kindOf(key) === kind, `${key} holds a ${kind}`);
    const refusal = this.bus.refused();
    if (refusal) throw refusal;
    const before = expected === 'absent' ? undefined : expected;
    refuseEpochsGoingBack(key, before?.record, body);
    const id = this.world.random.uuid();
    const replaces = before?.record.write.id ?? null;
    const write: Write = { id, by: author.who, why: author.why, atMs: this.world.clock.wallMs(), replaces };
    const record: Stored<K> = { ...body, write };
    const revision = before?.revision ?? (await this.#revisionOfAbsent(key));
    const bytes = encodeRecord(kind, key, record);
    const intent = intentOf(key, write, revision, before?.record, record);
    const sequence = await storeIntent(this.bus, this.world, intent);
    const outcome = await compareAndSet(this.#kv, this.world, {
      key,
      bytes,
      expected: revision,
      writeId: id,
      idsIn: idsOf,
      wasReplaced: () => wasReplaced(this.bus, key, id, sequence),
    });
    await this.#recordOutcome(intent, outcome);
    if (outcome.kind === 'stored') return { record, revision: outcome.revision };
    throw refusalOf(key, kind, intent, outcome);
  }

  /**
   * One create without a record of its own in the trail, for `initialise`, which has recorded them all together.
   * @returns false when the record was there already.
   */
  async createQuietly<K extends RecordKind>(
    kind: K,
    key: string,
    body: RecordBodies[K],
    write: Write,
  ): Promise<boolean> {
    const record: Stored<K> = { ...body, write };
    const outcome = await compareAndSet(this.#kv, this.world, {
      key,
      bytes: encodeRecord(kind, key, record),
      expected: 0,
      writeId: write.id,
      idsIn: idsOf,
      wasReplaced: () => Promise.resolve(false), // whoever replaced it: it is there, and that is all that was wanted
    });
    if (outcome.kind === 'stored') return true;
    if (outcome.kind === 'lost') return false;
    throw refusalOf(key, kind, intentOf(key, write, 0, undefined, record), outcome);
  }

  /** Settles intents that a crash or a lost answer left without an outcome: `homeport audit reconcile`. */
  reconcileAudit() {
    return reconcileTrail(this.bus, this.world, async key => {
      const entry = await this.#kv.get(key);
      return { revision: entry?.revision ?? 0, write: entry ? writeIn(entry) : undefined };
    });
  }

  /** 0, or the revision of the marker that deleting a key by hand leaves. */
  async #revisionOfAbsent(key: string): Promise<number> {
    const entry = await this.#kv.get(key);
    return entry && entry.operation !== 'PUT' ? entry.revision : 0;
  }

  async #recordOutcome(intent: AuditIntent, outcome: CasOutcome): Promise<void> {
    const { key, write } = intent;
    const revision = outcome.kind === 'stored' ? outcome.revision : null;
    const lostTo = outcome.kind === 'lost' && outcome.entry ? (writeIn(outcome.entry)?.id ?? null) : null;
    const atMs = this.world.clock.wallMs();
    try {
      const result = outcome.kind;
      await storeOutcome(this.bus, { phase: 'outcome', key, write: write.id, result, revision, lostTo, atMs });
    } catch (error) {
      this.#log.warn(
        { why: reasonOf(error), key, write: write.id },
        'audit outcome not stored; the trail can be reconciled',
      );
    }
  }
}

function intentOf(key: string, write: Write, expected: number, before: unknown, after: unknown): AuditIntent {
  // casts: records are JSON values, by their schemas
  const json = (value: unknown) => (value ?? null) as AuditIntent['before'];
  return { phase: 'intent', key, write, expected, before: json(before), after: json(after) };
}

/** I1: the epoch of a placement only grows, and a change of home takes a new one. */
function refuseEpochsGoingBack(key: string, before: unknown, after: unknown): void {
  const [was, next] = [epochAndHome(before), epochAndHome(after)];
  if (!was || !next) return;
  const moved = was.home !== undefined && next.home !== undefined && was.home !== next.home;
  if (next.epoch < was.epoch || (moved && next.epoch === was.epoch)) {
    throw new HomeportError('HP-D206', { key, current: was.epoch, proposed: next.epoch });
  }
}

function epochAndHome(record: unknown): { epoch: number; home: string | undefined } | undefined {
  // cast: only looked at where the fields are there
  const r = record as { epoch?: number; home?: { shard: string } } | undefined;
  return r?.epoch === undefined ? undefined : { epoch: r.epoch, home: r.home?.shard };
}

function refusalOf(
  key: string,
  kind: RecordKind,
  intent: AuditIntent,
  outcome: Exclude<CasOutcome, { kind: 'stored' }>,
) {
  if (outcome.kind === 'unknown') {
    const found = 'The record had not changed when it was last read.';
    const params = { key, write: intent.write.id, seconds: directoryLimits.writeMs / 1000, found };
    return new HomeportError('HP-D203', params, { cause: outcome.cause });
  }
  const { entry } = outcome;
  if (!entry) return new HomeportError('HP-D202', { key });
  const write = writeIn(entry);
  const atMs = write?.atMs ?? entry.created.getTime();
  const what = summary(kind, key, entry);
  return lostTo(key, { write, atMs, what, expected: intent.expected, revision: entry.revision });
}

/** HP-D201: what a change lost to. */
export function lostTo(
  key: string,
  winner: { write: Write | undefined; atMs: number; what: string; expected: number; revision: number },
): HomeportError {
  const { write, expected, revision } = winner;
  return new HomeportError('HP-D201', {
    key,
    who: write?.by ?? 'a tool that is not Homeport',
    when: new Date(winner.atMs).toISOString(),
    what: `${winner.what}${write?.why ? ` (${write.why})` : ''}`,
    expected,
    revision,
  });
}

/** One line of what a record says now, for the person whose change lost. */
function summary(kind: RecordKind, key: string, entry: KvEntry): string {
  if (entry.operation !== 'PUT') return 'the record was deleted';
  if (kind !== 'slot' && kind !== 'tenant') return `the ${kind} record was replaced`;
  return placementSummary(decodeRecord<'slot' | 'tenant'>(kind, key, entry.value));
}

export function placementSummary(record: Stored<'slot' | 'tenant'>): string {
  if (record.state === 'released') return `unpinned at epoch ${record.epoch}`;
  return `home ${record.home.region}/${record.home.shard} at epoch ${record.epoch}`;
}

function writeIn(entry: KvEntry): Write | undefined {
  const kind = kindOf(entry.key);
  if (entry.operation !== 'PUT' || !kind) return undefined;
  try {
    return decodeRecord(kind, entry.key, entry.value).write;
  } catch (error) {
    if (error instanceof HomeportError) return undefined; // a record of another tool: it has no write of ours
    throw error;
  }
}

function idsOf(entry: KvEntry) {
  const write = writeIn(entry);
  return { id: write?.id, replaces: write?.replaces };
}
