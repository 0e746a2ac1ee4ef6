// Hot path: no promise, closure or string per chunk.
/**
 * The heads that Outrider sends on: every field byte for byte, in order, in its own case, but for those that belong to
 * one connection only (RFC 9110 7.6.1) and those that Outrider itself vouches for. Runs of kept lines are one slice.
 */

import type { ResponseEdits } from './exchange.ts';
import {
  alike,
  CONNECTION,
  CONTENT_LENGTH,
  EXPECT,
  FORWARDED_PROTO,
  HOP_BY_HOP,
  HOST,
  KEEP_ALIVE,
  PEER_METADATA,
  PLAIN,
  REQUEST_ID,
  TE,
  TRACEPARENT,
  TRACESTATE,
  TRANSFER_ENCODING,
  UPGRADE,
  XFCC,
} from './fields.ts';
import { type Memo, nameIn, type SentName } from './h1-memo.ts';
import { type MessageHead, type RequestHead, type ResponseHead, STRIDE } from './h1-parser.ts';
import { COOKIE, KIND_BITS } from './h2-field-kind.ts';
import { H2RequestHead, H2ResponseHead } from './h2-head.ts';
import { offeredProtocols } from './upgrade.ts';

export interface RequestEdits {
  /** The normalised request target. */
  readonly target: string;
  /** Complete lines that Outrider adds, each ending in CRLF. */
  readonly added: string;
  /** The same as names in lower case and values, in turn, where they are known so; else absent. */
  readonly list?: readonly string[];
  /** Lines of these field codes are left out, since `added` replaces them. */
  readonly drop: number;
  /** Lower-case names of further fields that are left out, `_` and `-` alike; never those that frame the message. */
  readonly remove: readonly string[] | null;
}

/** Bits of RequestEdits.drop. */
export const DROP_XFCC = 1;
export const DROP_PROTO = 2;
export const DROP_REQUEST_ID = 4;
export const DROP_TRACEPARENT = 8;
export const DROP_TRACESTATE = 16;
/** The client was told to go on already. */
export const DROP_EXPECT = 32;

/** One request head towards the upstream; `drop` is added to that of the edits. */
export function writeRequestHead(head: RequestHead, edits: RequestEdits, drop = 0): string {
  if (head instanceof H2RequestHead) return writeListedRequest(head, edits, drop);
  let out = `${head.method} ${edits.target} HTTP/1.1\r\n`;
  if (head.absolute || head.host === '') out += `Host: ${head.host}\r\n`;
  out += keptFields(head, edits.drop | drop, head.absolute, edits.remove);
  out += edits.added;
  if (head.framing === 'chunked') out += 'Transfer-Encoding: chunked\r\n';
  if (head.upgrade !== null) {
    const offers = offeredProtocols(head.upgrade);
    if (offers !== '') out += `Connection: Upgrade\r\nUpgrade: ${offers}\r\n`;
  } else if (head.trailers) out += 'Connection: TE\r\nTE: trailers\r\n';
  return `${out}\r\n`;
}

/** One response head towards the client; `edits` are for a final one. */
export function writeResponseHead(
  head: ResponseHead,
  delivery: 'same' | 'chunked' | 'bare',
  connection: 'close' | 'keep-alive' | '',
  edits: ResponseEdits | null,
): string {
  let out = `HTTP/1.1 ${head.status} ${head.reason}\r\n`;
  const remove = edits === null ? null : edits.remove;
  if (head instanceof H2ResponseHead) {
    out += keptOfList(head, 0, null, remove);
    if (head.emptyUnsaid) out += 'content-length: 0\r\n';
  } else out += keptFields(head, 0, false, remove);
  if (edits !== null) out += edits.added;
  if ((head.framing === 'chunked' && delivery === 'same') || delivery === 'chunked') {
    out += 'Transfer-Encoding: chunked\r\n';
  }
  if (head.status === 101 && head.upgrade !== null)
    out += `Connection: Upgrade\r\nUpgrade: ${head.upgrade}\r\n`;
  else if (connection !== '')
    out += connection === 'close' ? 'Connection: close\r\n' : 'Connection: keep-alive\r\n';
  return `${out}\r\n`;
}

/** A head of HTTP/2 as HTTP/1.1: the Host line first and names as they came, unless a memo says how it was. */
function writeListedRequest(head: H2RequestHead, edits: RequestEdits, drop: number): string {
  const { memo, hostLine } = head;
  let out = `${head.method} ${edits.target} HTTP/1.1\r\n`;
  if (memo === null || memo.host > memo.names.length) out += `Host: ${hostLine}\r\n`;
  out += keptOfList(head, edits.drop | drop, hostLine, edits.remove);
  out += edits.added;
  if (head.framing === 'chunked') out += 'Transfer-Encoding: chunked\r\n';
  else if (memo === null && head.framing === 'none' && wantsLength(head)) out += 'content-length: 0\r\n';
  // Extended CONNECT (RFC 8441 5) as the handshake of HTTP/1.1; the exchange adds the key, which HTTP/2 does without.
  if (head.protocolToken !== null)
    out += `Connection: Upgrade\r\nUpgrade: ${offeredProtocols(head.protocolToken)}\r\n`;
  else if (head.trailers) out += 'Connection: TE\r\nTE: trailers\r\n';
  return `${out}\r\n`;
}

