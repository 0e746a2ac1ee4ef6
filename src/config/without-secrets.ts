/** What is in force, fit to be shown: nothing in it opens a door. */
import { redactedJwks } from './jwks-text.ts';
import type { Resources } from './resources.ts';

const HIDDEN = '(hidden)';

/**
 * An inline key set may hold secrets: a key of an HMAC, or a private key that nobody should have put there. So may a URL,
 * and the fields that an external authorizer is sent.
 */
export function withoutSecrets(resources: Resources): Resources {
  const requestAuthentications = resources.requestAuthentications.map(one => ({
    ...one,
    jwtRules: one.jwtRules.map(rule => ({
      ...rule,
      jwks: rule.jwks === null ? null : redactedJwks(rule.jwks),
      jwksUri: rule.jwksUri === null ? null : withoutPassword(rule.jwksUri),
    })),
  }));
  const extensionProviders = resources.mesh.extensionProviders.map(provider =>
    provider.kind === 'http'
      ? { ...provider, includeAdditionalHeadersInCheck: hidden(provider.includeAdditionalHeadersInCheck) }
      : provider,
  );
  return { ...resources, requestAuthentications, mesh: { ...resources.mesh, extensionProviders } };
}

/** Key sets by where they came from: the public members of each key, or why there is none. */
export function shownKeySets(
  keySets: Readonly<Record<string, { readonly jwks: string } | { readonly failure: string }>>,
): Record<string, { jwks: string } | { failure: string }> {
  return Object.fromEntries(
    Object.entries(keySets).map(([source, set]) => [
      withoutPassword(source),
      'jwks' in set ? { jwks: redactedJwks(set.jwks) } : set,
    ]),
  );
}

/** A URL without its user information (RFC 3986 section 3.2.1). */
export function withoutPassword(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, `$1${HIDDEN}@`);
}

function hidden(fields: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.keys(fields).map(name => [name, HIDDEN]));
}
