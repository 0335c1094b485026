import type { Socket } from 'node:net';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Output } from '../../src/pgwire/output.ts';

/** A socket that keeps what it is given, as a kernel whose buffer is full would, until it is let go. */
class SlowSocket {
  writes = 0;
  corked = 0;
  full = false;
  private held: Buffer[] = [];

  get writableLength(): number {
    return this.full ? this.held.reduce((sum, piece) => sum + piece.length, 0) : 0;
  }

  write(piece: Buffer): boolean {
    this.held.push(piece);
    if (this.corked === 0) this.writes++;
    // Taken at once, it is copied: the buffer may be used again.
    if (!this.full) this.held[this.held.length - 1] = Buffer.from(piece);
    return true;
  }

  cork(): void {
    this.corked++;
  }

  uncork(): void {
    if (--this.corked === 0) this.writes++;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.held);
  }

  get asSocket(): Socket {
    return this as unknown as Socket; // cast: the part of a socket that Output uses
  }
}

describe('what is gathered', () => {
  test('leaves in order, in one write, and is not changed by what is gathered next', () => {
    const piece = fc.oneof(fc.nat(200), fc.constantFrom(4095, 4096, 4097, 65_536, 100_000));
    void fc.assert(
      fc.property(fc.array(fc.array(piece, { maxLength: 30 }), { maxLength: 6 }), fc.boolean(), (turns, full) => {
        const socket = new SlowSocket();
        socket.full = full;
        const output = new Output();
        const expected: Buffer[] = [];
        let letter = 0;
        for (const turn of turns) {
          for (const length of turn) {
            const bytes = Buffer.alloc(length + 2, ++letter);
            output.addRange(bytes, 1, length + 1);
            expected.push(Buffer.alloc(length, letter));
          }
          const before = socket.writes;
          const wasEmpty = output.empty;
          output.flush(socket.asSocket);
          expect(socket.writes - before).toBe(wasEmpty ? 0 : 1);
          expect(output.empty).toBe(true);
        }
        expect(socket.bytes.equals(Buffer.concat(expected))).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  test('is forgotten for a socket that has gone', () => {
    const output = new Output();
    output.add(Buffer.alloc(10));
    output.add(Buffer.alloc(10_000));
    output.discard();
    const socket = new SlowSocket();
    output.add(Buffer.from('next'));
    output.flush(socket.asSocket);
    expect(socket.bytes.toString()).toBe('next');
  });
});
