/**
 * What a decision may look at. Text that came over the wire is a byte string: one character a byte (latin1), as Node
 * hands out header values; configured values are brought into the same form when they are compiled (`wireText`).
 */

/** One connection, known before the first request. */
export interface ConnectionAttributes {
  /** The peer's SPIFFE ID, `spiffe://…`; null on a connection without mutual TLS. */
  readonly principal: string | null;
  /** The TCP peer's address (Istio's source.ip), not what X-Forwarded-For says. */
  readonly sourceIp: string;
  readonly destinationIp: string;
  /** The workload port: the original destination's, not the listener's. */
  readonly destinationPort: number;
  readonly sni: string | null;
}

/** One HTTP request. */
export interface RequestAttributes {
  readonly method: string;
  /** Host or :authority with its port, as received. */
  readonly host: string;
  /** Path after normalisation, without query. */
  readonly path: string;
  /** Path and query as received (or as forwarded: only the query is read from it). */
  readonly rawPath: string;
  /** Values of every line of that header, in order; [] when absent. Names are asked for in lower case. */
  headerValues(lowerCaseName: string): readonly string[];
  /** What a verified token says; null when none was verified (RequestAuthentication). */
  readonly jwt: VerifiedJwt | null;
}

/** A token that RequestAuthentication accepted. */
export interface VerifiedJwt {
  /**
   * The payload as parsed JSON, ordinary strings; space-delimited claims (`scope`, `permission`, and those that the rule
   * lists) are lists already, as Envoy normalises them.
   */
  readonly payload: Readonly<Record<string, unknown>>;
}

/**
 * A configured value as the bytes it has on the wire: UTF-8, one character a byte.
 * @param text any string from a manifest
 */
export function wireText(text: string): string {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 0x7f) return Buffer.from(text, 'utf8').toString('latin1');
  }
  return text;
}
