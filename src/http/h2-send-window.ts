// Hot path: no promise, closure or string per chunk.
/** What a connection may send, and the streams that wait to: a frame each, in turn (RFC 9113 5.2). */
import { DEFAULT_WINDOW, MAX_WINDOW } from './h2-frames.ts';
import type { H2Output } from './h2-output.ts';
import type { H2Stream } from './h2-stream.ts';

export class SendWindow {
  #bytes = DEFAULT_WINDOW;
  readonly #output: H2Output;
  #waiting: H2Stream[] = [];
  #pumping = false;

  constructor(output: H2Output) {
    this.#output = output;
  }

  /** WINDOW_UPDATE of the connection. @returns false when that is more than a window may be */
  grow(bytes: number): boolean {
    this.#bytes += bytes;
    return this.#bytes <= MAX_WINDOW;
  }

  /** Bytes of DATA that `stream` may send now. */
  room(stream: H2Stream): number {
    return this.#output.backedUp ? 0 : Math.min(this.#bytes, stream.sendWindow);
  }

  take(stream: H2Stream, bytes: number): void {
    this.#bytes -= bytes;
    stream.sendWindow -= bytes;
  }

  /** `stream` has something to send that it may not send yet. */
  wait(stream: H2Stream): void {
    if (stream.waiting) return;
    stream.waiting = true;
    this.#waiting.push(stream);
  }

  /** Nobody waits any more. */
  clear(): void {
    this.#waiting = [];
  }

  /** Streams that wait send a frame each, in turn, for as long as one of them can. */
  pump(): void {
    if (this.#waiting.length === 0 || this.#pumping) return;
    this.#pumping = true;
    let blocked = 0;
    while (this.#waiting.length > blocked && !this.#output.backedUp && this.#bytes > 0) {
      const stream = this.#waiting.shift() as H2Stream;
      if (stream.localEnded) {
        stream.waiting = false;
        continue;
      }
      blocked = stream.sendWindow > 0 ? 0 : blocked + 1;
      if (stream.pump()) this.#waiting.push(stream);
      else stream.waiting = false;
    }
    this.#pumping = false;
  }
}
