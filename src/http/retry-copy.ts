// Hot path: no promise, closure or string per chunk.
/** What was sent of a request's body, for the case that it must be sent again. */
import type { Outbox } from './outbox.ts';

/** A request that must be repeated keeps at most this much of its body. */
const RETRY_BYTES = 64 * 1024;
/** A body of tiny chunks would else be kept at the price of an object for some bytes of it. */
const MANY_PIECES = 64;

export class RetryCopy {
  #pieces: (Buffer | string)[] = [];
  #bytes = 0;
  /** Pieces before this index are joined ones. */
  #joined = 0;

  /** Nothing of it is missing. */
  get whole(): boolean {
    return this.#bytes <= RETRY_BYTES;
  }

  /** Takes note of `pieces` from that index on; they stay untouched from now. */
  keep(pieces: readonly (Buffer | string)[], from: number): void {
    for (let i = from; i < pieces.length && this.whole; i++) {
      const piece = pieces[i] as Buffer | string;
      this.#bytes += piece.length;
      this.#pieces.push(piece);
      if (this.#pieces.length - this.#joined >= MANY_PIECES) this.#join();
    }
    if (!this.whole) this.#pieces = [];
  }

  #join(): void {
    const many = this.#pieces.splice(this.#joined);
    this.#pieces.push(
      Buffer.concat(many.map(one => (typeof one === 'string' ? Buffer.from(one, 'latin1') : one))),
    );
    this.#joined++;
  }

  /** Puts everything before what is in `out`. @returns how many pieces that is */
  repeat(out: Outbox): number {
    const since = out.take();
    for (const piece of this.#pieces) out.piece(piece);
    for (const piece of since) out.piece(piece);
    return this.#pieces.length;
  }
}
