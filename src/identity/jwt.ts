/**
 * RequestAuthentication: what a request is asked and what it is answered, as Envoy's jwt_authn filter does it with the
 * configuration that Istio gives it. Text of the request is a byte string (latin1), claims are ordinary strings.
 */

import type { JwtRule } from '../config/resources.ts';
import type { KeySets } from './jwks-source.ts';
import { Attempt, type KnownToken, type Outcome } from './jwt-attempt.ts';
import { TokenCache } from './jwt-cache.ts';
import { distinctPlaces, isAnyPresent } from './jwt-locations.ts';
import { compileProvider } from './jwt-provider.ts';

const MAX_REALM_PATH = 256; // Envoy cuts there

/** One request, before the edits that the verdict may ask for. */
export interface JwtRequest {
  readonly method: string;
  /** Host or :authority, for the realm of a refusal. */
  readonly host: string;
  readonly scheme: 'http' | 'https';
  /** The normalised path with its query, as it will be forwarded. */
  readonly target: string;
  /**
   * Values of every line of that header, in order; [] when absent. Names are asked for in lower case. HTTP/1 trims white
   * space around a value, HTTP/2 does not, and a token may depend on it.
   */
  headerValues(lowerCaseName: string): readonly string[];
}

/** How the forwarded request differs; policy looks at the request with these edits too. */
export interface JwtEdits {
  /** Lower-case names of headers that are left out, every line of them. */
  readonly remove: readonly string[];
  /** Header lines added after that, with lower-case names. No value holds a control character. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Path and query without the token; null = as they were. */
  readonly target: string | null;
}

/** A token that was accepted: its payload, space-delimited claims as lists. */
export interface AcceptedJwt {
  readonly payload: Readonly<Record<string, unknown>>;
}

export type JwtVerdict =
  | {
      readonly ok: true;
      /** null = no token was there. */
      readonly jwt: AcceptedJwt | null;
      /** null = the request is forwarded as it came (the common case). */
      readonly edits: JwtEdits | null;
    }
  | {
      readonly ok: false;
      /** 403 only for an audience that is not allowed. */
      readonly status: 401 | 403;
      readonly body: string;
      readonly wwwAuthenticate: string;
      /** Envoy's response code details, `jwt_authn_access_denied{Jwt_is_expired}`. */
      readonly details: string;
    };

/** The rules of one workload over one generation of configuration and keys. */
export interface Authenticator {
  /**
   * A verdict at once when no token is there, the token cannot be read or its signature was verified before; else a
   * promise. Neither throws nor rejects.
   */
  authenticate(request: JwtRequest): JwtVerdict | Promise<JwtVerdict>;
}

export interface AuthenticatorParts {
  /** Those selected for the workload (`selectAuthentication`). */
  readonly rules: readonly JwtRule[];
  /** What was fetched, by `keySource`. */
  readonly keySets: KeySets;
  /** The clock, Unix milliseconds. */
  readonly now?: () => number;
}

/**
 * Compiles JWT rules. Key sets and the library that verifies are loaded at the first token.
 * A token that was verified is not verified again while this authenticator lives; new keys need a new one.
 */
export function createAuthenticator({ rules, keySets, now = Date.now }: AuthenticatorParts): Authenticator {
  const byIssuer = [...rules].sort((a, b) => (a.issuer < b.issuer ? -1 : Number(a.issuer > b.issuer)));
  const providers = byIssuer.map(rule => compileProvider(rule, keySets));
  const outputNames = [...new Set(providers.flatMap(({ outputs }) => outputs.names))];
  const locations = distinctPlaces(providers.flatMap(provider => provider.locations));
  const shared = { providers, outputNames, cache: new TokenCache<KnownToken>(), underWay: new Map() };
  const sanitised = { remove: outputNames, headers: [], target: null };
  const withoutToken: JwtVerdict = {
    ok: true,
    jwt: null,
    edits: outputNames.length === 0 ? null : sanitised,
  };
  return {
    authenticate(request) {
      if (isPreflight(request) || !isAnyPresent(locations, request)) return withoutToken;
      const outcome = new Attempt(shared, request, Math.floor(now() / 1000)).run();
      return outcome instanceof Promise
        ? outcome.then(found => verdictOf(request, found))
        : verdictOf(request, outcome);
    },
  };
}

/** A CORS preflight carries no credentials, so that none is asked for (Istio's bypassCorsPreflight). */
function isPreflight(request: JwtRequest): boolean {
  return (
    request.method === 'OPTIONS' &&
    request.headerValues('origin').join(',') !== '' &&
    request.headerValues('access-control-request-method').join(',') !== ''
  );
}

function verdictOf(request: JwtRequest, { refusal, request: edited }: Outcome): JwtVerdict {
  if (refusal !== null) return { ok: false, ...refusal, wwwAuthenticate: challenge(request) };
  const { payload, removed, added } = edited;
  const target = edited.target === request.target ? null : edited.target;
  const isEdited = removed.length > 0 || added.length > 0 || target !== null;
  return {
    ok: true,
    jwt: payload === null ? null : { payload },
    edits: isEdited ? { remove: removed, headers: added, target } : null,
  };
}

/** RFC 6750 section 3, as Envoy writes it; what would end the quotes or the line is escaped. */
function challenge({ scheme, host, target }: JwtRequest): string {
  const realm = `${scheme}://${host}${target.slice(0, MAX_REALM_PATH)}`;
  return `Bearer realm="${realm.replace(/[\0-\x1f\x7f"\\]/g, encodeURIComponent)}", error="invalid_token"`;
}
