/** A connection's fate before the first byte of a request: PeerAuthentication and the peer's own name. */
import type { MtlsMode } from '../config/resources.ts';
import type { FrontDoor } from './explain-answer.ts';
import type { EffectiveMtls } from './peer-authentication.ts';

export interface ConnectionQuestion {
  /** Raw bytes, as far as anybody knows. */
  readonly tcp: boolean;
  readonly transport: 'mtls' | 'plaintext';
  /** `spiffe://…`; null = none is described. */
  readonly principal: string | null;
  /** The mode on the workload port. */
  readonly mode: MtlsMode;
  readonly trustDomains: readonly string[];
}

export type ConnectionFate =
  /** `principal` is what policy gets to know; null on plaintext, and on TLS that passes as bytes. */
  | { readonly refused: false; readonly principal: string | null }
  | { readonly refused: true; readonly reason: string; readonly why: string };

/** Whether the connection is let in, and as whom. */
export function connectionFate(
  { tcp, transport, principal, mode, trustDomains }: ConnectionQuestion,
  peerFault: FrontDoor['peerFault'],
): ConnectionFate {
  if (transport === 'plaintext') {
    return mode === 'STRICT'
      ? refused('mtls_required', 'a plaintext connection is closed')
      : { refused: false, principal: null };
  }
  if (mode === 'DISABLE') {
    return tcp
      ? { refused: false, principal: null }
      : refused('mtls_disabled', 'TLS to an HTTP port is closed');
  }
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
