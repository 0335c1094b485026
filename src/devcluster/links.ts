/**
 * All links between the regions: a listener of ours stands in every path from one region to another, and hands each
 * connection through two pipes (link.ts). `from:to` names the bytes that travel from → to, whoever opened the connection.
 */
import type { Server, Socket } from 'node:net';
import type { Timer, World } from '../base/world.ts';
import { Direction, type LinkConditions, Pipe } from './link.ts';

export interface LinkRoute {
  readonly from: string;
  readonly to: string;
  /** What goes this way: `nats`, `peer`, `postgres`. */
  readonly service: string;
  /** Where processes of `from` connect to reach the service of `to`. */
  readonly listenPort: number;
  readonly targetPort: number;
}

export interface LinkStatus extends LinkConditions {
  readonly from: string;
  readonly to: string;
  readonly connections: number;
  readonly bytesPassed: number;
}

const HOST = '127.0.0.1';

export class Links {
  readonly #world: World;
  readonly #directions = new Map<string, Direction>();
  readonly #servers: Server[] = [];
  readonly #connections = new Map<Connection, LinkRoute>();

  constructor(world: World) {
    this.#world = world;
  }

  direction(from: string, to: string): Direction {
    const key = `${from}:${to}`;
    const direction = this.#directions.get(key) ?? new Direction();
    this.#directions.set(key, direction);
    return direction;
  }

  /** @throws the system's error when the port is not free. */
  async listen(route: LinkRoute, host = HOST): Promise<void> {
    const there = this.direction(route.from, route.to);
    const back = this.direction(route.to, route.from);
    const server = this.#world.network.createServer({ allowHalfOpen: true, noDelay: true }, socket => {
      const connection = new Connection(this.#world, socket, route.targetPort, there, back, () => {
        this.#connections.delete(connection);
      });
      this.#connections.set(connection, route);
      connection.begin();
    });
    this.#servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ port: route.listenPort, host }, resolve);
    });
  }

  status(): LinkStatus[] {
    return [...this.#directions].map(([key, direction]) => {
      const [from = '', to = ''] = key.split(':');
      const between = [...this.#connections.values()].filter(route => route.from === from && route.to === to);
      const { bytesPassed, conditions } = direction;
      return { from, to, ...conditions, connections: between.length, bytesPassed };
    });
  }

  async close(): Promise<void> {
    const closed = this.#servers.map(server => new Promise<void>(resolve => server.close(() => resolve())));
    for (const connection of [...this.#connections.keys()]) connection.reset();
    await Promise.all(closed);
  }
}

/** One connection through a link: the socket of who called, and one to the target as soon as the link allows it. */
class Connection {
  readonly #world: World;
  readonly #near: Socket;
  #far: Socket | undefined;
  readonly #targetPort: number;
  readonly #there: Direction;
  readonly #back: Direction;
  readonly #pipeThere: Pipe;
  #pipeBack: Pipe | undefined;
  readonly #unsubscribe: (() => void)[];
  readonly #gone: () => void;
  readonly #arrivedMs: number;
  #timer: Timer | undefined;

  constructor(world: World, near: Socket, port: number, there: Direction, back: Direction, gone: () => void) {
    this.#world = world;
    this.#near = near;
    this.#targetPort = port;
    this.#there = there;
    this.#back = back;
    this.#gone = gone;
    this.#arrivedMs = world.clock.monotonicMs();
    this.#pipeThere = new Pipe(near, there, world.clock);
    this.#unsubscribe = [there, back].map(direction => direction.subscribe(() => this.begin()));
    near.on('close', () => this.#finishWhenBothClosed());
  }

  /** Also called at every change of conditions. */
  begin(): void {
    const [there, back] = [this.#there.conditions, this.#back.conditions];
    this.#timer?.cancel();
    if (there.cut || back.cut) {
      this.reset();
      return;
    }
    if (this.#far || there.blackhole || back.blackhole) return;
    const earlyMs = this.#arrivedMs + there.delayMs - this.#world.clock.monotonicMs();
    if (earlyMs > 0) this.#timer = this.#world.clock.after(Math.ceil(earlyMs), () => this.begin(), { keepAlive: true });
    else this.#connect();
  }

  #connect(): void {
    const far = this.#world.network.connect({
      host: HOST,
      port: this.#targetPort,
      allowHalfOpen: true,
      noDelay: true,
    });
    this.#far = far;
    this.#pipeBack = new Pipe(far, this.#back, this.#world.clock);
    this.#pipeBack.attach(this.#near);
    far.on('close', () => this.#finishWhenBothClosed());
    far.once('connect', () => this.#pipeThere.attach(far));
  }

  reset(): void {
    this.#near.resetAndDestroy();
    this.#far?.resetAndDestroy();
    this.#finish();
  }

  #finishWhenBothClosed(): void {
    // never connected: nothing can come back, and nothing has been delivered that would need an end
    if (this.#near.destroyed && (!this.#far || this.#far.destroyed)) this.#finish();
  }

  #finish(): void {
    this.#timer?.cancel();
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#pipeThere.close();
    this.#pipeBack?.close();
    this.#gone();
  }
}
