/** A throw-away PostgreSQL 18 for one test file: real durability settings, thrown away with its directory. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { realWorld } from '../../src/base/world.ts';
import { allocatePorts } from '../../src/devcluster/ports.ts';
import { startPostgres } from '../../src/devcluster/postgres.ts';

export const SUPERUSER = 'homeport_admin';
export const PASSWORD = 'a password for tests';

export interface TestPostgres {
  readonly port: number;
  readonly socketDir: string;
  readonly pid: number;
  /** A connected client; closed with the server at the latest. */
  connect(options?: pg.ClientConfig): Promise<pg.Client>;
  /** Makes a database and returns its name. */
  database(name: string): Promise<string>;
  stop(): Promise<void>;
}

export async function startTestPostgres(settings: Record<string, string> = {}): Promise<TestPostgres> {
  const directory = mkdtempSync(join(tmpdir(), 'hp-pg-'));
  // Postgres may run as another user, who has to pass through.
  chmodSync(directory, 0o711);
  const [port] = await allocatePorts(1);
  if (port === undefined) throw new Error('no port was found');
  const socketDir = join(directory, 's');
  const server = await startPostgres({
    dataDir: join(directory, 'data'),
    port,
    socketDir,
    superuser: SUPERUSER,
    password: PASSWORD,
    settings,
    world: realWorld,
  });
  const clients = new Set<pg.Client>();
  const connect = async (options: pg.ClientConfig = {}): Promise<pg.Client> => {
    const client = new pg.Client({
      host: socketDir,
      port,
      user: SUPERUSER,
      password: PASSWORD,
      database: 'app',
      ...options,
    });
    // The server is stopped under the clients that a test left open.
    client.on('error', () => undefined);
    await client.connect();
    clients.add(client);
    client.on('end', () => clients.delete(client));
    return client;
  };
  return {
    port,
    socketDir,
    pid: server.pid,
    connect,
    async database(name) {
      const admin = await connect();
      await admin.query(`create database ${pg.escapeIdentifier(name)}`);
      await admin.end();
      return name;
    },
    async stop() {
      await Promise.allSettled([...clients].map(client => client.end()));
      await server.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
