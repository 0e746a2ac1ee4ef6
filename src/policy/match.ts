// Hot path: requestHolds runs for every clause of every request; no closure, array or string is made here but where it says so.
/** A clause: one field of one rule (`from.principals`, `to.notPaths`, `when request.headers[x-a]`), ready to be asked. */
import { type Address, type Block, blockHolds } from './address.ts';
import type { RequestAttributes } from './attributes.ts';
import { lowerCase, matchesText, type TextMatcher } from './text.ts';

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
    | { readonly attribute: 'principal'; readonly text: TextMatcher }
    | { readonly attribute: 'namespace'; readonly runs: readonly (readonly string[])[] }
    | { readonly attribute: 'sourceIp'; readonly blocks: readonly Block[] }
    | { readonly attribute: 'port'; readonly ports: readonly number[] }
  );

/** A clause that needs the request. */
export interface RequestClause extends Named {
  /** `host` ignores case (operation.hosts); `authority` is the same text with case (request.headers[:authority]). */
  readonly attribute: 'method' | 'host' | 'authority' | 'path' | 'target' | 'header';
  /** Header name in lower case; '' for the others. */
  readonly header: string;
  /** Several lines of this header are one comma-joined value (Envoy's inline headers). */
  readonly joined: boolean;
  readonly text: TextMatcher;
}

/** What clauses read of a connection, parsed once. */
export interface ConnectionFacts {
  /** The whole SPIFFE ID, or null without mutual TLS. */
  readonly principal: string | null;
  /** The SPIFFE ID without `spiffe://`, as policies write it; null without mutual TLS. */
  readonly identity: string | null;
  readonly sourceIp: string;
  readonly address: Address | null;
  readonly port: number;
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
  switch (clause.attribute) {
    case 'principal':
      return facts.identity !== null && matchesText(clause.text, facts.identity);
    case 'namespace':
      return facts.principal !== null && matchesNamespace(clause.runs, facts.principal);
    case 'sourceIp':
      return facts.address !== null && inAnyBlock(clause.blocks, facts.address);
    case 'port':
      return clause.ports.includes(facts.port);
  }
}

/**
 * Istio matches a namespace by a regular expression over the whole SPIFFE ID: anything, `/ns/`, the value with each `*` as
 * anything, `/`, anything. Here its literal runs are looked for one after the other: as both ends are open, the leftmost
 * place for each is always good enough, and no pattern can make it slow.
 */
function matchesNamespace(values: readonly (readonly string[])[], principal: string): boolean {
  for (const runs of values) {
    let at = 0;
    for (const run of runs) {
      at = principal.indexOf(run, at);
      if (at === -1) break;
      at += run.length;
    }
    if (at !== -1) return true;
  }
  return false;
}

function inAnyBlock(blocks: readonly Block[], address: Address): boolean {
  for (const block of blocks) if (blockHolds(block, address)) return true;
  return false;
}

export function requestHolds(clause: RequestClause, request: RequestAttributes): boolean {
  return requestMatches(clause, request) !== clause.negated;
}

function requestMatches(clause: RequestClause, request: RequestAttributes): boolean {
  switch (clause.attribute) {
    case 'path':
      return matchesText(clause.text, request.path);
    case 'method':
      return matchesText(clause.text, request.method);
    case 'host':
      // Most hosts come in lower case and most policies name them whole: one comparison then.
      return clause.text.exact === request.host || matchesText(clause.text, lowerCase(request.host));
    case 'authority':
      return matchesText(clause.text, request.host);
    case 'target':
      return matchesText(clause.text, targetOf(request));
    case 'header':
      return matchesHeader(clause, request.headerValues(clause.header));
  }
}

/** Each line by itself, any of them (Envoy 1.40): a joined value would let `x, bad` past a DENY of `bad`. */
function matchesHeader(clause: RequestClause, lines: readonly string[]): boolean {
  if (clause.joined && lines.length > 1) return matchesText(clause.text, lines.join(','));
  for (let i = 0; i < lines.length; i++) if (matchesText(clause.text, lines[i] as string)) return true;
  return false;
}

/** `:path` as Envoy's filters see it: the normalised path with the query. Makes a string when there is a query. */
export function targetOf(request: RequestAttributes): string {
  const { path, rawPath } = request;
  const query = rawPath.indexOf('?');
  if (query === -1) return path;
  const fragment = rawPath.indexOf('#');
  if (fragment === -1) return path + rawPath.slice(query);
  return fragment < query ? path : path + rawPath.slice(query, fragment);
}
