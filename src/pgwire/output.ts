/**
 * One write per chunk and direction. Pieces for a socket are gathered here and leave in a single write: small ones are
 * copied into a scratch buffer (a copy of a hundred bytes is cheaper than another system call by far), large ones go as
 * slices of the buffer that they came in.
 */
import type { Socket } from 'node:net';

const SCRATCH_BYTES = 64 * 1024;
/** Up to here a copy costs less than a second entry of a gathering write. */
const COPY_BYTES = 4096;

export class Output {
  private scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  private used = 0;
  private sealed = 0;
  private pieces: Buffer[] = [];

  get empty(): boolean {
    return this.used === 0 && this.pieces.length === 0;
  }

  add(bytes: Buffer): void {
    this.addRange(bytes, 0, bytes.length);
  }

  addRange(bytes: Buffer, start: number, end: number): void {
    const length = end - start;
    if (length <= COPY_BYTES && this.used + length <= SCRATCH_BYTES) {
      bytes.copy(this.scratch, this.used, start, end);
      this.used += length;
      return;
    }
    this.seal();
    this.pieces.push(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end));
  }

  private seal(): void {
    if (this.used > this.sealed) this.pieces.push(this.scratch.subarray(this.sealed, this.used));
    this.sealed = this.used;
  }

  /**
   * Writes what was gathered.
   * @returns true when the kernel took all of it; false when a write is still under way and therefore holds on to the
   * buffers that it was given: the caller must not reuse a buffer whose slices it added.
   */
  flush(socket: Socket): boolean {
    if (this.empty) return true;
    if (this.pieces.length === 0) socket.write(this.scratch.subarray(0, this.used));
    else this.writeGathered(socket);
    this.used = 0;
    this.sealed = 0;
    if (socket.writableLength === 0) return true;
    this.scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
    return false;
  }

  private writeGathered(socket: Socket): void {
    this.seal();
    socket.cork();
    for (const piece of this.pieces) socket.write(piece);
    socket.uncork();
    this.pieces = [];
  }

  /** Forgets what was gathered, for a socket that has gone. */
  discard(): void {
    this.used = 0;
    this.sealed = 0;
    this.pieces = [];
  }
}
