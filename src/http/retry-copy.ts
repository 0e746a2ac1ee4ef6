// Hot path: no promise, closure or string per chunk.
/** What was sent of a request's body, for the case that it must be sent again. */
import type { Outbox } from './outbox.ts';

/** A request that must be repeated keeps at most this much of its body. */
const RETRY_BYTES = 64 * 1024;

export class RetryCopy {
  #pieces: Buffer[] = [];
  #bytes = 0;

  /** Nothing of it is missing. */
  get whole(): boolean {
    return this.#bytes <= RETRY_BYTES;
  }

  keep(piece: Buffer | string): void {
    if (!this.whole) return;
    this.#bytes += piece.length;
    if (this.whole) this.#pieces.push(typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece);
    else this.#pieces = [];
  }

  /** Adds everything to `out`. */
  repeat(out: Outbox): void {
    for (const piece of this.#pieces) out.data(piece);
  }
}
