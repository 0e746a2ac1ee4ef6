// Hot path: no promise, closure or string per chunk.
/** Where a request of HTTP/2 goes: what its pseudo-header fields say together. */
import { isAuthority, isHostAndPort, isHostOf } from './authority.ts';
import { TCHAR } from './fields.ts';
import { ParseFault } from './h1-parser.ts';
import { AUTHORITY, METHOD, PATH, SCHEME } from './h2-field-kind.ts';
import type { H2RequestHead } from './h2-head.ts';
import { offeredProtocols } from './upgrade.ts';

const HAS_METHOD = 1;
const HAS_SCHEME = 1 << (SCHEME - METHOD);
const HAS_AUTHORITY = 1 << (AUTHORITY - METHOD);
const HAS_PATH = 1 << (PATH - METHOD);

function bad(what: string): ParseFault {
  return new ParseFault('bad_request', what);
}

/**
 * RFC 9113 8.3.1 and 8.5, RFC 8441 4: which pseudo-header fields have to be there, and what they may
 * say. The fields are read already.
 * @param seen a bit for each that is there: 1 << (its kind - METHOD)
 */
export function readTarget(head: H2RequestHead, seen: number): ParseFault | null {
  const { method, target } = head;
  if ((seen & HAS_METHOD) === 0) return bad('missing :method');
  if (!isToken(method)) return bad('malformed :method');
  if (method === 'CONNECT' && head.protocolToken === null) return readTunnel(head, seen);
  if ((seen & HAS_SCHEME) === 0) return bad('missing :scheme');
  if (head.scheme !== 'http' && head.scheme !== 'https') {
    head.scheme = head.scheme.toLowerCase();
    if (head.scheme !== 'http' && head.scheme !== 'https') return bad('unsupported :scheme');
  }
  if ((seen & HAS_PATH) === 0) return bad('missing :path');
  if (!isPath(target) && (target !== '*' || method !== 'OPTIONS')) return bad('invalid :path');
  head.rawPath = target;
  const fault = readAuthority(head, seen);
  return fault === null && head.protocolToken !== null ? readProtocol(head) : fault;
}

function readAuthority(head: H2RequestHead, seen: number): ParseFault | null {
  const said = head.hostField;
  if ((seen & HAS_AUTHORITY) === 0) {
    if (said === null) return bad('missing :authority');
    if (!isAuthority(said)) return bad('invalid Host');
    head.host = said;
    return null;
  }
  if (!isAuthority(head.host)) return bad('invalid :authority');
  // Two answers to "where to" are one too many.
  return said === null || said.toLowerCase() === head.host.toLowerCase()
    ? null
    : bad('Host differs from :authority');
}

/** CONNECT (RFC 9113 8.5). */
function readTunnel(head: H2RequestHead, seen: number): ParseFault | null {
  if ((seen & (HAS_SCHEME | HAS_PATH)) !== 0) return bad('CONNECT with :scheme or :path');
  const { host, hostField } = head;
  if (!isHostAndPort(host)) return bad('CONNECT wants host:port');
  if (hostField !== null && !isHostOf(host, hostField)) return bad('Host differs from :authority');
  head.target = host;
  head.rawPath = host;
  return null;
}

/** Extended CONNECT (RFC 8441 4). */
function readProtocol(head: H2RequestHead): ParseFault | null {
  if (head.method !== 'CONNECT') return bad(':protocol without CONNECT');
  const token = head.protocolToken as string;
  if (!isToken(token) || offeredProtocols(token) === '') return bad('invalid :protocol');
  head.method = 'GET';
  return null;
}

function isToken(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (TCHAR[text.charCodeAt(i)] !== 1) return false;
  return text !== '';
}

function isPath(text: string): boolean {
  if (text.charCodeAt(0) !== 0x2f) return false;
  for (let i = 1; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c <= 0x20 || c >= 0x7f) return false;
  }
  return true;
}
