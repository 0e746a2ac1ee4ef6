/** The start of a request's body for somebody who decides on it, while all of it stays queued to be sent on as it came. */
import { BodyReader } from './h1-body.ts';
import type { RequestHead } from './h1-parser.ts';
import { Outbox } from './outbox.ts';

/** `body` is at most `limit` bytes; `complete`: there is no more of it. */
export type BodyDone = (body: Buffer, complete: boolean) => void;

export class BodyCollector {
  readonly #limit: number;
  readonly #done: BodyDone;
  #joined = 0;

  constructor(limit: number, done: BodyDone) {
    this.#limit = limit;
    this.#done = done;
  }

  /** Whether what `reader` has read, all of it in `queued`, is enough. */
  enough(reader: BodyReader, queued: Outbox): boolean {
    // A body of tiny chunks would else be held at the price of an object a byte.
    this.#joined = queued.join(this.#joined);
    return reader.done || reader.bytes > this.#limit;
  }

  /** Hands over what is there. */
  finish(head: RequestHead, reader: BodyReader, queued: Outbox): void {
    const body = Buffer.alloc(Math.min(reader.bytes, this.#limit));
    decode(head, queued, body);
    this.#done(body, reader.done && reader.bytes <= this.#limit);
  }
}

/** Fills `body` with the start of the body that is queued with its framing. */
function decode(head: RequestHead, queued: Outbox, body: Buffer): void {
  const reader = new BodyReader();
  const decoded = new Outbox();
  reader.begin(head, 'bare');
  let at = 0;
  for (const piece of queued.pieces) {
    if (at === body.length) return;
    reader.feed(typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece, 0, decoded);
    // A bare body is bytes only.
    for (const bytes of decoded.take()) if (typeof bytes !== 'string') at += bytes.copy(body, at);
  }
}
