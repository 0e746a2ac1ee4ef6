/**
 * The outbound side of Envoy as an Istio sidecar: one destination with its cluster, and the listener in front of it. Istio's
 * ALPN filter is not in this binary: a `set_filter_state` sets what it sets.
 */
import { address, type Json } from './envoy.ts';
import {
  bytes,
  certificate,
  endpoint,
  type Files,
  manager,
  type Spoken,
  speaks,
  TCP_ALPN,
  tlsVersions,
  typed,
  type Variant,
} from './istio-envoy.ts';

/** What Istio's ALPN filter offers for each protocol, and the cluster for bytes. */
const ISTIO_OFFERS: Readonly<Record<Spoken, readonly string[]>> = {
  'http/1.0': ['istio-http/1.0', 'istio', 'http/1.0'],
  'http/1.1': ['istio-http/1.1', 'istio', 'http/1.1'],
  http2: ['istio-h2', 'istio', 'h2'],
  tcp: TCP_ALPN,
};

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
    spoken === 'tcp'
      ? bytes('outbound', cluster)
      : manager('outbound', cluster, offers.length === 0 ? [] : [offer(offers)]);
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
      alpn_protocols: spoken === 'tcp' || offers.length === 0 ? offers : inMesh,
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
