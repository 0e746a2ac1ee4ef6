/**
 * What a connection speaks, from its first bytes. A prefix never decides against a protocol that more bytes could still
 * make it: sent byte by byte, a request gets the verdict that it gets in one piece.
 */

export type Wire = 'tls' | 'http1' | 'tcp';

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
 * Whether plaintext begins like an HTTP/1 request: `METHOD SP … HTTP/` in the first line. A line that names HTTP but is
 * malformed counts too, so that it is refused as HTTP and never passed on as something else. The HTTP/2 preface does not.
 * @returns null when more bytes are needed
 */
export function isHttp1(bytes: Buffer): boolean | null {
  let at = 0;
  while (at + 1 < bytes.length && bytes[at] === 0x0d && bytes[at + 1] === 0x0a) at += 2;
  const window = bytes.subarray(at, at + MAX_LINE_BYTES);
  const lineEnd = window.indexOf(0x0a);
  const line = (lineEnd < 0 ? window : window.subarray(0, lineEnd)).toString('latin1');
  if (line.startsWith('PRI * HTTP/2')) return false;
  if (/http\//i.test(line)) return true;
  if (KNOWN_METHOD.test(line)) return true;
  if (lineEnd >= 0) return false;
  if (line === '' || line === '\r') return null;
  if (window.length >= MAX_LINE_BYTES) return /^[\x21-\x7e]+$/.test(line);
  const method = /^[A-Z][A-Z-]*/.exec(line)?.[0] ?? '';
  if (method === line) return method.length <= MAX_METHOD_BYTES ? null : false;
  // "METHOD SP target": its line decides when it ends.
  return method.length > 0 && method.length <= MAX_METHOD_BYTES && line[method.length] === ' ' ? null : false;
}

const KNOWN_METHOD = /^(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH) /;
