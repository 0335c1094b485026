/** Bounds of the connection to NATS, each with its reason (I10). */
export const busLimits = {
  /** First wait before a reconnect; doubles from there. */
  reconnectFirstMs: 100,
  /** Longest wait: a gateway notices a server that is back within 2 s, and a thousand of them don't hammer it. */
  reconnectCapMs: 2_000,
  /** One attempt to connect, handshake included. A black-holed server must not hold up the next in the list. */
  dialMs: 3_000,
  /** A paused or cut-off server is noticed after two pings without an answer: between 4 and 6 s. */
  pingMs: 2_000,
  pingsOut: 2,
  /** One request to JetStream. Shorter than an election (4–7 s): the caller decides whether to go on waiting. */
  requestMs: 2_000,
  /** One read from whichever replica answers; another try goes to another replica. */
  readMs: 1_000,
  /** A consumer says that it lives at least this often; silent for `heartbeatsMissed` of them, it is taken for dead. */
  heartbeatMs: 1_000,
  heartbeatsMissed: 3,
  /** The server drops a consumer of ours that nobody listens to any more. */
  consumerIdleMs: 30_000,
  /** Placing the consumer of a scan, over an election. */
  scanOpenMs: 10_000,
  /** How often an outage that goes on is spoken of. */
  outageLogMs: 60_000,
  /** Handing over what is still unsent when closing. */
  drainMs: 1_000,
} as const;
