/** Trust-domain aliases in principals (Istio's trustdomain.Bundle, ReplaceTrustDomainAliases). */

import type { MeshConfig } from '../config/resources.ts';

/** In a policy this name stands for the mesh's own trust domain, whatever that is called. */
const LOCAL = 'cluster.local';

const FIVE_PARTS = /^(?:[^/]*\/){4}[^/]*$/;

/**
 * Those whose peers the mesh config accepts, as Istio's TrustDomainsForValidation; a SPIFFE server may federate with
 * others.
 */
export function acceptedTrustDomains(
  mesh: Pick<MeshConfig, 'trustDomain' | 'trustDomainAliases' | 'caCertificates'>,
): readonly string[] {
  const named = mesh.caCertificates.flatMap(({ trustDomains }) => trustDomains ?? []);
  return [...new Set([mesh.trustDomain, ...mesh.trustDomainAliases, ...named])];
}

/**
 * One value per trust domain of the mesh for each principal of the form `td/ns/N/sa/S` whose `td` is one of the mesh's
 * (or `cluster.local`); every other value as it is. A `td` with a leading `*` stays for the domains it covers.
 * @param principals values of `principals`, `notPrincipals` or `source.principal`
 * @param trustDomains the mesh's trust domain first, then its aliases
 */
export function expandTrustDomains(principals: readonly string[], trustDomains: readonly string[]): string[] {
  const expanded: string[] = [];
  for (const principal of principals) {
    const own = principal.slice(0, Math.max(0, principal.indexOf('/')));
    if (own === '*' || !FIVE_PARTS.test(principal) || !isOwn(own, trustDomains)) {
      expanded.push(principal);
      continue;
    }
    const rest = principal.slice(own.length);
    const values = trustDomains.map(domain => (endMatches(domain, own) ? principal : domain + rest));
    expanded.push(...new Set(values));
  }
  return expanded;
}

/**
 * Values of `trustDomains` or `source.trustDomain`: one that names a trust domain of the mesh names all of them. Unlike in
 * principals, `cluster.local` is a name like any other.
 */
export function expandTrustDomain(values: readonly string[], trustDomains: readonly string[]): string[] {
  return [...new Set(values.flatMap(value => (trustDomains.includes(value) ? trustDomains : [value])))];
}

function isOwn(name: string, trustDomains: readonly string[]): boolean {
  return name === LOCAL || trustDomains.some(domain => domain === name || eitherCovers(domain, name));
}

/** A `*` at either end of either name counts, as in Istio. */
function eitherCovers(a: string, b: string): boolean {
  return startMatches(a, b) || startMatches(b, a) || endMatches(a, b) || endMatches(b, a) || a === '*';
}

function startMatches(text: string, pattern: string): boolean {
  return pattern.endsWith('*') && text.startsWith(pattern.slice(0, -1));
}

function endMatches(text: string, pattern: string): boolean {
  return pattern.startsWith('*') && text.endsWith(pattern.slice(1));
}
