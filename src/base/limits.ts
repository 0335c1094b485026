/**
 * Every bound of the system, with its reason (I10). A queue, cache, frame, retry or wait that is not here is a bug.
 * Values that an operator may change are defaults of the configuration; the rest are fixed.
 */
const KiB = 1024;
const MiB = 1024 * KiB;

export const limits = {
  /** Before authentication nobody may make us hold more than a startup packet; Postgres has the same bound. */
  startupPacketBytes: 10_000,
  /** SCRAM and password messages; the longest honest one is a few hundred bytes. */
  authMessageBytes: 4 * KiB,
  /** A connection that has not authenticated by then is closed: idle sockets must not fill the accept queue. */
  authenticationMs: 10_000,
  /** A whole Query or Parse is held in memory to route it; Postgres itself refuses at 1 GiB. */
  statementBytes: 16 * MiB,
  /** The longest frame that passes through at all, streamed piece by piece (Postgres: 1 GiB − 1). */
  frameBytes: 1024 * MiB - 1,
  /** Frames of a server that are read whole: errors, notices, tags, parameters. */
  backendFrameBytes: 1 * MiB,
  /** Frames up to this size are held whole; larger Bind and CopyData frames are streamed. */
  bufferedFrameBytes: 256 * KiB,
  /** What a client may send ahead of the answers before its socket is paused. */
  clientAheadBytes: 1 * MiB,
  /** What has not provably run is kept for a re-send on a stale route (I7); beyond it the client's socket waits. */
  resendBytes: 1 * MiB,
  /** Bytes waiting for a slow reader before the other side is paused. */
  writeBacklogBytes: 256 * KiB,
  /** A reader that takes nothing for this long while its backend waits is disconnected. */
  stalledClientMs: 60_000,
  /** Prepared statements one client may hold, and their texts together. */
  clientStatements: 2_000,
  clientStatementBytes: 8 * MiB,
  /** Session settings of one client, and the longest of them: they travel in each transaction's identity frame. */
  carriedSettings: 60,
  carriedSettingBytes: 1_000,
  /** Prepared statements kept on one backend; the least recently used is closed beyond it. */
  backendStatements: 500,
  /** The texts of those together: more than any one client may hold, so that each can be kept while it is used. */
  backendStatementBytes: 9 * MiB,
  /** `enter` messages kept ready on one backend (some 300 bytes each); all are made anew beyond it. */
  backendEnters: 512,
  /** A worker that ended so often and never listened will not: the configuration or the machine is at fault. */
  workerFirstStarts: 5,
  /** The longest pause before a worker that keeps dying is started again. */
  workerRestartMs: 5_000,
  /** How long a worker may take to answer a question about itself. */
  workerReportMs: 1_000,
  /** How long running transactions may go on when the gateway is told to end. */
  drainMs: 10_000,
  /** Re-routes of one transaction that has run nothing before the client is told (each waits for the directory). */
  rerouteAttempts: 64,
  /** How long a transaction is held while its home changes. */
  holdMs: 10_000,
  /** How long a change of a fence waits for writers in flight; new ones wait with it, so less than `holdMs`. */
  fenceWaitMs: 5_000,
  /** How often awaited answers are looked at, and logins are tried while none comes. */
  livenessLookMs: 1_000,
  /** How long a place may answer no login at all before those who wait for it are told. Three logins fit in. */
  silentMs: 9_000,
  /** How long a transaction that has run nothing keeps trying to reach a home that does not answer. */
  unreachableMs: 3_000,
  /** Hops between gateways: one forward, and one more when the home has just moved. */
  forwardHops: 2,
  /** Connecting to a shard or another gateway. */
  connectMs: 3_000,
} as const;

/** Bounds that an operator may change; these are the defaults of the configuration's `limits`. */
export const defaults = {
  /** An idle client costs some 8 KB; the kernel's file descriptors end first. */
  clients: 10_000,
  /** One tenant's burst leaves room for the others on its shard. */
  perTenant: 20,
  perUser: 40,
  /** Postgres' own default is 100 connections; agents and people need some of them. */
  perShard: 40,
  /** What waits is memory; beyond this a quick refusal helps the client more than a place in the queue. */
  queue: 1_000,
  /** Longer than a change of home holds back traffic (`holdMs`), shorter than the patience of most applications. */
  queueMs: 15_000,
} as const;
