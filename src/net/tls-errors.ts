/** Why a TLS connection failed, in stable words for logs, metrics and `upstream connect error: <reason>`. */

/** By Node's error codes; OpenSSL's are `ERR_SSL_` and its reason. */
const REASONS: ReadonlyMap<string, string> = new Map([
  ['ECONNREFUSED', 'connection_refused'],
  ['ECONNRESET', 'connection_reset'],
  ['EPIPE', 'connection_reset'],
  ['ETIMEDOUT', 'connect_timeout'],
  ['ENOTFOUND', 'host_not_found'],
  ['EAI_AGAIN', 'host_not_found'],
  ['EHOSTUNREACH', 'unreachable'],
  ['ENETUNREACH', 'unreachable'],
  ['EADDRNOTAVAIL', 'no_local_address'],
  ['EMFILE', 'too_many_files'],
  ['ERR_TLS_HANDSHAKE_TIMEOUT', 'handshake_timeout'],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'not_tls'],
  ['ERR_SSL_PACKET_LENGTH_TOO_LONG', 'not_tls'],
  ['ERR_SSL_HTTP_REQUEST', 'not_tls'],
  ['ERR_SSL_HTTPS_PROXY_REQUEST', 'not_tls'],
  ['ERR_SSL_UNSUPPORTED_PROTOCOL', 'tls_version'],
  ['ERR_SSL_UNKNOWN_PROTOCOL', 'tls_version'],
  ['ERR_SSL_VERSION_TOO_LOW', 'tls_version'],
  ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'tls_version'],
  ['ERR_SSL_NO_SHARED_CIPHER', 'no_shared_cipher'],
  ['ERR_SSL_NO_SUITABLE_KEY_SHARE', 'no_shared_group'],
  ['ERR_SSL_NO_SUITABLE_GROUPS', 'no_shared_group'],
  ['ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM', 'no_shared_signature_algorithm'],
  ['ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', 'handshake_failure'],
  ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'peer_distrusts_us'],
  ['ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE', 'peer_distrusts_us'],
  ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN', 'peer_distrusts_us'],
  ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED', 'peer_distrusts_us'],
  ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_REVOKED', 'peer_distrusts_us'],
  ['ERR_SSL_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE', 'peer_distrusts_us'],
  ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'peer_requires_certificate'],
  ['ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL', 'no_shared_alpn'],
  ['ERR_SSL_NO_APPLICATION_PROTOCOL', 'no_shared_alpn'],
]);

/** The reason of an error of node:net or node:tls; `tls_error` for what OpenSSL says and nobody has named here. */
export function tlsFailure(error: Error & { code?: string }): string {
  const code = error.code ?? '';
  return REASONS.get(code) ?? (code.startsWith('ERR_SSL_') ? 'tls_error' : 'connection_failed');
}
