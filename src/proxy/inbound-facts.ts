/** What telemetry says of an inbound connection. */
import type { Socket } from 'node:net';
import type { ConnectionFacts } from '../telemetry/record.ts';
import type { Inbound } from './inbound.ts';
import type { Arrival } from './inbound-connection.ts';

export function inboundFacts(socket: Socket, arrival: Arrival, hub: Inbound): ConnectionFacts {
  const { peer, facts, sni, raw = socket } = arrival;
  return {
    direction: 'inbound',
    sourcePrincipal: peer?.id.uri ?? null,
    sourceNamespace: peer?.id.namespace ?? null,
    destinationPrincipal: peer === null ? null : hub.identity.id,
    destinationNamespace: hub.snapshot.workload.namespace,
    destinationService: null,
    security: peer === null ? 'none' : 'mutual_tls',
    tlsVersion: facts?.tlsVersion ?? null,
    negotiated:
      facts !== null && hub.parts.settings.logTls ? { cipher: facts.cipher, group: facts.group } : null,
    sni,
    localAddress:
      arrival.host === null
        ? `${socket.localAddress}:${socket.localPort}`
        : `${arrival.host}:${arrival.port}`,
    remoteAddress: raw.remoteAddress === undefined ? '' : `${raw.remoteAddress}:${raw.remotePort}`,
    destinationPort: arrival.port === 0 ? null : arrival.port,
  };
}
