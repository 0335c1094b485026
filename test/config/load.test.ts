import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { describe as describeError } from '../../src/base/errors.ts';
import { defaults } from '../../src/base/limits.ts';
import { loadConfig } from '../../src/config/load.ts';
import { type Outline, wholeOutline } from '../../src/config/outline.ts';
import { applyEnvironment, isTree, Origins, type Tree } from '../../src/config/sources.ts';
import { DB_PASSWORD, VERIFIER, Workshop } from './fixture.ts';

const workshop = new Workshop();
afterAll(() => workshop[Symbol.dispose]());

describe('a valid configuration', () => {
  test('is read with its defaults, secrets and absolute paths', () => {
    const config = workshop.load();
    expect(config.cluster).toEqual({ name: 'demo', secret: Buffer.from('ab'.repeat(32), 'hex') });
    expect(config.listen).toEqual({
      pg: { host: '127.0.0.1', port: 6432 },
      peer: { host: '127.0.0.1', port: 6433 },
      http: { host: '127.0.0.1', port: 6434 },
      tls: undefined,
      insecure: false,
    });
    expect(config.workers).toBeGreaterThanOrEqual(1);
    expect(config.workers).toBeLessThanOrEqual(4);
    expect(config.limits).toEqual(defaults);
    expect(config.stateDir).toBe(join(workshop.dir, 'state'));
    expect(config.domains).toEqual({ global: 'all', eu: ['eu-west'] });
    expect(config.users).toEqual({ app: { verifier: VERIFIER, tenants: ['*'], poolMode: 'transaction' } });
  });

  test('knows its shards, and the region and TLS of those elsewhere', () => {
    const config = workshop.load();
    expect(config.shards).toEqual({
      'eu-west-1': {
        host: '/tmp/pg',
        port: 5433,
        database: 'app',
        admin: { user: 'homeport_admin', password: DB_PASSWORD },
        tls: false,
        weight: 1,
        ordinal: 1,
      },
    });
    expect(config.remoteShards).toMatchObject({
      'us-east-1': { region: 'us-east', host: 'db.us', port: 5432, tls: true, admin: { password: 'from env' } },
    });
    expect(config.regions).toEqual({
      'eu-west': { peers: [] },
      'us-east': {
        peers: [
          { host: '127.0.0.1', port: 7433 },
          { host: '::1', port: 7433 },
        ],
      },
    });
  });

  test('takes variables over the file, and flags over both', () => {
    const env = { HOMEPORT_LOG_LEVEL: 'debug', HOMEPORT_WORKERS: '2', HOMEPORT_LIMITS_PER_TENANT: '7' };
    const config = workshop.load({ workers: 1 }, env, { workers: 3, 'listen.pg': '127.0.0.1:1' });
    expect([config.log.level, config.workers, config.limits.perTenant, config.listen.pg.port]).toEqual([
      'debug',
      3,
      7,
      1,
    ]);
  });

  test.each([
    ['HOMEPORT_SHARDS_EU_WEST_1_PORT', '77', { shards: { 'eu-west-1': { port: 77 } } }],
    ['HOMEPORT_SHARDS__EU_WEST_1__ADMIN__USER', 'me', { shards: { 'eu-west-1': { admin: { user: 'me' } } } }],
    ['HOMEPORT_REMOTE_SHARDS_US_EAST_1_HOST', 'db2', { remoteShards: { 'us-east-1': { host: 'db2' } } }],
    ['HOMEPORT_NATS_SERVERS', '[nats://a:1, tls://b:2]', { nats: { servers: ['nats://a:1', 'tls://b:2'] } }],
    ['HOMEPORT_DOMAINS_US', '[us-east]', { domains: { us: ['us-east'], eu: ['eu-west'] } }],
    [
      'HOMEPORT_REGIONS_AP_SOUTH_PEERS',
      "['gw.ap:1']",
      { regions: { 'ap-south': { peers: [{ host: 'gw.ap', port: 1 }] } } },
    ],
    ['HOMEPORT_STATE_DIR', '/var/lib/x', { stateDir: '/var/lib/x' }],
    ['HOMEPORT_LISTEN_PG', '[::1]:5', { listen: { pg: { host: '::1', port: 5 } } }],
    ['HOMEPORT_SERVICE_HOST', '10.0.0.1', {}],
    ['HOMEPORT_SOMETHING_ELSE', 'x', {}],
  ])('understands %s=%s', (name, value, expected) => {
    expect(workshop.load({}, { [name]: value })).toMatchObject(expected);
  });

  test('can have each of its settings changed by a variable', () => {
    const leaves = (node: Outline, path: string[]): string[][] =>
      node.properties
        ? Object.entries(node.properties).flatMap(([name, inner]) => leaves(inner, [...path, name]))
        : [path];
    const paths = leaves(wholeOutline(), []);
    expect(paths.length).toBeGreaterThan(25);
    for (const path of paths) {
      const variable = `HOMEPORT_${path.map(name => name.replaceAll(/([A-Z])/g, '_$1').toUpperCase()).join('_')}`;
      const tree: Tree = {};
      expect(applyEnvironment(tree, { [variable]: 'x' }, new Origins()), variable).toEqual([]);
      expect(
        path.reduce<unknown>((at, key) => (isTree(at) ? at[key] : undefined), tree),
        variable,
      ).toBe('x');
    }
  });

  test('may share parts by anchors and merge keys', () => {
    const text = stringify(workshop.settings()).replace(
      /^shards:[\s\S]*?^regions:/m,
      'shards:\n  eu-west-1: &s { host: /a, ordinal: 3, admin: { password: { file: db.pw } } }\n  eu-west-2: { <<: *s, host: /b, ordinal: 4 }\nregions:',
    );
    const config = loadConfig({ file: workshop.write('merged.yaml', text), env: { DB_PW: 'x' } });
    expect(Object.values(config.shards).map(shard => [shard.host, shard.admin.password])).toEqual([
      ['/a', DB_PASSWORD],
      ['/b', DB_PASSWORD],
    ]);
  });

  test('may come from variables alone', () => {
    const config = loadConfig({
      env: {
        HOMEPORT_REGION: 'eu-west',
        HOMEPORT_REGIONS: '{ eu-west: }',
        HOMEPORT_CLUSTER_SECRET: `{ file: ${join(workshop.dir, 'cluster.secret')} }`,
        HOMEPORT_NATS_SERVERS: '[nats://127.0.0.1:4222]',
      },
    });
    expect(config).toMatchObject({ region: 'eu-west', shards: {}, users: {}, stateDir: join(process.cwd(), 'state') });
  });

  test.each([
    ['hexadecimal', 'ab'.repeat(32)],
    ['base64', Buffer.alloc(32, 0xab).toString('base64')],
    ['base64url', Buffer.alloc(32, 0xab).toString('base64url')],
    ['raw bytes', Buffer.alloc(32, 0xab)],
  ])('takes the cluster secret as %s', (_, content) => {
    workshop.write('other.secret', content);
    const { cluster } = workshop.load({ cluster: { secret: { file: 'other.secret' } } });
    expect(cluster).toEqual({ name: 'homeport', secret: Buffer.alloc(32, 0xab) });
  });

  test('is not confused by keys that every object has', () => {
    expect(workshop.problems({}, {}, { '__proto__.polluted': 1 })).toEqual([]);
    expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false);
    expect(workshop.problems({ users: { constructor: { verifier: VERIFIER, tenants: ['*'] } } })).toEqual([]);
  });
});

describe('a broken file', () => {
  test('that cannot be read is named', () => {
    expect(() => loadConfig({ file: '/nowhere/homeport.yaml', env: {} })).toThrow(
      /\/nowhere\/homeport.yaml cannot be read: ENOENT/,
    );
  });

  test('that is not YAML is named with its line', () => {
    const file = workshop.write('broken.yaml', 'region: eu-west\nlisten: { pg: x\nnats: [\n');
    expect(() => loadConfig({ file, env: {} })).toThrow(/broken\.yaml:\d: not valid YAML/);
  });

  test('that holds something else than settings is refused', () => {
    const file = workshop.write('list.yaml', '- a\n- b\n');
    expect(() => loadConfig({ file, env: {} })).toThrow('must be a mapping of settings');
  });

  test('tells all its problems at once, each with its code and remedy', () => {
    const file = workshop.write('empty.yaml', '');
    let text = '';
    try {
      loadConfig({ file, env: {} });
    } catch (error) {
      text = describeError(error);
    }
    for (const path of ['cluster', 'region', 'nats', 'regions']) expect(text).toContain(`HP-C114 ${path} is missing`);
    expect(text.match(/remedy: \S/g)).toHaveLength(4);
    expect(text).toContain('Next: ');
  });
});
