// Hot path: requestHolds runs for every clause of every request; no closure, array or string is made here.
/** A clause: one field of one rule (`from.principals`, `to.notPaths`, `when request.headers[x-a]`), ready to be asked. */
import type { Address } from './address.ts';
import { type AddressSet, setHolds } from './address-set.ts';
import { claimMatches, isRequestPrincipal, type RequestPrincipals } from './claims.ts';
import {
  type AccountPattern,
  inNamespace,
  inTrustDomain,
  isAccount,
  type NamespacePatterns,
  type TrustDomainPatterns,
} from './identity-patterns.ts';
import type { Reading } from './reading.ts';
import { matchesText, type TextMatcher } from './text.ts';

interface Named {
  /** As a person finds it in the manifest: `from.notPrincipals`, `to[1].paths`, `when request.headers[x-a] values`. */
  readonly field: string;
  /** The configured values, trust-domain aliases expanded. */
  readonly wants: readonly string[];
  /** A `not…` field or `notValues`: holds when no value matches, also when the attribute is absent. */
  readonly negated: boolean;
}

/** A clause that the connection alone decides. */
export type ConnectionClause = Named &
  (
    | { readonly attribute: 'principal' | 'sni'; readonly text: TextMatcher }
    | { readonly attribute: 'namespace'; readonly namespaces: NamespacePatterns }
    | { readonly attribute: 'serviceAccount'; readonly accounts: readonly AccountPattern[] }
    | { readonly attribute: 'trustDomain'; readonly domains: TrustDomainPatterns }
    | { readonly attribute: 'sourceIp' | 'destinationIp'; readonly addresses: AddressSet }
    | { readonly attribute: 'port'; readonly ports: ReadonlySet<number> }
  );

/** `host` ignores case (operation.hosts); `authority` is the same text with case (request.headers[:authority]). */
export type TextAttribute = 'method' | 'host' | 'authority' | 'path' | 'target';

/** A clause that needs the request. */
export type RequestClause = Named & {
  /** What asking costs beside the other clauses of a rule: the cheap ones are asked first. */
  readonly cost: number;
} & (
    | { readonly attribute: TextAttribute; readonly text: TextMatcher }
    | {
        readonly attribute: 'header';
        readonly text: TextMatcher;
        readonly header: string;
        /** Where the reading keeps this header. */
        readonly slot: number;
      }
    | { readonly attribute: 'claim'; readonly text: TextMatcher; readonly path: readonly string[] }
    | { readonly attribute: 'requestPrincipal'; readonly principals: RequestPrincipals }
    | { readonly attribute: 'remoteIp'; readonly addresses: AddressSet }
  );

/** What clauses read of a connection, parsed once. */
export interface ConnectionFacts {
  /** The whole SPIFFE ID, or null without mutual TLS. */
  readonly principal: string | null;
  /** The SPIFFE ID without `spiffe://`, as policies write it; null without mutual TLS. */
  readonly identity: string | null;
  readonly sourceIp: string;
  readonly source: Address | null;
  readonly destinationIp: string;
  readonly destination: Address | null;
  readonly port: number;
  /** In lower case; '' without one. */
  readonly sni: string;
}

const SCHEME = 'spiffe://';

/** The principal as policies write it; a principal that is no SPIFFE ID equals no configured value. */
export function identityOf(principal: string | null): string | null {
  if (principal === null) return null;
  return principal.startsWith(SCHEME) ? principal.slice(SCHEME.length) : '';
}

export function connectionHolds(clause: ConnectionClause, facts: ConnectionFacts): boolean {
  return connectionMatches(clause, facts) !== clause.negated;
}

function connectionMatches(clause: ConnectionClause, facts: ConnectionFacts): boolean {
  const { identity, principal, source, destination } = facts;
  switch (clause.attribute) {
    case 'principal':
      return identity !== null && matchesText(clause.text, identity);
    case 'namespace':
      return principal !== null && inNamespace(clause.namespaces, principal);
    case 'serviceAccount':
      return principal !== null && isAccount(clause.accounts, principal);
    case 'trustDomain':
      return principal !== null && inTrustDomain(clause.domains, principal);
    case 'sourceIp':
      return source !== null && setHolds(clause.addresses, source);
    case 'destinationIp':
      return destination !== null && setHolds(clause.addresses, destination);
    case 'port':
      return clause.ports.has(facts.port);
    case 'sni':
      return matchesText(clause.text, facts.sni);
  }
}

export function requestHolds(clause: RequestClause, reading: Reading): boolean {
  return requestMatches(clause, reading) !== clause.negated;
}

function requestMatches(clause: RequestClause, reading: Reading): boolean {
  const { request } = reading;
  switch (clause.attribute) {
    case 'path':
      return matchesText(clause.text, request.path);
    case 'method':
      return matchesText(clause.text, request.method);
    case 'host':
      return matchesText(clause.text, reading.host);
    case 'header':
      return anyLineMatches(clause.text, reading.linesOf(clause.slot));
    case 'claim':
      return claimMatches(clause.path, clause.text, request.jwt);
    case 'requestPrincipal':
      return isRequestPrincipal(clause.principals, request.jwt);
    case 'remoteIp': {
      const { remote } = reading;
      return remote !== null && setHolds(clause.addresses, remote);
    }
    case 'authority':
      return matchesText(clause.text, request.host);
    case 'target':
      return matchesText(clause.text, reading.target);
  }
}

/** Each line by itself, any of them (Envoy 1.40): a joined value would let `x, bad` past a DENY of `bad`. */
function anyLineMatches(text: TextMatcher, lines: readonly string[]): boolean {
  for (let i = 0; i < lines.length; i++) if (matchesText(text, lines[i] as string)) return true;
  return false;
}
