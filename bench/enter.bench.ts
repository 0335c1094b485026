/**
 * What entering a transaction and checking the tenant cost Postgres, in CPU of the backend per transaction: a pipelined
 * BEGIN, enter, statements by primary key, COMMIT, all prepared, over a Unix socket, against the same without. Variants
 * run in turns of a few hundred transactions, so that a noisy machine is noisy for all of them alike.
 *
 *   node bench/enter.bench.ts [transactions per variant]
 */
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import type pg from 'pg';
import { enrollTables } from '../src/shards/enroll.ts';
import { ENTER } from '../src/shards/sql.ts';
import { entry, prepareShard } from '../test/shards/shard.ts';
import { startTestPostgres } from '../test/support/postgres.ts';

const TURN = 100;
const WARM_UP = 500;
const transactions = Number(process.argv[2] ?? 10_000);
const ENTRY = { tenant: 'acme', placement: 'slot:global:7', epoch: 1 };

interface Variant {
  readonly name: string;
  /** A statement sent after BEGIN, with the parameters of ENTER; or with one, the tenant. */
  readonly enter?: string;
  readonly parameters?: readonly string[];
  /** The policy of the table; none when undefined. */
  readonly policy?: string;
  readonly statements?: number;
}

/** Copies of the functions with one thing changed, by what it is. */
async function alternatives(admin: pg.Client): Promise<void> {
  const source = async (name: string) =>
    (await admin.query<{ sql: string }>(`select pg_get_functiondef('homeport.${name}'::regproc) as sql`)).rows[0]
      ?.sql ?? '';
  const copy = async (of: string, name: string, change: (sql: string) => string) => {
    const sql = (await source(of)).replace(`homeport.${of}(`, `homeport.${name}(`).replaceAll(`${of}.`, `${name}.`);
    await admin.query(`${change(sql)}; grant execute on function homeport.${name} to app`);
  };
  const fromTable = (sql: string) =>
    sql.replaceAll(/homeport\.key_(inner|outer)\(\)/g, '(select k.$1_pad from homeport.signing_key k)');
  const context = /pg_catalog\.set_config\('backtrace_functions',[\s\S]*?, true\)(?=\s+is null)/;
  const signed = (tenant: string) =>
    `encode(sha256(byteacat(homeport.key_outer(), sha256(byteacat(homeport.key_inner(), byteacat(
      convert_to(format(E'context\\n%s\\n%s\\n', pg_backend_pid(), ${tenant}), 'UTF8'), timestamptz_send(transaction_timestamp())))))), 'hex')`;
  const proof = /if pg_catalog\.texteq\([a-z_]+\.proof[\s\S]*?end if;/;
  const lock = /if pg_catalog\.pg_advisory[\s\S]*?end if;/;
  await copy('enter', 'enter_table', fromTable);
  await copy('enter', 'enter_path', sql =>
    sql.replace('SECURITY DEFINER', 'SECURITY DEFINER SET search_path = pg_catalog, pg_temp'),
  );
  await copy('enter', 'enter_unproven', sql => sql.replace(proof, ''));
  await copy('enter', 'enter_unlocked', sql => sql.replace(lock, ''));
  await copy('enter', 'enter_signed', sql =>
    sql.replace(
      context,
      `set_config('homeport.context', ${signed('enter_signed.tenant')} || enter_signed.tenant, true)`,
    ),
  );
  await admin.query(`
    create function homeport.tenant_signed() returns text language plpgsql stable security definer as $$
    declare context text := current_setting('homeport.context', true);
    begin
      if left(context, 64) = ${signed('substr(context, 65)')} then return substr(context, 65); end if;
      raise exception 'no tenant' using errcode = 'HP004';
    end $$;
    create function homeport.nothing(text, text, bigint, text) returns void language plpgsql security definer as $$ begin end $$;
    create function homeport.enter_sql(tenant text, placement text, epoch bigint, proof text) returns text
    language sql volatile security definer begin atomic
      select pg_advisory_xact_lock_shared(1213156677, hashtext($2));
      select set_config('backtrace_functions', 'homeport_' || encode(convert_to($1, 'UTF8'), 'hex'), true)
      from homeport.fence f where f.placement = $2 and f.epoch = $3 and f.role = 'primary' and f.overrides = 0
        and current_setting('transaction_isolation') = 'read committed'
        and $4 = encode(sha256(homeport.key_outer() || sha256(homeport.key_inner() ||
          convert_to(format(E'enter\\n%s\\n%s\\n%s\\n%s', pg_backend_pid(), $3, $2, $1), 'UTF8'))), 'hex');
    end;
    grant execute on all functions in schema homeport to app`);
}

const calling = (name: string) => ENTER.replace('homeport.enter', `homeport.${name}`);
const checking = (name: string) => `tenant_id = (select homeport.${name}())`;

const VARIANTS: readonly Variant[] = [
  { name: 'nothing' },
  { name: 'set_config alone', enter: `select set_config('homeport.context', $1, true)`, parameters: ['acme'] },
  { name: 'an empty definer function', enter: calling('nothing') },
  { name: 'enter', enter: ENTER },
  { name: 'enter, without the proof', enter: calling('enter_unproven') },
  { name: 'enter, without the lock', enter: calling('enter_unlocked') },
  { name: 'enter, key read from its table', enter: calling('enter_table') },
  { name: 'enter, with SET search_path', enter: calling('enter_path') },
  { name: 'enter as a function in SQL', enter: calling('enter_sql') },
  { name: 'enter, context with a MAC', enter: calling('enter_signed') },
  { name: 'policy on a constant', policy: `tenant_id = (select 'acme')` },
  { name: '**enter + policy (as built)**', enter: ENTER, policy: checking('tenant') },
  { name: 'enter + policy, context with a MAC', enter: calling('enter_signed'), policy: checking('tenant_signed') },
  { name: 'enter + policy, silent when there is no tenant', enter: ENTER, policy: checking('claimed_tenant') },
  { name: 'nothing, 5 statements', statements: 5 },
  { name: '**enter + policy (as built), 5 statements**', enter: ENTER, policy: checking('tenant'), statements: 5 },
  {
    name: 'enter + policy, context with a MAC, 5 statements',
    enter: calling('enter_signed'),
    policy: checking('tenant_signed'),
    statements: 5,
  },
];

const cstring = (text: string) => Buffer.from(`${text}\0`);
function int(bytes: 2 | 4, value: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  buffer.writeIntBE(value, 0, bytes);
  return buffer;
}
function message(type: string, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from(type), int(4, body.length + 4), body]);
}
const parse = (name: string, sql: string) => message('P', cstring(name), cstring(sql), int(2, 0));
const SYNC = message('S');
function run(name: string, values: readonly string[] = []): Buffer {
  const parameters = values.flatMap(value => [int(4, Buffer.byteLength(value)), Buffer.from(value)]);
  const bind = message('B', cstring(''), cstring(name), int(2, 0), int(2, values.length), ...parameters, int(2, 0));
  return Buffer.concat([bind, message('E', cstring(''), int(4, 0))]);
}

