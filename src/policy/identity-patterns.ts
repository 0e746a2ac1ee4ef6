/** What policy asks about the peer's SPIFFE ID besides the whole of it: namespace, service account, trust domain. */
import { wireText } from './attributes.ts';

/** Values of `namespaces`. */
export interface NamespacePatterns {
  /** Namespaces named whole. */
  readonly exact: ReadonlySet<string>;
  /** `f*o` → `/ns/f`, `o/`: what must stand in the SPIFFE ID, in this order. */
  readonly runs: readonly (readonly string[])[];
}

export function compileNamespaces(values: readonly string[]): NamespacePatterns {
  const exact = new Set<string>();
  const runs: (readonly string[])[] = [];
  for (const value of values) {
    if (/[*/]/.test(value)) runs.push(`/ns/${wireText(value)}/`.split('*'));
    else exact.add(wireText(value));
  }
  return { exact, runs };
}

/**
 * Istio matches a namespace by a regular expression over the whole SPIFFE ID: anything, `/ns/`, the value with each `*` as
 * anything, `/`, anything. Here whole names are looked up, and the literal runs of others are looked for one after the
 * other: as both ends are open, the leftmost place for each is always good enough, and no pattern can make it slow.
 */
export function inNamespace({ exact, runs }: NamespacePatterns, principal: string): boolean {
  if (exact.size > 0 && namesOne(exact, principal)) return true;
  for (const pieces of runs) {
    let at = 0;
    for (const piece of pieces) {
      at = principal.indexOf(piece, at);
      if (at === -1) break;
      at += piece.length;
    }
    if (at !== -1) return true;
  }
  return false;
}

const NS = '/ns/';

/** A SPIFFE ID may hold `/ns/` more than once; Istio's pattern takes any. */
function namesOne(exact: ReadonlySet<string>, principal: string): boolean {
  for (let at = principal.indexOf(NS); at !== -1; at = principal.indexOf(NS, at + 1)) {
    const start = at + NS.length;
    const end = principal.indexOf('/', start);
    if (end === -1) return false;
    if (exact.has(principal.slice(start, end))) return true;
  }
  return false;
}

/** One value of `serviceAccounts`. */
export interface AccountPattern {
  /** `/ns/NAMESPACE/` */
  readonly namespace: string;
  /** `sa/NAME` */
  readonly account: string;
}

/** @param policyNamespace the namespace of an account that is written without one */
export function compileAccounts(values: readonly string[], policyNamespace: string): AccountPattern[] {
  return values.map(value => {
    const slash = value.indexOf('/');
    const namespace = slash === -1 ? policyNamespace : value.slice(0, slash);
    const account = value.slice(slash + 1);
    return { namespace: `/ns/${wireText(namespace)}/`, account: `sa/${wireText(account)}` };
  });
}

const SCHEME = 'spiffe://';

/** Istio's `spiffe://.+/ns/NAMESPACE/(.+/|)sa/NAME(/.+)?` over the whole SPIFFE ID. */
export function isAccount(accounts: readonly AccountPattern[], principal: string): boolean {
  if (!principal.startsWith(SCHEME)) return false;
  for (const { namespace, account } of accounts) {
    // The leftmost `/ns/NAMESPACE/` leaves most for what may stand before `sa/`.
    const at = principal.indexOf(namespace, SCHEME.length + 1);
    if (at !== -1 && endsInAccount(principal, at + namespace.length, account)) return true;
  }
  return false;
}

function endsInAccount(principal: string, from: number, account: string): boolean {
  for (let at = principal.indexOf(account, from); at !== -1; at = principal.indexOf(account, at + 1)) {
    const begins = at === from || (at > from + 1 && principal[at - 1] === '/');
    const end = at + account.length;
    const ends = end === principal.length || (principal[end] === '/' && end + 1 < principal.length);
    if (begins && ends) return true;
  }
  return false;
}

/** Values of `trustDomains`. */
export interface TrustDomainPatterns {
  readonly any: boolean;
  readonly exact: ReadonlySet<string>;
  /** `a*` and `*a`: how the trust domain begins and ends. */
  readonly affixes: readonly { readonly head: string; readonly tail: string }[];
}

export function compileTrustDomains(values: readonly string[]): TrustDomainPatterns {
  const exact = new Set<string>();
  const affixes: { head: string; tail: string }[] = [];
  let any = false;
  for (const value of values.map(wireText)) {
    const star = value.indexOf('*');
    if (value === '*') any = true;
    else if (star === -1) exact.add(value);
    else affixes.push({ head: value.slice(0, star), tail: value.slice(star + 1) });
  }
  return { any, exact, affixes };
}

/** The trust domain is what stands between `spiffe://` and the next slash, which must be there unless any will do. */
export function inTrustDomain(patterns: TrustDomainPatterns, principal: string): boolean {
  if (!principal.startsWith(SCHEME)) return false;
  if (patterns.any) return true;
  const end = principal.indexOf('/', SCHEME.length);
  if (end === -1) return false;
  const domain = principal.slice(SCHEME.length, end);
  if (patterns.exact.has(domain)) return true;
  return patterns.affixes.some(
    ({ head, tail }) =>
      domain.length >= head.length + tail.length && domain.startsWith(head) && domain.endsWith(tail),
  );
}
