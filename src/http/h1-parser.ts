// Hot path: no promise, closure or string per chunk.
/**
 * A strict HTTP/1.1 parser (RFC 9112) for message heads: whatever two servers could read differently is a fault.
 * A head is parsed whole from its text (latin1); until CRLF CRLF has come, `headEnd` says "more" or names the fault.
 */
import { isAuthority, isHostAndPort, isHostOf } from './authority.ts';
import { contentLengthOf } from './content-length.ts';
import {
  CONNECTION,
  CONTENT_LENGTH,
  CONTENT_TYPE,
  EXPECT,
  FIELD_CHAR,
  fieldCode,
  HOST,
  isEndToEnd,
  KEEP_ALIVE,
  PLAIN,
  REQUEST_ID,
  same,
  TCHAR,
  TE,
  TRACEPARENT,
  TRANSFER_ENCODING,
  UPGRADE,
} from './fields.ts';
import type { HeaderEdits } from './header-edits.ts';

/** Largest header section, request line included, in bytes (Envoy's max_request_headers_kb default). */
export const MAX_HEAD_BYTES = 60 * 1024;
/** Most field lines in one head (Envoy's max_headers_count default). */
export const MAX_FIELDS = 100;

const CRLF_CRLF = Buffer.from('\r\n\r\n');
const CR = 0x0d;
const LF = 0x0a;
const SP = 0x20;
const HTAB = 0x09;
const COLON = 0x3a;

/** Numbers kept for each field line: where its name starts, its colon, its value's two ends, its code. */
export const STRIDE = 5;

export type BodyFraming = 'none' | 'length' | 'chunked' | 'close';

/** A fault of one message; `code` is the failure table's, `what` ends the body `bad request: <what>`. */
export class ParseFault {
  readonly code: 'bad_request' | 'headers_too_large';
  readonly what: string;
  constructor(code: 'bad_request' | 'headers_too_large', what: string) {
    this.code = code;
    this.what = what;
  }
}

const TOO_LARGE = new ParseFault('headers_too_large', 'header section too large');
const TOO_MANY = new ParseFault('headers_too_large', 'too many header fields');

function bad(what: string): ParseFault {
  return new ParseFault('bad_request', what);
}

/** What requests and responses have in common: the head's text, its field lines, its framing. */
export class MessageHead {
  /** The whole head as latin1 text, from the first byte of the start line to the last CRLF CRLF. */
  text = '';
  /** STRIDE numbers a field line. */
  fields: number[] = [];
  framing: BodyFraming = 'none';
  /** Bytes of the body when framing is 'length'. */
  contentLength = 0;
  /** HTTP/1.x minor version. */
  minor = 1;
  /** Connection options other than close, keep-alive, upgrade and te: lower-case names never forwarded. */
  nominated: string[] | null = null;
  close = false;
  keepAlive = false;
  /** Value of Upgrade when Connection lists it; null otherwise. */
  upgrade: string | null = null;

  headerValues(name: string): string[] {
    return this.sentValues(name);
  }

  /** Values of every line named `name` (lower case), in order, as they were sent. */
  sentValues(name: string): string[] {
    const found: string[] = [];
    const { text, fields } = this;
    for (let i = 0; i < fields.length; i += STRIDE) {
      const start = fields[i] as number;
      if ((fields[i + 1] as number) - start === name.length && same(text, start, name)) {
        found.push(text.slice(fields[i + 2] as number, fields[i + 3] as number));
      }
    }
    return found;
  }

  /** The first value of the field with this code, or null. */
  valueOf(code: number): string | null {
    const { text, fields } = this;
    for (let i = 0; i < fields.length; i += STRIDE) {
      if (fields[i + 4] === code) return text.slice(fields[i + 2] as number, fields[i + 3] as number);
    }
    return null;
  }

  /** Every field as it was sent, names in lower case, but for those of one connection and those of the mesh's own. */
  sentFields(): (readonly [name: string, value: string])[] {
    const { text, fields, nominated } = this;
    const found: (readonly [string, string])[] = [];
    for (let i = 0; i < fields.length; i += STRIDE) {
      const code = fields[i + 4] as number;
      if (!isEndToEnd(code)) continue;
      const name = text.slice(fields[i] as number, fields[i + 1] as number).toLowerCase();
      // As they are sent on: nobody can hide a field that means something to a proxy.
      if (code === PLAIN && nominated?.includes(name)) continue;
      found.push([name, text.slice(fields[i + 2] as number, fields[i + 3] as number)]);
    }
    return found;
  }
}

