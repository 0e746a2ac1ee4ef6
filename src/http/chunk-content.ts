// Hot path: no promise, closure or string per chunk.
/** A body that was read with its chunks, for an upstream that wants its content only. */
import { BodyReader } from './h1-body.ts';
import type { RequestHead } from './h1-parser.ts';
import { Outbox } from './outbox.ts';

export class ChunkContent {
  #reader = new BodyReader();
  #out = new Outbox();

  /** Of a request that is framed in chunks. */
  constructor(head: RequestHead) {
    this.#reader.begin(head, 'bare');
  }

  /** Lines of the trailers, each ending in CRLF; '' = none, or not yet. */
  get trailers(): string {
    return this.#reader.trailers;
  }

  /** Takes everything out of `framed`. @returns the content in it, which whoever sends it takes out */
  take(framed: Outbox): Outbox {
    for (const piece of framed.pieces) {
      this.#reader.feed(typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece, 0, this.#out);
    }
    framed.clear();
    return this.#out;
  }
}
