/** From the values of one manifest field to a clause. Pure translation: what may be asked of which attribute, and how. */
import { type Block, parseBlock } from './address.ts';
import { wireText } from './attributes.ts';
import type { ConnectionClause, RequestClause } from './match.ts';
import { compileText } from './text.ts';
import { expandTrustDomains } from './trust-domain.ts';

/** What a field or a `when` key asks about. */
export type Subject =
  | { readonly on: 'connection'; readonly attribute: ConnectionClause['attribute'] }
  | { readonly on: 'request'; readonly attribute: RequestClause['attribute']; readonly header: string };

/** One field as written, with where to find it. */
export interface FieldValues {
  readonly subject: Subject;
  readonly field: string;
  readonly values: readonly string[];
  readonly negated: boolean;
}

export type CompiledClause =
  | { readonly on: 'connection'; readonly clause: ConnectionClause }
  | { readonly on: 'request'; readonly clause: RequestClause };

const PRINCIPAL: Subject = { on: 'connection', attribute: 'principal' };
const NAMESPACE: Subject = { on: 'connection', attribute: 'namespace' };
const SOURCE_IP: Subject = { on: 'connection', attribute: 'sourceIp' };
const PORT: Subject = { on: 'connection', attribute: 'port' };

/** Fields of `from[].source`, in the order in which they are asked. */
export const SOURCE_FIELDS = [
  ['principals', 'notPrincipals', PRINCIPAL],
  ['namespaces', 'notNamespaces', NAMESPACE],
  ['ipBlocks', 'notIpBlocks', SOURCE_IP],
] as const;

/** Fields of `to[].operation`, in the order in which they are asked. */
export const OPERATION_FIELDS = [
  ['ports', 'notPorts', PORT],
  ['methods', 'notMethods', ofRequest('method')],
  ['hosts', 'notHosts', ofRequest('host')],
  ['paths', 'notPaths', ofRequest('path')],
] as const;

/** Envoy keeps these as one value each and joins repeated lines by a comma; every other line is matched by itself. */
const INLINE_HEADERS: ReadonlySet<string> = new Set([
  ...[
    'accept',
    'accept-encoding',
    'authorization',
    'cache-control',
    'content-encoding',
    'content-type',
    'expect',
  ],
  ...[
    'access-control-request-headers',
    'access-control-request-method',
    'access-control-request-private-network',
  ],
  ...['grpc-accept-encoding', 'grpc-timeout', 'origin', 'pragma', 'referer', 'user-agent', 'via'],
  ...['if-match', 'if-modified-since', 'if-none-match', 'if-range', 'if-unmodified-since'],
  ...['x-client-trace-id', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-port', 'x-forwarded-proto'],
  ...['x-envoy-attempt-count', 'x-envoy-decorator-operation', 'x-envoy-downstream-service-cluster'],
  ...['x-envoy-downstream-service-node', 'x-envoy-external-address', 'x-envoy-is-timeout-retry'],
  ...['x-envoy-original-host', 'x-envoy-original-path', 'x-request-id'],
]);

/**
 * What a `when` key asks about.
 * @returns null when the key is not one that Outrider decides on
 */
export function subjectOf(key: string): Subject | null {
  switch (key) {
    case 'source.principal':
      return PRINCIPAL;
    case 'source.namespace':
      return NAMESPACE;
    case 'source.ip':
      return SOURCE_IP;
    case 'destination.port':
      return PORT;
    default:
      return headerSubject(key);
  }
}

/** `request.headers[NAME]`; the pseudo headers and `host` are attributes of their own, compared as headers are. */
function headerSubject(key: string): Subject | null {
  const name = /^request\.headers\[(.+)\]$/.exec(key)?.[1]?.toLowerCase();
  switch (name) {
    case undefined:
      return null;
    case ':authority':
    case 'host':
      return ofRequest('authority');
    case ':method':
      return ofRequest('method');
    case ':path':
      return ofRequest('target');
    default:
      return name.startsWith(':') ? null : { on: 'request', attribute: 'header', header: name };
  }
}

function ofRequest(attribute: RequestClause['attribute']): Subject {
  return { on: 'request', attribute, header: '' };
}

/**
 * Compiles the values of a field, without those that mean nothing (`bad`: a CIDR block or port that does not parse).
 * @param trustDomains the mesh's trust domain, then its aliases
 * @returns a null clause when no value is left
 */
export function compileClause(
  { subject, field, values, negated }: FieldValues,
  trustDomains: readonly string[],
): { readonly compiled: CompiledClause | null; readonly bad: readonly string[] } {
  if (subject.on === 'request') {
    const text = compileText(values, textOptions(subject.attribute));
    const { attribute, header } = subject;
    const joined = INLINE_HEADERS.has(header);
    const clause: RequestClause = { field, wants: values, negated, attribute, header, joined, text };
    return { compiled: { on: 'request', clause }, bad: [] };
  }
  const { attribute } = subject;
  switch (attribute) {
    case 'principal': {
      const wants = expandTrustDomains(values, trustDomains);
      const text = compileText(wants, { presence: 'any' });
      return whole({ field, wants, negated, attribute, text });
    }
    case 'namespace':
      return whole({ field, wants: values, negated, attribute, runs: values.map(namespaceRuns) });
    case 'sourceIp': {
      const blocks = readable(values, parseBlock);
      return readClause(blocks, { field, wants: values, negated, attribute, blocks: blocks.read });
    }
    case 'port': {
      const ports = readable(values, parsePort);
      return readClause(ports, { field, wants: values, negated, attribute, ports: ports.read });
    }
  }
}

function textOptions(attribute: RequestClause['attribute']) {
  switch (attribute) {
    case 'host':
      return { presence: 'any', foldCase: true } as const;
    case 'path':
      return { presence: 'nonEmpty', templates: true } as const;
    default:
      return { presence: 'any' } as const;
  }
}

/** `f*o` → `/ns/f`, `o/`: what must stand in the SPIFFE ID, in this order. */
function namespaceRuns(value: string): string[] {
  return `/ns/${wireText(value)}/`.split('*');
}

/** Go's ParseUint: digits only, leading zeros allowed. */
function parsePort(text: string): number | null {
  return /^\d+$/.test(text) && Number(text) <= 65_535 ? Number(text) : null;
}

interface Readable<T> {
  readonly read: readonly T[];
  readonly bad: readonly string[];
}

function readable<T extends Block | number>(
  values: readonly string[],
  parse: (text: string) => T | null,
): Readable<T> {
  const read: T[] = [];
  const bad: string[] = [];
  for (const value of values) {
    const parsed = parse(value);
    if (parsed === null) bad.push(value);
    else read.push(parsed);
  }
  return { read, bad };
}

function whole(clause: ConnectionClause) {
  return { compiled: { on: 'connection', clause } as const, bad: [] };
}

function readClause({ read, bad }: Readable<unknown>, clause: ConnectionClause) {
  return { compiled: read.length === 0 ? null : ({ on: 'connection', clause } as const), bad };
}
