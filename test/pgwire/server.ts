/** A server that does nothing but let clients in, for the tests of the way in. */
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { realWorld } from '../../src/base/world.ts';
import { backendKeyData, newCancelKey } from '../../src/pgwire/cancelkey.ts';
import { type Accepted, type AcceptOptions, acceptClient } from '../../src/pgwire/handshake.ts';
import { buildVerifier } from '../../src/pgwire/scram-keys.ts';

export const PASSWORD = 'p\u00e4ss word';
const verifier = await buildVerifier(PASSWORD, { salt: Buffer.alloc(16, 3), iterations: 4096 });

export interface TestServer {
  readonly port: number;
  /** How each connection ended its handshake, in order. */
  readonly outcomes: Accepted[];
  outcome(index: number): Promise<Accepted>;
  close(): Promise<void>;
}

function frame(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

/** Says ready, then answers every simple query as if it were empty. */
function serve(accepted: Extract<Accepted, { kind: 'session' }>): void {
  const { socket, minor } = accepted;
  const ready = frame('Z', Buffer.from('I'));
  const status = frame('S', Buffer.from('server_version\x0018.0\0'));
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    if (chunk[0] === 0x58) socket.end();
    else socket.write(Buffer.concat([frame('I', Buffer.alloc(0)), ready]));
  });
  const key = backendKeyData(2 ** 30, newCancelKey(realWorld.random, minor));
  socket.write(Buffer.concat([frame('R', Buffer.alloc(4)), status, key, ready]));
}

export async function startServer(options: Partial<AcceptOptions> = {}): Promise<TestServer> {
  const outcomes: Accepted[] = [];
  const waiting: (() => void)[] = [];
  const sockets = new Set<Socket>();
  const server = realWorld.network.createServer(socket => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    acceptClient(socket, {
      tls: undefined,
      requireTls: false,
      lookupVerifier: user => (user.startsWith('app') ? verifier : undefined),
      mockSecret: Buffer.alloc(32, 1),
      limits: { authenticationMs: 5_000, authMessageBytes: 4096 },
      world: realWorld,
      ...options,
    }).then(
      accepted => {
        outcomes.push(accepted);
        if (accepted.kind === 'session') serve(accepted);
        if (accepted.kind === 'cancel') accepted.socket.destroy();
        for (const wake of waiting.splice(0)) wake();
      },
      (error: unknown) => {
        throw error;
      },
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port, // cast: it listens on TCP
    outcomes,
    async outcome(index) {
      while (outcomes[index] === undefined) await new Promise<void>(resolve => waiting.push(resolve));
      return outcomes[index];
    },
    close() {
      for (const socket of sockets) socket.destroy();
      return new Promise(resolve => server.close(() => resolve()));
    },
  };
}

/** Sends raw bytes and collects what comes back until the server closes. */
export async function talk(port: number, ...pieces: Buffer[]): Promise<Buffer> {
  const socket = realWorld.network.connect(port, '127.0.0.1');
  const received: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => received.push(chunk));
  const closed = new Promise<void>(resolve => socket.once('close', () => resolve()));
  // A reset is one of the ways in which the server may end it.
  socket.on('error', () => socket.destroy());
  for (const piece of pieces) socket.write(piece);
  await closed;
  return Buffer.concat(received);
}
