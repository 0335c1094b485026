import { describe, expect, test } from 'vitest';
import { type Clock, poll, realWorld } from '../../src/base/world.ts';

const { clock, random } = realWorld;

/** A clock that jumps when somebody sleeps, and notes for how long. */
function jumpingClock(): Clock & { slept: number[] } {
  let nowMs = 1000;
  const slept: number[] = [];
  return {
    ...clock,
    slept,
    monotonicMs: () => nowMs,
    async sleep(delayMs) {
      slept.push(delayMs);
      nowMs += delayMs;
    },
  };
}

describe('poll', () => {
  test('returns what it finds without waiting when it is there already', async () => {
    const fake = jumpingClock();
    expect(await poll(fake, () => 'here', { everyMs: 10, limitMs: 100 })).toBe('here');
    expect(fake.slept).toEqual([]);
  });

  test('asks again until it is there', async () => {
    const fake = jumpingClock();
    let asked = 0;
    expect(await poll(fake, async () => (++asked === 4 ? asked : undefined), { everyMs: 10, limitMs: 100 })).toBe(4);
    expect(fake.slept).toEqual([10, 10, 10]);
  });

  test('gives up when the time is over, having asked once more at the end', async () => {
    const fake = jumpingClock();
    let asked = 0;
    const nothing = () => {
      asked++;
      return undefined;
    };
    expect(await poll(fake, nothing, { everyMs: 30, limitMs: 100 })).toBeUndefined();
    expect([asked, fake.monotonicMs()]).toEqual([5, 1120]);
  });

  test('takes null, 0 and false for found', async () => {
    for (const value of [null, 0, false]) {
      expect(await poll(jumpingClock(), () => value, { everyMs: 1, limitMs: 1 })).toBe(value);
    }
  });

  test('passes on what the probe throws', async () => {
    const probe = () => Promise.reject(new Error('gone'));
    await expect(poll(jumpingClock(), probe, { everyMs: 1, limitMs: 1 })).rejects.toThrow('gone');
  });
});

describe('the real clock', () => {
  test('sleeps, and stops sleeping when told to', async () => {
    const started = clock.monotonicMs();
    await clock.sleep(5);
    expect(clock.monotonicMs() - started).toBeGreaterThanOrEqual(4);
    const stop = new AbortController();
    const sleeping = clock.sleep(60_000, stop.signal);
    stop.abort(new Error('enough'));
    await expect(sleeping).rejects.toThrow('enough');
    await expect(clock.sleep(60_000, AbortSignal.abort(new Error('before')))).rejects.toThrow('before');
  });

  test('fires once, or again and again, until cancelled', async () => {
    await new Promise<void>(resolve => clock.after(1, resolve, { keepAlive: true }));
    let ticks = 0;
    await new Promise<void>(resolve => {
      const timer = clock.every(1, () => {
        if (++ticks === 3) {
          timer.cancel();
          resolve();
        }
      });
    });
    expect(ticks).toBe(3);
    clock.after(0, () => ticks++).cancel();
    await clock.sleep(5);
    expect(ticks).toBe(3);
  });
});

test('chance stays within what was asked for', () => {
  expect(random.bytes(16)).toHaveLength(16);
  for (let i = 0; i < 100; i++) {
    expect(random.below(3)).toBeLessThan(3);
    expect(random.unit()).toBeGreaterThanOrEqual(0);
    expect(random.unit()).toBeLessThan(1);
  }
  expect(random.uuid()).not.toBe(random.uuid());
});
