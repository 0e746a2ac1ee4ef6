// Hot path: no promise, closure or string per chunk.
/** What was sent of a request's body, for the case that it must be sent again. */
import type { Outbox } from './outbox.ts';

/** A request that must be repeated keeps at most this much of its body. */
const RETRY_BYTES = 64 * 1024;

export class RetryCopy {
  #pieces: (Buffer | string)[] = [];
  #bytes = 0;

  /** Nothing of it is missing. */
  get whole(): boolean {
    return this.#bytes <= RETRY_BYTES;
  }

  /** Takes note of `pieces` from that index on. */
  keep(pieces: readonly (Buffer | string)[], from: number): void {
    for (let i = from; i < pieces.length && this.whole; i++) {
      const piece = pieces[i] as Buffer | string;
      this.#bytes += piece.length;
      this.#pieces.push(piece);
    }
    if (!this.whole) this.#pieces = [];
  }

  /** Puts everything before what is in `out`. @returns how many pieces that is */
  repeat(out: Outbox): number {
    const since = out.take();
    for (const piece of this.#pieces) out.piece(piece);
    for (const piece of since) out.piece(piece);
    return this.#pieces.length;
  }
}
