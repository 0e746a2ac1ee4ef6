/**
 * Envoy's configuration as istiod writes it for a sidecar: what its inbound and its outbound side have in common. Taken from
 * Istio's `filterchain_options.go`, `cluster_tls.go` and `authn/utils.go`; secrets lie in files.
 */
import { ACCESS_LOG, address, type Json } from './envoy.ts';

/** What a port is declared as. */
export type Declared = 'http' | 'http2' | 'tcp' | 'auto';
/** What goes over the wire between the sidecars. */
export type Spoken = 'http/1.0' | 'http/1.1' | 'http2' | 'tcp';
export type Mode = 'STRICT' | 'PERMISSIVE';

/** Paths of PEM files. */
export interface Files {
  readonly cert: string;
  readonly key: string;
  readonly root: string;
}

/** What Istio leaves open and a row may ask for. */
export interface Variant {
  /** The newest TLS version that Envoy speaks. */
  readonly tls12?: boolean;
  /** Envoy ends its connections after so many requests. */
  readonly requestsPerConnection?: number;
}

const API = 'type.googleapis.com/envoy';

/** What sidecars offer for bytes. */
export const TCP_ALPN: readonly string[] = ['istio-peer-exchange', 'istio'];

export function tlsVersions({ tls12 }: Variant): Json {
  return {
    tls_minimum_protocol_version: 'TLSv1_2',
    tls_maximum_protocol_version: tls12 ? 'TLSv1_2' : 'TLSv1_3',
  };
}

export function manager(
  prefix: 'inbound' | 'outbound',
  cluster: string,
  filters: readonly Json[],
  { requestsPerConnection }: Variant = {},
): Json {
  const retry = {
    retry_on: 'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes',
    num_retries: 2,
  };
  const route = {
    cluster,
    timeout: '0s',
    max_stream_duration: { max_stream_duration: '0s', grpc_timeout_header_max: '0s' },
    ...(prefix === 'outbound' ? { retry_policy: retry } : {}),
  };
  const type = 'filters.network.http_connection_manager.v3.HttpConnectionManager';
  return typed('envoy.filters.network.http_connection_manager', type, {
    stat_prefix: prefix,
    codec_type: 'AUTO',
    access_log: [ACCESS_LOG],
    normalize_path: true,
    http_protocol_options: { accept_http_10: true },
    http2_protocol_options: { allow_connect: true },
    ...lasting(requestsPerConnection),
    upgrade_configs: [{ upgrade_type: 'websocket' }],
    route_config: {
      virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route }] }],
    },
    http_filters: [...filters, typed('envoy.filters.http.router', 'filters.http.router.v3.Router')],
    ...(prefix === 'inbound'
      ? {
          server_name: 'istio-envoy',
          forward_client_cert_details: 'APPEND_FORWARD',
          set_current_client_cert_details: { subject: true, dns: true, uri: true },
        }
      : {}),
  });
}

export function bytes(prefix: string, cluster: string): Json {
  return typed('envoy.filters.network.tcp_proxy', 'filters.network.tcp_proxy.v3.TcpProxy', {
    stat_prefix: prefix,
    cluster,
    access_log: [ACCESS_LOG],
  });
}

function lasting(requests: number | undefined): Json {
  return requests === undefined
    ? {}
    : { common_http_protocol_options: { max_requests_per_connection: requests } };
}

export function speaks(spoken: Spoken, { requestsPerConnection }: Variant = {}): Json {
  const http2 = { http2_protocol_options: { allow_connect: true } };
  const type = 'extensions.upstreams.http.v3.HttpProtocolOptions';
  return {
    [`envoy.${type}`]: {
      '@type': `${API}.${type}`,
      ...lasting(requestsPerConnection),
      explicit_http_config: spoken === 'http2' ? http2 : { http_protocol_options: {} },
    },
  };
}

export function certificate({ cert, key }: Files): Json {
  return { certificate_chain: { filename: cert }, private_key: { filename: key } };
}

export function endpoint(cluster: string, port: number): Json {
  return {
    cluster_name: cluster,
    endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }],
  };
}

export function typed(name: string, type: string, config: Json = {}): Json {
  return { name, typed_config: { '@type': `${API}.extensions.${type}`, ...config } };
}
