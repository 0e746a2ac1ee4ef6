/**
 * What a connection speaks, from its first bytes. A prefix never decides against a protocol that more bytes could still
 * make it: sent byte by byte, a request gets the verdict that it gets in one piece.
 */

/** A request line that has not ended by here is no request line. */
const MAX_LINE_BYTES = 16 * 1024;
/** Longest method that Outrider waits for (UPDATEREDIRECTREF is the longest registered one). */
const MAX_METHOD_BYTES = 20;

/** TLS record of type handshake (RFC 8446 5.1). @returns null when more bytes are needed */
export function isTls(bytes: Buffer): boolean | null {
  if (bytes.length === 0) return null;
  if (bytes[0] !== 0x16) return false;
  if (bytes.length === 1) return null;
  return bytes[1] === 0x03;
}

/**
 * Whether plaintext begins like an HTTP request: `METHOD SP … HTTP/` in the first line. A line that names HTTP but is
 * malformed counts too, and so does the HTTP/2 preface: they are refused as HTTP, never passed on as something else,
 * with headers that only Outrider may write.
 * @returns null when more bytes are needed
 */
export function isHttp1(bytes: Buffer): boolean | null {
  const window = bytes.toString('latin1', 0, MAX_LINE_BYTES + MAX_METHOD_BYTES).replace(LEADING, '');
  if (window === '') return bytes.length >= MAX_LINE_BYTES ? false : null;
  const lineEnd = window.indexOf('\n');
  const line = lineEnd < 0 ? window : window.slice(0, lineEnd);
  if (NAMES_HTTP.test(line) || KNOWN_METHOD.test(line)) return true;
  if (lineEnd >= 0) return false;
  const method = /^[A-Za-z][A-Za-z-]*/.exec(line)?.[0] ?? '';
  const couldBe =
    method === method.toUpperCase() || METHODS.some(known => known.startsWith(method.toUpperCase()));
  if (!couldBe || method.length === 0 || method.length > MAX_METHOD_BYTES) return false;
  if (method !== line && line !== `${method}\r` && line[method.length] !== ' ') return false;
  // "METHOD SP target": its line decides when it ends, or is too long for any but a request that will be refused.
  return window.length >= MAX_LINE_BYTES ? true : null;
}

/** RFC 9113 3.4. */
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/** Whether a connection begins with the preface of HTTP/2, by prior knowledge. @returns null when more bytes are needed */
export function beginsHttp2(bytes: Buffer): boolean | null {
  const size = Math.min(bytes.length, PREFACE.length);
  if (bytes.compare(PREFACE, 0, size, 0, size) !== 0) return false;
  return size === PREFACE.length ? true : null;
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'];
/** What some server takes for white space: Python's, and frameworks on top of it, split a request line at any of these. */
const BLANK = '\\t\\v\\f\\x1c-\\x20\\x85\\xa0';
const LEADING = new RegExp(`^[\\r\\n${BLANK}]+`);
const KNOWN_METHOD = new RegExp(`^(?:${METHODS.join('|')})(?:[${BLANK}]|\\r[^\\n])`);
const NAMES_HTTP = /http\/\d/i;

/**
 * Watches bytes that `isHttp1` took for another protocol until their first line is over, however long it is: a request
 * line that came in pieces too odd to wait for ("zz", "z / HTTP/1.1") is noticed before it is whole.
 */
export class RequestLineScreen {
  /** The end of what came: the name may be cut in two. */
  #tail = '';
  /** The beginning of the first line. */
  #start = '';
  /** The first line is over and was none of HTTP's. */
  done = false;

  /** @returns false when the bytes so far are an HTTP request line: pass nothing more */
  passes(chunk: Buffer): boolean {
    if (this.done) return true;
    let piece = chunk.toString('latin1');
    if (this.#start === '') piece = piece.replace(LEADING, '');
    if (this.#start.length < METHOD_CHARACTERS)
      this.#start = (this.#start + piece).slice(0, METHOD_CHARACTERS);
    // HTTP/0.9: a line without a version.
    if (KNOWN_METHOD.test(this.#start)) return false;
    const text = this.#tail + piece;
    const end = text.search(LINE_IS_OVER);
    if (NAMES_HTTP.test(end < 0 ? text : text.slice(0, end))) return false;
    this.done = end >= 0;
    this.#tail = text.slice(-TAIL_CHARACTERS);
    return true;
  }
}

/** A line feed, or a control character that no request line has and nobody takes for white space. */
const LINE_IS_OVER = /[\0-\x08\n\x0e-\x1b]/;
/** `OPTIONS`, and what tells whether a word follows. */
const METHOD_CHARACTERS = 9;
/** One less than `HTTP/1`. */
const TAIL_CHARACTERS = 5;
