// Hot path: no promise, closure or string per chunk.
/** Header blocks of one HTTP/2 connection: put together from their frames and decoded (RFC 9113 4.3, 6.2, 6.10). */
import { FieldList } from './field-list.ts';
import { MAX_MEMO_BYTES } from './h1-memo.ts';
import { MAX_FIELDS, MAX_HEAD_BYTES } from './h1-parser.ts';
import type { FrameHead } from './h2-frame-reader.ts';
import {
  COMPRESSION_ERROR,
  CONTINUATION,
  END_HEADERS,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  FRAME_SIZE_ERROR,
  type H2EndReason,
  PADDED,
  PROTOCOL_ERROR,
  TABLE_BYTES,
  WITH_PRIORITY,
} from './h2-frames.ts';
import { HpackDecoder, type ListLimits } from './hpack-decoder.ts';

/** A header block as it is sent, all its frames together. */
const MAX_BLOCK_BYTES = 2 * MAX_HEAD_BYTES;
/** Frames of one header block: more is a flood (CVE-2024-27983). */
const MAX_BLOCK_FRAMES = 16;
/** RFC 9113 6.5.2 counts 32 bytes more for a field than HTTP/1.1 has for its line. */
const LIMITS: ListLimits = { bytes: MAX_HEAD_BYTES, fields: MAX_FIELDS };
/** A head of HTTP/1.1 at its limits has the pseudo-header fields, `te` and the memo besides. */
const MEMO_LIMITS: ListLimits = {
  bytes: MAX_HEAD_BYTES + 32 * MAX_FIELDS + MAX_MEMO_BYTES,
  fields: MAX_FIELDS + 6,
};

/** What is done with header sections. */
export interface BlockTaker {
  /** One is whole. @param ends nothing follows it on its stream */
  onHeaderSection(stream: number, list: FieldList, ends: boolean): void;
  fail(code: number, reason: H2EndReason, what: string): void;
}

export class HeaderBlocks {
  /** When the block under way began, ms on the caller's clock; Infinity = none is. */
  since = Number.POSITIVE_INFINITY;
  readonly #taker: BlockTaker;
  readonly #limits: ListLimits;
  readonly #decoder = new HpackDecoder(TABLE_BYTES);
  #pieces: Buffer[] | null = null;
  #bytes = 0;
  #stream = 0;
  #ends = false;

  /** @param memo the connection is one between Outriders that agreed to the memo */
  constructor(taker: BlockTaker, memo: boolean) {
    this.#taker = taker;
    this.#limits = memo ? MEMO_LIMITS : LIMITS;
  }

  /** Whether this frame may not stand here: between the frames of a block. */
  interruptedBy({ type, stream }: FrameHead): boolean {
    return this.#pieces !== null && (type !== CONTINUATION || stream !== this.#stream);
  }

  headers({ stream, flags }: FrameHead, bytes: Buffer, start: number, stop: number, now: number): void {
    if (stream === 0) return this.#protocol('HEADERS on no stream');
    let from = start;
    let to = stop;
    if ((flags & PADDED) !== 0) {
      if (from >= to) return this.#size();
      to -= bytes[from++] as number;
    }
    if ((flags & WITH_PRIORITY) !== 0) {
      if (stop - from < 5) return this.#size();
      from += 5;
    }
    if (from > to) return this.#protocol('padding longer than its frame');
    const ends = (flags & END_STREAM) !== 0;
    if ((flags & END_HEADERS) !== 0) {
      this.#decode(stream, ends, bytes, from, to);
      return;
    }
    this.#pieces = [Buffer.from(bytes.subarray(from, to))];
    this.#bytes = to - from;
    this.#stream = stream;
    this.#ends = ends;
    this.since = now;
  }

  continuation({ flags }: FrameHead, bytes: Buffer, from: number, to: number): void {
    const pieces = this.#pieces;
    if (pieces === null) return this.#protocol('CONTINUATION of nothing');
    this.#bytes += to - from;
    if (pieces.length >= MAX_BLOCK_FRAMES || this.#bytes > MAX_BLOCK_BYTES) {
      this.#finish();
      this.#taker.fail(ENHANCE_YOUR_CALM, 'h2_continuation_flood', 'header block too large');
      return;
    }
    pieces.push(Buffer.from(bytes.subarray(from, to)));
    if ((flags & END_HEADERS) === 0) return;
    this.#finish();
    const whole = Buffer.concat(pieces);
    this.#decode(this.#stream, this.#ends, whole, 0, whole.length);
  }

  #finish(): void {
    this.#pieces = null;
    this.since = Number.POSITIVE_INFINITY;
  }

  /** Every block is decoded, whatever becomes of it: the table is the connection's. */
  #decode(stream: number, ends: boolean, bytes: Buffer, from: number, to: number): void {
    const list = new FieldList();
    const fault = this.#decoder.decode(bytes, from, to, list, this.#limits);
    if (fault !== null) this.#taker.fail(COMPRESSION_ERROR, 'h2_compression', fault);
    else this.#taker.onHeaderSection(stream, list, ends);
  }

  #protocol(what: string): void {
    this.#taker.fail(PROTOCOL_ERROR, 'h2_protocol_error', what);
  }

  #size(): void {
    this.#taker.fail(FRAME_SIZE_ERROR, 'h2_frame_size', 'HEADERS of a wrong size');
  }
}
