// Hot path: no promise, closure or string per chunk.
/**
 * The heads that Outrider sends on in HTTP/2, from heads of either version: the same fields are left out and added as in
 * h1-write.ts, names in lower case, Host as `:authority`.
 */
import type { ResponseEdits } from './exchange.ts';
import {
  CONTENT_LENGTH,
  fieldCode,
  HOST,
  isEndToEnd,
  REQUEST_ID,
  TRACEPARENT,
  TRACESTATE,
  XFCC,
} from './fields.ts';
import {
  MEMO_NAME,
  nameIn,
  ownName,
  PlacedNames,
  requestShape,
  responseShape,
  type SentName,
  type Shape,
} from './h1-memo.ts';
import { type MessageHead, type RequestHead, type ResponseHead, STRIDE } from './h1-parser.ts';
import { isDropped, isLeftOut, isRemoved, type RequestEdits } from './h1-write.ts';
import { AUTHORIZATION, COOKIE, KIND_BITS, NEVER_INDEXED } from './h2-field-kind.ts';
import { H2RequestHead, H2ResponseHead } from './h2-head.ts';
import { type HpackEncoder, INDEX, NEVER, NO_INDEX } from './hpack-encoder.ts';

/** What the heads need of an encoder; the block was begun. */
export type FieldEncoder = Pick<HpackEncoder, 'field'>;

/** Longer paths seldom come twice; those with a query too. */
const MAX_INDEXED_PATH = 128;
/** A secret this short could be guessed by what fits the table (RFC 7541 7.1.3). */
const MIN_INDEXED_SECRET = 20;

/** The fields of a request head towards the upstream. */
export function encodeRequest(
  encoder: FieldEncoder,
  head: RequestHead,
  edits: RequestEdits,
  options: {
    /** Added to that of the edits. */
    readonly drop: number;
    /** Of the connection. */
    readonly scheme: 'http' | 'https';
    /** The connection is one between Outriders that agreed to the memo. */
    readonly memo: boolean;
  },
): void {
  const listed = head instanceof H2RequestHead ? head : null;
  encodePseudoFields(encoder, head, edits.target, options.scheme);
  let shape = options.memo ? shapeOfRequest(head) : null;
  if (shape !== null && head.method === 'CONNECT') encodeHost(encoder, head, edits.target);
  const drop = edits.drop | options.drop;
  shape =
    listed === null
      ? encodeLines(encoder, head, drop, head.absolute, edits.remove, shape, true)
      : encodeList(encoder, listed, drop, edits.remove, shape, true);
  if (edits.list !== undefined) shape = encodeAdded(encoder, edits.list, shape);
  else if (edits.added !== '') shape = encodeText(encoder, edits.added, 0, shape, true);
  if (head.trailers) encoder.field('te', 'trailers', INDEX);
  encodeMemo(encoder, shape);
}

function encodePseudoFields(encoder: FieldEncoder, head: RequestHead, target: string, scheme: string): void {
  if (head.method === 'CONNECT') {
    encoder.field(':method', 'CONNECT', INDEX);
    encoder.field(':authority', target, INDEX);
    return;
  }
  const protocol = head instanceof H2RequestHead ? head.protocolToken : null;
  encoder.field(':method', protocol === null ? head.method : 'CONNECT', INDEX);
  if (protocol !== null) encoder.field(':protocol', protocol, INDEX);
  encoder.field(':scheme', scheme, INDEX);
  if (head.host !== '') encoder.field(':authority', head.host, INDEX);
  const once = target.length > MAX_INDEXED_PATH || target.includes('?');
  encoder.field(':path', target, once ? NO_INDEX : INDEX);
}

/** CONNECT may have a Host that leaves the port out; only another Outrider is told so. */
function encodeHost(encoder: FieldEncoder, head: RequestHead, target: string): void {
  const host = head.absolute ? null : head.valueOf(HOST);
  if (host !== null && host !== target) encoder.field('host', host, INDEX);
}

/** The fields of a response head towards the client; `edits` are for a final one. */
export function encodeResponse(
  encoder: FieldEncoder,
  head: ResponseHead,
  edits: ResponseEdits | null,
  options: {
    /** As for `encodeRequest`. */
    readonly memo: boolean;
  },
): void {
  // RFC 8441 5: what 101 is to HTTP/1.1.
  const switched = head.status === 101;
  encoder.field(':status', switched ? '200' : `${head.status}`, INDEX);
  const remove = switched ? [...(edits?.remove ?? []), 'sec-websocket-accept'] : (edits?.remove ?? null);
  let shape = options.memo && !switched ? shapeOfResponse(head) : null;
  shape =
    head instanceof H2ResponseHead
      ? encodeList(encoder, head, 0, remove, shape, false)
      : encodeLines(encoder, head, 0, false, remove, shape, false);
  if (edits !== null && edits.added !== '') shape = encodeText(encoder, edits.added, 0, shape, false);
  encodeMemo(encoder, shape);
}

/** Where the memo of a head begins; null = it was not HTTP/1.1. */
function shapeOfRequest(head: RequestHead): Shape | null {
  return head instanceof H2RequestHead && head.memo === null ? null : requestShape(head.minor);
}

function shapeOfResponse(head: ResponseHead): Shape | null {
  return head instanceof H2ResponseHead && head.memo === null ? null : responseShape(head.minor, head.reason);
}

function encodeMemo(encoder: FieldEncoder, shape: Shape | null): void {
  if (shape === null) return;
  const { memo } = shape;
  if (memo !== '') encoder.field(MEMO_NAME, memo, INDEX);
}