/** Sends one batch that ends in Sync and resolves with its ReadyForQuery; an error ends the benchmark. */
function exchange(socket: Socket, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    let seen: Buffer = Buffer.alloc(0);
    const onData = (chunk: Buffer) => {
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
      const at = seen.length - 6;
      if (at < 0 || seen[at] !== 0x5a || seen.readInt32BE(at + 1) !== 5) return;
      socket.off('data', onData);
      for (let i = 0; i < seen.length; i += 1 + seen.readInt32BE(i + 1)) {
        if (seen[i] === 0x45) return reject(new Error(seen.toString('latin1', i).replaceAll('\0', ' ')));
      }
      resolve();
    };
    socket.on('data', onData);
    socket.write(bytes);
  });
}

/** Microseconds that the scheduler has given a process so far. */
function cpuUs(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1000;
}

/** The tenth percentile: what a turn costs when nobody else is on the core. */
function quiet(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 10)] ?? Number.NaN;
}

interface Lane {
  readonly variant: Variant;
  readonly socket: Socket;
  readonly pid: number;
  readonly batch: Buffer;
  readonly samples: number[];
}

const server = await startTestPostgres({ shared_buffers: '256MB' });
try {
  const shard = await prepareShard(server);
  const { admin } = shard;
  await admin.query(
    `insert into homeport.fence (placement, epoch, role) select 'slot:global:' || i, 1, 'primary' from generate_series(0, 1023) i`,
  );
  await alternatives(admin);
  const lanes: Lane[] = [];
  for (const [i, variant] of VARIANTS.entries()) {
    const table = `account_${i}`;
    await admin.query(`create table ${table} (tenant_id text not null, id bigint, balance int, primary key (tenant_id, id));
      insert into ${table} select t, i, 0 from unnest(array['acme', 'globex']) t, generate_series(1, 1000) i; grant select on ${table} to app`);
    if (variant.policy === checking('tenant')) await enrollTables(admin, [table], { roles: ['app'] });
    else if (variant.policy) {
      await admin.query(
        `create policy p on ${table} using (${variant.policy}); alter table ${table} enable row level security`,
      );
    }
    await admin.query(`vacuum analyze ${table}`);
    const client = await shard.app();
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    const pid = rows[0]?.pid ?? 0;
    // cast: the driver's connection is public and has no type; it logs in, and then we talk ourselves
    const socket = (client as unknown as { connection: { stream: Socket } }).connection.stream;
    socket.removeAllListeners('data');
    const select = `select balance from ${table} where id = $1::bigint and tenant_id = 'acme'`;
    const prepared = [parse('b', 'begin'), parse('q', select), parse('c', 'commit')];
    if (variant.enter) prepared.push(parse('e', variant.enter));
    await exchange(socket, Buffer.concat([...prepared, SYNC]));
    const entering = variant.enter ? [run('e', variant.parameters ?? entry(pid, ENTRY).map(String))] : [];
    const work = Array.from({ length: variant.statements ?? 1 }, () => run('q', ['7']));
    const batch = Buffer.concat([run('b'), ...entering, ...work, run('c'), SYNC]);
    for (let k = 0; k < WARM_UP; k++) await exchange(socket, batch);
    lanes.push({ variant, socket, pid, batch, samples: [] });
  }
  await admin.query('vacuum analyze homeport.fence, homeport.signing_key');
  for (let done = 0; done < transactions; done += TURN) {
    for (const { socket, pid, batch, samples } of lanes) {
      const before = cpuUs(pid);
      for (let k = 0; k < TURN; k++) await exchange(socket, batch);
      samples.push((cpuUs(pid) - before) / TURN);
    }
  }
  const base = (statements: number) =>
    quiet(
      lanes.find(({ variant }) => !variant.enter && !variant.policy && (variant.statements ?? 1) === statements)
        ?.samples ?? [],
    );
  console.log(
    `| backend CPU per transaction, µs (10th percentile of ${transactions / TURN} turns) | all | added |\n|---|---|---|`,
  );
  for (const { variant, samples, socket } of lanes) {
    const us = quiet(samples);
    console.log(`| ${variant.name} | ${us.toFixed(1)} | ${(us - base(variant.statements ?? 1)).toFixed(1)} |`);
    socket.destroy();
  }
} finally {
  await server.stop();
}
