/**
 * One container of the cluster, through testcontainers, as the cluster treats everything that runs: paused by the
 * freezer, killed by SIGKILL, stopped in order, known by the number of its first process where that runs on this machine.
 */
import { createWriteStream, existsSync, readFileSync } from 'node:fs';
import { finished } from 'node:stream/promises';
import type { Unit } from './launcher.ts';
import { type Exit, identify, type ProcessIdentity } from './process.ts';

export interface ContainerOptions {
  /** Whose it is: the cluster's directory, by which a later start finds what was left running. */
  readonly cluster: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Directories of this machine, and where they are in the container. */
  readonly mounts: Readonly<Record<string, string>>;
  readonly sharedMemoryBytes?: number;
  /** Standard output and error are appended here. */
  readonly logFile: string;
  /** From the image's own stop signal to SIGKILL. */
  readonly stopMs: number;
  readonly onProcess?: ((identity: ProcessIdentity) => void) | undefined;
}

export interface Container extends Unit {
  readonly hasEnded: () => boolean;
}

const CLUSTER_LABEL = 'homeport.cluster';

/** The engine may run in a virtual machine or far away: its numbers are ours only where the kernel says so. */
function identityOf(pid: number, containerId: string): ProcessIdentity | undefined {
  const file = `/proc/${pid}/cgroup`;
  if (!existsSync(file) || !readFileSync(file, 'utf8').includes(containerId)) return undefined;
  return identify(pid);
}

/**
 * The host's network, because the cluster's rules are written in its ports: servers listen on loopback alone, and what
 * crosses regions goes through the links, which are processes of this machine. So this is for Linux.
 */
async function create(options: ContainerOptions) {
  const { GenericContainer, getContainerRuntimeClient } = await import('testcontainers');
  const { cluster, image, command, environment = {}, mounts, sharedMemoryBytes, logFile } = options;
  const log = createWriteStream(logFile, { flags: 'a', mode: 0o600 });
  let drained: Promise<void> = Promise.resolve();
  const container = new GenericContainer(image)
    .withLabels({ [CLUSTER_LABEL]: cluster })
    .withCommand([...command])
    .withEnvironment({ ...environment })
    .withBindMounts(Object.entries(mounts).map(([source, target]) => ({ source, target, mode: 'rw' as const })))
    .withNetworkMode('host')
    .withLogConsumer(stream => {
      stream.pipe(log);
      drained = finished(log);
    });
  if (sharedMemoryBytes !== undefined) container.withSharedMemorySize(sharedMemoryBytes);
  // files that belong to whoever runs the cluster can be thrown away again by them; root lets the image choose
  const uid = process.getuid?.() ?? 0;
  if (uid !== 0) container.withUser(`${uid}:${process.getgid?.() ?? uid}`);
  const started = await container.start();
  const engine = await getContainerRuntimeClient();
  return { handle: engine.container.getById(started.getId()), drained };
}

type Handle = Awaited<ReturnType<typeof create>>['handle'];

/** Its log is complete, and it is gone. An engine that went away with it ends it too. */
async function ending(handle: Handle, drained: Promise<void>): Promise<Exit> {
  try {
    // cast: the engine's documented answer
    const { StatusCode } = (await handle.wait()) as { StatusCode: number };
    await drained;
    await handle.remove({ v: true });
    return { code: StatusCode, signal: null };
  } catch {
    return { code: null, signal: null }; // whether it ran on, nobody can know
  }
}

/** Resolves when the container runs; what runs in it may take its time. */
export async function startContainer(options: ContainerOptions): Promise<Container> {
  const { handle, drained } = await create(options);
  let exit: Exit | undefined;
  const exited = ending(handle, drained).then(how => {
    exit = how;
    return how;
  });
  const { State } = await handle.inspect();
  const identity = identityOf(State.Pid, handle.id);
  if (identity) options.onProcess?.(identity);
  return {
    identity,
    exited,
    hasEnded: () => exit !== undefined,
    async pause() {
      await handle.pause();
    },
    async resume() {
      await handle.unpause();
    },
    async kill() {
      if (!exit) await handle.kill();
      await exited;
    },
    async stop() {
      if (!exit) await handle.stop({ t: Math.ceil(options.stopMs / 1000) });
      await exited;
    },
  };
}

/**
 * Ends and removes the containers that a killed launcher has left, paused ones too: no kernel ends a container with who
 * asked for it, and a signal does not reach a frozen one.
 */
export async function endContainers(cluster: string): Promise<void> {
  const { getContainerRuntimeClient } = await import('testcontainers');
  const { dockerode } = (await getContainerRuntimeClient()).container;
  const found = await dockerode.listContainers({ all: true, filters: { label: [`${CLUSTER_LABEL}=${cluster}`] } });
  await Promise.all(
    found.map(async ({ Id, State }) => {
      const container = dockerode.getContainer(Id);
      if (State !== 'exited') await container.stop();
      await container.remove({ force: true, v: true });
    }),
  );
}
