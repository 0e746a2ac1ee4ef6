// Hot path: no promise, closure or string per chunk.
/**
 * What a decoded header list says as a request, a response or trailers (RFC 9113 8.2, 8.3, 8.5; RFC 8441 4). As strict as the
 * HTTP/1.1 parser: nothing passes here that could not be written as one HTTP/1.1 message with one meaning.
 */
import { contentLengthOf } from './content-length.ts';
import type { FieldNames } from './exchange.ts';
import type { FieldList } from './field-list.ts';
import {
  CONNECTION,
  CONTENT_LENGTH,
  CONTENT_TYPE,
  EXPECT,
  HOP_BY_HOP,
  HOST,
  KEEP_ALIVE,
  PLAIN,
  REQUEST_ID,
  same,
  TE,
  TRACEPARENT,
  TRANSFER_ENCODING,
  UPGRADE,
} from './fields.ts';
import { listsFieldsOf, MEMO_NAME, type Memo, memoOf, nameIn } from './h1-memo.ts';
import { type MessageHead, ParseFault, RequestHead, ResponseHead } from './h1-parser.ts';
import {
  AUTHORITY,
  COOKIE,
  GRPC_STATUS,
  KIND_BITS,
  METHOD,
  PATH,
  PROTOCOL,
  SCHEME,
  STATUS,
  UNKNOWN_PSEUDO,
} from './h2-field-kind.ts';
import { readTarget } from './h2-target.ts';
import { fieldsIn, valueIn, valuesIn } from './listed-fields.ts';
import { reasonPhrase } from './reason-phrases.ts';
import { mayTrail } from './trailer-fields.ts';

const TOO_LARGE = new ParseFault('headers_too_large', 'header section too large');

function bad(what: string): ParseFault {
  return new ParseFault('bad_request', what);
}

/** A request head of HTTP/2. `text` stays '', and `fields` empty: `list` has the fields. */
export class H2RequestHead extends RequestHead {
  readonly list: FieldList;
  /** Where in the list the fields begin: after the pseudo-header fields, and with a memo after Host. */
  first = 0;
  /** What the head was in HTTP/1.1, when another Outrider said it. */
  memo: Memo | null = null;
  /** Its connection is one between Outriders, which carries requests of HTTP/1.1 only. */
  readonly shared: boolean;
  /** 'http' or 'https'. */
  scheme = '';
  /** `:protocol` (RFC 8441): `method` is then GET, as in the HTTP/1.1 handshake that it stands for. */
  protocolToken: string | null = null;
  /** A field `host` beside `:authority`, or in its place. */
  hostField: string | null = null;
  /** Number of `cookie` fields. */
  crumbs = 0;

  constructor(list: FieldList, shared = false) {
    super();
    this.list = list;
    this.shared = shared;
    this.version = '2';
  }

  /** What the Host line of HTTP/1.1 says: the authority (RFC 9113 8.3.1), though CONNECT may leave a port out. */
  get hostLine(): string {
    return this.hostField !== null && this.method === 'CONNECT' ? this.hostField : this.host;
  }

  /** Several cookie fields are one where HTTP/1.1 reads them, unless it was HTTP/1.1 that sent several (RFC 9113 8.2.3). */
  get joinsCookies(): boolean {
    return this.crumbs > 1 && this.memo === null;
  }

  /** The cookie fields as one, but for empty ones: a value has no white space at its end. */
  get cookie(): string {
    const { kinds, values } = this.list;
    let joined = '';
    for (let i = this.first; i < kinds.length; i++) {
      if (((kinds[i] as number) & KIND_BITS) !== COOKIE || values[i] === '') continue;
      joined += joined === '' ? values[i] : `; ${values[i]}`;
    }
    return joined;
  }

  override sentValues(name: string): string[] {
    if (name === 'host') return [this.hostLine];
    if (name === 'cookie' && this.joinsCookies) return [this.cookie];
    return valuesIn(this.list, this.first, name);
  }

  override valueOf(code: number): string | null {
    return code === HOST ? this.hostLine : valueIn(this.list, code);
  }

  override sentFields(): (readonly [name: string, value: string])[] {
    return fieldsIn(this.list, this.first, this.joinsCookies ? this.cookie : null, this.hostLine);
  }
}

/** A response head of HTTP/2. `text` stays '', and `fields` empty: `list` has the fields. */
export class H2ResponseHead extends ResponseHead {
  readonly list: FieldList;
  /** Where in the list the fields begin: after `:status`. */
  first = 0;
  /** What the head was in HTTP/1.1, when another Outrider said it. */
  memo: Memo | null = null;
  /** The stream ended with the head, without a Content-Length: an HTTP/1.1 client has to be told that it is 0. */
  emptyUnsaid = false;

  constructor(list: FieldList) {
    super();
    this.list = list;
  }

  override sentValues(name: string): string[] {
    return valuesIn(this.list, this.first, name);
  }

  override valueOf(code: number): string | null {
    return valueIn(this.list, code);
  }

  override sentFields(): (readonly [name: string, value: string])[] {
    return fieldsIn(this.list, this.first, null, null);
  }
}

