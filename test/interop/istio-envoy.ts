/**
 * Envoy's configuration as istiod writes it for a sidecar: one inbound port with its filter chains, one destination with
 * its cluster and the listener in front of it. Taken from Istio's `filterchain_options.go`, `cluster_tls.go` and
 * `authn/utils.go`; secrets lie in files, and Istio's ALPN filter, which is not in this binary, is a `set_filter_state`
 * that sets what that filter sets.
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
const HTTP_ALPN = ['istio-http/1.0', 'istio-http/1.1', 'istio-h2'];
const TCP_ALPN = ['istio-peer-exchange', 'istio'];
const ALL_ALPN = ['istio', 'istio-peer-exchange', ...HTTP_ALPN];

/** What Istio's ALPN filter offers for each protocol, and the cluster for bytes. */
export const ISTIO_OFFERS: Readonly<Record<Spoken, readonly string[]>> = {
  'http/1.0': ['istio-http/1.0', 'istio', 'http/1.0'],
  'http/1.1': ['istio-http/1.1', 'istio', 'http/1.1'],
  http2: ['istio-h2', 'istio', 'h2'],
  tcp: TCP_ALPN,
};

const CIPHER_SUITES = [
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'AES256-GCM-SHA384',
  'AES128-GCM-SHA256',
];

export interface InboundPort extends Variant {
  /** A free port: the chains match on it, as they match on what was redirected. */
  readonly port: number;
  readonly app: number;
  readonly declared: Declared;
  readonly mode: Mode;
  readonly files: Files;
  readonly trustDomain: string;
  /** AuthorizationPolicy: the one who may; null = everyone. */
  readonly allowed: string | null;
  /** What the app speaks. */
  readonly appSpeaks: Spoken;
}

/** The port's listener `inbound` and the app's cluster. */
export function inboundPort(wanted: InboundPort): { listener: Json; cluster: Json } {
  const cluster = `inbound|${wanted.port}||`;
  return {
    listener: {
      name: 'inbound',
      traffic_direction: 'INBOUND',
      address: address(wanted.port),
      listener_filters: [
        typed('envoy.filters.listener.tls_inspector', 'filters.listener.tls_inspector.v3.TlsInspector'),
        ...(wanted.declared === 'auto' && wanted.mode === 'PERMISSIVE'
          ? [
              typed(
                'envoy.filters.listener.http_inspector',
                'filters.listener.http_inspector.v3.HttpInspector',
              ),
            ]
          : []),
      ],
      listener_filters_timeout: '0s',
      continue_on_listener_filters_timeout: true,
      access_log: [ACCESS_LOG], // has the connections that are refused in their handshake
      filter_chains: chainsOf(wanted).map(chain => filterChain(chain, wanted, cluster)),
    },
    cluster: {
      name: cluster,
      type: 'STATIC',
      connect_timeout: '10s',
      load_assignment: endpoint(cluster, wanted.app),
      ...(wanted.appSpeaks === 'tcp' ? {} : { typed_extension_protocol_options: speaks(wanted.appSpeaks) }),
    },
  };
}

interface Chain {
  readonly name: string;
  readonly speaks: 'http' | 'tcp';
  readonly tls: boolean;
  readonly transport: 'tls' | 'raw_buffer';
  readonly alpn?: readonly string[];
}

const MUTUAL = { tls: true, transport: 'tls' } as const;
const PLAIN = { tls: false, transport: 'raw_buffer' } as const;

/** Istio's matches for each mode and declared protocol. */
function chainsOf({ declared, mode }: InboundPort): readonly Chain[] {
  const kind = declared === 'tcp' ? 'tcp' : 'http';
  if (declared !== 'auto') {
    if (mode === 'STRICT') return [{ name: `mtls-${kind}`, speaks: kind, ...MUTUAL }];
    return [
      { name: `mtls-${kind}`, speaks: kind, ...MUTUAL, alpn: ALL_ALPN },
      { name: `plain-${kind}`, speaks: kind, ...PLAIN },
    ];
  }
  if (mode === 'STRICT')
    return [
      { name: 'mtls-http', speaks: 'http', ...MUTUAL, alpn: HTTP_ALPN },
      { name: 'mtls-tcp', speaks: 'tcp', ...MUTUAL },
    ];
  return [
    { name: 'mtls-http', speaks: 'http', ...MUTUAL, alpn: HTTP_ALPN },
    { name: 'plain-http', speaks: 'http', ...PLAIN, alpn: ['http/1.0', 'http/1.1', 'h2c'] },
    { name: 'mtls-tcp', speaks: 'tcp', ...MUTUAL, alpn: TCP_ALPN },
    { name: 'plain-tcp', speaks: 'tcp', ...PLAIN },
    { name: 'passed-tls', speaks: 'tcp', tls: false, transport: 'tls' },
  ];
}

function filterChain(chain: Chain, wanted: InboundPort, cluster: string): Json {
  return {
    name: chain.name,
    filter_chain_match: {
      destination_port: wanted.port,
      transport_protocol: chain.transport,
      ...(chain.alpn === undefined ? {} : { application_protocols: chain.alpn }),
    },
    filters:
      chain.speaks === 'http'
        ? [manager('inbound', cluster, [allowOnly('http', wanted.allowed)], wanted)]
        : [allowOnly('network', wanted.allowed), bytes('inbound', cluster)],
    ...(chain.tls ? { transport_socket: serverTls(chain.speaks, wanted) } : {}),
  };
}

