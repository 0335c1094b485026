import { describe, expect, test } from 'vitest';
import { HomeportError } from '../../src/base/errors.ts';
import { correlated, createLogger, mask, silentLogger } from '../../src/observe/log.ts';

function recorder(level = 'info') {
  const lines: string[] = [];
  const log = createLogger({
    level,
    component: 'gateway',
    bindings: { region: 'eu-west' },
    destination: { write: line => void lines.push(line) },
  });
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? 'null') };
}

describe('a log line', () => {
  test('is one line of JSON with time, level, component and correlation', () => {
    const { log, lines, last } = recorder();
    correlated(log, 'c-1').info({ tenant: 'acme' }, 'routed');
    expect(lines).toHaveLength(1);
    expect(lines[0]?.indexOf('\n')).toBe((lines[0]?.length ?? 0) - 1);
    expect(last()).toMatchObject({
      level: 'info',
      component: 'gateway',
      region: 'eu-west',
      correlation: 'c-1',
      tenant: 'acme',
      msg: 'routed',
    });
    expect(new Date(last().time).getTime()).toBeGreaterThan(0);
  });

  test('is not written below the level', () => {
    const { log, lines } = recorder('warn');
    log.info('quiet');
    silentLogger.fatal('quiet too');
    expect(lines).toEqual([]);
  });

  test('carries an error with code, next step and cause', () => {
    const { log, last } = recorder();
    const cause = Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
    log.error({ err: new HomeportError('HP-D101', { tenant: 'x', why: 'y' }, { cause }) }, 'look-up failed');
    expect(last().err).toMatchObject({
      code: 'HP-D101',
      sqlstate: '22023',
      message: '"x" is not a tenant key: y',
      cause: { code: 'ECONNREFUSED', message: 'refused' },
    });
    expect(last().err.hint).toContain('use [domain/]name');
    log.error(new Error('alone'));
    expect(last()).toMatchObject({ level: 'error', msg: 'alone', err: { message: 'alone' } });
  });

  test('holds no secret, by name at any depth', () => {
    const { log, lines } = recorder();
    const secret = 'hunter2';
    log.info({
      password: secret,
      a: { b: [{ admin: { Password: secret } }] },
      cluster: { secret },
      verifier: secret,
      authorization: secret,
      privateKey: secret,
    });
    log.info({ config: new Map([['password', secret]]) });
    expect(lines.join('')).not.toContain(secret);
  });

  test('holds no secret in a URL, an error or a message', () => {
    const { log, lines } = recorder();
    const url = 'postgresql://app:hunter2@db:5432/app';
    log.info({ url, err: new Error(`cannot reach ${url}`, { cause: new Error(url) }) }, `connecting to ${url}`);
    log.info('connecting to %s', url);
    log.info('connecting to nats://u:hunter2@x');
    expect(lines.join('')).not.toContain('hunter2');
    expect(lines.join('')).toContain('postgresql://app:***@db:5432/app');
  });
});

test('masking writes what JSON cannot, and ends', () => {
  const circle: Record<string, unknown> = {
    lsn: 12n,
    bytes: Buffer.from('secret bytes'),
    set: new Set([1]),
    hasPassword: true,
  };
  circle.self = circle;
  const masked = mask(circle);
  expect(masked).toMatchObject({ lsn: '12', bytes: '<12 bytes>', set: [1], hasPassword: true });
  expect(JSON.stringify(masked)).toContain('…');
  expect(mask({ list: new Array(1000).fill(0) })).toEqual({ list: new Array(100).fill(0) });
});
