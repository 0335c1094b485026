import { afterAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { catalogue } from '../../src/base/errors/catalogue.ts';
import { DB_PASSWORD, Workshop } from '../config/fixture.ts';
import { homeport } from './terminal.ts';

const workshop = new Workshop();
afterAll(() => workshop[Symbol.dispose]());
const good = workshop.write('good.yaml', stringify(workshop.settings()));
const bad = workshop.write('bad.yaml', stringify({ ...workshop.settings(), regoin: 1, workers: 0 }));
const env = { DB_PW: 'x' };

describe('homeport config check', () => {
  test('says in one line what is valid', async () => {
    expect(await homeport(['config', 'check', '-c', good], env)).toEqual({
      code: 0,
      out: `${good}: valid; region eu-west (2 regions, 1 own shards, 1 users)\n`,
      err: '',
    });
  });

  test('finds the file by HOMEPORT_CONFIG', async () => {
    const { out } = await homeport(['config', 'check', '--json'], { ...env, HOMEPORT_CONFIG: good });
    expect(JSON.parse(out)).toMatchObject({ valid: true, file: good, region: 'eu-west', shards: ['eu-west-1'] });
  });

  test('names every problem and exits with 2', async () => {
    const { code, out, err } = await homeport(['config', 'check', '-c', bad], env);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain('HP-C101 the configuration has 2 problems');
    expect(err).toContain('regoin is not a setting; did you mean "region"?');
    expect(err).toContain('workers must be at least 1');
    const json = JSON.parse((await homeport(['config', 'check', '-c', bad, '--json'], env)).err);
    expect(json.error.problems.map((problem: { code: string }) => problem.code)).toEqual(['HP-C113', 'HP-C110']);
  });

  test('takes --set, and refuses one that is none', async () => {
    const { out } = await homeport(
      ['config', 'check', '-c', good, '--set', 'workers=3', '--set', 'log.level=debug', '--json'],
      env,
    );
    expect(JSON.parse(out)).toMatchObject({ valid: true });
    const refused = await homeport(['config', 'check', '-c', good, '--set', 'workers'], env);
    expect(refused).toMatchObject({
      code: 2,
      err: expect.stringContaining('HP-C202 --set workers is not of the form path=value'),
    });
  });
});

describe('homeport config print', () => {
  test('prints what is in force, and no secret', async () => {
    const { code, out } = await homeport(['config', 'print', '-c', good, '--set', 'listen.pg=[::1]:7'], env);
    expect(code).toBe(0);
    expect(out).toContain('pg: "[::1]:7"');
    expect(out).not.toContain(DB_PASSWORD);
    const json = JSON.parse((await homeport(['config', 'print', '-c', good, '--json'], env)).out);
    expect(json).toMatchObject({ region: 'eu-west', cluster: { secret: '***' } });
  });
});

test('homeport config schema prints a JSON Schema', async () => {
  const { out } = await homeport(['config', 'schema']);
  expect(JSON.parse(out)).toMatchObject({
    type: 'object',
    additionalProperties: false,
    required: expect.arrayContaining(['region']),
  });
});

describe('homeport errors', () => {
  test('lists them all', async () => {
    const { out } = await homeport(['errors', '--json']);
    expect(JSON.parse(out)).toHaveLength(Object.keys(catalogue).length);
    expect((await homeport(['errors'])).out).toMatch(/^CODE +SQLSTATE +WHAT HAPPENED\n/);
  });

  test('explains one, in any case, and lists those that begin alike', async () => {
    const { out } = await homeport(['errors', 'hp-d101']);
    expect(out).toContain('HP-D101  "‹tenant›" is not a tenant key: ‹why›\n  Next: use [domain/]name');
    expect(JSON.parse((await homeport(['errors', 'HP-C1', '--json'])).out).length).toBeGreaterThan(5);
  });

  test('does not know others', async () => {
    const { code, err } = await homeport(['errors', 'HP-D1O1']);
    expect(code).toBe(5);
    expect(err).toMatch(/HP-C201 there is no error code HP-D1O1; did you mean "HP-D1\d1"\?/);
  });
});
