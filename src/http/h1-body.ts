// Hot path: no promise, closure or string per chunk.
/**
 * Reads one message body by its framing (RFC 9112 6 and 7.1) and puts what goes on into an outbox.
 * Chunked bodies come out with canonical size lines (lower-case hex, no leading zero, no extension), so that what is
 * sent does not depend on how the bytes arrived; canonical input passes as it is, without a copy.
 */

import type { FieldNames } from './exchange.ts';
import { PLAIN } from './fields.ts';
import {
  type BodyFraming,
  MAX_HEAD_BYTES,
  type MessageHead,
  ParseFault,
  parseTrailers,
  STRIDE,
} from './h1-parser.ts';
import type { Outbox } from './outbox.ts';
import { mayTrail } from './trailer-fields.ts';

/** Longest chunk extension that is skipped, in bytes; RFC 9112 7.1.1 asks for a limit, nobody sends any. */
const MAX_EXTENSION_BYTES = 256;
/** All extensions of one body together: endless small ones are an attack (CVE-2024-22019). */
const MAX_EXTENSIONS_TOTAL = 16 * 1024;
/** 13 hex digits stay below 2^53. */
const MAX_SIZE_DIGITS = 13;

const SIZE = 0;
const EXTENSION = 1;
const SIZE_LF = 2;
const DATA = 3;
const DATA_CR = 4;
const DATA_LF = 5;
const TRAILERS = 6;

/** How the receiver gets the body: as it is framed, as chunks (from a body that ends with the connection), or bare. */
export type Delivery = 'same' | 'chunked' | 'bare';

export class BodyReader {
  done = true;
  /** Body bytes so far, without framing. */
  bytes = 0;
  fault: ParseFault | null = null;
  /** Lines of the trailers that go on, each ending in CRLF, once the body is done; they are written too, unless it is bare. */
  trailers = '';
  #framing: BodyFraming = 'none';
  #delivery: Delivery = 'same';
  #left = 0;
  #state = SIZE;
  #size = 0;
  #digits = 0;
  #extension = 0;
  #extensions = 0;
  /** A size line began in an earlier read: its digits are held back and written when it is whole. */
  #held = false;
  #trailerText = '';
  #withheld: FieldNames | null = null;

  /** Starts on a new message; `withheld`: names that are taken out of its trailers. */
  begin(head: MessageHead, delivery: Delivery, withheld: FieldNames | null = null): void {
    this.bytes = 0;
    this.fault = null;
    this.trailers = '';
    this.#framing = head.framing;
    this.#delivery = delivery;
    this.#left = head.contentLength;
    this.done = head.framing === 'none' || (head.framing === 'length' && head.contentLength === 0);
    if (head.framing !== 'chunked') return;
    this.#withheld = withheld;
    this.#state = SIZE;
    this.#size = 0;
    this.#digits = 0;
    this.#extensions = 0;
    this.#held = false;
    this.#trailerText = '';
  }

