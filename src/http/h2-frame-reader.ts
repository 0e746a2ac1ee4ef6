// Hot path: no promise, closure or string per chunk.
/**
 * Reads HTTP/2 frames (RFC 9113 4.1) where they lie. A frame that comes in pieces is held until it is whole, but for DATA,
 * whose content passes as it comes.
 */
import {
  DATA,
  FRAME_HEADER_BYTES,
  FRAME_SIZE_ERROR,
  type H2EndReason,
  MAX_FRAME_BYTES,
  PADDED,
  PREFACE,
  PROTOCOL_ERROR,
  RST_STREAM,
} from './h2-frames.ts';

/** What is done with frames. */
export interface FrameTaker {
  /** Nothing more is read. */
  readonly over: boolean;
  /** Enough was begun for now: the rest is read later. */
  readonly full: boolean;
  /** A frame that is not DATA; its payload is `bytes[from, to)`, until this returns. */
  onFrame(frame: FrameHead, bytes: Buffer, from: number, to: number): void;
  /** A DATA frame begins. @param length of its payload, padding included @param content bytes of content in it */
  onDataBegin(frame: FrameHead, length: number, content: number): void;
  /** Content of it. `borrowed`: the bytes are overwritten by the next read; `more`: there is more of the same read. */
  onDataBytes(bytes: Buffer, borrowed: boolean, more: boolean): void;
  onDataEnd(): void;
  /** The peer broke the protocol. */
  fail(code: number, reason: H2EndReason, what: string): void;
}

/** Of the frame under way; one object for all of them. */
export class FrameHead {
  type = 0;
  flags = 0;
  stream = 0;
}

export class FrameReader {
  /** When the frame that is held began to come, ms on the caller's clock; Infinity = none is. */
  heldSince = Number.POSITIVE_INFINITY;
  readonly #taker: FrameTaker;
  readonly #head = new FrameHead();
  #prefaceLeft: number;
  #held: Buffer | null = null;
  #heldBytes = 0;
  /** Of the DATA frame under way: bytes of content and of padding to come. */
  #dataLeft = 0;
  #padLeft = 0;

  /** @param preface the peer is a client, whose preface comes first (RFC 9113 3.4) */
  constructor(taker: FrameTaker, preface: boolean) {
    this.#taker = taker;
    this.#prefaceLeft = preface ? PREFACE.length : 0;
  }

