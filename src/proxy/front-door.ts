/** The checks before policy, for explaining without a socket: the parser and the peer judgement that connections meet. */
import { ParseFault, parseRequest } from '../http/h1-parser.ts';
import { parseSpiffeId } from '../identity/spiffe.ts';
import type { FrontDoor } from '../policy/explain.ts';
import type { ExplainRequest } from '../policy/explain-request.ts';

export const frontDoor: FrontDoor = { peerFault, requestFault };

/** As `judgePeer` refuses a certificate that is otherwise in order. */
function peerFault(principal: string, trustDomains: readonly string[]): string | null {
  const parsed = parseSpiffeId(principal);
  if (!parsed.ok) return 'bad_spiffe_id';
  return trustDomains.includes(parsed.id.trustDomain) ? null : 'foreign_trust_domain';
}

/** Writes the head as an HTTP/1.1 client would and lets the parser read it. */
function requestFault({ protocol, request }: ExplainRequest): string | null {
  if (protocol !== 'http') return null;
  const { method, path, host, headers } = request;
  // A line break in a described value would become a line of its own, which no client could send in that place.
  if (/[\0\r\n]/.test(method + path + host)) return 'malformed request line';
  let head = `${method} ${path} HTTP/1.1\r\n`;
  if (!headers.has('host')) head += `host: ${host}\r\n`;
  for (const [name, lines] of headers) {
    for (const line of lines) {
      if (/[\0\r\n]/.test(name + line)) return 'control character in a header value';
      head += `${name}: ${line}\r\n`;
    }
  }
  const parsed = parseRequest(Buffer.from(`${head}\r\n`, 'utf8').toString('latin1'));
  return parsed instanceof ParseFault ? parsed.what : null;
}