/** One request head; also what policy reads of a request (`method`, `host`, `path`, `rawPath`, `headerValues`). */
export class RequestHead extends MessageHead {
  method = '';
  /** Of the HTTP that the client spoke, for the access log. */
  version: '1.0' | '1.1' | '2' = '1.1';
  /** The request target as received. */
  target = '';
  /** The target's path and query, or `*`, or the authority of CONNECT. */
  rawPath = '';
  /** Set by the proxy: the normalised path without query, which policy matches. */
  path = '';
  /** Host field, or the authority of an absolute-form target (RFC 9112 3.2.2). */
  host = '';
  /** An absolute-form target: the Host line is written anew from its authority. */
  absolute = false;
  expectContinue = false;
  /** The client announced `TE: trailers`. */
  trailers = false;
  requestId = false;
  traceparent: string | null = null;
  /** Content-Type begins with application/grpc. */
  grpc = false;
  /** The x-forwarded-client-cert element that the app will get; '' = none. Set by the proxy before policy asks. */
  clientCert = '';
  /** What the verified token of the request says; null = none. Set by the proxy before policy asks. */
  jwt: { readonly payload: Readonly<Record<string, unknown>> } | null = null;
  /** What external authorizers and tokens change; null = nothing. Set by the proxy before policy asks. */
  edits: HeaderEdits | null = null;

  /** As policy sees the fields: x-forwarded-client-cert is Outrider's word, whatever the client sent. */
  override headerValues(name: string): string[] {
    if (name === 'x-forwarded-client-cert') return this.clientCert === '' ? [] : [this.clientCert];
    return this.edits === null ? this.sentValues(name) : this.edits.valuesOf(name, this.sentValues(name));
  }
}

/** One response head. */
export class ResponseHead extends MessageHead {
  status = 0;
  reason = '';
  /** Seconds of `Keep-Alive: timeout=N`, or -1. */
  keepAliveTimeout = -1;
}

/**
 * Looks for the end of a head in `buffer` from `start`; bytes before `scanned` were looked at by an earlier call.
 * @returns the offset after CRLF CRLF, -1 when more bytes are needed, or the fault that more bytes cannot mend
 */
export function headEnd(buffer: Buffer, start: number, scanned: number): number | ParseFault {
  const at = buffer.indexOf(CRLF_CRLF, Math.max(start, scanned - 3));
  if (at >= 0) return at - start + 4 > MAX_HEAD_BYTES ? TOO_LARGE : at + 4;
  if (buffer.length - start > MAX_HEAD_BYTES) return TOO_LARGE;
  // A head that is still short: refuse early what no further byte can make valid, or a client would wait for ever.
  for (let i = Math.max(start, scanned - 1); i < buffer.length; i++) {
    const c = buffer[i] as number;
    if (c > SP) continue;
    if (c === LF && (i === start || buffer[i - 1] !== CR)) return bad('bare LF');
    if (c === CR && i + 1 < buffer.length && buffer[i + 1] !== LF) return bad('bare CR');
    if (c === 0) return bad('NUL byte');
  }
  return -1;
}

/** Parses one request head. `text` is the head whole, CRLF CRLF included. */
export function parseRequest(text: string): RequestHead | ParseFault {
  const head = new RequestHead();
  head.text = text;
  let at = 0;
  while (TCHAR[text.charCodeAt(at)] === 1) at++;
  if (at === 0 || text.charCodeAt(at) !== SP) return bad('malformed request line');
  head.method = text.slice(0, at);
  const targetStart = ++at;
  let c = text.charCodeAt(at);
  while (c > SP && c < 0x7f) c = text.charCodeAt(++at);
  if (at === targetStart || c !== SP) return bad('malformed request target');
  head.target = text.slice(targetStart, at);
  at++;
  if (!text.startsWith('HTTP/1.', at)) return bad('unsupported protocol version');
  const minor = text.charCodeAt(at + 7) - 0x30;
  if ((minor !== 0 && minor !== 1) || text.charCodeAt(at + 8) !== CR || text.charCodeAt(at + 9) !== LF) {
    return bad('unsupported protocol version');
  }
  head.minor = minor;
  if (minor === 0) head.version = '1.0';
  const fault = parseFields(head, at + 10) ?? frameRequest(head) ?? readTarget(head);
  return fault ?? head;
}