/**
 * Reads a request's header list.
 * @param endStream no DATA follows
 * @param memo the connection is one between Outriders that agreed to the memo
 */
export function requestOf(list: FieldList, endStream: boolean, memo: boolean): H2RequestHead | ParseFault {
  if (list.tooLarge) return TOO_LARGE;
  if (list.malformed !== null) return bad(list.malformed);
  const head = new H2RequestHead(list, memo);
  return readRequest(head, endStream) ?? (memo ? readMemo(head, false) : null) ?? head;
}

function readRequest(head: H2RequestHead, endStream: boolean): ParseFault | null {
  const seen = readPseudoFields(head);
  if (typeof seen !== 'number') return seen;
  const { kinds, values } = head.list;
  for (let i = head.first; i < kinds.length; i++) {
    const kind = (kinds[i] as number) & KIND_BITS;
    if (kind === PLAIN || kind > COOKIE) continue;
    const fault = readField(head, kind, values[i] as string);
    if (fault !== null) return fault;
  }
  return readTarget(head, seen) ?? frameRequest(head, endStream);
}

/** @returns bits of those that are there */
function readPseudoFields(head: H2RequestHead): number | ParseFault {
  const { kinds, names, values } = head.list;
  let seen = 0;
  let at = 0;
  for (; at < kinds.length; at++) {
    const kind = (kinds[at] as number) & KIND_BITS;
    if (kind < METHOD || kind > UNKNOWN_PSEUDO) break;
    if (kind === UNKNOWN_PSEUDO) return bad('unknown pseudo-header field');
    if (kind === STATUS) return bad(':status in a request');
    const bit = 1 << (kind - METHOD);
    if ((seen & bit) !== 0) return bad(`repeated ${names[at]}`);
    seen |= bit;
    takePseudoField(head, kind, values[at] as string);
  }
  head.first = at;
  return seen;
}

function takePseudoField(head: H2RequestHead, kind: number, value: string): void {
  switch (kind) {
    case METHOD:
      head.method = value;
      return;
    case SCHEME:
      head.scheme = value;
      return;
    case AUTHORITY:
      head.host = value;
      return;
    case PATH:
      head.target = value;
      return;
    case PROTOCOL:
      head.protocolToken = value;
  }
}

function readField(head: H2RequestHead, kind: number, value: string): ParseFault | null {
  switch (kind) {
    case HOST:
      if (head.hostField !== null) return bad('repeated Host');
      head.hostField = value;
      return null;
    case CONTENT_LENGTH:
      return readContentLength(head, value);
    case TE:
      if (value.length !== 8 || !same(value, 0, 'trailers')) return bad('TE other than trailers');
      head.trailers = true;
      return null;
    case EXPECT:
      head.expectContinue = value.length === 12 && same(value, 0, '100-continue');
      return null;
    case REQUEST_ID:
      head.requestId = value !== '';
      return null;
    case TRACEPARENT:
      head.traceparent = value;
      return null;
    case CONTENT_TYPE:
      // gRPC's refusal is a 200, which to CONNECT would open a tunnel.
      head.grpc = value.length >= 16 && same(value, 0, 'application/grpc') && head.method !== 'CONNECT';
      return null;
    case COOKIE:
      head.crumbs++;
      return null;
    default:
      return misplaced(kind);
  }
}

/** What may stand in no header list after its pseudo-header fields (RFC 9113 8.2.2, 8.3). */
function misplaced(kind: number): ParseFault | null {
  switch (kind) {
    case CONNECTION:
    case HOP_BY_HOP:
    case KEEP_ALIVE:
    case TRANSFER_ENCODING:
    case UPGRADE:
      return bad('connection-specific header field');
    default:
      return kind >= METHOD && kind <= UNKNOWN_PSEUDO ? bad('misplaced pseudo-header field') : null;
  }
}

function readContentLength(head: MessageHead, value: string): ParseFault | null {
  if (head.framing === 'length') return bad('repeated Content-Length');
  const length = contentLengthOf(value);
  if (length < 0) return bad('invalid Content-Length');
  head.framing = 'length';
  head.contentLength = length;
  return null;
}

function frameRequest(head: H2RequestHead, endStream: boolean): ParseFault | null {
  if (head.protocolToken !== null || head.method === 'CONNECT') {
    return head.framing === 'none' ? null : bad('CONNECT with a body');
  }
  if (!endStream) {
    if (head.framing === 'none') head.framing = 'chunked';
    return null;
  }
  if (head.contentLength > 0) return bad('Content-Length without a body');
  head.framing = 'none';
  return null;
}

function readMemo(head: H2RequestHead | H2ResponseHead, ofResponse: boolean): ParseFault | null {
  const { names, kinds, values } = head.list;
  const at = names.indexOf(MEMO_NAME);
  if (at < 0) return null;
  if (!ofResponse && ((kinds[head.first] as number) & KIND_BITS) === HOST) head.first++;
  const memo = memoOf(values[at] as string);
  if (memo === null || (memo.reason !== null) !== ofResponse || !listsFieldsOf(memo, head.list, head.first)) {
    return bad('malformed field of the mesh');
  }
  head.memo = memo;
  head.minor = memo.minor;
  return null;
}

