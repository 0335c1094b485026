import { expect, test } from 'vitest';
import { defaults, limits } from '../../src/base/limits.ts';

test('the limits fit each other', () => {
  // an honest startup or password message always fits what may be held whole
  expect(limits.startupPacketBytes).toBeLessThan(limits.bufferedFrameBytes);
  expect(limits.authMessageBytes).toBeLessThan(limits.startupPacketBytes);
  // a statement that is held whole must be one that may pass at all
  expect(limits.statementBytes).toBeLessThan(limits.frameBytes);
  // one buffered frame can be sent again on a stale route
  expect(limits.bufferedFrameBytes).toBeLessThanOrEqual(limits.resendBytes);
  // connecting once fits into a hold, or the first try would use it up
  expect(limits.connectMs).toBeLessThan(limits.holdMs);
  // who waits in a queue outlasts a change of home
  expect(defaults.queueMs).toBeGreaterThan(limits.holdMs);
});

test('the defaults pass the checks of the configuration', () => {
  expect(defaults.perTenant).toBeLessThanOrEqual(defaults.perShard);
  expect(defaults.perUser).toBeLessThanOrEqual(defaults.clients);
});

test('every limit is a positive whole number', () => {
  for (const [name, value] of Object.entries({ ...limits, ...defaults })) {
    expect(Number.isSafeInteger(value) && value > 0, name).toBe(true);
  }
});
