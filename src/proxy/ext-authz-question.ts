/** What an external authorizer is asked, and what it may answer. */

/** What a connection is known by. */
export interface AuthzConnection {
  /** The peer's SPIFFE ID; null without mutual TLS. */
  readonly principal: string | null;
  readonly sourceIp: string;
  readonly sourcePort: number;
  readonly destinationIp: string;
  /** The workload port. */
  readonly destinationPort: number;
  /** Our own SPIFFE ID, as the peer was shown it; null without TLS. */
  readonly localPrincipal: string | null;
  readonly sni: string | null;
  /** null = plaintext. */
  readonly tlsVersion: string | null;
}

/** One request before it is authenticated. Text is as on the wire, one character a byte. */
export interface AuthzQuestion {
  readonly head: {
    readonly method: string;
    readonly host: string;
    /** Path after normalisation, and query. */
    readonly target: string;
    /**
     * The fields that the app would get, in order: what the sidecar writes itself (x-forwarded-client-cert,
     * x-forwarded-proto, x-request-id), never what a client wrote in their place. Those of one connection and `host` may
     * be among them; they are left out where they must be.
     */
    readonly headerLines: readonly (readonly [name: string, value: string])[];
  };
  /** The start of the body, at most the provider's maxRequestBytes; null = none, or none asked for. */
  readonly body: Buffer | null;
  /** More of the body follows. */
  readonly bodyPartial: boolean;
  readonly connection: AuthzConnection;
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2';
  /** Names the request in the check; the value of x-request-id. */
  readonly requestId: string;
}

export type Field = readonly [name: string, value: string];

/** Names are lower case. Nothing in it can end a line, frame a message or move it elsewhere. */
export type AuthzAnswer =
  | {
      readonly allow: true;
      /** Fields of the request that are replaced by these; each name comes once. */
      readonly set: readonly Field[];
      /** Fields that are taken out of the request; none of `set`. */
      readonly remove: readonly string[];
      /** The request's target with the query that the provider wants; null = as it was. */
      readonly target: string | null;
      /** Fields that are added to the app's response. */
      readonly responseHeaders: readonly Field[];
      /** Fields of the app's response that are replaced by these. */
      readonly responseSet: readonly Field[];
    }
  | {
      readonly allow: false;
      readonly status: number;
      /** With a content-type when there is a body, and only then; without a length. */
      readonly headers: readonly Field[];
      readonly body: Buffer;
      /** What a gRPC client is told instead of `status`, with the body as its message. */
      readonly grpcStatus: number;
      /** Envoy's response code details. */
      readonly details: 'ext_authz_denied' | 'ext_authz_error' | 'request_payload_too_large';
      readonly flag: 'UAEX' | '-';
    };

/** The provider said yes and changes nothing. */
export const ALLOWED: AuthzAnswer & { allow: true } = Object.freeze({
  allow: true,
  set: [],
  remove: [],
  target: null,
  responseHeaders: [],
  responseSet: [],
});
