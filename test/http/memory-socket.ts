/**
 * A socket without a network: the test gives it bytes, sees what was written, and says when a write is done. It shows
 * back-pressure exactly, where the kernel's buffers hide some megabytes of it.
 */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';

export class MemorySocket extends Duplex {
  /** All that was written and delivered, in order; empty when only its size is wanted. */
  readonly written: Buffer[] = [];
  bytesWritten = 0;
  readonly #keep: boolean;
  /** The most bytes that ever waited in it to be written. */
  mostQueued = 0;
  /** Called with each write as it is delivered. */
  onWrite: (() => void) | null = null;
  /** Its user ended it. */
  ended = false;
  #stopped = false;
  #held: (() => void) | null = null;
  #closing = false;

  constructor({ keep = true }: { keep?: boolean } = {}) {
    super({ allowHalfOpen: true, highWaterMark: 16 * 1024 });
    this.#keep = keep;
  }

  /** What the code under test takes it for. */
  get socket(): Socket {
    return this as unknown as Socket;
  }

  get text(): string {
    return Buffer.concat(this.written).toString('latin1');
  }

  /** The other side sends these bytes. */
  feed(bytes: Buffer | string): void {
    this.push(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /** The other side ends. */
  finish(): void {
    this.push(null);
  }

  /** The other side reads nothing any more; writes stay undone. */
  stop(): void {
    this.#stopped = true;
  }

  /** The other side reads what waits, and everything after it. */
  go(): void {
    this.#stopped = false;
    const held = this.#held;
    this.#held = null;
    held?.();
  }

  /** The other side reads what one write brought, and stops again. */
  goOnce(): void {
    const held = this.#held;
    this.#held = null;
    held?.();
  }

  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else if (!this.#closing) {
      this.#closing = true;
      this.once('finish', () => this.destroy());
    }
  }

  // What node:http asks of a socket besides.
  setTimeout(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  resetAndDestroy(): void {
    this.destroy();
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#deliver([chunk], done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#deliver(
      chunks.map(({ chunk }) => chunk),
      done,
    );
  }

  override _final(done: () => void): void {
    this.ended = true;
    done();
  }

  #deliver(pieces: readonly Buffer[], done: () => void): void {
    this.mostQueued = Math.max(this.mostQueued, this.writableLength);
    const deliver = (): void => {
      for (const piece of pieces) {
        this.bytesWritten += piece.length;
        if (this.#keep) this.written.push(Buffer.from(piece));
      }
      done();
      this.onWrite?.();
    };
    if (this.#stopped) this.#held = deliver;
    else deliver();
  }
}
