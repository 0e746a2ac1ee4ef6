// Hot path: no promise, closure or string per chunk.
/**
 * One connection of the app: requests as to a proxy, a tunnel, bytes to a declared port, or what the kernel led here; each
 * goes to the service that it is for, over a connection whose peer was judged.
 */
import type { Socket } from 'node:net';
import { FAILURES, type FailureCode } from '../errors.ts';
import type { Duct, Exchange, RequestHandler } from '../http/exchange.ts';
import { DROP_PROTO, DROP_XFCC } from '../http/h1-write.ts';
import { H2Server } from '../http/h2-server.ts';
import type { Address } from '../net/listen.ts';
import type { Splice } from '../net/splice.ts';
import { normaliseTarget, pathOf } from '../policy/normalise.ts';
import { AccessRecord, type ConnectionFacts } from '../telemetry/record.ts';
import { parseAuthority } from './authority.ts';
import { routeCaptured } from './captured.ts';
import type { Cluster, EndpointTarget } from './cluster.ts';
import type { ConnectionRow, OpenConnection } from './connections.ts';
import { type HttpLoop, serveHttp } from './http-loop.ts';
import type { TunnelEnds } from './inbound-http.ts';
import type { Outbound } from './outbound.ts';
import { peerOf, watchPeer } from './peer-duct.ts';
import { ProxiedRequest, standardEdits } from './request.ts';
import type { CloseReason, Vouched } from './revalidation.ts';
import { poolOf } from './route.ts';
import { StreamTunnel } from './stream-tunnel.ts';
import { openTunnel } from './tunnel.ts';

const NO_BYTES = { fromClient: null, fromUpstream: null };

export class OutboundConnection implements OpenConnection, RequestHandler<ProxiedRequest>, Vouched {
  readonly direction = 'outbound';
  readonly withheldTrailers = null;
  #hub: Outbound;
  #socket: Socket;
  #since = new Date();
  #server: HttpLoop<ProxiedRequest> | null = null;
  #splice: Splice | null = null;
  #tcpRecord: AccessRecord | null = null;
  /** Of the tunnel or the connection of bytes that it became. */
  #record: AccessRecord | null = null;
  /** Why the tunnel ends: its server is not believed any more. */
  #closing: CloseReason | null = null;
  #protocol = 'detecting';
  #requestBytes = 0;
  #responseBytes = 0;
  /** One a destination, since metric series hang on it. */
  #facts = new Map<Cluster | null, ConnectionFacts>();
  /** Where the app addressed it to; null = to Outrider. */
  #original: Address | null;
  /** Of the app's own TLS. */
  #sni: string | null = null;

  constructor(hub: Outbound, socket: Socket, original: Address | null = null) {
    this.#hub = hub;
    this.#socket = socket;
    this.#original = original;
    hub.parts.connections.add(this);
  }