  /** Takes bytes of the body from `chunk[at…]`; @returns the offset of the first byte that is not the body's. */
  feed(chunk: Buffer, at: number, out: Outbox): number {
    if (this.done) return at;
    if (this.#framing === 'chunked') return this.#feedChunked(chunk, at, out);
    const available = chunk.length - at;
    if (this.#framing === 'length') {
      const take = Math.min(available, this.#left);
      this.#left -= take;
      this.bytes += take;
      out.slice(chunk, at, at + take);
      this.done = this.#left === 0;
      return at + take;
    }
    this.bytes += available;
    if (this.#delivery === 'chunked' && available > 0) {
      out.text(`${available.toString(16)}\r\n`);
      out.slice(chunk, at, chunk.length);
      out.text('\r\n');
    } else out.slice(chunk, at, chunk.length);
    return chunk.length;
  }

  /** The connection ended: a close-delimited body is complete, any other is not. @returns whether it is complete */
  end(out: Outbox): boolean {
    if (this.done) return true;
    if (this.#framing !== 'close') return false;
    if (this.#delivery === 'chunked') out.text('0\r\n\r\n');
    this.done = true;
    return true;
  }

  #feedChunked(chunk: Buffer, start: number, out: Outbox): number {
    const bare = this.#delivery === 'bare';
    const end = chunk.length;
    let at = start;
    // Bytes [from, at) pass as they are; for a bare receiver, `from` only ever covers data.
    let from = start;
    let lineStart = start;
    let canonical = true;
    while (at < end) {
      switch (this.#state) {
        case SIZE: {
          const c = chunk[at] as number;
          const digit = hexDigit(c);
          if (digit >= 0) {
            if (this.#digits === 0) {
              lineStart = at;
              canonical = true;
            }
            // A leading zero or an upper-case digit is rewritten.
            if ((this.#digits === 1 && this.#size === 0) || (c >= 0x41 && c <= 0x46)) canonical = false;
            if (++this.#digits > MAX_SIZE_DIGITS) return this.#fail('chunk size too large');
            this.#size = this.#size * 16 + digit;
            at++;
            break;
          }
          if (this.#digits === 0) return this.#fail('invalid chunk size');
          if (c === 0x0d) this.#state = SIZE_LF;
          else if (c === 0x3b) {
            this.#state = EXTENSION;
            this.#extension = 0;
            canonical = false;
          } else return this.#fail('invalid chunk size');
          at++;
          break;
        }
        case EXTENSION: {
          const c = chunk[at++] as number;
          if (c === 0x0d) {
            this.#state = SIZE_LF;
            break;
          }
          if ((c < 0x20 && c !== 0x09) || c === 0x7f)
            return this.#fail('control character in a chunk extension');
          if (++this.#extension > MAX_EXTENSION_BYTES || ++this.#extensions > MAX_EXTENSIONS_TOTAL) {
            return this.#fail('chunk extension too large');
          }
          break;
        }
        case SIZE_LF: {
          if (chunk[at] !== 0x0a) return this.#fail('bad end of a chunk size');
          at++;
          this.#digits = 0;
          if (this.#size === 0) {
            if (!this.#held) out.slice(chunk, from, bare ? from : lineStart);
            this.#state = TRAILERS;
            return this.#feedTrailers(chunk, at, out);
          }
          if (bare) from = at;
          else if (this.#held || !canonical) {
            if (!this.#held) out.slice(chunk, from, lineStart);
            out.text(`${this.#size.toString(16)}\r\n`);
            from = at;
          }
          this.#held = false;
          this.#left = this.#size;
          this.#size = 0;
          this.#state = DATA;
          break;
        }
        case DATA: {
          const take = Math.min(end - at, this.#left);
          this.#left -= take;
          this.bytes += take;
          at += take;
          if (this.#left > 0) break;
          this.#state = DATA_CR;
          if (bare) {
            out.slice(chunk, from, at);
            from = at;
          }
          break;
        }
        case DATA_CR:
          if (chunk[at] !== 0x0d) return this.#fail('bad end of a chunk');
          at++;
          this.#state = DATA_LF;
          break;
        case DATA_LF:
          if (chunk[at] !== 0x0a) return this.#fail('bad end of a chunk');
          at++;
          this.#state = SIZE;
          if (bare) from = at;
          break;
        default:
          return this.#feedTrailers(chunk, at, out);
      }
    }
    const inSizeLine = this.#state <= SIZE_LF && this.#digits > 0;
    if (inSizeLine) {
      if (!this.#held && !bare) out.slice(chunk, from, lineStart);
      this.#held = true;
    } else if (!bare || this.#state === DATA) out.slice(chunk, from, end);
    return end;
  }

  #feedTrailers(chunk: Buffer, at: number, out: Outbox): number {
    const before = this.#trailerText.length;
    if (before === 0 && chunk.length - at >= 2 && chunk[at] === 0x0d && chunk[at + 1] === 0x0a) {
      return this.#finish('', at + 2, out);
    }
    const window = Math.min(chunk.length, at + MAX_HEAD_BYTES - before + 1);
    const text = this.#trailerText + chunk.toString('latin1', at, window);
    let end = text.startsWith('\r\n') ? 2 : text.indexOf('\r\n\r\n', Math.max(0, before - 3));
    if (end < 0) {
      if (text.length > MAX_HEAD_BYTES) return this.#fail('trailer section too large');
      this.#trailerText = text;
      // As in a head: what no further byte can mend is refused now.
      if (text.charCodeAt(0) === 0x0a || /[^\r]\n|\r[^\n]|\0/.test(text.slice(Math.max(0, before - 1)))) {
        return this.#fail('malformed trailer section');
      }
      return chunk.length;
    }
    if (end > 2 || !text.startsWith('\r\n')) end += 4;
    const trailers = parseTrailers(text.slice(0, end));
    if (trailers instanceof ParseFault) {
      this.fault = trailers;
      return at;
    }
    return this.#finish(forwardedTrailers(trailers, this.#withheld), at + end - before, out);
  }

  #finish(trailers: string, at: number, out: Outbox): number {
    this.done = true;
    this.trailers = trailers;
    this.#trailerText = '';
    if (this.#delivery !== 'bare') out.text(trailers === '' ? '0\r\n\r\n' : `0\r\n${trailers}\r\n`);
    return at;
  }

  #fail(what: string): number {
    this.fault = new ParseFault('bad_request', what);
    return -1;
  }
}

function hexDigit(c: number): number {
  if (c >= 0x30 && c <= 0x39) return c - 0x30;
  const lower = c | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function forwardedTrailers(head: MessageHead, withheld: FieldNames | null): string {
  const { text, fields } = head;
  let kept = '';
  for (let i = 0; i < fields.length; i += STRIDE) {
    // A name that means something to a proxy means it in the header section only.
    if (fields[i + 4] !== PLAIN) continue;
    const name = text.slice(fields[i] as number, fields[i + 1] as number).toLowerCase();
    if (!mayTrail(name, withheld)) continue;
    kept += `${text.slice(fields[i] as number, fields[i + 3] as number)}\r\n`;
  }
  return kept;
}
