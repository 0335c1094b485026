/** Debian's pgbouncer in transaction mode in front of the shard, as its manual sets it up for speed. */
import { chownSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { poll, realWorld } from '../../src/base/world.ts';
import { allocatePorts } from '../../src/devcluster/ports.ts';
import { endProcess, startChild } from '../../src/devcluster/process.ts';
import { ownedDirectory, postgresUser } from '../../src/devcluster/user.ts';
import { canConnect } from './connect.ts';
import { BENCH_USER } from './shard.ts';
import type { Place, Target } from './target.ts';
import { atLeast, findTool, PGBOUNCER_PREPARED } from './tools.ts';

function configuration({ shard, backends, idle }: Place, port: number, directory: string, prepared: boolean): string {
  return `[databases]
plain = host=${shard.socketDir} port=${shard.port} dbname=plain
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${join(directory, 'users.txt')}
pool_mode = transaction
default_pool_size = ${backends}
max_client_conn = ${idle + 200}
${prepared ? 'max_prepared_statements = 500' : ''}
ignore_startup_parameters = extra_float_digits
server_reset_query_always = 0
log_connections = 0
log_disconnections = 0
`;
}

export async function startPgbouncer(place: Place): Promise<Target> {
  const tool = findTool('pgbouncer');
  const prepared = atLeast(tool, PGBOUNCER_PREPARED);
  const directory = join(place.directory, 'pgbouncer');
  // It refuses to run as root, like Postgres.
  const user = postgresUser();
  ownedDirectory(directory, user, 0o755);
  const [port = 0] = await allocatePorts(1);
  const file = (name: string, text: string) => {
    const path = join(directory, name);
    writeFileSync(path, text, { mode: 0o600 });
    if (user) chownSync(path, user.uid, user.gid);
    return path;
  };
  file('users.txt', `"${BENCH_USER.user}" "${BENCH_USER.password}"\n`);
  const config = file('pgbouncer.ini', configuration(place, port, directory, prepared));
  const logFile = join(place.directory, 'pgbouncer.log');
  const child = await startChild({
    command: tool.path,
    args: ['-q', config],
    runAs: user,
    logFile,
    deathSignal: 'INT',
  });
  const pid = child.identity.pid;
  const target: Target = {
    name: 'pgbouncer',
    label: `pgbouncer ${tool.version.join('.')}`,
    host: '127.0.0.1',
    port,
    database: 'plain',
    ...BENCH_USER,
    options: '',
    proxyPid: pid,
    leavesOut: mode =>
      mode === 'prepared' && !prepared
        ? `pgbouncer ${tool.version.join('.')} does not follow prepared statements in transaction mode (1.21 does)`
        : undefined,
    stop: () => endProcess(realWorld.clock, child.identity, [{ signal: 'SIGQUIT', waitMs: 3_000 }]),
  };
  const up = await poll(realWorld.clock, () => canConnect(target), { everyMs: 50, limitMs: 10_000 });
  if (!up) {
    await target.stop();
    throw new Error(`pgbouncer does not answer; see ${logFile}`);
  }
  return target;
}
