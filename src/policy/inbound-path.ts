/**
 * What becomes of an inbound connection, by the mode on its port, the port's declared protocol and what the client
 * sends first: Istio's filter chain matches (pilot/pkg/networking/core/filterchain_options.go). Pure, for proxy and explain.
 */
import type { MtlsMode, PortProtocol } from '../config/resources.ts';

export interface InboundOpening {
  readonly mode: MtlsMode;
  /** No PeerAuthentication says so: `mode` is the default. */
  readonly unwritten: boolean;
  /** Of the workload port, as declared. */
  readonly protocol: PortProtocol;
  /** The first bytes are a ClientHello. */
  readonly tls: boolean;
  /** The protocols that it offers, in its order. */
  readonly alpn: readonly string[];
}

/**
 * How a connection is served that is let in. `http`: every byte is a request's. `tcp`: bytes, decided once.
 * `detect`: the first bytes tell which of both. `tcp-first`: the peer says that it is TCP, so it is decided as TCP; what
 * turns out to be a request all the same is decided as one too, and handled as one.
 */
export type Service = 'http' | 'tcp' | 'detect' | 'tcp-first';

export type ClosedBecause = 'mtls_required' | 'mtls_disabled' | 'tls_without_istio_alpn';

export type InboundPath =
  /** `terminate`: by mutual TLS; the peer's name counts. Else bytes are taken as they are, TLS or not, of nobody. */
  | { readonly closed: null; readonly terminate: boolean; readonly serve: Service }
  | { readonly closed: ClosedBecause };

/** What sidecars offer when they speak HTTP (pilot/pkg/networking/core/listener.go, mtlsHTTPALPNs). */
const ISTIO_HTTP: ReadonlySet<string> = new Set(['istio-http/1.0', 'istio-http/1.1', 'istio-h2']);
/** And when they do not, or do not know. */
const ISTIO_TCP: ReadonlySet<string> = new Set(['istio', 'istio-peer-exchange']);

const MUTUAL_HTTP: InboundPath = { closed: null, terminate: true, serve: 'http' };
const MUTUAL_TCP: InboundPath = { closed: null, terminate: true, serve: 'tcp' };
const MUTUAL_TCP_FIRST: InboundPath = { closed: null, terminate: true, serve: 'tcp-first' };
const MUTUAL_DETECT: InboundPath = { closed: null, terminate: true, serve: 'detect' };
const PLAIN_HTTP: InboundPath = { closed: null, terminate: false, serve: 'http' };
const PLAIN_TCP: InboundPath = { closed: null, terminate: false, serve: 'tcp' };
const PLAIN_DETECT: InboundPath = { closed: null, terminate: false, serve: 'detect' };
const MTLS_REQUIRED: InboundPath = { closed: 'mtls_required' };
const MTLS_DISABLED: InboundPath = { closed: 'mtls_disabled' };
const NOT_ISTIO: InboundPath = { closed: 'tls_without_istio_alpn' };

/** Allocates nothing. */
export function inboundPath({ mode, unwritten, protocol, tls, alpn }: InboundOpening): InboundPath {
  if (!tls) {
    if (mode === 'STRICT') return MTLS_REQUIRED;
    if (protocol === 'tcp') return PLAIN_TCP;
    return protocol === 'auto' ? PLAIN_DETECT : PLAIN_HTTP;
  }
  if (mode === 'STRICT') return strict(protocol, alpn);
  if (mode === 'PERMISSIVE') return permissive(protocol, alpn, unwritten);
  return isHttp(protocol) ? MTLS_DISABLED : PLAIN_TCP;
}

/** TLS is mutual TLS, whatever it offers. */
function strict(protocol: PortProtocol, alpn: readonly string[]): InboundPath {
  if (isHttp(protocol)) return MUTUAL_HTTP;
  if (protocol === 'tcp') return MUTUAL_TCP;
  if (alpn.some(offered => ISTIO_HTTP.has(offered))) return MUTUAL_HTTP;
  if (alpn.some(offered => ISTIO_TCP.has(offered))) return MUTUAL_TCP_FIRST;
  return MUTUAL_DETECT;
}

/** TLS is mutual TLS when it says so in Istio's words, the first of which counts; else it is the app's own affair. */
function permissive(protocol: PortProtocol, alpn: readonly string[], unwritten: boolean): InboundPath {
  const word = alpn.find(offered => ISTIO_HTTP.has(offered) || ISTIO_TCP.has(offered));
  if (word === undefined) {
    // Stricter than Istio: TLS of nobody reaches the app only where somebody wrote that it may.
    if (unwritten) return strict(protocol, alpn);
    return isHttp(protocol) ? NOT_ISTIO : PLAIN_TCP;
  }
  if (isHttp(protocol)) return MUTUAL_HTTP;
  if (protocol === 'tcp') return MUTUAL_TCP;
  return ISTIO_HTTP.has(word) ? MUTUAL_HTTP : MUTUAL_TCP_FIRST;
}

function isHttp(protocol: PortProtocol): boolean {
  return protocol === 'http' || protocol === 'http2';
}
