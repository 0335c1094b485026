/** Bounds of the local cluster, each with its reason (I10). */
const KiB = 1024;
const MiB = 1024 * KiB;

export const clusterLimits = {
  /** What a link holds per connection and direction: 100 MB/s over 40 ms one way, more than two cores push through. */
  heldBytes: 4 * MiB,
  /** Many tiny pieces cost more than their bytes. */
  heldPieces: 4_096,
  /** Throttled bytes go out in slices of this length, so that a low rate is smooth. */
  sliceMs: 20,
  /** A round trip given by hand; longer ones are a slip of the unit. */
  linkDelayMs: 60_000,
  /** Ports are looked for in here: from 32768 up the system hands them to outgoing connections. */
  firstPort: 10_000,
  lastPort: 32_767,
  /** Far more tries than a machine with room for a cluster needs; then it is an error and not an endless search. */
  portTries: 200,
  /** sockaddr_un has 108 bytes on Linux and 104 on macOS, with the zero at the end. */
  socketPathBytes: 103,
  /** One request or reply on the control socket. */
  controlLineBytes: 64 * KiB,
  /** Starting a Postgres again that has much WAL to replay takes its while. */
  controlAnswerMs: 90_000,
  /** The launcher's own orderly end: the sum of the bounds below, with room. */
  launcherStopMs: 60_000,
  /** From its last word to its end. */
  launcherExitMs: 3_000,
  /** Postgres, recovery after a crash included. */
  postgresStartMs: 60_000,
  /** Fast shutdown writes a checkpoint; after this it is made to go without (SIGQUIT), and recovers at its next start. */
  postgresStopMs: 15_000,
  postgresQuitMs: 5_000,
  /** nats-server until it listens. */
  natsStartMs: 15_000,
  /** Until JetStream has elected: 4–9 s per election after a restart, and more than one may fail. */
  natsReadyMs: 60_000,
  /** Streams elect after the cluster has; one that never gets well must not keep all else from starting. */
  streamsReadyMs: 10_000,
  natsStopMs: 10_000,
  /** One question to the monitoring port of a server on this machine. */
  monitorMs: 2_000,
  /** `homeport serve` until it says that it is ready. */
  serveStartMs: 30_000,
  /** It lets running transactions end before it goes. */
  serveDrainMs: 20_000,
  linksAnswerMs: 10_000,
  linksStopMs: 2_000,
  /** After SIGKILL only the kernel is waited for. */
  killedMs: 5_000,
  /** Other people's programs: openssl, `nats-server --version`, docker, and docker with an image to fetch. */
  toolMs: 20_000,
  dockerMs: 60_000,
  dockerPullMs: 120_000,
} as const;
