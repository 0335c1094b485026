/**
 * The seam between a cluster and what runs its servers: processes of this machine (here), or containers. A cluster asks
 * only for what stands in `Unit`.
 */
import { type NatsNodeOptions, startNats } from './nats.ts';
import { findNatsServer } from './nats-binary.ts';
import { type PostgresOptions, startPostgres } from './postgres.ts';
import { type Exit, killTree, type ProcessIdentity, pauseTree, resumeTree } from './process.ts';

/** Something that runs and can be treated badly. */
export interface Unit {
  /** Undefined for what is not a process of this machine. */
  readonly identity: ProcessIdentity | undefined;
  readonly exited: Promise<Exit>;
  /** The whole of it, children too, stops between two instructions (SIGSTOP). */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Dead at once, children too, nothing flushed (SIGKILL). */
  kill(): Promise<void>;
  /** Ends in order, within a bound. */
  stop(): Promise<void>;
}

export interface NatsUnit extends Unit {
  /** Waits until JetStream has a leader that this server follows. */
  ready(): Promise<void>;
}

export interface Launcher {
  /** The name under which its servers reach the links' listeners. */
  readonly linkHost: string;
  /** Before all else: finds the programs or images, and ends what only it can end of an earlier start's. */
  check(): Promise<void>;
  /** The server must listen on the port of 127.0.0.1 and in the socket directory that it is given. */
  postgres(options: PostgresOptions): Promise<Unit>;
  nats(options: NatsNodeOptions): Promise<NatsUnit>;
}

interface Ended {
  readonly identity: ProcessIdentity;
  readonly exited: Promise<Exit>;
  stop(): Promise<void>;
}

export function processUnit(running: Ended): Unit {
  const { identity, exited } = running;
  return {
    identity,
    exited,
    pause: async () => pauseTree(identity.pid),
    resume: async () => resumeTree(identity.pid),
    async kill() {
      killTree(identity.pid);
      await exited;
    },
    async stop() {
      await running.stop();
      await exited;
    },
  };
}

/**
 * Real processes of this machine.
 * @param cacheDir where a nats-server that came out of a Docker image is kept.
 */
export function processLauncher(env: NodeJS.ProcessEnv, cacheDir: string): Launcher {
  let binary: Promise<string> | undefined;
  const nats = () => {
    binary ??= findNatsServer(env, cacheDir);
    return binary;
  };
  return {
    linkHost: '127.0.0.1',
    async check() {
      await nats();
    },
    async postgres(options) {
      return processUnit(await startPostgres(options));
    },
    async nats(options) {
      const running = await startNats({ ...options, binary: await nats() });
      return { ...processUnit(running), ready: () => running.ready() };
    },
  };
}
