import { afterAll, describe, expect, test } from 'vitest';
import { VERIFIER, Workshop } from './fixture.ts';

const workshop = new Workshop();
afterAll(() => workshop[Symbol.dispose]());

const user = (changes: object) => ({ users: { app: { verifier: VERIFIER, tenants: ['*'], ...changes } } });
const shard = { host: 'db', ordinal: 9, admin: { password: { file: 'db.pw' } } };

describe('each of these is refused with its path', () => {
  test.each<[Record<string, unknown>, RegExp]>([
    [{ regoin: 'x' }, /^HP-C110 regoin is not a setting; did you mean "region"\?$/],
    [{ limits: { perShardd: 3 } }, /^HP-C110 limits\.perShardd is not .* "perShard"/],
    [{ completely: 1 }, /^HP-C110 completely is not a setting$/],
    [{ region: 7 }, /^HP-C113 region must be text$/],
    [{ region: 'EU' }, /^HP-C113 region must be 2 to 40 lower-case/],
    [{ region: null }, /^HP-C114 region is missing$/],
    [{ workers: 0 }, /^HP-C113 workers must be at least 1$/],
    [{ workers: 1.5 }, /^HP-C113 workers must be a whole number$/],
    [{ workers: 'many' }, /^HP-C113 workers must be a number$/],
    [{ log: { level: 'loud' } }, /^HP-C113 log\.level must be one of trace, debug/],
    [{ listen: { pg: 'nope' } }, /^HP-C113 listen\.pg must be an address of the form host:port$/],
    [{ listen: { pg: '127.0.0.1:65536' } }, /^HP-C113 listen\.pg must be an address/],
    [{ listen: [] }, /^HP-C113 listen must be a mapping$/],
    [{ nats: { servers: [] } }, /^HP-C113 nats\.servers must not be empty$/],
    [{ nats: { servers: ['http://x'] } }, /^HP-C113 nats\.servers\.0 must be an address such as nats:/],
    [{ nats: { servers: ['nats://u:hunter2@x'] } }, /^HP-C113 nats\.servers\.0 holds credentials in plain text$/],
    [
      { remoteShards: { 'us-east-1': { host: 'db', ordinal: 1, admin: { password: { file: 'db.pw' } } } } },
      /^HP-C115 .*ordinal.*eu-west-1 has 1 already/,
    ],
    [{ shards: { 'eu-west-1': { host: 'db', ordinal: 1 } } }, /^HP-C114 shards\.eu-west-1\.admin is missing$/],
    [{ shards: { X: shard } }, /^HP-C113 shards\.X is not a name that may stand there/],
    [{ domains: { eu: 'some' } }, /^HP-C113 domains\.eu must be all or a list of regions$/],
    [user({ verifier: 'hunter2' }), /^HP-C113 users\.app\.verifier is not a SCRAM verifier$/],
    [user({ poolMode: 'statement' }), /^HP-C113 users\.app\.poolMode must be one of transaction, session$/],
    [{ users: { pg_x: { verifier: VERIFIER, tenants: ['*'] } } }, /^HP-C113 users\.pg_x .* role name/],
  ])('%j', (changes, expected) => {
    const problems = workshop.problems(changes);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(expected);
  });
});

describe('a secret', () => {
  test.each<[string, Record<string, unknown>, string]>([
    ['cluster.secret', { cluster: { secret: 'hunter2' } }, 'cluster.secret'],
    ['a number', { cluster: { secret: 1234 } }, 'cluster.secret'],
    [
      'a password',
      { shards: { 'eu-west-1': { host: 'db', ordinal: 9, admin: { password: 'hunter2' } } } },
      'shards.eu-west-1.admin.password',
    ],
    ['nats.password', { nats: { servers: ['nats://x'], user: 'u', password: 'hunter2' } }, 'nats.password'],
  ])('in plain text is refused with the remedy, and not repeated: %s', (_, changes, path) => {
    const [refusal, ...others] = workshop.refusals(changes);
    expect(others).toEqual([]);
    expect(refusal?.code).toBe('HP-C111');
    expect(refusal?.message).toContain(`${path} holds a secret as plain text`);
    expect(refusal?.hint).toContain(`${path}: { file: /path/to/secret } or { env: NAME }`);
    expect(JSON.stringify([refusal?.message, refusal?.hint, refusal?.params])).not.toContain('hunter2');
  });

  test('in a variable is no better', () => {
    expect(workshop.problems({}, { HOMEPORT_CLUSTER_SECRET: 'hunter2' })).toEqual([
      expect.stringMatching(/^HP-C111 cluster\.secret \(from HOMEPORT_CLUSTER_SECRET\) holds/),
    ]);
  });

  test.each<[unknown, RegExp]>([
    [{ file: 'absent' }, /^HP-C112 cluster\.secret refers to .*absent, which cannot be read: ENOENT/],
    [{ env: 'ABSENT' }, /^HP-C112 cluster\.secret refers to the variable ABSENT, which is not set$/],
    [{ env: 'EMPTY' }, /^HP-C112 .* EMPTY, which is empty$/],
    [{ file: 'db.pw' }, /^HP-C113 cluster\.secret must be 32 bytes .* not 29 bytes of something else$/],
    [{ file: 'a', env: 'B' }, /^HP-C113 cluster\.secret must be a reference to a secret$/],
    [{ flie: 'a' }, /^HP-C113 cluster\.secret must be a reference to a secret$/],
    [undefined, /^HP-C114 cluster\.secret is missing$/],
  ])('given as %j', (secret, expected) => {
    const problems = workshop.problems({ cluster: { secret } }, { EMPTY: '' });
    expect(problems).toEqual([expect.stringMatching(expected)]);
  });
});