/** Parses one response head. */
export function parseResponse(text: string, requestMethod: string): ResponseHead | ParseFault {
  const head = new ResponseHead();
  head.text = text;
  if (!text.startsWith('HTTP/1.')) return bad('malformed status line');
  const minor = text.charCodeAt(7) - 0x30;
  if ((minor !== 0 && minor !== 1) || text.charCodeAt(8) !== SP) return bad('unsupported protocol version');
  head.minor = minor;
  const a = text.charCodeAt(9) - 0x30;
  const b = text.charCodeAt(10) - 0x30;
  const c = text.charCodeAt(11) - 0x30;
  if (!(a >= 1 && a <= 9 && b >= 0 && b <= 9 && c >= 0 && c <= 9)) return bad('malformed status code');
  head.status = a * 100 + b * 10 + c;
  const after = text.charCodeAt(12);
  // RFC 9112 4: the space stands even before an empty reason; servers leave it out, and nothing hangs on it.
  if (after !== SP && after !== CR) return bad('malformed status line');
  let at = 12;
  let r = after;
  while (FIELD_CHAR[r] === 1) r = text.charCodeAt(++at);
  if (r !== CR || text.charCodeAt(at + 1) !== LF) return bad('control character in the status line');
  head.reason = after === SP ? text.slice(13, at) : '';
  return parseFields(head, at + 2) ?? frameResponse(head, requestMethod) ?? head;
}

/** Parses the trailer section of a chunked body (RFC 9112 7.1.2); `text` ends with the empty line. */
export function parseTrailers(text: string): MessageHead | ParseFault {
  const head = new MessageHead();
  head.text = text;
  return parseFields(head, 0) ?? head;
}

function parseFields(head: MessageHead, from: number): ParseFault | null {
  const { text, fields } = head;
  let at = from;
  for (let count = 0; ; count++) {
    const nameStart = at;
    let c = text.charCodeAt(at);
    if (c === CR && text.charCodeAt(at + 1) === LF) {
      return at + 2 === text.length ? null : bad('malformed header section');
    }
    if (count >= MAX_FIELDS) return TOO_MANY;
    while (TCHAR[c] === 1) c = text.charCodeAt(++at);
    if (c !== COLON || at === nameStart) return nameFault(c, at === nameStart);
    const colon = at;
    c = text.charCodeAt(++at);
    while (c === SP || c === HTAB) c = text.charCodeAt(++at);
    const valueStart = at;
    while (FIELD_CHAR[c] === 1) c = text.charCodeAt(++at);
    if (c !== CR || text.charCodeAt(at + 1) !== LF) return valueFault(c);
    let valueEnd = at;
    while (valueEnd > valueStart) {
      const last = text.charCodeAt(valueEnd - 1);
      if (last !== SP && last !== HTAB) break;
      valueEnd--;
    }
    at += 2;
    const code = fieldCode(text, nameStart, colon - nameStart);
    fields.push(nameStart, colon, valueStart, valueEnd, code);
    if (code !== PLAIN && code <= EXPECT) {
      const fault = readConnectionField(head, code, text.slice(valueStart, valueEnd));
      if (fault !== null) return fault;
    }
  }
}

function nameFault(c: number, first: boolean): ParseFault {
  if (first && (c === SP || c === HTAB)) return bad('obsolete line folding');
  if (first && c === COLON) return bad('empty header name');
  if (c === SP || c === HTAB) return bad('white space before the colon');
  if (c === CR || c === LF) return bad('header line without a colon');
  return bad('invalid character in a header name');
}

function valueFault(c: number): ParseFault {
  if (c === CR) return bad('bare CR');
  if (c === LF) return bad('bare LF');
  return bad(c === 0 ? 'NUL byte' : 'control character in a header value');
}

/** Reads the fields that decide framing and the connection's fate; called only for their codes. */
function readConnectionField(head: MessageHead, code: number, value: string): ParseFault | null {
  switch (code) {
    case CONNECTION:
      return readConnection(head, value);
    case UPGRADE:
      head.upgrade = head.upgrade === null ? value : `${head.upgrade}, ${value}`;
      return null;
    case CONTENT_LENGTH:
      return readContentLength(head, value);
    case TRANSFER_ENCODING:
      if (head.framing === 'length') return bad('both Transfer-Encoding and Content-Length');
      if (head.framing === 'chunked') return bad('repeated Transfer-Encoding');
      if (value.toLowerCase() !== 'chunked') return bad('unsupported Transfer-Encoding');
      head.framing = 'chunked';
      return null;
    default:
      return null;
  }
}

function readContentLength(head: MessageHead, value: string): ParseFault | null {
  if (head.framing === 'chunked') return bad('both Transfer-Encoding and Content-Length');
  if (head.framing === 'length') return bad('repeated Content-Length');
  const length = contentLengthOf(value);
  if (length < 0) return bad('invalid Content-Length');
  head.framing = 'length';
  head.contentLength = length;
  return null;
}