/** RFC 9110 8.6: a method that expects content says that there is none; HTTP/2 says it with the end of the stream. */
function wantsLength({ method, list }: H2RequestHead): boolean {
  return (
    (method === 'POST' || method === 'PUT' || method === 'PATCH') && !list.names.includes('content-length')
  );
}

/** @param hostLine null in a response, where Host is a field like any other */
function keptOfList(
  head: H2RequestHead | H2ResponseHead,
  drop: number,
  hostLine: string | null,
  remove: readonly string[] | null,
): string {
  const { list, memo, first } = head;
  const { names, values, kinds } = list;
  const joins = head instanceof H2RequestHead && head.joinsCookies;
  let joined = false;
  let out = '';
  for (let i = first; i < names.length; i++) {
    const kind = (kinds[i] as number) & KIND_BITS;
    if (memo !== null && i - first === memo.host) out += hostOf(memo, hostLine ?? '');
    if ((kind === HOST && hostLine !== null) || isDropped(kind, drop)) continue;
    const name = names[i] as string;
    if (remove !== null && isRemoved(remove, kind, name, 0, name.length)) continue;
    if (memo !== null) {
      const sent = nameIn(memo, i - first);
      out += sent.open + values[i] + sent.close;
    } else if (!joins || kind !== COOKIE) out += `${name}: ${values[i]}\r\n`;
    else if (!joined) {
      joined = true;
      out += `${name}: ${(head as H2RequestHead).cookie}\r\n`;
    }
  }
  return out;
}

function hostOf(memo: Memo, hostLine: string): string {
  const sent = memo.names[memo.host] as SentName;
  return sent.open + hostLine + sent.close;
}

function keptFields(
  head: MessageHead,
  drop: number,
  dropHost: boolean,
  remove: readonly string[] | null,
): string {
  const { text, fields } = head;
  const length = fields.length;
  if (length === 0) return '';
  let out = '';
  let from = fields[0] as number;
  for (let i = 0; i < length; i += STRIDE) {
    if (!isLeftOut(head, i, drop, dropHost, remove)) continue;
    const start = fields[i] as number;
    if (start > from) out += text.slice(from, start);
    from = i + STRIDE < length ? (fields[i + STRIDE] as number) : text.length - 2;
  }
  const end = text.length - 2;
  return from < end ? out + text.slice(from, end) : out;
}

/** Whether the field line at `fields[i]` stays behind. */
export function isLeftOut(
  head: MessageHead,
  i: number,
  drop: number,
  dropHost: boolean,
  remove: readonly string[] | null,
): boolean {
  const { text, fields, nominated } = head;
  const code = fields[i + 4] as number;
  const start = fields[i] as number;
  const end = fields[i + 1] as number;
  if (code === PLAIN ? nominated !== null && isNominated(nominated, text, start, end) : isDropped(code, drop))
    return true;
  if (code === HOST) return dropHost;
  return remove !== null && isRemoved(remove, code, text, start, end);
}

/** Whether fields of this code, or kind, stay behind: Outrider's to say, or of one connection. */
export function isDropped(code: number, drop: number): boolean {
  switch (code) {
    case CONNECTION:
    case HOP_BY_HOP:
    case KEEP_ALIVE:
    case TE:
    case TRANSFER_ENCODING:
    case UPGRADE:
    case PEER_METADATA:
      return true;
    case XFCC:
      return (drop & DROP_XFCC) !== 0;
    case FORWARDED_PROTO:
      return (drop & DROP_PROTO) !== 0;
    case EXPECT:
      return (drop & DROP_EXPECT) !== 0;
    case REQUEST_ID:
      return (drop & DROP_REQUEST_ID) !== 0;
    case TRACEPARENT:
      return (drop & DROP_TRACEPARENT) !== 0;
    case TRACESTATE:
      return (drop & DROP_TRACESTATE) !== 0;
    default:
      return false;
  }
}

function isNominated(nominated: readonly string[], text: string, start: number, end: number): boolean {
  return nominated.includes(text.slice(start, end).toLowerCase());
}

/** Whether the edits take the name at `text[start, end)` out. */
export function isRemoved(
  remove: readonly string[],
  code: number,
  text: string,
  start: number,
  end: number,
): boolean {
  // Without these the message is another one, or none.
  if (code === HOST || code === CONTENT_LENGTH || code === EXPECT) return false;
  for (const name of remove) if (name.length === end - start && alike(text, start, name)) return true;
  return false;
}
