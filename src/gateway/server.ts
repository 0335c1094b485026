/**
 * The listeners of one worker: applications on one port, gateways of other regions on another. It lets clients in,
 * knows the sessions by their virtual process ids, and drains on request.
 */
import type { Server, Socket } from 'node:net';
import { HomeportError } from '../base/errors.ts';
import { parseTenantKey, type TenantParts } from '../base/ids.ts';
import { limits } from '../base/limits.ts';
import { decodeVirtualPid, encodeVirtualPid, MAX_SESSIONS, newCancelKey, sameCancelKey } from '../pgwire/cancelkey.ts';
import { errorResponseOf } from '../pgwire/errorresponse.ts';
import { type Accepted, acceptClient } from '../pgwire/handshake.ts';
import type { ServerTls } from '../pgwire/handshake-tls.ts';
import type { Startup } from '../pgwire/startup.ts';
import { sessionWork } from './driver.ts';
import { cancel } from './ending.ts';
import type { Gateway, GatewayUser } from './ports.ts';
import { Session } from './session.ts';
import { fromStartup } from './settings.ts';
import { welcome } from './welcome.ts';

/** The user as which gateways log in at each other. */
export const PEER_USER = 'homeport_peer';

export interface Listening {
  readonly host: string;
  readonly port: number;
}

export interface ServerOptions {
  readonly pg: Listening;
  readonly peer: Listening;
  readonly tls: ServerTls | undefined;
  readonly requireTls: boolean;
  /** SCRAM verifiers by user name. */
  readonly verifiers: ReadonlyMap<string, string>;
  readonly peerVerifier: string;
  readonly mockSecret: Buffer;
  readonly maxClients: number;
  readonly worker: number;
  /** A cancel request for a session of another worker; resolves when it has landed. */
  readonly passCancel: (worker: number, pid: number, key: Buffer) => Promise<void>;
}

interface Known {
  readonly session: Session;
  readonly key: Buffer;
}

type Admitted = Extract<Accepted, { kind: 'session' }>;
type CancelRequested = Extract<Accepted, { kind: 'cancel' }>;

const PEER: GatewayUser = { name: PEER_USER, mayUse: () => false, poolMode: 'transaction' };

export class GatewayServer {
  private readonly gateway: Gateway;
  private readonly options: ServerOptions;
  private readonly sessions = new Map<number, Known>();
  private readonly servers: Server[] = [];
  private nextSession = 0;
  private arriving = 0;

  constructor(gateway: Gateway, options: ServerOptions) {
    this.gateway = gateway;
    this.options = options;
  }

  /** @returns the ports that are really listened on (where 0 was asked for). */
  async listen(): Promise<{ pg: number; peer: number }> {
    const pg = await this.open(this.options.pg, false);
    const peer = await this.open(this.options.peer, true);
    return { pg, peer };
  }

