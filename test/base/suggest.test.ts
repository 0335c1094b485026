import fc from 'fast-check';
import { expect, test } from 'vitest';
import { didYouMean, editDistance, nearest } from '../../src/base/suggest.ts';

test.each([
  ['', '', 0],
  ['a', '', 1],
  ['kitten', 'sitting', 3],
  ['regoin', 'region', 1],
  ['ab', 'ba', 1],
])('from %s to %s it is %d', (a, b, expected) => {
  expect(editDistance(a, b)).toBe(expected);
});

test('a distance is symmetric, zero only for the same word, and no longer than the longer word', () => {
  const word = fc.string({ maxLength: 12 });
  fc.assert(
    fc.property(word, word, (a, b) => {
      const distance = editDistance(a, b);
      expect(editDistance(b, a)).toBe(distance);
      expect(distance === 0).toBe(a === b);
      expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length));
    }),
  );
});

test('suggests slips of the finger and nothing wild', () => {
  const names = ['region', 'regions', 'listen', 'nats'];
  expect(nearest('regoin', names)).toBe('region');
  expect(nearest('Listen', names)).toBe('listen');
  expect(nearest('password', names)).toBeUndefined();
  expect(nearest('x'.repeat(10_000), names)).toBeUndefined();
  expect(didYouMean('natz', names)).toBe('; did you mean "nats"?');
  expect(didYouMean('password', names)).toBe('');
});