  /** @returns the offset of what is left for later; the chunk's length where all was read */
  read(chunk: Buffer, borrowed: boolean, now: number): number {
    const taker = this.#taker;
    let at = 0;
    if (this.#prefaceLeft > 0) {
      at = this.#readPreface(chunk);
      if (taker.over || at === chunk.length) return chunk.length;
    }
    while (this.#held !== null) {
      at = this.#hold(chunk, at);
      const held = this.#held as Buffer;
      if (this.#heldBytes < FRAME_HEADER_BYTES) return chunk.length;
      if (lengthAt(held, 0) > MAX_FRAME_BYTES) {
        this.#tooLarge();
        return chunk.length;
      }
      if (this.#heldBytes < needs(held, 0, this.#heldBytes)) {
        if (at === chunk.length) return chunk.length;
        continue;
      }
      // What is held is a frame, or the head of DATA: it is read first, then the chunk goes on.
      const whole = held.subarray(0, this.#heldBytes);
      this.#held = null;
      this.#heldBytes = 0;
      this.heldSince = Number.POSITIVE_INFINITY;
      this.#readFrames(whole, 0, false, at < chunk.length, now);
      if (taker.over) return chunk.length;
      if (taker.full) return at;
    }
    return at < chunk.length ? this.#readFrames(chunk, at, borrowed, false, now) : at;
  }

  #readPreface(chunk: Buffer): number {
    const done = PREFACE.length - this.#prefaceLeft;
    const size = Math.min(this.#prefaceLeft, chunk.length);
    if (chunk.compare(PREFACE, done, done + size, 0, size) !== 0) {
      this.#taker.fail(PROTOCOL_ERROR, 'h2_protocol_error', 'not the preface of HTTP/2');
      return 0;
    }
    this.#prefaceLeft -= size;
    return size;
  }

  /** Takes bytes of `chunk` into the frame that is held. @returns the offset after them */
  #hold(chunk: Buffer, at: number): number {
    let held = this.#held as Buffer;
    const need = needs(held, 0, this.#heldBytes);
    if (held.length < need) {
      // Its header has come: as large as the frame is, and no larger.
      const whole = Buffer.allocUnsafe(need);
      held.copy(whole, 0, 0, this.#heldBytes);
      this.#held = whole;
      held = whole;
    }
    const size = Math.min(need - this.#heldBytes, chunk.length - at);
    chunk.copy(held, this.#heldBytes, at, at + size);
    this.#heldBytes += size;
    return at + size;
  }

  /** @param more there is more of the same read behind `bytes` */
  #readFrames(bytes: Buffer, start: number, borrowed: boolean, more: boolean, now: number): number {
    const taker = this.#taker;
    let at = start;
    const end = bytes.length;
    while (at < end && !taker.over) {
      if (this.#dataLeft > 0 || this.#padLeft > 0) {
        at = this.#readData(bytes, at, borrowed, more);
        continue;
      }
      if (end - at >= FRAME_HEADER_BYTES && lengthAt(bytes, at) > MAX_FRAME_BYTES) {
        this.#tooLarge();
        return end;
      }
      const need = needs(bytes, at, end);
      if (end - at < need) {
        this.#held = Buffer.allocUnsafe(need);
        bytes.copy(this.#held, 0, at, end);
        this.#heldBytes = end - at;
        this.heldSince = now;
        return end;
      }
      this.#readFrame(bytes, at);
      at += need;
      // What is reset at once is not to be begun for that in between.
      if (taker.full && bytes[at + 3] !== RST_STREAM) return at;
    }
    return end;
  }

  #readFrame(bytes: Buffer, at: number): void {
    const length = lengthAt(bytes, at);
    const head = this.#head;
    head.type = bytes[at + 3] as number;
    head.flags = bytes[at + 4] as number;
    head.stream = uint31(bytes, at + 5);
    const from = at + FRAME_HEADER_BYTES;
    if (head.type !== DATA) this.#taker.onFrame(head, bytes, from, from + length);
    else this.#beginData(length, bytes[from]);
  }

  #beginData(length: number, first: number | undefined): void {
    const head = this.#head;
    const padded = (head.flags & PADDED) !== 0;
    if (padded && length === 0)
      return this.#taker.fail(FRAME_SIZE_ERROR, 'h2_frame_size', 'DATA of a wrong size');
    const padding = padded ? (first as number) : 0;
    if (padded && padding >= length)
      return this.#taker.fail(PROTOCOL_ERROR, 'h2_protocol_error', 'padding longer than its frame');
    this.#padLeft = padding;
    this.#dataLeft = length - padding - (padded ? 1 : 0);
    this.#taker.onDataBegin(head, length, this.#dataLeft);
    if (this.#dataLeft === 0 && padding === 0) this.#taker.onDataEnd();
  }

  #readData(bytes: Buffer, start: number, borrowed: boolean, more: boolean): number {
    let at = start;
    const size = Math.min(this.#dataLeft, bytes.length - at);
    if (size > 0) {
      this.#dataLeft -= size;
      at += size;
      this.#taker.onDataBytes(bytes.subarray(start, at), borrowed, more || at < bytes.length);
    }
    if (this.#dataLeft > 0) return at;
    const padding = Math.min(this.#padLeft, bytes.length - at);
    this.#padLeft -= padding;
    if (this.#padLeft === 0) this.#taker.onDataEnd();
    return at + padding;
  }

  #tooLarge(): void {
    this.#taker.fail(FRAME_SIZE_ERROR, 'h2_frame_size', 'frame too large');
  }
}

/** How much of the frame at `at` has to be there before it is looked at: all, but of DATA only what comes before content. */
function needs(bytes: Buffer, at: number, end: number): number {
  if (end - at < FRAME_HEADER_BYTES) return FRAME_HEADER_BYTES;
  const length = lengthAt(bytes, at);
  if (bytes[at + 3] !== DATA) return FRAME_HEADER_BYTES + length;
  const padded = ((bytes[at + 4] as number) & PADDED) !== 0 && length > 0;
  return FRAME_HEADER_BYTES + (padded ? 1 : 0);
}

function lengthAt(bytes: Buffer, at: number): number {
  return ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
}

/** Without the reserved bit. */
export function uint31(bytes: Buffer, at: number): number {
  return (
    (((bytes[at] as number) & 0x7f) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)
  );
}

export function uint32(bytes: Buffer, at: number): number {
  return (
    (bytes[at] as number) * 0x100_0000 +
    (((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number))
  );
}
