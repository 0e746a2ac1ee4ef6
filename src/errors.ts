/**
 * One error class and one table: what a client sees when Outrider itself answers (interface, section 4).
 * No status code of Outrider's own stands anywhere else.
 */

/** Envoy's response flags that Outrider emits; '-' is none. */
export type ResponseFlag =
  | '-'
  | 'NR'
  | 'DPE'
  | 'UF'
  | 'UC'
  | 'UO'
  | 'UH'
  | 'UT'
  | 'DC'
  | 'UPE'
  | 'DT'
  | 'UAEX';

export type FailureCode =
  | 'bad_request'
  | 'headers_too_large'
  | 'request_timeout'
  | 'policy_denied'
  | 'tunnel_denied'
  | 'payload_too_large'
  | 'no_route'
  | 'connect_failed'
  | 'upstream_reset'
  | 'upstream_protocol'
  | 'overflow'
  | 'no_healthy_upstream'
  | 'response_timeout';

export interface Failure {
  readonly status: number;
  readonly reasonPhrase: string;
  /** grpc-status of the trailers-only answer (gRPC, "HTTP to gRPC status code mapping"). */
  readonly grpcStatus: number;
  readonly flag: ResponseFlag;
  /** Body text; `%s` is where the detail goes. */
  readonly body: string;
}

export const FAILURES: Readonly<Record<FailureCode, Failure>> = Object.freeze({
  bad_request: row(400, 'Bad Request', 13, 'DPE', 'bad request: %s'),
  headers_too_large: row(431, 'Request Header Fields Too Large', 13, 'DPE', ''),
  request_timeout: row(408, 'Request Timeout', 14, 'DT', 'request timeout'),
  policy_denied: row(403, 'Forbidden', 7, '-', 'RBAC: access denied'),
  // HBONE: ztunnel's answer.
  tunnel_denied: row(401, 'Unauthorized', 7, '-', 'RBAC: access denied'),
  payload_too_large: row(413, 'Payload Too Large', 2, '-', 'Payload Too Large'),
  no_route: row(502, 'Bad Gateway', 14, 'NR', 'no route'),
  connect_failed: row(503, 'Service Unavailable', 14, 'UF', 'upstream connect error: %s'),
  upstream_reset: row(503, 'Service Unavailable', 14, 'UC', 'upstream reset before response'),
  upstream_protocol: row(502, 'Bad Gateway', 14, 'UPE', 'upstream protocol error: %s'),
  overflow: row(503, 'Service Unavailable', 14, 'UO', 'overflow'),
  no_healthy_upstream: row(503, 'Service Unavailable', 14, 'UH', 'no healthy upstream'),
  response_timeout: row(504, 'Gateway Timeout', 4, 'UT', 'upstream request timeout'),
});

function row(
  status: number,
  reasonPhrase: string,
  grpcStatus: number,
  flag: ResponseFlag,
  body: string,
): Failure {
  return Object.freeze({ status, reasonPhrase, grpcStatus, flag, body });
}

/** The only error that Outrider throws on purpose: a code of the table and what happened, in one line. */
export class ProxyError extends Error {
  readonly code: FailureCode;

  constructor(code: FailureCode, detail: string) {
    super(detail);
    this.name = 'ProxyError';
    this.code = code;
  }
}
