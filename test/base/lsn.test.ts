import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatLsn, LSN_ZERO, type Lsn, parseLsn } from '../../src/base/lsn.ts';

test('reads and writes what Postgres does', () => {
  expect(parseLsn('16/B374D848')).toBe(0x16b374d848n);
  expect(formatLsn(0x16b374d848n as Lsn)).toBe('16/B374D848');
  expect(parseLsn('0/0')).toBe(LSN_ZERO);
  expect(parseLsn('ffffffff/FFFFFFFF')).toBe(2n ** 64n - 1n);
});

test('any 64-bit position comes back', () => {
  fc.assert(fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), lsn => parseLsn(formatLsn(lsn as Lsn)) === lsn));
});

test.each(['', '0', '/', '1/', '/1', '1/2/3', '123456789/0', 'g/0', ' 0/0', '0/0\n'])('%j is not an LSN', text => {
  expect(parseLsn(text)).toBeUndefined();
});
