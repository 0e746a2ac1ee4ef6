/** The value that a clause looked at, for reading: never a token, never a control character, never endless. */
import type { RequestAttributes, VerifiedJwt } from './attributes.ts';
import { claimOf } from './claims.ts';
import { forwardedAddress } from './forwarded.ts';
import type { ConnectionClause, ConnectionFacts, RequestClause } from './match.ts';

export type Clause = ConnectionClause | RequestClause;

interface Seen {
  readonly facts: ConnectionFacts;
  readonly request: RequestAttributes | null;
  readonly rules: { readonly reading: { readonly target: string } };
}

/** Headers whose values are credentials. */
const SECRET: ReadonlySet<string> = new Set(['authorization', 'proxy-authorization', 'cookie']);

export function saw(clause: Clause, { facts, request, rules }: Seen): string {
  switch (clause.attribute) {
    case 'principal':
    case 'namespace':
    case 'serviceAccount':
    case 'trustDomain':
      return facts.identity === null ? 'no peer identity' : legible(facts.identity);
    case 'sourceIp':
      return facts.sourceIp;
    case 'destinationIp':
      return facts.destinationIp;
    case 'port':
      return String(facts.port);
    case 'sni':
      return facts.sni === '' ? 'no server name' : legible(fromWire(facts.sni));
    default:
      return request === null ? 'no request' : sawInRequest(clause, request, facts, rules.reading.target);
  }
}

function sawInRequest(
  clause: RequestClause,
  request: RequestAttributes,
  facts: ConnectionFacts,
  target: string,
): string {
  switch (clause.attribute) {
    case 'method':
      return legible(request.method);
    case 'path':
      return legible(fromWire(request.path));
    case 'target':
      return legible(fromWire(target));
    case 'header':
      return sawHeader(clause.header, request.headerValues(clause.header));
    case 'claim':
      return sawClaim(clause.path, request.jwt);
    case 'requestPrincipal':
      return request.jwt === null
        ? 'no verified token'
        : `${sawClaim(['iss'], request.jwt)}/${sawClaim(['sub'], request.jwt)}`;
    case 'remoteIp':
      return sawRemote(request, facts);
    default:
      return legible(fromWire(request.host));
  }
}

function sawHeader(name: string, lines: readonly string[]): string {
  if (lines.length === 0) return 'no such header';
  if (SECRET.has(name)) return 'a value that is not shown';
  const shown = lines.slice(0, MOST_VALUES).map(line => legible(fromWire(line)));
  if (lines.length > MOST_VALUES) shown.push(`${lines.length - MOST_VALUES} more`);
  return shown.join(' and ');
}

function sawClaim(path: readonly string[], jwt: VerifiedJwt | null): string {
  if (jwt === null) return 'no verified token';
  const value = claimOf(path, jwt);
  if (value === undefined) return 'no such claim';
  return legible(typeof value === 'string' ? value : JSON.stringify(value));
}

function sawRemote(request: RequestAttributes, { sourceIp }: ConnectionFacts): string {
  const lines = request.headerValues('x-forwarded-for');
  if (lines.length === 0) return sourceIp;
  const text = legible(fromWire(lines.join(',')));
  return forwardedAddress(lines) === null
    ? `${sourceIp} (x-forwarded-for ${text} does not end in an address)`
    : `the last of x-forwarded-for ${text}`;
}

const MOST_VALUES = 8;

/** Configured values. */
export function listed(values: readonly string[]): string {
  if (values.length <= MOST_VALUES) return values.join(' or ');
  return `${values.slice(0, MOST_VALUES).join(' or ')} or ${values.length - MOST_VALUES} more`;
}

const MOST_CHARACTERS = 256;
/** More of a text is not looked at, so that a request cannot make its explanation slow. */
const MOST_READ = 4_096;
/** Up to three parts of base64url of which the first begins `{"`, and whatever a query calls a token. */
const TOKEN = /\beyJ[\w-]*(?:\.[\w-]*){0,2}|(?<=[?&;](?:access_)?token=)[^&;]+/g;
const CONTROL = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;

function legible(text: string): string {
  if (text === '') return '""';
  const safe = text.slice(0, MOST_READ).replace(TOKEN, '(token)').replace(CONTROL, escaped);
  return safe.length > MOST_CHARACTERS ? `${safe.slice(0, MOST_CHARACTERS)}…` : safe;
}

function escaped(character: string): string {
  return `\\u{${(character.codePointAt(0) as number).toString(16)}}`;
}

/** A byte string as the text it most likely is. */
function fromWire(text: string): string {
  return Buffer.from(text, 'latin1').toString('utf8');
}