function tlsVersions({ tls12 }: Variant): Json {
  return {
    tls_minimum_protocol_version: 'TLSv1_2',
    tls_maximum_protocol_version: tls12 ? 'TLSv1_2' : 'TLSv1_3',
  };
}

function serverTls(kind: 'http' | 'tcp', wanted: InboundPort): Json {
  const { files, trustDomain } = wanted;
  return typed('envoy.transport_sockets.tls', 'transport_sockets.tls.v3.DownstreamTlsContext', {
    require_client_certificate: true,
    common_tls_context: {
      tls_params: { ...tlsVersions(wanted), cipher_suites: CIPHER_SUITES },
      alpn_protocols: kind === 'http' ? ['h2', 'http/1.1'] : ['istio-peer-exchange', 'h2', 'http/1.1'],
      tls_certificates: [certificate(files)],
      validation_context: {
        trusted_ca: { filename: files.root },
        match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { prefix: `spiffe://${trustDomain}/` } }],
      },
    },
  });
}

export interface Destination extends Variant {
  readonly host: string;
  readonly port: number;
  /** Where its sidecar is. */
  readonly endpoint: number;
  readonly spoken: Spoken;
  readonly files: Files;
  /** Whom the server's certificate must name. */
  readonly expects: string;
  /** The names offered, else Istio's. */
  readonly offers?: readonly string[];
  /** Plaintext to it. */
  readonly plain?: boolean;
}

/** The listener `outbound` in front of one destination, and its cluster. */
export function outboundDestination(wanted: Destination): { listener: Json; cluster: Json } {
  const cluster = `outbound|${wanted.port}||${wanted.host}`;
  const { spoken } = wanted;
  const offers = wanted.offers ?? ISTIO_OFFERS[spoken];
  const filter =
    spoken === 'tcp' ? bytes('outbound', cluster) : manager('outbound', cluster, [offer(offers)]);
  return {
    listener: {
      name: 'outbound',
      traffic_direction: 'OUTBOUND',
      address: address(0),
      filter_chains: [{ filters: [filter] }],
    },
    cluster: {
      name: cluster,
      type: 'STATIC',
      connect_timeout: '10s',
      load_assignment: endpoint(cluster, wanted.endpoint),
      ...(spoken === 'tcp' ? {} : { typed_extension_protocol_options: speaks(spoken, wanted) }),
      ...(wanted.plain ? {} : { transport_socket: clientTls(wanted, offers) }),
    },
  };
}

function clientTls(wanted: Destination, offers: readonly string[]): Json {
  const { spoken, port, host, files, expects } = wanted;
  const inMesh = spoken === 'http2' ? [...TCP_ALPN, 'h2'] : TCP_ALPN; // what the filter's names replace
  return typed('envoy.transport_sockets.tls', 'transport_sockets.tls.v3.UpstreamTlsContext', {
    sni: `outbound_.${port}_._.${host}`,
    common_tls_context: {
      tls_params: tlsVersions(wanted),
      alpn_protocols: spoken === 'tcp' ? offers : inMesh,
      tls_certificates: [certificate(files)],
      validation_context: {
        trusted_ca: { filename: files.root },
        match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: expects } }],
      },
    },
  });
}

/** What Istio's ALPN filter does: these names are offered instead of the cluster's. */
function offer(names: readonly string[]): Json {
  return typed('envoy.filters.http.set_filter_state', 'filters.http.set_filter_state.v3.Config', {
    on_request_headers: [
      {
        object_key: 'envoy.network.application_protocols',
        format_string: { text_format_source: { inline_string: names.join(',') } },
      },
    ],
  });
}

function manager(
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

function bytes(prefix: string, cluster: string): Json {
  return typed('envoy.filters.network.tcp_proxy', 'filters.network.tcp_proxy.v3.TcpProxy', {
    stat_prefix: prefix,
    cluster,
    access_log: [ACCESS_LOG],
  });
}

/** Who may, and by which service's name. */
function allowOnly(where: 'http' | 'network', spiffeId: string | null): Json {
  const client =
    spiffeId === null
      ? { permissions: [{ any: true }], principals: [{ any: true }] }
      : {
          permissions: [{ requested_server_name: { prefix: 'outbound_.' } }],
          principals: [{ authenticated: { principal_name: { exact: spiffeId } } }],
        };
  const rules = { action: 'ALLOW', policies: { client } };
  return where === 'http'
    ? typed('envoy.filters.http.rbac', 'filters.http.rbac.v3.RBAC', { rules })
    : typed('envoy.filters.network.rbac', 'filters.network.rbac.v3.RBAC', { stat_prefix: 'tcp.', rules });
}

function lasting(requests: number | undefined): Json {
  return requests === undefined
    ? {}
    : { common_http_protocol_options: { max_requests_per_connection: requests } };
}

function speaks(spoken: Spoken, { requestsPerConnection }: Variant = {}): Json {
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

function certificate({ cert, key }: Files): Json {
  return { certificate_chain: { filename: cert }, private_key: { filename: key } };
}

function endpoint(cluster: string, port: number): Json {
  return {
    cluster_name: cluster,
    endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }],
  };
}

function typed(name: string, type: string, config: Json = {}): Json {
  return { name, typed_config: { '@type': `${API}.extensions.${type}`, ...config } };
}
