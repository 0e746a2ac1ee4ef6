/** A tunnel in one stream of an HTTP/2 connection: open as a connection is, and ended alone. */
import type { Clock, Exchange } from '../http/exchange.ts';
import type { Splice } from '../net/splice.ts';
import type { ConnectionRow, Connections, OpenConnection } from './connections.ts';
import type { TunnelEnds } from './inbound-http.ts';
import type { ProxiedRequest } from './request.ts';
import type { CloseReason, Peer, PeerWatch, Policed } from './revalidation.ts';
import { openTunnel } from './tunnel.ts';

export interface StreamTunnelParts {
  readonly direction: 'inbound' | 'outbound';
  /** Whoever vouches for it: the client inbound, the server outbound; null = nobody, on plaintext. */
  readonly peer: Peer | null;
  readonly peers: PeerWatch;
  readonly connections: Connections;
  readonly clock: Clock;
  readonly idleTimeoutMs: number;
  /** The row of the connection that carries it. */
  readonly carrier: () => ConnectionRow;
  /** Whether policy in force still allows it; null = it may stay. */
  readonly recheck: () => CloseReason | null;
}

export class StreamTunnel implements OpenConnection, Policed {
  readonly direction: 'inbound' | 'outbound';
  readonly #parts: StreamTunnelParts;
  readonly #since = new Date();
  readonly #splice: Splice;
  readonly #request: ProxiedRequest;
  #because: string | null = null;

  constructor(exchange: Exchange<ProxiedRequest>, ends: TunnelEnds, parts: StreamTunnelParts) {
    const request = exchange.context as ProxiedRequest;
    this.direction = parts.direction;
    this.#parts = parts;
    this.#request = request;
    const { peer, peers, connections } = parts;
    connections.add(this);
    this.#splice = openTunnel(ends.client, ends.upstream, {
      clock: parts.clock,
      idleTimeoutMs: parts.idleTimeoutMs,
      record: request.record,
      first: ends,
      done: record => {
        record.status = exchange.status;
        request.finishTunnel();
        connections.delete(this);
        peers.unwatch(peer, this);
      },
    });
    if (peer !== null) peers.adopt(peer, this);
  }

  recheck(): CloseReason | null {
    return this.#parts.recheck();
  }

  /** Bytes have no better moment to end than the deadline. */
  retire(reason: CloseReason): void {
    const said = reason === 'policy_denied' ? this.#request.record.terminationDetails : null;
    this.#because = said ?? reason;
  }

  describe(): ConnectionRow {
    const { fromA, fromB } = this.#splice;
    return {
      ...this.#parts.carrier(),
      protocol: 'tunnel',
      since: this.#since.toISOString(),
      bytesReceived: fromA,
      bytesSent: fromB,
    };
  }

  progress(): void {
    // Its bytes are a request's, and counted when that is over.
  }

  drain(): void {
    // It goes on until the drain's end, as one on a connection of its own.
  }

  destroy(): void {
    if (this.#because === null) this.#splice.close();
    else {
      this.#request.record.terminationDetails = this.#because;
      this.#splice.breakOff();
    }
  }
}
