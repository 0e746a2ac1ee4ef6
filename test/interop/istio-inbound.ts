/** The inbound side of Envoy as an Istio sidecar: one port with its filter chains. */
import { ACCESS_LOG, address, type Json } from './envoy.ts';
import {
  bytes,
  certificate,
  type Declared,
  endpoint,
  type Files,
  type Mode,
  manager,
  type Spoken,
  speaks,
  TCP_ALPN,
  tlsVersions,
  typed,
  type Variant,
} from './istio-envoy.ts';

const HTTP_ALPN = ['istio-http/1.0', 'istio-http/1.1', 'istio-h2'];
const ALL_ALPN = ['istio', 'istio-peer-exchange', ...HTTP_ALPN];
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
