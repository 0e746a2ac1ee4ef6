/** What each field of a rule and each `when` key asks about. */
import type { Operation, Source } from '../config/resources.ts';
import { claimPath } from './claims.ts';
import type { ConnectionClause, TextAttribute } from './match.ts';

export type Subject =
  | { readonly on: 'connection'; readonly attribute: ConnectionClause['attribute'] }
  | { readonly on: 'request'; readonly attribute: TextAttribute }
  /** Name in lower case. */
  | { readonly on: 'header'; readonly header: string }
  /** Names from the outermost in. */
  | { readonly on: 'claim'; readonly path: readonly string[] }
  | { readonly on: 'requestPrincipal' }
  /** Of the request where there is one, else of the connection. */
  | { readonly on: 'remoteIp' };

const PRINCIPAL: Subject = { on: 'connection', attribute: 'principal' };
const NAMESPACE: Subject = { on: 'connection', attribute: 'namespace' };
const SERVICE_ACCOUNT: Subject = { on: 'connection', attribute: 'serviceAccount' };
const TRUST_DOMAIN: Subject = { on: 'connection', attribute: 'trustDomain' };
const SOURCE_IP: Subject = { on: 'connection', attribute: 'sourceIp' };
const DESTINATION_IP: Subject = { on: 'connection', attribute: 'destinationIp' };
const PORT: Subject = { on: 'connection', attribute: 'port' };
const SNI: Subject = { on: 'connection', attribute: 'sni' };
const REQUEST_PRINCIPAL: Subject = { on: 'requestPrincipal' };
const REMOTE_IP: Subject = { on: 'remoteIp' };

type Fields<T> = readonly (readonly [name: keyof T, not: keyof T, subject: Subject])[];

/** Fields of `from[].source`, in the order in which a trace tells them. */
export const SOURCE_FIELDS: Fields<Source> = [
  ['principals', 'notPrincipals', PRINCIPAL],
  ['requestPrincipals', 'notRequestPrincipals', REQUEST_PRINCIPAL],
  ['namespaces', 'notNamespaces', NAMESPACE],
  ['serviceAccounts', 'notServiceAccounts', SERVICE_ACCOUNT],
  ['trustDomains', 'notTrustDomains', TRUST_DOMAIN],
  ['ipBlocks', 'notIpBlocks', SOURCE_IP],
  ['remoteIpBlocks', 'notRemoteIpBlocks', REMOTE_IP],
];

/** Fields of `to[].operation`, in the order in which a trace tells them. */
export const OPERATION_FIELDS: Fields<Operation> = [
  ['ports', 'notPorts', PORT],
  ['methods', 'notMethods', { on: 'request', attribute: 'method' }],
  ['hosts', 'notHosts', { on: 'request', attribute: 'host' }],
  ['paths', 'notPaths', { on: 'request', attribute: 'path' }],
];

const KEYS: ReadonlyMap<string, Subject> = new Map<string, Subject>([
  ['source.principal', PRINCIPAL],
  ['source.namespace', NAMESPACE],
  ['source.serviceAccount', SERVICE_ACCOUNT],
  ['source.trustDomain', TRUST_DOMAIN],
  ['source.ip', SOURCE_IP],
  ['remote.ip', REMOTE_IP],
  ['destination.ip', DESTINATION_IP],
  ['destination.port', PORT],
  ['connection.sni', SNI],
  ['request.auth.principal', REQUEST_PRINCIPAL],
  ['request.auth.audiences', { on: 'claim', path: ['aud'] }],
  ['request.auth.presenter', { on: 'claim', path: ['azp'] }],
]);

const HEADERS = 'request.headers';
const CLAIMS = 'request.auth.claims';

/**
 * What a `when` key asks about.
 * @returns null when the key is not one that Outrider decides on
 */
export function subjectOf(key: string): Subject | null {
  const known = KEYS.get(key);
  if (known !== undefined) return known;
  if (key.startsWith(CLAIMS)) {
    const path = claimPath(key.slice(CLAIMS.length));
    return path === null ? null : { on: 'claim', path };
  }
  return key.startsWith(HEADERS) ? headerSubject(key.slice(HEADERS.length)) : null;
}

/** The pseudo headers and `host` are attributes of their own, compared as headers are. */
function headerSubject(brackets: string): Subject | null {
  const name = /^\[(.+)\]$/.exec(brackets)?.[1]?.toLowerCase();
  switch (name) {
    case undefined:
      return null;
    case ':authority':
    case 'host':
      return { on: 'request', attribute: 'authority' };
    case ':method':
      return { on: 'request', attribute: 'method' };
    case ':path':
      return { on: 'request', attribute: 'target' };
    default:
      return name.startsWith(':') ? null : { on: 'header', header: name };
  }
}
