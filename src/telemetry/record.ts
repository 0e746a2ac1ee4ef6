import type { ResponseFlag } from '../errors.ts';

/**
 * What is known of a connection and does not change while it lives: make it once and share it between its records,
 * since the Recorder caches its metric series by this object. Outbound, where each request may have another
 * destination, make one per downstream connection and destination.
 */
export interface ConnectionFacts {
  readonly direction: 'inbound' | 'outbound';
  /** `spiffe://…`; null = no identity proved. */
  readonly sourcePrincipal: string | null;
  readonly sourceNamespace: string | null;
  readonly destinationPrincipal: string | null;
  readonly destinationNamespace: string | null;
  /** The service's FQDN that configuration knows (outbound). Inbound it is not used for metrics: a peer chooses its Host. */
  readonly destinationService: string | null;
  readonly security: 'mutual_tls' | 'none' | 'unknown';
  /** `TLSv1.3`; null = plaintext. */
  readonly tlsVersion: string | null;
  /** What else TLS negotiated, where the access log is to say it (`--access-log-tls`). */
  readonly negotiated: { readonly cipher: string; readonly group: string } | null;
  readonly sni: string | null;
  /** `address:port` of the downstream connection. */
  readonly localAddress: string;
  readonly remoteAddress: string;
  /** Inbound: the workload port that policy decides on; null where it is not known, and outbound. */
  readonly destinationPort: number | null;
}

/** What policies that decide nothing said of a request or a connection. */
export interface PolicyFindings {
  /** AUDIT policies that matched, `namespace/name`. */
  readonly audit: readonly string[];
  /** What each dry-run policy would have decided. */
  readonly dryRun: readonly { readonly policy: string; readonly decision: 'allow' | 'deny' }[];
}

/** Where the access log reads headers that nothing else needs; asked at finish only, and only when a log is on. */
export interface HeaderSource {
  /** The values of one header, `[]` when absent; must stay valid until the record is finished. */
  headerValues(lowerCaseName: string): readonly string[];
}

/** The running span of a record, closed by the Recorder when the record is finished. */
export interface OpenSpan {
  end(record: AccessRecord): void;
}

export type RequestProtocol = 'http' | 'grpc' | 'tcp';

/**
 * One request or one TCP connection: opened once, filled in by the hub as the story goes, finished once by
 * `Recorder.finishRequest` or `Recorder.finishConnection`. One shape, plain fields, nothing computed before finish.
 */
export class AccessRecord {
  conn: ConnectionFacts;
  /** `performance.now()` when the request head (or the connection) arrived, in milliseconds. */
  startMs: number;
  /** Set by the Recorder; a second finish does nothing. */
  finished = false;
  requestProtocol: RequestProtocol = 'http';
  method: string | null = null;
  /** The target as received, with its query. */
  path: string | null = null;
  /** `HTTP/1.1`, `HTTP/1.0`, `HTTP/2`; null for TCP. */
  protocol: string | null = 'HTTP/1.1';
  authority: string | null = null;
  /** The request's headers, for user-agent, x-forwarded-for and traceparent; null = none. */
  headers: HeaderSource | null = null;
  requestId: string | null = null;
  routeName: string | null = null;
  /** Status sent downstream; 0 = none was sent. */
  status = 0;
  grpcStatus: number | null = null;
  flag: ResponseFlag = '-';
  /** Envoy's response_code_details: `via_upstream`, `rbac_access_denied_matched_policy[…]` … */
  details: string | null = null;
  /** Envoy's connection_termination_details. */
  terminationDetails: string | null = null;
  /** Body bytes from downstream. */
  bytesReceived = 0;
  /** Body bytes to downstream. */
  bytesSent = 0;
  /** gRPC messages from downstream, and to it. */
  requestMessages = 0;
  responseMessages = 0;
  /** `address:port` of the upstream endpoint. */
  upstreamHost: string | null = null;
  upstreamCluster: string | null = null;
  upstreamLocalAddress: string | null = null;
  /** `performance.now()` when the request went upstream and when the response head came; -1 = did not happen. */
  upstreamStartMs = -1;
  upstreamResponseMs = -1;
  /** Why the upstream connection failed, in one line. */
  transportFailure: string | null = null;
  decision: 'allow' | 'deny' | null = null;
  /** `namespace/name` of the policy that decided; null = none matched. */
  policy: string | null = null;
  policyRule: number | null = null;
  /** What AUDIT and dry-run policies found; null when none had anything to say. */
  findings: PolicyFindings | null = null;
  /** `issuer/subject` of the token that was verified; null when none was. */
  requestPrincipal: string | null = null;
  /** Why it was denied, a line for each rule considered (`--explain-denials`); null = not asked for. */
  explanation: readonly string[] | null = null;
  traceId: string | null = null;
  span: OpenSpan | null = null;
  /** Bytes of a TCP connection that the metrics hold already (`Recorder.progressConnection`). */
  countedReceived = 0;
  countedSent = 0;

  constructor(conn: ConnectionFacts, startMs: number = performance.now()) {
    this.conn = conn;
    this.startMs = startMs;
  }
}
