import { expect, test } from 'vitest';
import { BrokenInvariant } from '../../src/base/assert.ts';
import { machine } from '../../src/base/machine.ts';

const door = machine('door', [
  { from: 'open', on: 'push', to: 'shut', says: 'somebody shut it' },
  { from: 'shut', on: 'pull', to: 'open', says: 'somebody opened it' },
]);

test('follows its rows and hands out the sentence', () => {
  expect(door.next('open', 'push')).toEqual({ from: 'open', on: 'push', to: 'shut', says: 'somebody shut it' });
  expect(door.next('shut', 'pull').to).toBe('open');
});

test('an event without a row is an error of ours, and can be asked about', () => {
  expect(() => door.next('open', 'pull')).toThrow(BrokenInvariant);
  expect(() => door.next('open', 'pull')).toThrow("door: pull can't happen in open");
  expect(door.find('open', 'pull')).toBeUndefined();
});

test('two answers to one event are refused when the table is made', () => {
  const row = { from: 'a', on: 'x', to: 'b', says: '' };
  expect(() => machine('twice', [row, { ...row, to: 'c' }])).toThrow('twice: two rows for x in a');
});

test('names that join to the same text do not meet', () => {
  const rows = [
    { from: 'a', on: 'bc', to: 'x', says: '' },
    { from: 'ab', on: 'c', to: 'y', says: '' },
  ];
  const { next } = machine('joined', rows);
  expect([next('a', 'bc').to, next('ab', 'c').to]).toEqual(['x', 'y']);
});
