/** What judges the cluster tests is itself shown to see what it looks for. */
import { expect, test } from 'vitest';
import { discrepancies, homesInOrder, type Stood } from './traffic.ts';

const stood = (token: string, region: Stood['region'], second: number): Stood => {
  return { token, tenant: 'a', region, at: new Date(second * 1000) };
};

test('a clean history has nothing to say', () => {
  const rows = [stood('1', 'eu-west', 1), stood('2', 'us-east', 2)];
  expect(discrepancies(rows, rows)).toEqual({ lost: [], doubled: [], untold: [] });
  expect(homesInOrder(rows, 'a')).toEqual(['eu-west', 'us-east']);
});

test('a lost, a doubled and an untold transaction are each named', () => {
  const rows = [stood('1', 'eu-west', 1), stood('2', 'eu-west', 2), stood('2', 'us-east', 3), stood('9', 'us-east', 4)];
  const acknowledged = ['1', '2', '3'].map(token => ({ token, tenant: 'a' }));
  expect(discrepancies(acknowledged, rows)).toEqual({ lost: ['3'], doubled: ['2'], untold: ['9'] });
});

test('a write at the old home after one at the new home shows as a return', () => {
  const rows = [stood('1', 'eu-west', 1), stood('2', 'us-east', 2), stood('3', 'eu-west', 3)];
  expect(homesInOrder(rows, 'a')).toEqual(['eu-west', 'us-east', 'eu-west']);
});
