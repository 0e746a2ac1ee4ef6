/** Where the keys of a JWT rule come from, and what was got from there. */
import type { JwtRule } from '../config/resources.ts';

/** What one source gave: the key set's JSON text, or why there is none. */
export type KeySet = { readonly jwks: string } | { readonly failure: string };

/** Key sets by `keySource`: plain data that crosses threads. */
export type KeySets = Readonly<Record<string, KeySet>>;

const DISCOVERY = 'issuer ';

/**
 * The name under which `KeySets` holds a rule's keys.
 * @returns null when the rule carries its keys itself
 */
export function keySource(rule: JwtRule): string | null {
  if (rule.jwks !== null) return null;
  return rule.jwksUri ?? DISCOVERY + rule.issuer;
}

/** The URL that a source is fetched from, and whether it holds the keys or an OpenID configuration that names them. */
export function sourceUrl(source: string): { readonly url: string; readonly discovery: boolean } {
  if (!source.startsWith(DISCOVERY)) return { url: source, discovery: false };
  // As Istio: one slash at the issuer's end is not doubled.
  const issuer = source.slice(DISCOVERY.length).replace(/\/$/, '');
  return { url: `${issuer}/.well-known/openid-configuration`, discovery: true };
}