describe('settings that do not fit each other', () => {
  const open = { pg: '0.0.0.0:6432' };
  test.each<[Record<string, unknown>, RegExp]>([
    [
      { region: 'eu-wset' },
      /region does not fit the rest: eu-wset is not one of the regions \(eu-west, us-east\); did you mean "eu-west"/,
    ],
    [{ regions: { 'eu-west': {}, 'us-east': {} } }, /regions\.us-east\.peers .* another region without a gateway/],
    [{ shards: { 'us-east-1': shard } }, /shards\.us-east-1 .* a shard of eu-west is called eu-west-<number>/],
    [{ shards: { 'eu-west-0': shard } }, /shards\.eu-west-0 /],
    [{ remoteShards: { 'eu-west-2': shard } }, /remoteShards\.eu-west-2 .* belongs to eu-west/],
    [
      { remoteShards: { 'us-east-1': { ...shard, region: 'ap-south' } } },
      /remoteShards\.us-east-1\.region .* says us-east/,
    ],
    [{ remoteShards: { 'ap-south-1': shard } }, /remoteShards\.ap-south-1 .* ap-south is not one of the regions/],
    [{ domains: { eu: ['eu-wst'] } }, /domains\.eu\.0 .* did you mean "eu-west"/],
    [{ domains: { global: ['eu-west'] } }, /domains\.global .* every region/],
    [user({ tenants: ['eu/*', 'ue/*'] }), /users\.app\.tenants\.1 .* ue is not a domain; did you mean "eu"/],
    [user({ tenants: ['a\nb'] }), /users\.app\.tenants\.0 .* control characters/s],
    [user({ verifier: VERIFIER.replace('4096', '1000') }), /users\.app\.verifier .* 1000 iterations/],
    [{ listen: open }, /listen\.pg .* 0\.0\.0\.0:6432 can be reached from elsewhere in plain text/],
    [{ listen: { pg: '127.0.0.1:6433' } }, /listen .* 127\.0\.0\.1:6433 is given twice/],
    [{ limits: { perTenant: 50, perShard: 40 } }, /limits\.perTenant .* 50 backends are more than its shard has/],
    [{ limits: { clients: 10 } }, /limits\.perTenant .* more than limits\.clients/],
    [{ limits: { perShard: 20 }, workers: 21 }, /limits\.perShard .* cannot be shared by 21 workers/],
    [{ nats: { servers: ['nats://x'], user: 'u' } }, /nats\.password .* belong together/],
  ])('%j', (changes, expected) => {
    const refusals = workshop.refusals(changes).filter(({ code }) => code === 'HP-C115');
    expect(refusals.map(({ message }) => message)).toContainEqual(expect.stringMatching(expected));
    for (const { hint } of refusals) expect(hint.length).toBeGreaterThan(10);
  });

  test('are found although something else is misspelt', () => {
    const problems = workshop.problems({ region: 'eu-wset', log: { level: 'loud' } });
    expect(problems).toEqual([expect.stringMatching(/^HP-C113 log\.level/), expect.stringMatching(/^HP-C115 region/)]);
  });

  test('name the variable or flag that brought them', () => {
    expect(workshop.problems({}, { HOMEPORT_REGION: 'ap-south' })[0]).toMatch(
      /^HP-C115 region \(from HOMEPORT_REGION\)/,
    );
    expect(workshop.problems({}, {}, { region: 'ap-south' })[0]).toMatch(/^HP-C115 region \(from the command line\)/);
    expect(workshop.problems({}, { HOMEPORT_REGOIN: 'x' })).toEqual([
      'HP-C110 HOMEPORT_REGOIN is not a setting; did you mean "HOMEPORT_REGION"?',
    ]);
    expect(workshop.problems({}, { HOMEPORT_LOG_LEVLE: 'x' })).toEqual([
      'HP-C110 HOMEPORT_LOG_LEVLE is not a setting; did you mean "HOMEPORT_LOG_LEVEL"?',
    ]);
  });

  test('about plain text are accepted when it was asked for, or with TLS', () => {
    workshop.write('cert.pem', 'cert');
    workshop.write('key.pem', 'key');
    const tls = { cert: 'cert.pem', key: 'key.pem' };
    expect(workshop.problems({ listen: { ...open, insecure: true } })).toEqual([]);
    expect(workshop.problems({ listen: { ...open, tls } })).toEqual([]);
    expect(workshop.load({ listen: { ...open, tls } }).listen.tls).toMatchObject({ required: true });
    expect(workshop.problems({ listen: { ...open, tls: { ...tls, required: false } } })).toHaveLength(1);
    expect(workshop.problems({ listen: { ...open, tls: { ...tls, key: 'absent.pem' } } })).toEqual([
      expect.stringMatching(/^HP-C112 listen\.tls\.key refers to .*absent\.pem, which cannot be read/),
    ]);
  });
});