function readConnection(head: MessageHead, value: string): ParseFault | null {
  // The two values that nearly every message has.
  if (value === 'keep-alive') {
    head.keepAlive = true;
    return null;
  }
  if (value === 'close') {
    head.close = true;
    return null;
  }
  for (const part of value.split(',')) {
    const option = part.trim().toLowerCase();
    if (option === '') continue;
    if (option === 'close') head.close = true;
    else if (option === 'keep-alive') head.keepAlive = true;
    else if (option !== 'te') {
      head.nominated ??= [];
      if (head.nominated.length >= MAX_FIELDS) return TOO_MANY;
      head.nominated.push(option);
    }
  }
  return null;
}

function frameRequest(head: RequestHead): ParseFault | null {
  if (head.minor === 0 && head.framing === 'chunked') return bad('Transfer-Encoding with HTTP/1.0');
  // Of a token without its Connection option nothing is known (RFC 9110 7.8); HTTP/1.0 has no Upgrade.
  if (head.upgrade !== null && (head.minor === 0 || !head.nominated?.includes('upgrade')))
    head.upgrade = null;
  const { text, fields } = head;
  let hosts = 0;
  for (let i = 0; i < fields.length; i += STRIDE) {
    const code = fields[i + 4] as number;
    if (code === PLAIN) continue;
    const from = fields[i + 2] as number;
    const to = fields[i + 3] as number;
    if (code === HOST) {
      if (++hosts > 1) return bad('repeated Host');
      head.host = text.slice(from, to);
    } else if (code === EXPECT) head.expectContinue = to - from === 12 && same(text, from, '100-continue');
    else if (code === TE) head.trailers ||= text.slice(from, to).toLowerCase().includes('trailers');
    else if (code === REQUEST_ID) head.requestId = to > from;
    else if (code === TRACEPARENT) head.traceparent = text.slice(from, to);
    else if (code === CONTENT_TYPE) {
      // gRPC's refusal is a 200, which to CONNECT would open a tunnel.
      head.grpc = to - from >= 16 && same(text, from, 'application/grpc') && head.method !== 'CONNECT';
    }
  }
  if (hosts === 0 && head.minor === 1) return bad('missing Host');
  if (hosts === 1 && !isAuthority(head.host)) return bad('invalid Host');
  return null;
}

/** RFC 9112 3.2: which of the four forms the target has, and whether the method allows it. */
function readTarget(head: RequestHead): ParseFault | null {
  const { target, method } = head;
  if (method === 'CONNECT') {
    if (head.framing !== 'none') return bad('CONNECT with a body');
    if (!isHostAndPort(target)) return bad('CONNECT wants host:port');
    // Two answers to "where to" are one too many.
    if (head.host !== '' && !isHostOf(target, head.host)) return bad('Host differs from the target');
    // HTTP/1.0 may leave Host out; the HTTP/1.1 that is sent on has one.
    head.absolute = head.host === '';
    head.host = target;
    head.rawPath = target;
    return null;
  }
  if (target.charCodeAt(0) === 0x2f) {
    head.rawPath = target;
    return null;
  }
  if (target === '*' && method === 'OPTIONS') {
    head.rawPath = '*';
    return null;
  }
  const absolute = /^https?:\/\/([^/?#]+)(.*)$/i.exec(target);
  if (absolute === null) return bad('invalid request target');
  const authority = absolute[1] as string;
  const rest = absolute[2] as string;
  if (!isAuthority(authority)) return bad('invalid authority in the request target');
  head.absolute = true;
  head.host = authority;
  head.rawPath = rest.startsWith('/') ? rest : `/${rest}`;
  return null;
}

/** RFC 9112 6.3: how long the response's body is. */
function frameResponse(head: ResponseHead, requestMethod: string): ParseFault | null {
  const { status } = head;
  if (head.upgrade !== null && !head.nominated?.includes('upgrade')) head.upgrade = null;
  if (head.minor === 0 && head.framing === 'chunked') return bad('Transfer-Encoding with HTTP/1.0');
  const seconds = head.valueOf(KEEP_ALIVE)?.match(/(?:^|[,;\s])timeout=(\d{1,6})/);
  if (seconds) head.keepAliveTimeout = Number(seconds[1]);
  // RFC 9112 6.1, RFC 9110 8.6 and 9.3.6: none of these has a body, and a reader that believes the field waits for one.
  if (status < 200 || status === 204 || (requestMethod === 'CONNECT' && status < 300)) {
    if (head.framing === 'chunked') return bad(`Transfer-Encoding in a ${status} response`);
    if (head.framing === 'length' && head.contentLength > 0)
      return bad(`Content-Length in a ${status} response`);
    head.framing = 'none';
    return null;
  }
  if (requestMethod === 'HEAD' || status === 304) {
    head.framing = 'none';
    return null;
  }
  if (head.framing === 'none') head.framing = 'close';
  return null;
}
