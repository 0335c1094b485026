/** An outage is spoken of at its beginning, once a minute, and at its end; never with a stack trace. */
import { expect, test } from 'vitest';
import { realWorld } from '../../src/base/world.ts';
import { Outage, reasonOf } from '../../src/bus/outage.ts';
import { memoryLog } from '../support/directory.ts';

const WORDS = { away: 'it is away', back: 'it is back' };

function outage() {
  const log = memoryLog();
  let nowMs = 5_000;
  const clock = { ...realWorld.clock, monotonicMs: () => nowMs };
  const pass = (ms: number) => {
    nowMs += ms;
  };
  return { log, pass, outage: new Outage(log, clock, WORDS) };
}

test('two who fail every two seconds for five minutes are spoken of once a minute', () => {
  const { log, pass, outage: away } = outage();
  for (let second = 0; second < 300; second += 2) {
    for (const who of ['a', 'b']) away.failed(who, 'refused', { who });
    pass(2_000);
  }
  away.back('a');
  expect(log.lines.slice(0, 2)).toEqual([
    'warn it is away {"who":"a","why":"refused"}',
    'warn it is away {"who":"a","why":"refused","failures":61,"seconds":60}',
  ]);
  expect(log.lines.length).toBe(5);
  away.back('b');
  away.back('b');
  expect(log.lines.slice(5)).toEqual(['info it is back {"failures":300,"seconds":300}']);
});

test('the next outage begins anew, and the end of none is not spoken of', () => {
  const { log, pass, outage: away } = outage();
  away.back('a');
  away.failed('a', 'refused');
  away.back('a');
  pass(1_000);
  away.failed('a', 'again');
  expect(log.lines).toEqual([
    'warn it is away {"why":"refused"}',
    'info it is back {"failures":1,"seconds":0}',
    'warn it is away {"why":"again"}',
  ]);
});

test('a reason is the words of an error and of its cause', () => {
  expect(reasonOf(new Error('no', { cause: new Error('ECONNREFUSED') }))).toBe('no: ECONNREFUSED');
  expect(reasonOf(new Error('no'))).toBe('no');
  expect(reasonOf('text')).toBe('text');
});
