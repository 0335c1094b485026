import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HomeportError } from '../../src/base/errors.ts';
import { isName, MAX_TENANT_KEY_BYTES, parseTenantKey, slotPlacement, tenantPlacement } from '../../src/base/ids.ts';

function refusal(text: string): string {
  try {
    parseTenantKey(text);
  } catch (error) {
    if (error instanceof HomeportError && error.code === 'HP-D101') return String(error.params.why);
    throw error;
  }
  throw new Error(`${text} was accepted`);
}

describe('a tenant key', () => {
  test('without a domain, and with the default domain, is the same tenant', () => {
    expect(parseTenantKey('acme')).toEqual({ key: 'acme', domain: 'global', name: 'acme' });
    expect(parseTenantKey('global/acme')).toEqual(parseTenantKey('acme'));
  });

  test('keeps its domain, and what follows the first slash is the name', () => {
    expect(parseTenantKey('eu/acme')).toEqual({ key: 'eu/acme', domain: 'eu', name: 'acme' });
    expect(parseTenantKey('eu/a/b')).toEqual({ key: 'eu/a/b', domain: 'eu', name: 'a/b' });
    expect(parseTenantKey('global/a/b')).toEqual({ key: 'global/a/b', domain: 'global', name: 'a/b' });
  });

  test.each([
    ['', /empty/],
    ['eu/', /empty/],
    ['/acme', /not a domain name/],
    ['EU/acme', /not a domain name/],
    ['a\nb', /control/],
    ['a\u0085b', /control/],
    ['a\u0000', /control/],
    ['\ud800', /well-formed/],
    ['x'.repeat(MAX_TENANT_KEY_BYTES + 1), /longer/],
    ['ü'.repeat(MAX_TENANT_KEY_BYTES / 2 + 1), /longer/],
  ])('is refused: %j', (text, why) => {
    expect(refusal(text)).toMatch(why);
  });

  test('of exactly the longest size is accepted', () => {
    expect(parseTenantKey('ü'.repeat(MAX_TENANT_KEY_BYTES / 2)).key).toHaveLength(MAX_TENANT_KEY_BYTES / 2);
  });

  test('is either refused, or parses to itself again', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string(),
      fc.tuple(fc.string(), fc.string()).map(parts => parts.join('/')),
    );
    fc.assert(
      fc.property(text, written => {
        let parts: ReturnType<typeof parseTenantKey>;
        try {
          parts = parseTenantKey(written);
        } catch (error) {
          return error instanceof HomeportError && error.code === 'HP-D101';
        }
        expect(parseTenantKey(parts.key)).toEqual(parts);
        expect(isName(parts.domain)).toBe(true);
        expect(Buffer.byteLength(parts.key)).toBeLessThanOrEqual(MAX_TENANT_KEY_BYTES);
        return true;
      }),
      { numRuns: 500 },
    );
  });
});

test('placements are written slot:<domain>:<n> and tenant:<key>', () => {
  const { key, domain } = parseTenantKey('eu/acme');
  expect(slotPlacement(domain, 7)).toBe('slot:eu:7');
  expect(tenantPlacement(key)).toBe('tenant:eu/acme');
});

test.each([
  ['eu-west', true],
  ['e1', true],
  ['a', false],
  ['1a', false],
  ['a-', false],
  ['A1', false],
  ['a_b', false],
  [`a${'b'.repeat(39)}`, true],
  [`a${'b'.repeat(40)}`, false],
])('%s is a name: %s', (text, expected) => {
  expect(isName(text)).toBe(expected);
});
