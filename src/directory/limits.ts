/** Bounds of the directory, each with its reason (I10). */
export const directoryLimits = {
  /** Pins kept in memory, absent ones included: about 350 bytes each. */
  cachedPins: 100_000,
  /** Pins written to the snapshot on disk, the most recently used first: about 200 bytes each. */
  snapshotPins: 50_000,
  /** Look-ups under way at once; more would only queue up in NATS. */
  lookupsAtOnce: 256,
  /** Look-ups waiting for a place. Beyond it a caller is told at once instead of waiting out of proportion. */
  lookupsWaiting: 20_000,
  /** A replica that lags behind what the watch has shown is asked again (another may answer), this often, this far apart. */
  readAttempts: 6,
  readRetryMs: 25,
  /** No further attempt after this long: whoever waits holds a client's transaction. */
  readLimitMs: 2_500,
  /** Callers waiting for a placement's next epoch. */
  waiters: 20_000,
  /** A change of slots is on disk after this long; a burst of changes is one file. */
  snapshotDebounceMs: 1_000,
  /** Pins change all the time and are only a convenience of a start without NATS. */
  snapshotPinsMs: 30_000,
  /** How long a start waits for NATS when there is a snapshot to start from, and when there is none. */
  openWithSnapshotMs: 2_000,
  openWithoutSnapshotMs: 20_000,
  /** One compare-and-set, retries included. Longer than two elections in a row (4–7 s each). */
  writeMs: 15_000,
  /** One attempt of it. */
  writeAttemptMs: 2_000,
  writeRetryMs: 50,
  /** Records of one key's audit trail looked at to settle an unknown outcome. */
  trailSteps: 1_000,
  /** Writes under way while slots are materialised: R3 with `sync_interval: always` gains nothing beyond. */
  materialiseAtOnce: 128,
  /** Waiting for the NATS cluster to place a bucket, right after all nodes were started. */
  placeStreamsMs: 30_000,
  /** The audit trail is kept this long, and at most this large: the oldest goes first. */
  auditMs: 400 * 24 * 3600 * 1000,
  auditBytes: 1024 ** 3,
  /** A directory record is under 2 KiB; state machines may keep some data with a change. */
  recordBytes: 256 * 1024,
} as const;