  serveCaptured(to: Address): void {
    const { clusters, clock, detectTimeoutMs } = this.#hub.parts;
    const { mesh } = this.#hub.snapshot.resources;
    const timeoutMs = detectTimeoutMs ?? mesh.protocolDetectionTimeoutMs;
    routeCaptured(this.#socket, to, { clusters, clock, timeoutMs }, captured => {
      if (captured.as === 'http') this.serveHttp(captured.first);
      else if (captured.as === 'loop') this.refuseLoop();
      else if (captured.as === 'gone') this.onClosed();
      else {
        this.#sni = captured.sni;
        this.serveTcp(captured.cluster, captured.first);
      }
    });
  }

  /** It leads back here. */
  refuseLoop(): void {
    const record = new AccessRecord(this.#factsOf(null));
    record.requestProtocol = 'tcp';
    record.protocol = null;
    record.flag = FAILURES.no_route.flag;
    record.details = 'loop';
    this.#socket.resetAndDestroy();
    this.#hub.parts.recorder.refuseConnection(record);
    this.onClosed();
  }

  serveHttp(first: Buffer | null): void {
    const { http, clock, recorder } = this.#hub.parts;
    serveHttp<ProxiedRequest>(this.#socket, {
      handler: this,
      limits: http,
      clock,
      report: reason => recorder.http2Ended('outbound', reason),
      alpn: null,
      first,
      draining: () => this.#hub.draining,
      begun: loop => this.#begun(loop),
    });
  }

  #begun(loop: HttpLoop<ProxiedRequest> | null): void {
    if (loop === null) {
      this.onClosed();
      return;
    }
    this.#server = loop;
    this.#protocol = loop instanceof H2Server ? 'http2' : 'http1';
  }

  onRequest(exchange: Exchange<ProxiedRequest>): void {
    const { head } = exchange;
    const { clusters, recorder, tracer } = this.#hub.parts;
    if (head.method === 'CONNECT') {
      const { host, port } = parseAuthority(head.target);
      this.#connect(exchange, host, port ?? 443);
      return;
    }
    const original = this.#original;
    const cluster =
      original === null ? clusters.findHttp(head.host) : clusters.findHttpAt(head.host, original);
    const request = new ProxiedRequest(exchange, this.#factsOf(cluster), recorder);
    if (cluster === null) {
      exchange.reply('no_route', '', 'no_route');
      return;
    }
    const target =
      head.rawPath === '*' ? '*' : normaliseTarget(head.rawPath, this.#hub.snapshot.normalization);
    if (target === null) {
      exchange.reply('bad_request', 'invalid path', 'path_normalization_failed');
      return;
    }
    head.path = pathOf(target);
    // What the app claims about who called it is not ours to pass on: the next sidecar says who we are.
    const proto = head.headerValues('x-forwarded-proto').length === 0;
    request.send(
      cluster,
      standardEdits(request, {
        target,
        added: proto ? ['x-forwarded-proto', 'http'] : [],
        drop: proto ? DROP_XFCC | DROP_PROTO : DROP_XFCC,
        tracer: tracer(),
      }),
    );
  }

  #connect(exchange: Exchange<ProxiedRequest>, host: string, port: number): void {
    const { clusters, recorder } = this.#hub.parts;
    const cluster = clusters.find(host, port, port);
    const request = new ProxiedRequest(exchange, this.#factsOf(cluster), recorder);
    if (cluster === null) {
      exchange.reply('no_route', '', 'no_route');
      return;
    }
    const target = cluster.pick();
    if (target === null) {
      exchange.reply('no_healthy_upstream', '', 'no_healthy_upstream');
      return;
    }
    request.record.upstreamHost = target.name;
    request.record.upstreamCluster = target.cluster;
    target.open((why, duct) => {
      if (duct === null) {
        cluster.report(target, 'connect_failed');
        request.record.transportFailure = why;
        exchange.reply(
          'connect_failed',
          why ?? '',
          'upstream_reset_before_response_started{connection_failure}',
        );
      } else if (request.gone) duct.socket.destroy();
      else {
        this.#tunnelTo.set(exchange, duct);
        exchange.acceptTunnel();
      }
    });
  }

  /** Where CONNECT leads that is about to be accepted. */
  #tunnelTo = new WeakMap<Exchange<ProxiedRequest>, Duct>();

  onTunnel(
    exchange: Exchange<ProxiedRequest>,
    client: Duct,
    early: Buffer | null,
    switched: Duct | null,
    reply: Buffer | null,
  ): void {
    const upstream = switched ?? this.#tunnelTo.get(exchange) ?? null;
    if (this.#server instanceof H2Server) {
      this.#openStreamTunnel(exchange, { client, upstream, fromClient: early, fromUpstream: reply });
      return;
    }
    this.#server = null;
    this.#protocol = 'tunnel';
    const request = exchange.context;
    if (upstream === null || request === null) {
      client.socket.destroy();
      return;
    }
    this.#record = request.record;
    watchPeer(this.#hub.parts.peers, upstream, this);
    // The server took its time to switch, and is not believed any more.
    const late = this.#closing !== null;
    this.#splice = openTunnel(client, upstream, {
      clock: this.#hub.parts.clock,
      idleTimeoutMs: this.#hub.parts.tcpIdleTimeoutMs,
      record: request.record,
      first: late ? NO_BYTES : { fromClient: early, fromUpstream: reply },
      done: record => {
        record.status = exchange.status;
        request.finishTunnel();
        this.onClosed();
      },
    });
    if (late) this.destroy();
  }

  #openStreamTunnel(
    exchange: Exchange<ProxiedRequest>,
    { client, upstream, ...first }: Omit<TunnelEnds, 'upstream'> & { readonly upstream: Duct | null },
  ): void {
    const { clock, tcpIdleTimeoutMs, connections, peers } = this.#hub.parts;
    if (upstream === null) {
      client.socket.destroy();
      return;
    }
    new StreamTunnel(
      exchange,
      { client, upstream, ...first },
      {
        direction: 'outbound',
        peer: peerOf(upstream),
        peers,
        connections,
        clock,
        idleTimeoutMs: tcpIdleTimeoutMs,
        carrier: () => this.describe(),
        recheck: () => null,
      },
    );
  }

  onRetry(exchange: Exchange<ProxiedRequest>): void {
    exchange.context?.retry();
  }

  onFinished(exchange: Exchange<ProxiedRequest>): void {
    this.#requestBytes += exchange.bytesReceived;
    this.#responseBytes += exchange.bytesSent;
    exchange.context?.finish();
  }

  onRefused(code: FailureCode, what: string): void {
    const { recorder } = this.#hub.parts;
    recorder.badRequest(what);
    const record = new AccessRecord(this.#factsOf(null));
    record.status = FAILURES[code].status;
    record.flag = FAILURES[code].flag;
    record.details = what;
    recorder.finishRequest(record);
  }

  onClosed(): void {
    this.#hub.parts.connections.delete(this);
  }

  /** An app that thinks it is connected to its server must not take that for the end of an answer. */
  #breakOff(): void {
    if (this.#original === null || this.#socket.destroyed) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }

  /** @param first what the app sent already */
  serveTcp(cluster: Cluster | null, first: Buffer | null): void {
    const { recorder, clock, tcpIdleTimeoutMs } = this.#hub.parts;
    const socket = this.#socket;
    this.#protocol = 'tcp';
    const facts = this.#factsOf(cluster);
    const record = new AccessRecord(facts);
    record.requestProtocol = 'tcp';
    record.protocol = null;
    this.#tcpRecord = record;
    recorder.openConnection(facts);
    const finish = (): void => {
      recorder.finishConnection(record);
      this.onClosed();
    };
    const target: EndpointTarget | null = cluster?.pick() ?? null;
    if (cluster === null || target === null) {
      record.flag = FAILURES[cluster === null ? 'no_route' : 'no_healthy_upstream'].flag;
      this.#breakOff();
      finish();
      return;
    }
    socket.pause();
    record.upstreamHost = target.name;
    record.upstreamCluster = target.cluster;
    target.open((why, duct) => {
      if (duct === null || socket.destroyed) {
        if (duct === null) cluster.report(target, 'connect_failed');
        record.flag = duct === null ? FAILURES.connect_failed.flag : 'DC';
        record.transportFailure = why;
        duct?.socket.destroy();
        this.#breakOff();
        finish();
        return;
      }
      target.active++;
      this.#record = record;
      this.#splice = openTunnel({ socket, inlet: null }, duct, {
        clock,
        idleTimeoutMs: poolOf(cluster.spec.policy).tcpIdleTimeoutMs ?? tcpIdleTimeoutMs,
        record,
        first: { fromClient: first, fromUpstream: null },
        done: () => {
          target.active--;
          finish();
        },
      });
      watchPeer(this.#hub.parts.peers, duct, this);
    });
  }

  #factsOf(cluster: Cluster | null): ConnectionFacts {
    const known = this.#facts.get(cluster);
    if (known !== undefined) return known;
    const { snapshot, identity } = this.#hub;
    const socket = this.#socket;
    const tls = cluster?.targets.some(target => target.endpoint.security.tls) ?? false;
    const facts: ConnectionFacts = {
      direction: 'outbound',
      sourcePrincipal: tls ? identity.id : null,
      sourceNamespace: snapshot.workload.namespace,
      destinationPrincipal: cluster?.targets.find(target => target.peer !== null)?.peer ?? null,
      destinationNamespace: cluster?.spec.entry.metadata.namespace ?? null,
      destinationService: cluster?.spec.host ?? null,
      // Istio: a source's reporter does not know the security of what it sends.
      security: 'unknown',
      tlsVersion: null,
      negotiated: null,
      sni: this.#sni,
      localAddress:
        this.#original === null
          ? `${socket.localAddress}:${socket.localPort}`
          : `${this.#original.host}:${this.#original.port}`,
      remoteAddress: `${socket.remoteAddress}:${socket.remotePort}`,
      destinationPort: this.#original?.port ?? null,
    };
    // Before the first connection the peer is not known: ask again next time.
    if (!tls || facts.destinationPrincipal !== null) this.#facts.set(cluster, facts);
    return facts;
  }

  /** Counts what a connection of bytes carried so far. */
  progress(): void {
    const splice = this.#splice;
    const record = this.#tcpRecord;
    if (splice === null || record === null) return;
    record.bytesReceived = splice.fromA;
    record.bytesSent = splice.fromB;
    this.#hub.parts.recorder.progressConnection(record);
  }

  describe(): ConnectionRow {
    const splice = this.#splice;
    const known = [...this.#facts.values()].find(facts => facts.destinationPrincipal !== null);
    return {
      direction: 'outbound',
      peer: known?.destinationPrincipal ?? null,
      remote: `${this.#socket.remoteAddress}:${this.#socket.remotePort}`,
      local: `${this.#socket.localAddress}:${this.#socket.localPort}`,
      protocol: this.#protocol,
      since: this.#since.toISOString(),
      bytesReceived: this.#requestBytes + (splice?.fromA ?? 0),
      bytesSent: this.#responseBytes + (splice?.fromB ?? 0),
    };
  }

  drain(): void {
    if (this.#server !== null) this.#server.drain();
    else if (this.#protocol === 'detecting') this.#socket.destroy();
  }

  /** Bytes have no better moment to end than the deadline. */
  retire(reason: CloseReason): void {
    this.#closing = reason;
  }

  destroy(): void {
    if (this.#splice === null) this.#socket.destroy();
    else if (this.#closing === null) this.#splice.close();
    else {
      if (this.#record !== null) this.#record.terminationDetails = this.#closing;
      this.#splice.breakOff();
    }
  }
}
