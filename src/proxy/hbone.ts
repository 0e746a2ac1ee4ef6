/**
 * HBONE (Istio's ambient tunnels): HTTP/2 CONNECT over mutual TLS, each stream a connection to a port of the workload. What
 * is inside is served as if it had come over mutual TLS from the same peer (ztunnel: src/proxy/inbound.rs).
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { FAILURES, type FailureCode } from '../errors.ts';
import type { Duct, Exchange, RequestHandler } from '../http/exchange.ts';
import { H2Server } from '../http/h2-server.ts';
import type { PeerIdentity } from '../identity/peer.ts';
import type { PlainConnection } from '../net/connect.ts';
import type { HandshakeFacts } from '../net/tls.ts';
import { parseAddress } from '../policy/address.ts';
import { bindConnection, decideConnection } from '../policy/decide.ts';
import { AccessRecord, type ConnectionFacts } from '../telemetry/record.ts';
import type { AppDestination } from './app.ts';
import { parseAuthority } from './authority.ts';
import type { ConnectionRow, OpenConnection } from './connections.ts';
import type { Inbound } from './inbound.ts';
import { type Arrival, InboundConnection } from './inbound-connection.ts';
import { inboundFacts } from './inbound-facts.ts';
import type { ProxiedRequest } from './request.ts';
import type { CloseReason, Policed } from './revalidation.ts';
import type { WorkloadPort } from './workload-ports.ts';

/** What HBONE agrees to: HTTP/2 and nothing else. */
export function hboneProtocol(offered: readonly string[]): string | null {
  return offered.includes('h2') ? 'h2' : null;
}

/** One client's connection to the HBONE port. */
export class HboneConnection implements OpenConnection, Policed, RequestHandler<ProxiedRequest> {
  readonly direction = 'inbound';
  readonly withheldTrailers = null;
  readonly #hub: Inbound;
  readonly #socket: TLSSocket;
  readonly #peer: PeerIdentity;
  readonly #facts: HandshakeFacts;
  /** Under TLS: it knows its client's address for longer. */
  readonly #raw: Socket;
  readonly #server: H2Server<ProxiedRequest>;
  readonly #since = new Date();
  /** To the app, for a tunnel that is about to be accepted. */
  readonly #apps = new WeakMap<Exchange<ProxiedRequest>, PlainConnection>();
  #because: string | null = null;

