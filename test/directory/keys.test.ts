import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type PlacementKey, parseTenantKey, type TenantKey, tenantPlacement } from '../../src/base/ids.ts';
import { decodeToken, encodeToken, kvKeyToPlacement, placementToKvKey, tenantKvKey } from '../../src/directory/keys.ts';

const LEGAL = /^[-/=.\w]+$/;

test('a tenant key survives the way into a KV key and back, in one spelling, within the length NATS takes', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }), text => {
      let key: TenantKey;
      try {
        ({ key } = parseTenantKey(text));
      } catch (error) {
        if (error instanceof Error) return; // not a tenant key: nothing to keep
        throw error;
      }
      const kvKey = tenantKvKey(key);
      expect(kvKey).toMatch(LEGAL);
      expect(kvKey.length).toBeLessThanOrEqual('tenant.'.length + 600);
      expect(kvKeyToPlacement(kvKey)).toBe(tenantPlacement(key));
      expect(placementToKvKey(tenantPlacement(key))).toBe(kvKey);
    }),
  );
});

test('different texts get different tokens, and only those that encoding writes are read', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary-ascii' }), token => {
      const text = decodeToken(token);
      if (text !== undefined) expect(encodeToken(text)).toBe(token);
    }),
  );
  expect(encodeToken('eu/acme.x')).toBe('eu=2facme=2ex');
  for (const bad of ['a.b', '=2F', '=61', '=', '=2', '=ff', 'ä']) expect(decodeToken(bad), bad).toBeUndefined();
});

test.each([
  ['slot:global:0', 'slot.global.0'],
  ['slot:eu:1023', 'slot.eu.1023'],
  ['tenant:acme', 'tenant.acme'],
])('%s is kept under %s', (placement, kvKey) => {
  expect(placementToKvKey(placement as PlacementKey)).toBe(kvKey);
  expect(kvKeyToPlacement(kvKey)).toBe(placement);
});

test.each(['slot:global:01', 'slot:Global:1', 'slot:global:', 'tenant:', 'tenant:global/acme', 'other:1', ''])(
  '"%s" is no placement key',
  text => expect(placementToKvKey(text as PlacementKey)).toBeUndefined(),
);
