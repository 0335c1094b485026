/** The two streams of the directory: the KV bucket and the audit trail. */
import { DiscardPolicy, JetStreamApiCodes, JetStreamApiError, RetentionPolicy, StorageType } from '@nats-io/jetstream';
import { nanos } from '@nats-io/transport-node';
import type { World } from '../base/world.ts';
import type { Bus } from '../bus/connect.ts';
import { AUDIT_STREAM, DIRECTORY_BUCKET, DIRECTORY_STREAM } from './keys.ts';
import { directoryLimits } from './limits.ts';

export function isStreamMissing(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound;
}

export async function bucketExists(bus: Bus): Promise<boolean> {
  try {
    await bus.jsm.streams.info(DIRECTORY_STREAM);
    return true;
  } catch (error) {
    if (isStreamMissing(error)) return false;
    throw error;
  }
}

/**
 * Creates both streams unless they exist; what exists is left as it is. That acknowledged records are on disk is the
 * servers' setting `sync_interval: always`, which a client can neither set nor see.
 * Retries while the cluster is still electing its leaders.
 */
export async function ensureStreams(bus: Bus, world: World, replicas: number): Promise<void> {
  await retried(world, async () => {
    await bus.kvm.create(DIRECTORY_BUCKET, {
      description: 'Homeport directory: topology, shards, placements, running changes',
      replicas,
      storage: StorageType.File,
      history: 1,
      maxValueSize: directoryLimits.recordBytes,
      allow_direct: true,
    });
  });
  await retried(world, async () => {
    try {
      await bus.jsm.streams.info(AUDIT_STREAM);
      return;
    } catch (error) {
      if (!isStreamMissing(error)) throw error;
    }
    await bus.jsm.streams.add({
      name: AUDIT_STREAM,
      description: 'Homeport audit trail: every change of the directory, before it is made and after',
      subjects: ['homeport.audit.>'],
      retention: RetentionPolicy.Limits,
      storage: StorageType.File,
      num_replicas: replicas,
      max_age: nanos(directoryLimits.auditMs),
      max_bytes: directoryLimits.auditBytes,
      discard: DiscardPolicy.Old,
      duplicate_window: nanos(120_000),
      allow_direct: true,
      // Nobody edits the trail, not even an administrator's slip.
      deny_delete: true,
      deny_purge: true,
    });
  });
}

async function retried(world: World, action: () => Promise<void>): Promise<void> {
  const startedMs = world.clock.monotonicMs();
  for (;;) {
    try {
      return await action();
    } catch (error) {
      if (world.clock.monotonicMs() - startedMs >= directoryLimits.placeStreamsMs) throw error;
      await world.clock.sleep(250);
    }
  }
}
