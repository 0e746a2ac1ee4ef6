/**
 * The protocols that sidecars name in TLS. The `istio` ones only mark what is inside; what is spoken there is one of the
 * others. `istio-peer-exchange` is never offered or agreed to: whoever agrees must put a frame of its own before the bytes.
 */
import type { PortProtocol } from '../config/resources.ts';

/** Outrider's own: HTTP/2 that also says how the message stood in HTTP/1.1, where it was that before. */
export const OUTRIDER_H2 = 'outrider-h2';

/** What Outrider offers to a sidecar before a request of HTTP/1.1 (Istio's ALPN filter). */
export const OFFERED_FOR_HTTP: readonly string[] = ['istio-http/1.1', 'istio', 'http/1.1'];
/** The same, where requests may share a connection if the peer is an Outrider too. */
export const OFFERED_FOR_SHARED: readonly string[] = [OUTRIDER_H2, ...OFFERED_FOR_HTTP];
/** Before a request of HTTP/2 (Istio's ALPN filter). */
export const OFFERED_FOR_HTTP2: readonly string[] = ['istio-h2', 'istio', 'h2'];
/** The same, where HTTP/1.1 will do too. */
export const OFFERED_FOR_EITHER: readonly string[] = [...OFFERED_FOR_HTTP2, 'http/1.1'];
/** Before bytes. */
export const OFFERED_FOR_TCP: readonly string[] = ['istio'];

/** What of it is offered to servers outside the mesh: nothing before HTTP/1.1, which they speak without being asked. */
export function offeredOutside(offered: readonly string[]): readonly string[] {
  return offered.includes('h2') ? offered.filter(name => name === 'h2' || name === 'http/1.1') : [];
}

/** HTTP/1, the plain names first: they are what Envoy agrees to. */
const HTTP1 = ['http/1.1', 'istio-http/1.1', 'http/1.0', 'istio-http/1.0'];
/** Envoy's order, after Outrider's own. Who offers the mark alone speaks HTTP/2 all the same. */
const HTTP2 = [OUTRIDER_H2, 'h2', ...HTTP1, 'istio-h2'];
/** An app of which nothing is known more likely speaks HTTP/1.1, and gets what its client speaks. */
const UNDECLARED = [OUTRIDER_H2, ...HTTP1, 'h2', 'istio-h2'];
/** Envoy's order; the app behind a TCP port may well speak HTTP/2. */
const TCP = ['h2', 'http/1.1', 'istio'];
/** What is agreed to only by who knows what it means. */
const NEVER_BLINDLY: ReadonlySet<string> = new Set(['istio-peer-exchange', OUTRIDER_H2]);
const ISTIO_HTTP: ReadonlySet<string> = new Set(['istio-h2', 'istio-http/1.1', 'istio-http/1.0']);

/**
 * What a server on a port of this protocol agrees to. Null = nothing: the client speaks nothing that is served. An offer
 * without anything known gets its first, since a TLS server in Node can only agree or refuse.
 */
export function agreedProtocol(protocol: PortProtocol, offered: readonly string[]): string | null {
  const known = orderOf(protocol, offered).find(name => offered.includes(name));
  if (known !== undefined) return known;
  if (offered.includes('istio')) return 'istio';
  return offered.find(name => !NEVER_BLINDLY.has(name)) ?? null;
}

function orderOf(protocol: PortProtocol, offered: readonly string[]): readonly string[] {
  if (protocol === 'tcp') return TCP;
  if (protocol !== 'auto') return HTTP2;
  return saysTcp(offered) ? HTTP1 : UNDECLARED;
}

/** Whether HTTP/2 is spoken where `agreed` is what TLS came to. */
export function agreesHttp2(agreed: string | null): boolean {
  return agreed === 'h2' || agreed === 'istio-h2' || agreed === OUTRIDER_H2;
}

/** On an undeclared port a sidecar's `istio` without a mark of HTTP is TCP, whatever else it could speak. */
function saysTcp(offered: readonly string[]): boolean {
  return offered.includes('istio') && !offered.some(name => ISTIO_HTTP.has(name));
}
