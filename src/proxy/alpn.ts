/**
 * The protocols that sidecars name in TLS. The `istio` ones only mark what is inside; what is spoken there is one of the
 * others. `istio-peer-exchange` is never offered or agreed to: whoever agrees must put a frame of its own before the bytes.
 */
import type { PortProtocol } from '../config/resources.ts';

/** What Outrider offers to a sidecar before a request (Istio's ALPN filter, HTTP/1.1). */
export const OFFERED_FOR_HTTP: readonly string[] = ['istio-http/1.1', 'istio', 'http/1.1'];
/** And before bytes. */
export const OFFERED_FOR_TCP: readonly string[] = ['istio'];

/** HTTP/1, the plain names first: they are what Envoy agrees to. */
const HTTP1 = ['http/1.1', 'istio-http/1.1', 'http/1.0', 'istio-http/1.0'];
/** Envoy's order; the app behind a TCP port may well speak HTTP/2. */
const TCP = ['h2', 'http/1.1', 'istio'];
const PEER_EXCHANGE = 'istio-peer-exchange';

/**
 * What a server on a port of this protocol agrees to. Null = nothing: HTTP/2 is all that the client speaks, and Outrider
 * does not. An offer without anything known gets its first, since a TLS server in Node can only agree or refuse.
 */
export function agreedProtocol(protocol: PortProtocol, offered: readonly string[]): string | null {
  const known = (protocol === 'tcp' ? TCP : HTTP1).find(name => offered.includes(name));
  if (known !== undefined) return known;
  if (protocol !== 'tcp' && speaksHttp2(protocol, offered)) return null;
  if (offered.includes('istio')) return 'istio';
  return offered.find(name => name !== PEER_EXCHANGE) ?? null;
}

/** On an undeclared port a sidecar's `istio` without `istio-h2` is TCP, whatever else it could speak. */
function speaksHttp2(protocol: PortProtocol, offered: readonly string[]): boolean {
  if (offered.includes('istio-h2')) return true;
  return offered.includes('h2') && !(protocol === 'auto' && offered.includes('istio'));
}
