/**
 * Frames from a byte stream, without growing copies: chunks are joined only when a whole frame is there. It can also
 * keep what has been read since a mark, so that a transaction which ran nothing can be sent again elsewhere (I7).
 */
import { frameBytes, HEADER_BYTES } from './frames.ts';

const NOTHING = Buffer.alloc(0);

/** `partial`: `available` bytes of a frame are here, and the frame is `end − start` long. */
export type NextFrame = 'none' | 'frame' | 'partial' | 'invalid';

export class FrameInput {
  buffer: Buffer = NOTHING;
  /** Of the frame that `next` found: where it starts and ends in `buffer`, and its type. */
  start = 0;
  end = 0;
  type = 0;
  private queued: Buffer[] = [];
  private queuedBytes = 0;
  private markAt = -1;
  private kept: Buffer[] = [];
  private keptBytes = 0;

  get bytes(): number {
    return this.buffer.length - this.start + this.queuedBytes;
  }

  /** Bytes read since the mark. */
  get markedBytes(): number {
    return this.markAt < 0 ? 0 : this.keptBytes + this.start - this.markAt;
  }

  add(chunk: Buffer): void {
    if (this.queuedBytes === 0 && this.start === this.buffer.length) this.replace(chunk);
    else {
      this.queued.push(chunk);
      this.queuedBytes += chunk.length;
    }
  }

  private replace(chunk: Buffer): void {
    if (this.markAt >= 0) {
      if (this.start > this.markAt) {
        this.kept.push(this.buffer.subarray(this.markAt, this.start));
        this.keptBytes += this.start - this.markAt;
      }
      this.markAt = 0;
    }
    this.buffer = chunk;
    this.start = 0;
    this.end = 0;
  }

  /** Joins what is queued behind the unread rest of the buffer. */
  private join(): void {
    const joined = Buffer.concat([this.buffer.subarray(this.start), ...this.queued]);
    this.queued = [];
    this.queuedBytes = 0;
    this.replace(joined);
  }

  /** @param maxBytes longer frames, and lengths that no frame can have, are `invalid`. */
  next(maxBytes: number): NextFrame {
    if (this.bytes < HEADER_BYTES) return this.idle();
    if (this.buffer.length - this.start < HEADER_BYTES) this.join();
    this.type = this.buffer[this.start] ?? 0;
    const length = frameBytes(this.buffer, this.start);
    if (length < HEADER_BYTES || length > maxBytes) return 'invalid';
    if (length > this.bytes) return 'partial';
    if (length > this.buffer.length - this.start) this.join();
    this.end = this.start + length;
    return 'frame';
  }

  private idle(): NextFrame {
    // An idle connection must not hold on to the chunk that it last read.
    if (this.bytes === 0 && this.markAt < 0 && this.buffer !== NOTHING) {
      this.buffer = NOTHING;
      this.start = 0;
      this.end = 0;
    }
    return 'none';
  }

  /** The length of the frame at hand, also when it is not all here. */
  get frameLength(): number {
    return frameBytes(this.buffer, this.start);
  }

  advance(): void {
    this.start = this.end;
  }

  /** Puts `frame` in the place of the frame at hand, to be read next, also when everything since the mark is read again. */
  substitute(frame: Buffer): void {
    const rest = this.buffer.subarray(this.end);
    this.replace(rest.length === 0 ? frame : Buffer.concat([frame, rest]));
  }

  /** Makes the next `length` bytes contiguous; the caller has seen that they are here. */
  gather(length: number): void {
    if (this.buffer.length - this.start < length && this.queuedBytes > 0) this.join();
  }

  /** Takes up to `most` bytes, whatever they are, for a frame that is passed on piece by piece. */
  take(most: number): Buffer {
    if (this.start === this.buffer.length && this.queuedBytes > 0) this.join();
    const end = Math.min(this.start + most, this.buffer.length);
    const piece = this.buffer.subarray(this.start, end);
    this.start = end;
    this.end = end;
    return piece;
  }

  mark(): void {
    this.markAt = this.start;
    this.kept = [];
    this.keptBytes = 0;
  }

  unmark(): void {
    this.markAt = -1;
    this.kept = [];
    this.keptBytes = 0;
  }

  /** Everything since the mark is to be read once more. */
  rewind(): void {
    if (this.markAt < 0) return;
    const again = Buffer.concat([...this.kept, this.buffer.subarray(this.markAt), ...this.queued]);
    this.unmark();
    this.queued = [];
    this.queuedBytes = 0;
    this.buffer = again;
    this.start = 0;
    this.end = 0;
  }
}
