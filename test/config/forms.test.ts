import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseTenantKey } from '../../src/base/ids.ts';
import { formatHostPort, isLocalHost, parseHostPort } from '../../src/config/forms.ts';
import { matchesTenant, parseTenantPattern } from '../../src/config/patterns.ts';
import { maskConfig, printConfig } from '../../src/config/print.ts';
import { settingsJsonSchema } from '../../src/config/schema.ts';
import { DB_PASSWORD, VERIFIER, Workshop } from './fixture.ts';

describe('an address', () => {
  test('comes back as it was written', () => {
    const host = fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6());
    fc.assert(
      fc.property(host, fc.integer({ min: 0, max: 65_535 }), (name, port) => {
        expect(parseHostPort(formatHostPort({ host: name, port }))).toEqual({ host: name, port });
      }),
    );
  });

  test.each(['', 'db', ':1', 'db:', 'db:x', 'db:65536', 'a:b:1', '[::1]', '/dir:1', 'a b:1'])('is not %j', text => {
    expect(parseHostPort(text)).toBeUndefined();
  });

  test.each([
    ['127.0.0.1', true],
    ['127.8.8.8', true],
    ['::1', true],
    ['localhost', true],
    ['/var/run/postgresql', true],
    ['0.0.0.0', false],
    ['127.evil.example', false],
    ['10.0.0.1', false],
    ['::', false],
  ])('%s is this machine alone: %s', (host, expected) => {
    expect(isLocalHost(host)).toBe(expected);
  });
});

test.each([
  ['*', 'acme', true],
  ['*', 'eu/acme', true],
  ['eu/*', 'eu/acme', true],
  ['eu/*', 'acme', false],
  ['global/*', 'acme', true],
  ['acme', 'acme', true],
  ['global/acme', 'acme', true],
  ['acme', 'eu/acme', false],
  ['acme', 'acme2', false],
])('the pattern %s lets %s in: %s', (pattern, tenant, expected) => {
  expect(matchesTenant(parseTenantPattern(pattern), parseTenantKey(tenant))).toBe(expected);
});

test('what is printed is complete and holds no secret', () => {
  using workshop = new Workshop();
  const password = 'nats-pass-word';
  const config = workshop.load(
    { nats: { servers: ['nats://x:1'], user: 'u', password: { env: 'NATS_PW' } } },
    { NATS_PW: password },
  );
  const printed = printConfig(config);
  for (const secret of [DB_PASSWORD, password, 'from env', 'ab'.repeat(16), 'A'.repeat(43), 'B'.repeat(43), VERIFIER]) {
    expect(printed).not.toContain(secret);
  }
  expect(printed).toContain('SCRAM-SHA-256$4096:***');
  expect(Object.keys(maskConfig(config)).toSorted()).toEqual(Object.keys(config).toSorted());
});

test('the JSON Schema names every section, and says what belongs there', () => {
  const { properties = {} } = settingsJsonSchema();
  expect(Object.keys(properties)).toContain('remoteShards');
  for (const [name, schema] of Object.entries(properties)) expect(schema, name).toHaveProperty('description');
});
