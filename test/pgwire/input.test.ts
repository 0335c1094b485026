import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { frame } from '../../src/pgwire/frames.ts';
import { FrameInput } from '../../src/pgwire/input.ts';

const frames = fc.array(fc.tuple(fc.integer({ min: 1, max: 255 }), fc.uint8Array({ maxLength: 60 })), {
  minLength: 1,
  maxLength: 12,
});
const cuts = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 60 });

/** The bytes in pieces of these lengths, in turns. */
function chunks(bytes: Buffer, lengths: number[]): Buffer[] {
  const out: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const length = lengths[i % lengths.length] ?? 1;
    out.push(bytes.subarray(at, at + length));
    at += length;
  }
  return out;
}

const hex = (type: number, body: Uint8Array) => frame(type, Buffer.from(body)).toString('hex');

function readAll(input: FrameInput): string[] {
  const found: string[] = [];
  while (input.next(1000) === 'frame') {
    found.push(input.buffer.toString('hex', input.start, input.end));
    input.advance();
  }
  return found;
}

describe('frames of a byte stream', () => {
  test('are the same however it is cut', () => {
    void fc.assert(
      fc.property(frames, cuts, (given, lengths) => {
        const input = new FrameInput();
        const found: string[] = [];
        for (const chunk of chunks(
          Buffer.concat(given.map(([type, body]) => frame(type, Buffer.from(body)))),
          lengths,
        )) {
          input.add(chunk);
          found.push(...readAll(input));
        }
        expect(found).toEqual(given.map(([type, body]) => hex(type, body)));
        expect(input.bytes).toBe(0);
      }),
    );
  });

  test('are read again from the mark on, once, with what was put in a frame’s place', () => {
    void fc.assert(
      fc.property(frames, cuts, fc.nat(11), fc.nat(11), fc.nat(11), (given, lengths, markAt, changed, readTo) => {
        const texts = given.map(([type, body]) => hex(type, body));
        const other = frame(1, Buffer.from('other'));
        const input = new FrameInput();
        const all = chunks(Buffer.from(texts.join(''), 'hex'), lengths);
        const late = all.splice(Math.ceil(all.length / 2));
        for (const chunk of all) input.add(chunk);
        let read = 0;
        const from = Math.min(markAt, texts.length);
        const step = () => {
          if (input.next(1000) !== 'frame') return false;
          if (read === changed && changed >= from) {
            input.substitute(other);
            texts[read] = other.toString('hex');
            expect(input.next(1000)).toBe('frame');
          }
          expect(input.buffer.toString('hex', input.start, input.end)).toBe(texts[read]);
          input.advance();
          read++;
          return true;
        };
        while (read < from && step());
        const marked = read;
        input.next(1000);
        input.mark();
        while (read < readTo && step());
        expect(input.markedBytes).toBe(texts.slice(marked, read).join('').length / 2);
        for (const chunk of late) input.add(chunk);
        input.rewind();
        expect(readAll(input)).toEqual(texts.slice(marked));
      }),
      { numRuns: 500 },
    );
  });

  test('with an impossible length are invalid before memory is taken', () => {
    for (const length of [-1, 0, 3, 1000, 2 ** 31 - 1]) {
      const input = new FrameInput();
      const head = Buffer.alloc(5);
      head.writeInt32BE(length, 1);
      input.add(head);
      expect(input.next(1000)).toBe('invalid');
    }
  });

  test('longer than what is here can be taken piece by piece', () => {
    const input = new FrameInput();
    const bytes = frame(100, Buffer.alloc(500, 7));
    const taken: Buffer[] = [];
    for (const chunk of chunks(bytes, [100])) {
      input.add(chunk);
      if (taken.length === 0) expect(input.next(1000)).toBe('partial');
      taken.push(input.take(1000));
    }
    expect(Buffer.concat(taken)).toEqual(bytes);
  });
});