const requestNames = new PlacedNames();
const responseNames = new PlacedNames();
const addedNames = new PlacedNames();

/** The field lines of an HTTP/1.1 head. @returns the shape with their names */
function encodeLines(
  encoder: FieldEncoder,
  head: MessageHead,
  drop: number,
  dropHost: boolean,
  remove: readonly string[] | null,
  before: Shape | null,
  ofRequest: boolean,
): Shape | null {
  const { text, fields } = head;
  const names = ofRequest ? requestNames : responseNames;
  let shape = before;
  for (let i = 0, place = 0; i < fields.length; i += STRIDE) {
    if (isLeftOut(head, i, drop, dropHost, remove)) continue;
    const from = fields[i + 2] as number;
    const to = fields[i + 3] as number;
    const end = i + STRIDE < fields.length ? (fields[i + STRIDE] as number) - 2 : text.length - 4;
    const name = names.at(place++, text, fields[i] as number, from, to, end);
    if (shape !== null) shape = shape.with(name);
    // In a request it is :authority.
    if (name.kind !== HOST || !ofRequest) encodeField(encoder, name, text.slice(from, to), ofRequest);
  }
  return shape;
}

/** The fields of a head of HTTP/2, in the order in which they came. @returns the shape with the names of its memo */
function encodeList(
  encoder: FieldEncoder,
  head: H2RequestHead | H2ResponseHead,
  drop: number,
  remove: readonly string[] | null,
  before: Shape | null,
  ofRequest: boolean,
): Shape | null {
  const { list, memo, first } = head;
  const { names, values, kinds } = list;
  let shape = before;
  for (let i = first; i < names.length; i++) {
    const mark = kinds[i] as number;
    const kind = mark & KIND_BITS;
    if (shape !== null && memo !== null && i - first === memo.host) {
      shape = shape.with(memo.names[memo.host] as SentName);
    }
    if ((kind === HOST && ofRequest) || isDropped(kind, drop)) continue;
    const name = names[i] as string;
    if (remove !== null && isRemoved(remove, kind, name, 0, name.length)) continue;
    if (shape !== null && memo !== null) shape = shape.with(nameIn(memo, i - first));
    const value = values[i] as string;
    encoder.field(
      name,
      value,
      (mark & NEVER_INDEXED) === 0 ? howToSend(name, kind, value, ofRequest) : NEVER,
    );
  }
  return shape;
}

/** Fields of our own for a request. @returns the shape with their names */
function encodeAdded(encoder: FieldEncoder, list: readonly string[], before: Shape | null): Shape | null {
  let shape = before;
  for (let i = 0; i < list.length; i += 2) {
    const name = ownName(list[i] as string);
    if (!isEndToEnd(name.kind) && name.kind !== XFCC) continue;
    if (shape !== null) shape = shape.with(name);
    encodeField(encoder, name, list[i + 1] as string, true);
  }
  return shape;
}

/** Field lines up to an empty one or the end. @returns the shape with their names */
function encodeText(
  encoder: FieldEncoder,
  text: string,
  start: number,
  before: Shape | null,
  ofRequest: boolean,
): Shape | null {
  let shape = before;
  for (let at = start, place = 0; at < text.length; place++) {
    const end = text.indexOf('\r\n', at);
    const colon = text.indexOf(':', at);
    if (end <= at || colon < 0 || colon > end) break;
    let from = colon + 1;
    while (from < end && isSpace(text.charCodeAt(from))) from++;
    let to = end;
    while (to > from && isSpace(text.charCodeAt(to - 1))) to--;
    const code = fieldCode(text, at, colon - at);
    if (isEndToEnd(code) || code === XFCC) {
      const name = addedNames.at(place, text, at, from, to, end);
      if (shape !== null) shape = shape.with(name);
      encodeField(encoder, name, text.slice(from, to), ofRequest);
    }
    at = end + 2;
  }
  return shape;
}

function isSpace(c: number): boolean {
  return c === 0x20 || c === 0x09;
}

function encodeField(encoder: FieldEncoder, name: SentName, value: string, ofRequest: boolean): void {
  encoder.field(name.lower, value, howToSend(name.lower, name.kind, value, ofRequest));
}

/** Whether a field goes into the table: not what is another one each time, nor a secret. */
function howToSend(name: string, kind: number, value: string, ofRequest: boolean): number {
  switch (kind) {
    case TRACEPARENT:
    case TRACESTATE:
    case REQUEST_ID:
      return NO_INDEX;
    case CONTENT_LENGTH:
      return ofRequest ? NO_INDEX : INDEX;
    case COOKIE:
    case AUTHORIZATION:
      return value.length < MIN_INDEXED_SECRET ? NEVER : INDEX;
    default:
      return name.length === 10 && name === 'set-cookie' ? NEVER : INDEX;
  }
}

/** The fields of an answer of our own. @param text an HTTP/1.1 head; what follows its empty line is not read */
export function encodeLocalHead(encoder: FieldEncoder, text: string): void {
  encoder.field(':status', text.slice(9, 12), INDEX);
  encodeText(encoder, text, text.indexOf('\r\n') + 2, null, false);
}

/** Trailers given as HTTP/1.1 lines, each ending in CRLF. @param memo as for `encodeRequest` */
export function encodeTrailers(encoder: FieldEncoder, lines: string, memo = false): void {
  encodeMemo(encoder, encodeText(encoder, lines, 0, memo ? requestShape(1) : null, false));
}
