/**
 * The audit trail. An **intent** is stored before a change is attempted, an **outcome** after it. So nothing ever changes
 * without a record of who, why, before and after; what a crash in between leaves is an intent without an outcome, and
 * whether it took effect can still be told: a write took effect if the record carries its id now, or if a later intent
 * says that it `replaces` it (whoever wrote that had read it in the directory).
 */
import { JetStreamApiCodes, JetStreamApiError, type MsgRequest } from '@nats-io/jetstream';
import { z } from 'zod';
import { HomeportError } from '../base/errors.ts';
import type { World } from '../base/world.ts';
import { type Bus, reconnectWaitMs } from '../bus/connect.ts';
import { scan } from '../bus/scan.ts';
import { AUDIT_STREAM } from './keys.ts';
import { directoryLimits } from './limits.ts';
import type { Write } from './records.ts';

const outcomeKinds = ['stored', 'lost', 'unknown'] as const;

const auditSchema = z.discriminatedUnion('phase', [
  z.object({
    phase: z.literal('intent'),
    key: z.string(),
    write: z.object({
      id: z.string(),
      by: z.string(),
      why: z.string(),
      atMs: z.number(),
      replaces: z.string().nullable(),
    }),
    /** The revision that the change was meant for; 0 for a record that was not there. */
    expected: z.number(),
    before: z.json(),
    after: z.json(),
  }),
  z.object({
    phase: z.literal('outcome'),
    key: z.string(),
    write: z.string(),
    result: z.enum(outcomeKinds),
    revision: z.number().nullable(),
    /** The write that won instead. */
    lostTo: z.string().nullable(),
    atMs: z.number(),
  }),
]);

export type AuditRecord = z.infer<typeof auditSchema>;
export type AuditIntent = Extract<AuditRecord, { phase: 'intent' }>;
export type AuditOutcome = Extract<AuditRecord, { phase: 'outcome' }>;

function auditSubject(record: AuditRecord): string {
  return `homeport.audit.${record.phase}.${record.key}`;
}

/**
 * Stores an intent; returns its sequence. Safe to repeat: the message id makes it one record.
 * @throws HP-D204 when it can't be stored in time; nothing has been changed then.
 */
export async function storeIntent(bus: Bus, world: World, intent: AuditIntent): Promise<number> {
  const startedMs = world.clock.monotonicMs();
  const data = JSON.stringify(intent);
  for (let attempt = 0; ; attempt++) {
    try {
      const ack = await bus.js.publish(auditSubject(intent), data, {
        msgID: `intent:${intent.write.id}`,
        timeout: directoryLimits.writeAttemptMs,
      });
      return ack.seq;
    } catch (cause) {
      if (world.clock.monotonicMs() - startedMs >= directoryLimits.writeMs) {
        const seconds = directoryLimits.writeMs / 1000;
        throw new HomeportError('HP-D204', { key: intent.key, seconds }, { cause });
      }
      await world.clock.sleep(reconnectWaitMs(attempt, world.random));
    }
  }
}

/** Stores an outcome, once. A failure is the caller's to log: the trail can be reconciled without it. */
export async function storeOutcome(bus: Bus, outcome: AuditOutcome): Promise<void> {
  await bus.js.publish(auditSubject(outcome), JSON.stringify(outcome), {
    msgID: `outcome:${outcome.write}:${outcome.result}`,
    timeout: directoryLimits.writeAttemptMs,
  });
}

/** Whether a later intent for the key, after sequence `after`, says that it replaces `writeId`: then that was stored. */
export async function wasReplaced(bus: Bus, key: string, writeId: string, after: number): Promise<boolean> {
  let from = after + 1;
  for (let step = 0; step < directoryLimits.trailSteps; step++) {
    try {
      // cast: the client types this request for direct reads only; the leader, asked here, takes it as well
      const request = { seq: from, next_by_subj: `homeport.audit.intent.${key}` } as MsgRequest;
      const message = await bus.jsm.streams.getMessage(AUDIT_STREAM, request);
      if (!message) return false;
      const record = parseAudit(message.data);
      if (record?.phase === 'intent' && record.write.replaces === writeId) return true;
      from = message.seq + 1;
    } catch (error) {
      if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.NoMessageFound) return false;
      throw error;
    }
  }
  return false;
}

/** The trail, oldest first; of one key when given. Records of a form that we don't know are passed over. */
export async function* readTrail(
  bus: Bus,
  world: World,
  key?: string,
): AsyncGenerator<AuditRecord & { sequence: number }> {
  const subjects =
    key === undefined ? ['homeport.audit.>'] : [`homeport.audit.intent.${key}`, `homeport.audit.outcome.${key}`];
  for await (const message of scan(bus, world, AUDIT_STREAM, { subjects })) {
    const record = parseAudit(message.data);
    if (record) yield { ...record, sequence: message.sequence };
  }
}

export type Settled =
  | { readonly kind: 'stored' }
  | { readonly kind: 'not-stored' }
  /** The record is still at the revision that the write was meant for: a copy on its way may yet be stored. */
  | { readonly kind: 'open' };

/** Pure: what became of an intent, from the key's record as it is now and the writes that are known to be replaced. */
export function settle(
  intent: AuditIntent,
  current: { readonly revision: number; readonly write: Write | undefined },
  replaced: ReadonlySet<string>,
): Settled {
  const ours = intent.write.id;
  if (current.write?.id === ours || current.write?.replaces === ours || replaced.has(ours)) return { kind: 'stored' };
  return current.revision > intent.expected ? { kind: 'not-stored' } : { kind: 'open' };
}

/**
 * Intents that have no outcome of `stored` or `lost`, settled where that can be told. Memory: one entry for each open intent.
 * `current` reads a key's record from the directory.
 */
export async function reconcileTrail(
  bus: Bus,
  world: World,
  current: (key: string) => Promise<{ revision: number; write: Write | undefined }>,
): Promise<{ intent: AuditIntent; settled: Settled }[]> {
  const open = new Map<string, AuditIntent & { readonly sequence: number }>();
  const replaced = new Set<string>();
  for await (const record of readTrail(bus, world)) {
    if (record.phase === 'intent') {
      open.set(record.write.id, record);
      // Only what is still open can need this: keeps the set small.
      if (record.write.replaces !== null && open.has(record.write.replaces)) replaced.add(record.write.replaces);
    } else if (record.result !== 'unknown') open.delete(record.write);
  }
  const results: { intent: AuditIntent; settled: Settled }[] = [];
  for (const intent of open.values()) {
    let settled = settle(intent, await current(intent.key), replaced);
    // The trail above may be a lagging replica's; before "not stored" is written down, the leader is asked.
    if (settled.kind === 'not-stored' && (await wasReplaced(bus, intent.key, intent.write.id, intent.sequence))) {
      settled = { kind: 'stored' };
    }
    results.push({ intent, settled });
    if (settled.kind === 'open') continue;
    const result = settled.kind === 'stored' ? 'stored' : 'lost';
    const atMs = world.clock.wallMs();
    const { key, write } = intent;
    await storeOutcome(bus, { phase: 'outcome', key, write: write.id, result, revision: null, lostTo: null, atMs });
  }
  return results;
}

function parseAudit(data: Uint8Array): AuditRecord | undefined {
  try {
    return auditSchema.safeParse(JSON.parse(Buffer.from(data).toString('utf8'))).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