  private open(at: Listening, peer: boolean): Promise<number> {
    const server = this.gateway.world.network.createServer({ noDelay: true }, socket => {
      this.arrived(socket, peer).catch((error: unknown) => {
        this.gateway.log.error({ err: error }, 'a connection could not be let in');
        socket.destroy();
      });
    });
    this.servers.push(server);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      // All workers of a gateway listen on the same port; the kernel spreads connections over them.
      server.listen({ host: at.host, port: at.port, reusePort: true, backlog: 1024 }, () => {
        server.removeListener('error', reject);
        const address = server.address();
        resolve(typeof address === 'object' && address ? address.port : at.port);
      });
    });
  }

  private async arrived(socket: Socket, peer: boolean): Promise<void> {
    if (this.sessions.size + this.arriving >= this.options.maxClients) {
      return refuse(socket, new HomeportError('HP-G203', { limit: this.options.maxClients }));
    }
    this.arriving++;
    try {
      await this.admit(socket, peer);
    } finally {
      this.arriving--;
    }
  }

  private async admit(socket: Socket, peer: boolean): Promise<void> {
    const { tls, requireTls, mockSecret } = this.options;
    const accepted = await acceptClient(socket, {
      tls,
      requireTls,
      lookupVerifier: user => (peer ? this.peerVerifier(user) : this.verifier(user)),
      mockSecret,
      limits,
      world: this.gateway.world,
    });
    if (accepted.kind === 'cancel') {
      await this.cancelRequested(accepted);
    } else if (accepted.kind === 'closed') {
      this.gateway.log.debug({ why: accepted.why, code: accepted.error?.code }, 'a connection was turned away');
    } else this.begin(accepted, peer);
  }

  private peerVerifier(user: string): string | undefined {
    return user === PEER_USER ? this.options.peerVerifier : undefined;
  }

  /** `app`, or `app.acme` for user app and tenant acme. */
  private verifier(user: string): string | undefined {
    return this.options.verifiers.get(user) ?? this.options.verifiers.get(user.slice(0, user.indexOf('.')));
  }

  private begin(accepted: Admitted, peer: boolean): void {
    const { socket, startup, minor, leftover } = accepted;
    try {
      const session = this.newSession(accepted, peer);
      const number = this.freeNumber();
      const key = newCancelKey(this.gateway.world.random, minor);
      this.sessions.set(number, { session, key });
      session.onClosed = () => this.left(number);
      this.gateway.counters.clients++;
      const pid = encodeVirtualPid({ gateway: 0, worker: this.options.worker, session: number });
      socket.write(welcome({ parameters: this.gateway.serverParameters, startup, pid, key }));
      session.run(leftover);
    } catch (error) {
      if (!(error instanceof HomeportError)) throw error;
      refuse(socket, error);
    }
  }

  private newSession({ socket, startup }: Admitted, peer: boolean): Session {
    const { gateway } = this;
    if (gateway.draining) throw new HomeportError('HP-G401');
    if (peer) {
      const base = { gateway, socket, user: PEER, tenant: undefined, settings: new Map(), peer, work: sessionWork };
      return new Session({ ...base, poolMode: 'transaction' });
    }
    const { database } = startup;
    if (database !== gateway.database && database !== startup.user) {
      throw new HomeportError('HP-G105', { database, served: gateway.database });
    }
    const { user, tenant } = this.whoAndFor(startup);
    const poolMode = poolModeOf(startup) ?? user.poolMode;
    const settings = fromStartup(startup.settings);
    return new Session({ gateway, socket, user, tenant, settings, poolMode, peer, work: sessionWork });
  }

  private whoAndFor(startup: Startup): { user: GatewayUser; tenant: TenantParts | undefined } {
    const whole = this.gateway.users.get(startup.user);
    const dot = startup.user.indexOf('.');
    const user = whole ?? this.gateway.users.get(startup.user.slice(0, dot));
    if (!user) throw new HomeportError('HP-G101', { user: startup.user, tenant: '' });
    const inName = whole ? undefined : parseTenantKey(startup.user.slice(dot + 1));
    const text = startup.homeport.get('tenant');
    const given = text === undefined || text === '' ? undefined : parseTenantKey(text);
    if (inName && given && inName.key !== given.key) {
      throw new HomeportError('HP-G108', { inName: inName.key, given: given.key });
    }
    const tenant = given ?? inName;
    if (tenant && !user.mayUse(tenant)) throw new HomeportError('HP-G101', { user: user.name, tenant: tenant.key });
    return { user, tenant };
  }

  private freeNumber(): number {
    while (this.sessions.has(this.nextSession)) this.nextSession = (this.nextSession + 1) % MAX_SESSIONS;
    const number = this.nextSession;
    this.nextSession = (number + 1) % MAX_SESSIONS;
    return number;
  }

  private left(number: number): void {
    this.sessions.delete(number);
    this.gateway.counters.clients--;
  }

  /**
   * The end of the connection says that the request has landed: libpq waits for it before it goes on, and what it sends
   * next must not be hit. So the client's own end, if it has nothing more to say, is not answered with ours at once.
   */
  private async cancelRequested({ socket, pid, key }: CancelRequested): Promise<void> {
    socket.allowHalfOpen = true;
    socket.on('error', () => socket.destroy());
    const virtual = decodeVirtualPid(pid);
    try {
      if (virtual?.worker === this.options.worker) await this.cancelHere(pid, key);
      else if (virtual) await this.options.passCancel(virtual.worker, pid, key);
    } finally {
      socket.destroySoon();
    }
  }

  /**
   * Carries out a cancel request whose session is on this worker; a wrong key is ignored, as Postgres does.
   * Resolves when there is nothing left of it that could hit a later statement, or after the connect limit.
   */
  async cancelHere(pid: number, key: Buffer): Promise<void> {
    const known = this.sessions.get(decodeVirtualPid(pid)?.session ?? -1);
    if (known && sameCancelKey(known.key, key)) await cancel(known.session);
  }

  /**
   * No new connections; sessions end as soon as they are between transactions; after `limitMs` the rest is cut.
   * @returns how many had to be cut.
   */
  async drain(limitMs: number): Promise<number> {
    const { gateway } = this;
    gateway.draining = true;
    for (const server of this.servers) server.close();
    for (const { session } of this.sessions.values()) session.drain();
    const startedMs = gateway.world.clock.monotonicMs();
    while (this.sessions.size > 0 && gateway.world.clock.monotonicMs() - startedMs < limitMs) {
      await gateway.world.clock.sleep(10);
    }
    const cut = this.sessions.size;
    for (const { session } of [...this.sessions.values()]) session.end(new HomeportError('HP-G401'));
    return cut;
  }
}

function poolModeOf(startup: Startup): 'transaction' | 'session' | undefined {
  const value = startup.homeport.get('pool_mode');
  if (value === undefined || value === 'transaction' || value === 'session') return value;
  throw new HomeportError('HP-G106', { name: 'pool_mode', value });
}

function refuse(socket: Socket, error: HomeportError): void {
  socket.on('error', () => socket.destroy());
  socket.end(errorResponseOf(error, 'FATAL'));
}
