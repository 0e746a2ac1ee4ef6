/** A connection over TLS to somebody who was judged, and who that is, for as long as it is open. */
import type { Socket } from 'node:net';
import type { Duct, Inlet } from '../http/exchange.ts';
import type { Peer, PeerWatch, Vouched } from './revalidation.ts';

export class PeerDuct implements Duct {
  readonly socket: Socket;
  readonly inlet: Inlet | null;
  readonly peer: Peer;
  /** The ALPN protocol that was agreed to; null = none. */
  readonly protocol: string | null;

  constructor(socket: Socket, inlet: Inlet | null, peer: Peer, protocol: string | null) {
    this.socket = socket;
    this.inlet = inlet;
    this.peer = peer;
    this.protocol = protocol;
  }
}

/** The ALPN protocol that was agreed to; null on plaintext, or where the peer agreed to none. */
export function protocolOf(duct: Duct): string | null {
  return duct instanceof PeerDuct ? duct.protocol : null;
}

/** Who is on the other side; null on plaintext. */
export function peerOf(duct: Duct): Peer | null {
  return duct instanceof PeerDuct ? duct.peer : null;
}

/** `connection` stands on whoever is behind `duct`, until that is closed; on nobody where it is plaintext. */
export function watchPeer(peers: PeerWatch, duct: Duct, connection: Vouched): void {
  const peer = peerOf(duct);
  if (peer === null || duct.socket.closed) return;
  duct.socket.once('close', () => peers.unwatch(peer, connection));
  peers.adopt(peer, connection);
}

/** The name that the peer proved: its SPIFFE ID, or an external server's URI SAN, which may be ''. */
export function nameOf(peer: Peer): string {
  return peer.id === null ? peer.uri : peer.id.uri;
}
