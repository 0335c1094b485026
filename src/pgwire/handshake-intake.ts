/**
 * Reads exactly as many bytes from a socket as are asked for. What comes after them stays in the socket, so the next
 * phase (TLS, or the session) finds it, and an unauthenticated peer makes us hold one socket buffer at most.
 */
import type { Socket } from 'node:net';

export class Intake {
  readonly #socket: Socket;
  #wake: (() => void) | undefined;
  #over = false;
  readonly #onReadable = () => this.#wake?.();
  readonly #onOver = () => {
    this.#over = true;
    this.#wake?.();
  };

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('readable', this.#onReadable);
    socket.on('end', this.#onOver);
    socket.on('close', this.#onOver);
    socket.on('error', this.#onOver);
    this.#over = socket.destroyed;
  }

  /** `bytes` bytes, or undefined when the connection ended before. One call at a time. */
  async take(bytes: number): Promise<Buffer | undefined> {
    for (;;) {
      // cast: no encoding is set, so it is a Buffer; at the end of the stream it may be shorter than asked for
      const chunk = this.#socket.read(bytes) as Buffer | null;
      if (chunk !== null) return chunk.length === bytes ? chunk : undefined;
      if (this.#over) return undefined;
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  /** Puts bytes back in front. */
  putBack(bytes: Buffer): void {
    this.#socket.unshift(bytes);
  }

  get hasMore(): boolean {
    return this.#socket.readableLength > 0;
  }

  /** Everything that has arrived and was not asked for. */
  rest(): Buffer {
    const chunk = this.#socket.readableLength > 0 ? (this.#socket.read() as Buffer | null) : null; // cast: as in take
    return chunk ?? Buffer.alloc(0);
  }

  release(): void {
    this.#socket.off('readable', this.#onReadable);
    this.#socket.off('end', this.#onOver);
    this.#socket.off('close', this.#onOver);
    this.#socket.off('error', this.#onOver);
  }
}
