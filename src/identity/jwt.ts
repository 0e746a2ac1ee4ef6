/**
 * RequestAuthentication: what a request is asked and what it is answered, as Envoy's jwt_authn filter does it with the
 * configuration that Istio gives it. Text of the request is a byte string (latin1), claims are ordinary strings.
 */

/** One request, before the edits that the verdict may ask for. */
export interface JwtRequest {
  readonly method: string;
  /** Host or :authority, for the realm of a refusal. */
  readonly host: string;
  readonly scheme: 'http' | 'https';
  /** The normalised path with its query, as it will be forwarded. */
  readonly target: string;
  /** HTTP/2 keeps white space around a value that HTTP/1 trims. */
  readonly http2: boolean;
  /** Values of every line of that header, in order; [] when absent. Names are asked for in lower case. */
  headerValues(lowerCaseName: string): readonly string[];
}

/** How the forwarded request differs; policy looks at the request with these edits too. */
export interface JwtEdits {
  /** Lower-case names of headers that are left out, every line of them. */
  readonly remove: readonly string[];
  /** Header lines added after that, each ended by CRLF. */
  readonly added: string;
  /** The lines of `added` as names (lower case) and values. */
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
      readonly wwwAuthenticate: string | null;
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

/** The values of a header once the edits are made: what policy must look at. */
export function editedValues(
  edits: JwtEdits,
  name: string,
  values: (lowerCaseName: string) => readonly string[],
): readonly string[] {
  const kept = edits.remove.includes(name) ? [] : values(name);
  const added = edits.headers.filter(([header]) => header === name);
  return added.length === 0 ? kept : [...kept, ...added.map(([, value]) => value)];
}
