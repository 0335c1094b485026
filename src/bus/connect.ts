/**
 * The connection to NATS: one for each process, kept alive for ever. A server that goes away is a matter of waiting and
 * never the end of the process; a server that is too old is refused, because the directory's safety rests on it.
 */
import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { Kvm } from '@nats-io/kv';
import { connect, type NatsConnection, type NodeConnectionOptions } from '@nats-io/transport-node';
import { HomeportError } from '../base/errors.ts';
import type { Random, World } from '../base/world.ts';
import { busLimits } from './limits.ts';
import { Outage, reasonOf } from './outage.ts';

/**
 * Compare-and-set on a replicated bucket is broken on older servers (2.9.10: two winners in 225 of 300 rounds), and
 * `sync_interval: always`, without which an acknowledged write is not on disk, does not exist there.
 */
export const MINIMUM_SERVER = '2.14.0';

export interface BusOptions {
  readonly servers: readonly string[];
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  /** `ca`: file of the authority that signed the servers' certificates. */
  readonly tls?: { readonly ca?: string | undefined } | undefined;
}

/** What the bus and the directory need of a logger; pino is one. */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface Bus {
  readonly nc: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  readonly kvm: Kvm;
  /** Set while the server we are connected to is too old (a reconnect can land on another one): writers must refuse. */
  refused(): HomeportError | undefined;
  /** Ends the connection. Messages that were handed over and not yet sent are sent first, for a moment. */
  close(): Promise<void>;
}

export interface ConnectContext {
  /** Shown by the server's monitoring: which process of ours this is. */
  readonly name: string;
  readonly log: Log;
  readonly world: World;
  /** How long to keep trying when no server answers. Default 0: each server once. `Infinity`: until `signal`. */
  readonly waitMs?: number;
  readonly signal?: AbortSignal;
}

const OUTAGE = { away: 'no NATS server answers; trying again', back: 'a NATS server answers' };

/**
 * @throws HP-D301 when no server answers in time, HP-D302 when the one that answers is too old (no retry: an operator
 * has to act).
 */
export async function connectBus(options: BusOptions, context: ConnectContext): Promise<Bus> {
  const { world, log, signal } = context;
  const startedMs = world.clock.monotonicMs();
  const outage = new Outage(log, world.clock, OUTAGE);
  for (let attempt = 0; ; attempt++) {
    try {
      const bus = await dial(options, context);
      outage.back(options);
      return bus;
    } catch (cause) {
      if (cause instanceof HomeportError) throw cause;
      const waitedMs = world.clock.monotonicMs() - startedMs;
      const servers = options.servers.join(', ');
      if (waitedMs >= (context.waitMs ?? 0)) throw new HomeportError('HP-D301', { servers }, { cause });
      outage.failed(options, reasonOf(cause), { servers });
      await world.clock.sleep(reconnectWaitMs(attempt, world.random), signal);
    }
  }
}

/** Doubles from 100 ms to a cap of 2 s; between half of that and all of it, so that many gateways don't come at once. */
export function reconnectWaitMs(attempt: number, random: Random): number {
  const ceilingMs = Math.min(busLimits.reconnectCapMs, busLimits.reconnectFirstMs * 2 ** Math.min(attempt, 16));
  return ceilingMs / 2 + random.unit() * (ceilingMs / 2);
}

/** True for 2.14.0, 2.14.1, 2.15.0-beta.1, 3.0.0; false for 2.13.9, 2.14.0-RC.1 and for what is no version. */
export function isNewEnough(version: string): boolean {
  const [have, need] = [parseVersion(version), parseVersion(MINIMUM_SERVER)];
  if (!have || !need) return false;
  for (const part of ['major', 'minor', 'patch'] as const) {
    if (have[part] !== need[part]) return have[part] > need[part];
  }
  return !have.preview;
}

function parseVersion(text: string) {
  const match = /^v?(\d+)\.(\d+)\.(\d+)(-\S+)?$/.exec(text);
  if (!match) return undefined;
  return { major: Number(match[1]), minor: Number(match[2]), patch: Number(match[3]), preview: match[4] !== undefined };
}

async function dial(options: BusOptions, context: ConnectContext): Promise<Bus> {
  let attempt = 0;
  const connectOptions: NodeConnectionOptions = {
    servers: [...options.servers],
    name: context.name,
    maxReconnectAttempts: -1,
    reconnectDelayHandler: () => reconnectWaitMs(attempt++, context.world.random),
    // Rotated credentials reach servers and clients at different moments: a refusal is one more reason to wait.
    ignoreAuthErrorAbort: true,
    pingInterval: busLimits.pingMs,
    maxPingOut: busLimits.pingsOut,
    timeout: busLimits.dialMs,
    noAsyncTraces: true,
    ...(options.user === undefined ? {} : { user: options.user }),
    ...(options.password === undefined ? {} : { pass: options.password }),
    ...(options.tls ? { tls: options.tls.ca === undefined ? {} : { caFile: options.tls.ca } } : {}),
  };
  const nc = await connect(connectOptions);
  const tooOld = serverRefusal(nc);
  if (tooOld) {
    await nc.close();
    throw tooOld;
  }
  const js = jetstream(nc, { timeout: busLimits.requestMs });
  const jsm = await jetstreamManager(nc, { timeout: busLimits.requestMs, checkAPI: false });
  let refusal: HomeportError | undefined;
  const watched = watchStatus(nc, context.log, () => {
    attempt = 0;
    refusal = serverRefusal(nc);
    if (refusal) context.log.error({ code: refusal.code }, refusal.message);
  });
  return {
    nc,
    js,
    jsm,
    kvm: new Kvm(js),
    refused: () => refusal,
    async close() {
      // Draining waits for the server, which may be gone: it gets a moment and no more.
      const drained = new AbortController();
      const limit = context.world.clock.sleep(busLimits.drainMs, drained.signal).catch(() => undefined);
      await Promise.race([nc.drain(), limit]).catch(error =>
        context.log.warn({ why: reasonOf(error) }, 'NATS connection did not drain'),
      );
      drained.abort();
      await nc.close();
      await watched;
    },
  };
}

function serverRefusal(nc: NatsConnection): HomeportError | undefined {
  const version = nc.info?.version ?? 'unknown';
  if (isNewEnough(version)) return undefined;
  return new HomeportError('HP-D302', { server: nc.getServer(), version, minimum: MINIMUM_SERVER });
}

async function watchStatus(nc: NatsConnection, log: Log, reconnected: () => void): Promise<void> {
  for await (const status of nc.status()) {
    if (status.type === 'disconnect') log.warn({ server: status.server }, 'NATS connection lost; reconnecting');
    if (status.type === 'reconnect') {
      log.info({ server: status.server }, 'NATS connection is back');
      reconnected();
    }
    if (status.type === 'error') log.warn({ why: reasonOf(status.error) }, 'NATS server reports an error');
  }
}
