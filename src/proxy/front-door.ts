/**
 * The checks before policy, for explaining without a socket: the parser, the peer judgement and the check of tokens that
 * connections and requests meet.
 */
import type { JwtRule } from '../config/resources.ts';
import { FieldList } from '../http/field-list.ts';
import { MAX_FIELDS, MAX_HEAD_BYTES, ParseFault, parseRequest } from '../http/h1-parser.ts';
import { TABLE_BYTES } from '../http/h2-frames.ts';
import { requestOf } from '../http/h2-head.ts';
import { HeaderEdits } from '../http/header-edits.ts';
import { HpackDecoder } from '../http/hpack-decoder.ts';
import { HpackEncoder, NO_INDEX } from '../http/hpack-encoder.ts';
import { type KeySets, keySource } from '../identity/jwks-source.ts';
import { createAuthenticator } from '../identity/jwt.ts';
import { parseSpiffeId } from '../identity/spiffe.ts';
import type { FrontDoor, TokenCheck } from '../policy/explain-answer.ts';
import type { ExplainRequest } from '../policy/explain-request.ts';

/**
 * @param keySets the keys that were fetched, by `keySource`; without them only inline `jwks` can accept a token
 * @param federated the trust domains that the identity in force federates with
 */
export function frontDoor(keySets: KeySets = {}, federated: readonly string[] = []): FrontDoor {
  return {
    peerFault: (principal, trustDomains) => peerFault(principal, [...trustDomains, ...federated]),
    requestFault,
    tokens: rules => tokenCheck(rules, keySets),
  };
}

function tokenCheck(rules: readonly JwtRule[], keySets: KeySets): TokenCheck {
  const authenticator = createAuthenticator({ rules, keySets });
  const sources = rules.map(keySource).filter(source => source !== null);
  return {
    missingKeys: sources.filter(source => !Object.hasOwn(keySets, source)),
    check: async request => {
      const verdict = await authenticator.authenticate(request);
      if (!verdict.ok) return verdict;
      const { edits, jwt } = verdict;
      const fields = new HeaderEdits();
      if (edits !== null) fields.apply(edits);
      return {
        ok: true,
        jwt,
        target: edits?.target ?? request.target,
        headerValues: name => fields.valuesOf(name, request.headerValues(name)),
      };
    },
  };
}

/** As `judgePeer` refuses a certificate that is otherwise in order. */
function peerFault(principal: string, trustDomains: readonly string[]): string | null {
  const parsed = parseSpiffeId(principal);
  if (!parsed.ok) return 'bad_spiffe_id';
  return trustDomains.includes(parsed.id.trustDomain) ? null : 'foreign_trust_domain';
}

/** Writes the head as a client would and lets the parser read it. */
function requestFault({ protocol, request }: ExplainRequest): string | null {
  if (protocol === 'http2' || protocol === 'grpc') return http2Fault(request);
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

/** The same of HTTP/2: a header block. */
function http2Fault({ method, path, host, headers }: ExplainRequest['request']): string | null {
  const encoder = new HpackEncoder();
  const add = (name: string, value: string): void => encoder.field(wire(name), wire(value), NO_INDEX);
  encoder.begin();
  add(':method', method);
  if (method !== 'CONNECT') {
    add(':scheme', 'http');
    add(':path', path);
  }
  if (host !== '' && !headers.has('host')) add(':authority', host);
  for (const [name, lines] of headers) for (const line of lines) add(name, line);
  const list = new FieldList();
  const limits = { bytes: MAX_HEAD_BYTES, fields: MAX_FIELDS };
  const { buffer, length } = encoder;
  const fault = new HpackDecoder(TABLE_BYTES).decode(buffer, 0, length, list, limits);
  if (fault !== null) return fault;
  const head = requestOf(list, true, false);
  return head instanceof ParseFault ? head.what : null;
}

function wire(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}