/**
 * Reads a response's header list.
 * @param endStream no DATA follows
 * @param memo as for `requestOf`
 */
export function responseOf(
  list: FieldList,
  endStream: boolean,
  requestMethod: string,
  memo: boolean,
): H2ResponseHead | ParseFault {
  if (list.tooLarge) return TOO_LARGE;
  if (list.malformed !== null) return bad(list.malformed);
  const head = new H2ResponseHead(list);
  const fault = readStatus(head) ?? readResponseFields(head) ?? frameResponse(head, endStream, requestMethod);
  if (fault !== null) return fault;
  // RFC 9113 8.3.2: HTTP/2 has none; the registered one is what an HTTP/1.1 client expects.
  if (head.status >= 200) head.reason = reasonPhrase(head.status);
  if (!memo) return head;
  const memoFault = readMemo(head, true);
  if (head.memo !== null) head.reason = head.memo.reason as string;
  return memoFault ?? head;
}

function readStatus(head: H2ResponseHead): ParseFault | null {
  const { kinds, values } = head.list;
  const kind = (kinds[0] ?? PLAIN) & KIND_BITS;
  if (kind !== STATUS) {
    return bad(kind >= METHOD && kind <= UNKNOWN_PSEUDO ? 'unknown pseudo-header field' : 'missing :status');
  }
  const text = values[0] as string;
  const a = text.charCodeAt(0) - 0x30;
  const b = text.charCodeAt(1) - 0x30;
  const c = text.charCodeAt(2) - 0x30;
  if (text.length !== 3 || !(a >= 1 && a <= 9 && b >= 0 && b <= 9 && c >= 0 && c <= 9)) {
    return bad('malformed :status');
  }
  head.status = a * 100 + b * 10 + c;
  head.first = 1;
  return head.status === 101 ? bad('101 in HTTP/2') : null;
}

function readResponseFields(head: H2ResponseHead): ParseFault | null {
  const { kinds, values } = head.list;
  for (let i = 1; i < kinds.length; i++) {
    const kind = (kinds[i] as number) & KIND_BITS;
    if (kind === PLAIN || kind > COOKIE) continue;
    // TE is one of the connection, which only a request may have (RFC 9113 8.2.2).
    const fault =
      kind === CONTENT_LENGTH
        ? readContentLength(head, values[i] as string)
        : misplaced(kind === TE ? CONNECTION : kind);
    if (fault !== null) return fault;
  }
  return null;
}

/** As frameResponse of h1-parser.ts; 'chunked' is a body of unknown length. */
function frameResponse(head: H2ResponseHead, endStream: boolean, requestMethod: string): ParseFault | null {
  const { status, contentLength } = head;
  if (status < 200 && endStream) return bad('interim response ends the stream');
  if (status < 200 || status === 204 || (requestMethod === 'CONNECT' && status < 300)) {
    if (contentLength > 0) return bad(`Content-Length in a ${status} response`);
    head.framing = 'none';
    return null;
  }
  if (requestMethod === 'HEAD' || status === 304) {
    head.framing = 'none';
    return null;
  }
  if (endStream && contentLength > 0) return bad('Content-Length without a body');
  if (head.framing === 'length') return null;
  head.framing = endStream ? 'length' : 'chunked';
  head.emptyUnsaid = endStream;
  return null;
}

/**
 * Trailers as lines of HTTP/1.1, each ending in CRLF, without those that may not stand there (trailer-fields.ts); or a fault.
 * @param withheld names that are taken out
 * @param memo as for `requestOf`
 */
export function trailersOf(
  list: FieldList,
  withheld: FieldNames | null,
  memo = false,
): { readonly lines: string; readonly grpcStatus: string } | ParseFault {
  if (list.tooLarge) return TOO_LARGE;
  if (list.malformed !== null) return bad(list.malformed);
  const { names, values, kinds } = list;
  const said = memo && names.length > 0 ? memoOfTrailers(list) : null;
  if (said instanceof ParseFault) return said;
  let lines = '';
  let grpcStatus = '';
  for (let i = 0; i < names.length; i++) {
    const kind = (kinds[i] as number) & KIND_BITS;
    const fault = misplaced(kind);
    if (fault !== null) return fault;
    const value = values[i] as string;
    if (kind === GRPC_STATUS) grpcStatus = value;
    // A name that means something to a proxy means it in the header section only.
    if ((kind !== PLAIN && kind < COOKIE) || !mayTrail(names[i] as string, withheld)) continue;
    lines += said === null ? `${names[i]}: ${value}\r\n` : `${nameIn(said, i).open}${value}\r\n`;
  }
  return { lines, grpcStatus };
}

function memoOfTrailers(list: FieldList): Memo | ParseFault | null {
  const at = list.names.indexOf(MEMO_NAME);
  if (at < 0) return null;
  const memo = memoOf(list.values[at] as string);
  return memo !== null && memo.reason === null && listsFieldsOf(memo, list, 0)
    ? memo
    : bad('malformed field of the mesh');
}
