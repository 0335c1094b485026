import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseTenantKey, slotPlacement, tenantPlacement } from '../../src/base/ids.ts';
import { later, type PinFact, PinTable } from '../../src/directory/pins.ts';
import type { Placement } from '../../src/directory/records.ts';
import { applyChanges, EMPTY_SNAPSHOT, type SnapshotChange } from '../../src/directory/snapshot.ts';
import { domain, homeIn } from '../support/directory.ts';

const { key } = parseTenantKey('acme');

function placement(epoch: number, revision: number): Placement {
  const home = homeIn(epoch % 2 ? 'us-east' : 'eu-west');
  return { key: tenantPlacement(key), home, secondaries: [], epoch, state: 'active', revision };
}

/** A pin's history as the stream has it: at each sequence made, changed or taken away, epochs growing. */
const histories = fc
  .array(fc.record({ gap: fc.integer({ min: 1, max: 3 }), pinned: fc.boolean() }), { minLength: 1, maxLength: 8 })
  .map(steps => {
    let sequence = 0;
    return steps.map(({ gap, pinned }, n): PinFact => {
      sequence += gap;
      return { asOf: sequence, pin: pinned ? placement(n + 1, sequence) : undefined, epoch: n + 1 };
    });
  });

/** What a read as of a sequence finds. */
function readAt(history: readonly PinFact[], asOf: number): PinFact {
  const last = history.filter(f => f.asOf <= asOf).at(-1);
  return { asOf, pin: last?.pin, epoch: last?.epoch ?? 0 };
}

test('in whatever order watch events and reads arrive, the latest in the stream stands', () => {
  fc.assert(
    fc.property(
      histories,
      fc.array(fc.nat({ max: 30 }), { maxLength: 10 }),
      fc.infiniteStream(fc.nat()),
      (history, reads, order) => {
        const facts = [...history, ...reads.map(asOf => readAt(history, asOf))];
        const arriving = facts
          .map(fact => ({ fact, at: order.next().value ?? 0 }))
          .sort((a, b) => a.at - b.at)
          .map(a => a.fact);
        const pins = new PinTable<never>(10);
        let lastAsOf = -1;
        for (const fact of arriving) {
          expect(pins.offer(key, 0, fact)).not.toBe('refused');
          const asOf = pins.get(key)?.asOf ?? 0;
          expect(asOf).toBeGreaterThanOrEqual(lastAsOf);
          lastAsOf = asOf;
        }
        expect(pins.get(key)?.pin).toEqual(readAt(history, 1_000).pin);
        expect(arriving.reduce((a, b) => later(a, b)).pin).toEqual(readAt(history, 1_000).pin);
      },
    ),
  );
});

test('an epoch that goes back is refused, a record that vanished is not', () => {
  const pins = new PinTable<never>(10);
  pins.offer(key, 0, { asOf: 5, pin: placement(3, 5), epoch: 3 });
  expect(pins.offer(key, 0, { asOf: 6, pin: placement(2, 6), epoch: 2 })).toBe('refused');
  expect(pins.get(key)?.pin?.epoch).toBe(3);
  expect(pins.offer(key, 0, { asOf: 7, pin: undefined, epoch: 0 })).toBe('taken');
  expect(pins.get(key)?.pin).toBeUndefined();
});

test('pins are bounded: the least recently used goes', () => {
  const pins = new PinTable<never>(2);
  const keys = ['a', 'b', 'c'].map(name => parseTenantKey(name).key);
  const [a, b, c] = keys as [typeof key, typeof key, typeof key]; // cast: three of them
  pins.offer(a, 0, { asOf: 1, pin: undefined, epoch: 0 });
  pins.offer(b, 0, { asOf: 1, pin: undefined, epoch: 0 });
  pins.get(a);
  pins.offer(c, 0, { asOf: 1, pin: undefined, epoch: 0 });
  expect(keys.map(k => pins.has(k))).toEqual([true, false, true]);
  expect([...pins.recent(1)].map(([tenant]) => tenant)).toEqual([c]);
});

test('a snapshot takes slots in any order and never an older one; the old value is untouched', () => {
  const changes = [1, 2, 3].map(
    (epoch): SnapshotChange => ({
      kind: 'slot',
      placement: { ...placement(epoch, epoch * 10), key: slotPlacement(domain('global'), 3) },
    }),
  );
  fc.assert(
    fc.property(fc.shuffledSubarray(changes, { minLength: 3 }), order => {
      const first = applyChanges(EMPTY_SNAPSHOT, order.slice(0, 1)).snapshot;
      const kept = JSON.stringify([...first.slots]);
      const { snapshot } = applyChanges(first, order.slice(1));
      expect(snapshot.slots.get(domain('global'))?.[3]?.epoch).toBe(3);
      expect(JSON.stringify([...first.slots])).toBe(kept);
    }),
  );
  const { refused } = applyChanges(
    applyChanges(EMPTY_SNAPSHOT, changes).snapshot,
    changes.slice(0, 1).map(c => (c.kind === 'slot' ? { ...c, placement: { ...c.placement, revision: 99 } } : c)),
  );
  expect(refused.length).toBe(1);
});