  constructor(
    hub: Inbound,
    socket: TLSSocket,
    { peer, facts, raw }: { peer: PeerIdentity; facts: HandshakeFacts; raw: Socket },
  ) {
    this.#hub = hub;
    this.#socket = socket;
    this.#peer = peer;
    this.#facts = facts;
    this.#raw = raw;
    const { settings, clock, recorder, connections, revalidation } = hub.parts;
    connections.add(this);
    revalidation.watch(peer, this);
    this.#server = new H2Server<ProxiedRequest>({ socket, inlet: null }, this, {
      limits: settings.http,
      clock,
      memo: false,
      report: reason => recorder.http2Ended('inbound', reason),
    });
  }

  onRequest(exchange: Exchange<ProxiedRequest>): void {
    const { head } = exchange;
    if (head.method !== 'CONNECT') {
      this.#refuse(exchange, 'bad_request', 'HBONE takes CONNECT only');
      return;
    }
    const { host, port } = parseAuthority(head.target);
    if (parseAddress(host) === null || port === null) {
      this.#refuse(exchange, 'bad_request', 'CONNECT wants an address and a port');
      return;
    }
    const workload = this.#hub.workloadOf({ host, port }, this.#socket);
    if (typeof workload === 'string') {
      this.#refuse(exchange, 'connect_failed', 'no such destination');
      return;
    }
    if (this.#hub.protocolOf(port) === 'tcp' && !this.#allows(port)) {
      this.#refuse(exchange, 'tunnel_denied', '');
      return;
    }
    this.#connect(exchange, this.#hub.appOn(workload, this.#raw));
  }

  /** On what the connection alone decides; requests inside are decided one by one. */
  #allows(destinationPort: number): boolean {
    const policy = bindConnection(this.#hub.snapshot.authorization, {
      principal: this.#peer.id.uri,
      sourceIp: this.#raw.remoteAddress ?? '',
      destinationIp: this.#socket.localAddress ?? '',
      destinationPort,
      sni: this.#facts.sni,
    });
    return decideConnection(policy).allow;
  }

  /** ztunnel: 200 says that the destination is connected. */
  #connect(exchange: Exchange<ProxiedRequest>, destination: AppDestination): void {
    destination.connect((why, app) => {
      if (why !== null) {
        this.#refuse(exchange, 'connect_failed', why);
        return;
      }
      app.socket.pause();
      this.#apps.set(exchange, app);
      exchange.acceptTunnel();
      // The client is gone: nobody took it over.
      if (this.#apps.has(exchange)) app.socket.destroy();
    });
  }

  onTunnel(exchange: Exchange<ProxiedRequest>, client: Duct): void {
    const app = this.#apps.get(exchange) ?? null;
    this.#apps.delete(exchange);
    const { host, port } = parseAuthority(exchange.head.target);
    const workload = this.#hub.workloadOf({ host, port: port ?? 0 }, this.#socket);
    if (app === null || typeof workload === 'string' || this.#because !== null) {
      client.socket.destroy();
      app?.socket.destroy();
      return;
    }
    new InboundConnection(this.#hub, client.socket, this.#arrival(workload)).start(null, app);
  }

  #arrival(workload: WorkloadPort): Arrival {
    const protocol = this.#hub.protocolOf(workload.port);
    const serve = protocol === 'tcp' ? 'tcp' : protocol === 'auto' ? 'detect' : 'http';
    // What TLS agreed on is about the tunnel.
    const { sni } = this.#facts;
    return {
      ...workload,
      serve,
      peer: this.#peer,
      facts: { ...this.#facts, alpn: null },
      sni,
      raw: this.#raw,
    };
  }

  #refuse(exchange: Exchange<ProxiedRequest>, code: FailureCode, detail: string): void {
    exchange.reply(code, detail, detail);
    const record = this.#record(code, detail);
    record.method = exchange.head.method;
    record.authority = exchange.head.host;
    if (code === 'tunnel_denied') record.decision = 'deny';
    this.#hub.parts.recorder.finishRequest(record);
  }

  onRefused(code: FailureCode, what: string): void {
    this.#hub.parts.recorder.badRequest(what);
    this.#hub.parts.recorder.finishRequest(this.#record(code, what));
  }

  #record(code: FailureCode, what: string): AccessRecord {
    const record = new AccessRecord(this.#connectionFacts());
    record.protocol = 'HTTP/2';
    record.status = FAILURES[code].status;
    record.flag = FAILURES[code].flag;
    record.details = what;
    return record;
  }

  #connectionFacts(): ConnectionFacts {
    const arrival: Arrival = {
      port: 0,
      host: null,
      serve: 'tcp',
      peer: this.#peer,
      facts: this.#facts,
      sni: this.#facts.sni,
      raw: this.#raw,
    };
    return inboundFacts(this.#socket, arrival, this.#hub);
  }

  onRetry(): void {
    // Tunnels are not sent on as requests.
  }

  onFinished(): void {
    // What a tunnel carried is the record of the connection inside.
  }

  onClosed(): void {
    this.#hub.parts.connections.delete(this);
    this.#hub.parts.revalidation.unwatch(this.#peer, this);
  }

  /** Its peer is asked about; policy decides what is inside. */
  recheck(): CloseReason | null {
    return null;
  }

  retire(reason: CloseReason): void {
    this.#because = reason;
    this.#server.retire(reason);
  }

  describe(): ConnectionRow {
    const facts = this.#connectionFacts();
    return {
      direction: 'inbound',
      peer: facts.sourcePrincipal,
      remote: facts.remoteAddress,
      local: facts.localAddress,
      protocol: 'hbone',
      since: this.#since.toISOString(),
      bytesReceived: this.#socket.bytesRead,
      bytesSent: this.#socket.bytesWritten,
    };
  }

  progress(): void {
    // The connections inside tell.
  }

  drain(): void {
    this.#server.drain();
  }

  destroy(): void {
    this.#server.destroy();
  }
}
