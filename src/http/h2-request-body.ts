// Hot path: no promise, closure or string per chunk.
/** What came of a request's body and is not on its way: held, framed as its upstream wants it, and kept for a repetition. */
import type { BodyDone } from './body-collector.ts';
import type { UpstreamStream } from './exchange.ts';
import type { RequestHead } from './h1-parser.ts';
import { kept } from './h2-stream.ts';
import { Outbox } from './outbox.ts';
import { RetryCopy } from './retry-copy.ts';

export class RequestBody {
  /** Its trailers, once it is whole; lines of HTTP/1.1. */
  trailers = '';
  readonly #head: RequestHead;
  /** Content. */
  readonly #out = new Outbox();
  /** The same, as HTTP/1.1 frames it. */
  #framed: Outbox | null = null;
  #copy: RetryCopy | null = null;
  #collector: { readonly limit: number; readonly done: BodyDone } | null = null;
  #joined = 0;

  constructor(head: RequestHead) {
    this.#head = head;
  }

  /** Whether all that was sent of it can be sent again. */
  get repeatable(): boolean {
    return this.#copy === null || this.#copy.whole;
  }

  /** Content for which there is no upstream yet. */
  hold(bytes: Buffer): void {
    this.#out.data(kept(bytes));
    this.#joined = this.#out.join(this.#joined);
  }

  /** Content that goes out now. */
  add(bytes: Buffer): void {
    this.#out.data(bytes);
    this.#keep(0);
  }

  /** An attempt begins: what earlier ones sent is sent again. */
  begin(): void {
    // What came since was not sent before, and is part of the copy from now on.
    this.#keep(this.#copy === null ? 0 : this.#copy.repeat(this.#out));
  }

  /** Only what is whole may be sent again. */
  #keep(from: number): void {
    const { pieces } = this.#out;
    if (pieces.length === from || this.#copy?.whole === false) return;
    this.#copy ??= new RetryCopy();
    this.#copy.keep(pieces, from);
  }

  /** What is there, as `upstream` wants it. */
  framedFor(upstream: UpstreamStream): Outbox {
    if (upstream.bare || this.#head.framing !== 'chunked') return this.#out;
    this.#framed ??= new Outbox();
    for (const piece of this.#out.pieces) {
      if (piece.length === 0) continue;
      this.#framed.text(`${piece.length.toString(16)}\r\n`);
      this.#framed.data(piece as Buffer);
      this.#framed.text('\r\n');
    }
    this.#out.clear();
    return this.#framed;
  }

  /** It is whole: the last chunk follows, where chunks are sent. */
  endFor(upstream: UpstreamStream): void {
    if (upstream.bare || this.#head.framing !== 'chunked') return;
    this.#framed ??= new Outbox();
    this.#framed.text(`0\r\n${this.trailers}\r\n`);
  }

  /** Reads it before it is sent anywhere, as `Exchange.collectBody` says. */
  collect(limit: number, done: BodyDone): void {
    this.#collector = { limit, done };
  }

  /** Whether who collects it waits for more. @param ended it is whole */
  collects(ended: boolean): boolean {
    return this.#collector !== null && !ended && this.#out.bytes <= this.#collector.limit;
  }

  /** Hands what was collected over, where anybody waits for it. */
  handOver(ended: boolean): void {
    const collector = this.#collector;
    this.#collector = null;
    if (collector === null) return;
    const { limit, done } = collector;
    const body = Buffer.concat(this.#out.pieces as Buffer[]).subarray(0, limit);
    done(body, ended && this.#out.bytes <= limit);
  }

  clear(): void {
    this.#collector = null;
    this.#out.clear();
  }
}
