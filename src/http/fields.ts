// Hot path: no promise, closure or string per chunk.
/** Character classes and the field names that framing and forwarding treat specially (RFC 9110 5.1, 5.5; RFC 9112). */

const TCHAR_TEXT = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** 1 where the byte is a tchar (RFC 9110 5.6.2). */
export const TCHAR = new Uint8Array(256);
for (let i = 0; i < TCHAR_TEXT.length; i++) TCHAR[TCHAR_TEXT.charCodeAt(i)] = 1;

/** 1 where the byte may stand in a field value: HTAB, SP, VCHAR, obs-text (RFC 9110 5.5). */
export const FIELD_CHAR = new Uint8Array(256);
FIELD_CHAR[0x09] = 1;
for (let i = 0x20; i <= 0xff; i++) FIELD_CHAR[i] = i === 0x7f ? 0 : 1;

/** Codes of the names that need care; 0 is any other field, which passes untouched. */
export const PLAIN = 0;
export const HOST = 1;
export const CONTENT_LENGTH = 2;
export const TRANSFER_ENCODING = 3;
export const CONNECTION = 4;
/** Keep-Alive, Proxy-Connection, HTTP2-Settings: hop-by-hop, never forwarded. */
export const HOP_BY_HOP = 5;
export const UPGRADE = 6;
export const TE = 7;
export const EXPECT = 8;
/** X-Forwarded-Client-Cert, and spellings with `_` that CGI-like apps would read as the same name. */
export const XFCC = 9;
export const FORWARDED_PROTO = 10;
export const REQUEST_ID = 11;
export const CONTENT_TYPE = 12;
export const TRACEPARENT = 13;
/**
 * x-envoy-peer-metadata, x-envoy-peer-metadata-id, and the field of h1-memo.ts: the mesh's own, removed towards the app
 * and never believed of a client.
 */
export const PEER_METADATA = 14;
export const KEEP_ALIVE = 15;
export const TRACESTATE = 16;

/** Whether a field with this code goes from end to end: not one of the connection, of framing, or the mesh's own word. */
export function isEndToEnd(code: number): boolean {
  switch (code) {
    case CONNECTION:
    case HOP_BY_HOP:
    case KEEP_ALIVE:
    case PEER_METADATA:
    case TE:
    case TRANSFER_ENCODING:
    case UPGRADE:
    case XFCC:
      return false;
    default:
      return true;
  }
}

/** The code of the field name at `start` with `length` characters. Case-insensitive (RFC 9110 5.1). */
export function fieldCode(text: string, start: number, length: number): number {
  switch (length) {
    case 2:
      return same(text, start, 'te') ? TE : PLAIN;
    case 4:
      return same(text, start, 'host') ? HOST : PLAIN;
    case 6:
      return same(text, start, 'expect') ? EXPECT : PLAIN;
    case 7:
      return same(text, start, 'upgrade') ? UPGRADE : PLAIN;
    case 10:
      if (same(text, start, 'connection')) return CONNECTION;
      if (same(text, start, 'tracestate')) return TRACESTATE;
      return same(text, start, 'keep-alive') ? KEEP_ALIVE : PLAIN;
    case 11:
      return same(text, start, 'traceparent') ? TRACEPARENT : PLAIN;
    case 12:
      if (same(text, start, 'content-type')) return CONTENT_TYPE;
      return same(text, start, 'x-request-id') ? REQUEST_ID : PLAIN;
    case 14:
      if (same(text, start, 'content-length')) return CONTENT_LENGTH;
      if (alike(text, start, 'outrider-http1')) return PEER_METADATA;
      return same(text, start, 'http2-settings') ? HOP_BY_HOP : PLAIN;
    case 16:
      return same(text, start, 'proxy-connection') ? HOP_BY_HOP : PLAIN;
    case 17:
      if (same(text, start, 'transfer-encoding')) return TRANSFER_ENCODING;
      return alike(text, start, 'x-forwarded-proto') ? FORWARDED_PROTO : PLAIN;
    case 21:
      return same(text, start, 'x-envoy-peer-metadata') ? PEER_METADATA : PLAIN;
    case 23:
      return alike(text, start, 'x-forwarded-client-cert') ? XFCC : PLAIN;
    case 24:
      return same(text, start, 'x-envoy-peer-metadata-id') ? PEER_METADATA : PLAIN;
    default:
      return PLAIN;
  }
}

/** Whether `text` has `lower` at `start`, ignoring ASCII case. Only for names made of tchars. */
export function same(text: string, start: number, lower: string): boolean {
  for (let i = 0; i < lower.length; i++) {
    const wanted = lower.charCodeAt(i);
    const seen = text.charCodeAt(start + i);
    if (seen !== wanted && (seen < 0x41 || seen > 0x5a || (seen | 0x20) !== wanted)) return false;
  }
  return true;
}

/** As `same`, and `_` and `-` are one: WSGI and CGI fold the two, so an app could take one for the other. */
export function alike(text: string, start: number, lower: string): boolean {
  for (let i = 0; i < lower.length; i++) {
    const wanted = lower.charCodeAt(i);
    const seen = text.charCodeAt(start + i);
    if (seen === wanted || (wanted === 0x2d && seen === 0x5f) || (wanted === 0x5f && seen === 0x2d)) continue;
    if (seen < 0x41 || seen > 0x5a || (seen | 0x20) !== wanted) return false;
  }
  return true;
}
