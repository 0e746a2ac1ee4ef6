/** A connection's fate before the first byte of a request: PeerAuthentication and the peer's own name. */
import type { MtlsMode } from '../config/resources.ts';
import type { FrontDoor } from './explain-answer.ts';
import type { ExplainProtocol } from './explain-request.ts';
import { type ClosedBecause, inboundPath } from './inbound-path.ts';
import type { EffectiveMtls } from './peer-authentication.ts';

export interface ConnectionQuestion {
  /** What the workload port is declared as, and what is spoken. */
  readonly protocol: ExplainProtocol;
  readonly transport: 'mtls' | 'plaintext';
  /** What the client offers in TLS; null = as a sidecar does. */
  readonly alpn: readonly string[] | null;
  /** `spiffe://…`; null = none is described. */
  readonly principal: string | null;
  /** The mode on the workload port. */
  readonly mode: MtlsMode;
  /** The mode is the default: no PeerAuthentication sets it. */
  readonly unwritten: boolean;
  readonly trustDomains: readonly string[];
}

export type ConnectionFate =
  /** `principal` is what policy gets to know; null on plaintext, and on TLS that passes as bytes. */
  | { readonly refused: false; readonly principal: string | null }
  | { readonly refused: true; readonly reason: string; readonly why: string };

/** What Istio's sidecars offer before a request of HTTP/1.1, of HTTP/2, and before bytes. */
const SIDECAR_ALPN: Readonly<Record<ExplainProtocol, readonly string[]>> = {
  http: ['istio-http/1.1', 'istio', 'http/1.1'],
  http2: ['istio-h2', 'istio', 'h2'],
  grpc: ['istio-h2', 'istio', 'h2'],
  tcp: ['istio-peer-exchange', 'istio'],
};

const CLOSED: Readonly<Record<ClosedBecause, string>> = {
  mtls_required: 'a plaintext connection is closed',
  mtls_disabled: 'TLS to an HTTP port is closed',
  tls_without_istio_alpn: 'TLS that no sidecar began is closed on an HTTP port',
};

/** Whether the connection is let in, and as whom. */
export function connectionFate(
  { protocol, transport, alpn, principal, mode, unwritten, trustDomains }: ConnectionQuestion,
  peerFault: FrontDoor['peerFault'],
): ConnectionFate {
  const path = inboundPath({
    mode,
    unwritten,
    protocol: protocol === 'grpc' ? 'http2' : protocol,
    tls: transport === 'mtls',
    alpn: alpn ?? SIDECAR_ALPN[protocol],
  });
  if (path.closed !== null) return refused(path.closed, CLOSED[path.closed]);
  if (!path.terminate) return { refused: false, principal: null };
  if (principal === null) return refused('no_uri_san', 'a client certificate without a SPIFFE ID is refused');
  const fault = peerFault(principal, trustDomains);
  return fault === null
    ? { refused: false, principal }
    : refused(fault, `the peer ${principal} is refused in the handshake`);
}

function refused(reason: string, why: string): ConnectionFate {
  return { refused: true, reason, why };
}

/** Where the mode on a port comes from, for a person. */
export function modeSource({ source, ports }: EffectiveMtls, port: number, mode: MtlsMode): string {
  if (ports.has(port)) return `PeerAuthentication ${mode} on port ${port}`;
  if (source === null) return `PeerAuthentication ${mode} by default`;
  return `PeerAuthentication ${source.metadata.namespace}/${source.metadata.name} ${mode}`;
}
