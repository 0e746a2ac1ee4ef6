/** Names, help and labels of every metric that Outrider offers; the recorder's families are keys of COUNTERS. */
export interface Family {
  readonly help: string;
  readonly labels: readonly string[];
}

/** Counters that workers keep by name (Recorder), summed over workers. */
export const COUNTERS: Readonly<Record<string, Family>> = {
  outrider_tls_handshakes_total: {
    help: 'TLS handshakes by direction, result and reason of failure.',
    labels: ['direction', 'result', 'reason'],
  },
  outrider_tls_negotiated_total: {
    help: 'TLS connections by direction, version, cipher suite and key exchange group.',
    labels: ['direction', 'version', 'cipher', 'group'],
  },
  outrider_connections_closed_total: {
    help: 'Open connections that Outrider ended because their peer or their policy changed, by direction and reason.',
    labels: ['direction', 'reason'],
  },
  outrider_http2_ended_total: {
    help: 'HTTP/2 connections and streams that Outrider ended for what the other side sent, by direction and reason.',
    labels: ['direction', 'reason'],
  },
  outrider_policy_decisions_total: {
    help: 'Authorization decisions by the policy that decided; an empty policy means none matched.',
    labels: ['policy', 'decision'],
  },
  outrider_policy_audit_matches_total: {
    help: 'Requests and connections that an AUDIT policy matched, by policy.',
    labels: ['policy'],
  },
  outrider_policy_dry_run_decisions_total: {
    help: 'What dry-run policies would have decided, by policy.',
    labels: ['policy', 'decision'],
  },
  outrider_ext_authz_answers_total: {
    help: 'Questions to external authorizers by provider and result.',
    labels: ['provider', 'result'],
  },
  outrider_bad_requests_total: { help: 'Requests refused as malformed, by reason.', labels: ['reason'] },
  outrider_upstream_connects_total: {
    help: 'Attempts to connect upstream by direction and result.',
    labels: ['direction', 'result'],
  },
  outrider_upstream_pool_hits_total: { help: 'Requests sent on an idle pooled connection.', labels: [] },
  outrider_access_log_dropped_total: {
    help: 'Access log lines lost because standard output was not read.',
    labels: [],
  },
  outrider_metric_overflow_total: {
    help: 'Requests and connections counted under unknown labels because the series table is full.',
    labels: [],
  },
};

export const ISTIO_HELP = {
  istio_requests_total: 'Requests.',
  istio_request_duration_milliseconds: 'Duration of requests in milliseconds.',
  istio_request_bytes: 'Size of request bodies in bytes.',
  istio_response_bytes: 'Size of response bodies in bytes.',
  istio_request_messages_total: 'gRPC messages from clients.',
  istio_response_messages_total: 'gRPC messages from servers.',
  istio_tcp_connections_opened_total: 'TCP connections opened.',
  istio_tcp_connections_closed_total: 'TCP connections closed.',
  istio_tcp_sent_bytes_total: 'Bytes sent downstream on TCP connections.',
  istio_tcp_received_bytes_total: 'Bytes received from downstream on TCP connections.',
} as const;
