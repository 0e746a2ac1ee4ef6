/** One inbound connection, from the moment its peer is known: what it speaks, HTTP or bytes to the app, and its end. */
import type { Socket } from 'node:net';
import type { Exchange } from '../http/exchange.ts';
import { H2Server } from '../http/h2-server.ts';
import type { PeerIdentity } from '../identity/peer.ts';
import type { PlainConnection } from '../net/connect.ts';
import { isHttp1, isTls } from '../net/detect.ts';
import type { Splice } from '../net/splice.ts';
import type { HandshakeFacts } from '../net/tls.ts';
import { bindConnection, type ConnectionPolicy, customMatches, decideConnection } from '../policy/decide.ts';
import type { Service } from '../policy/inbound-path.ts';
import type { ConnectionFacts } from '../telemetry/record.ts';
import type { Recorder } from '../telemetry/recorder.ts';
import type { Tracer } from '../telemetry/trace.ts';
import type { AppDestination } from './app.ts';
import { clientCertElement } from './client-cert-header.ts';
import type { ConnectionRow, OpenConnection } from './connections.ts';
import type { ExtAuthz } from './ext-authz.ts';
import type { AuthzConnection } from './ext-authz-question.ts';
import { firstWord } from './first-word.ts';
import { type HttpLoop, serveHttp } from './http-loop.ts';
import type { Inbound } from './inbound.ts';
import { inboundFacts } from './inbound-facts.ts';
import { InboundHttp, type InboundView, type TunnelEnds } from './inbound-http.ts';
import { InboundTcp, type TcpView } from './inbound-tcp.ts';
import { peek } from './peek.ts';
import type { ProxiedRequest } from './request.ts';
import type { CloseReason, Policed } from './revalidation.ts';
import { modeOn, type Snapshot } from './snapshot.ts';
import { StreamTunnel } from './stream-tunnel.ts';
import { openTunnel } from './tunnel.ts';
import type { WorkloadPort } from './workload-ports.ts';

/** How a connection came in. */
export interface Arrival extends WorkloadPort {
  readonly serve: Service;
  readonly peer: PeerIdentity | null;
  readonly facts: HandshakeFacts | null;
  /** Of TLS that is not terminated, too. */
  readonly sni: string | null;
  /** The accepted socket, which knows its client's address when that of TLS does not any more; absent = the same. */
  readonly raw?: Socket;
}

export class InboundConnection implements OpenConnection, InboundView, TcpView, Policed {
  readonly direction = 'inbound';
  #app: AppDestination;
  #hub: Inbound;
  #socket: Socket;
  #arrival: Arrival;
  /** Made when first asked for: a silent connection needs none of them. */
  #facts: ConnectionFacts | null = null;
  #clientCert: string | null = null;
  #policy: ConnectionPolicy | null = null;
  /** What `#policy` was made of. */
  #snapshot: Snapshot;
  #since = Date.now();
  #server: HttpLoop<ProxiedRequest> | null = null;
  #http: InboundHttp | null = null;
  #tcp: InboundTcp | null = null;
  #tunnel: { readonly splice: Splice; readonly request: ProxiedRequest } | null = null;
  /** Why its end has begun, as the log says it. */
  #because: string | null = null;
  #protocol = 'detecting';
  /** Nobody has looked yet whether a plaintext client speaks TLS. */
  #unseen = false;

  constructor(hub: Inbound, socket: Socket, arrival: Arrival) {
    this.#hub = hub;
    this.#socket = socket;
    this.#arrival = arrival;
    this.#snapshot = hub.snapshot;
    this.#app = hub.appOn(arrival, this.#client);
    hub.parts.connections.add(this);
    if (arrival.peer !== null) hub.parts.revalidation.watch(arrival.peer, this);
    socket.on('error', ignore);
  }

  get snapshot(): Snapshot {
    return this.#hub.snapshot;
  }

  get recorder(): Recorder {
    return this.#hub.parts.recorder;
  }

  get app(): AppDestination {
    if (this.#app.replaced) this.#app = this.#hub.appOn(this.#arrival, this.#client);
    return this.#app;
  }

  get #client(): Socket {
    return this.#arrival.raw ?? this.#socket;
  }

  get tracer(): Tracer | null {
    return this.#hub.parts.tracer();
  }

  get denials(): InboundView['denials'] {
    return this.#hub.parts.settings.denials;
  }

  get plaintext(): boolean {
    return this.#arrival.peer === null;
  }

  get undeclared(): boolean {
    return this.#hub.protocolOf(this.#arrival.port) === 'auto';
  }

  get authzConnection(): AuthzConnection {
    const { peer, port, host, facts, sni } = this.#arrival;
    return {
      principal: peer?.id.uri ?? null,
      sourceIp: this.#client.remoteAddress ?? '',
      sourcePort: this.#socket.remotePort ?? 0,
      destinationIp: host ?? this.#socket.localAddress ?? '',
      destinationPort: port,
      localPrincipal: peer === null ? null : this.#hub.identity.id,
      sni,
      tlsVersion: facts?.tlsVersion ?? null,
    };
  }

  authorizer(provider: string): ExtAuthz | null {
    return this.#hub.parts.authorizers.find(provider);
  }

  get facts(): ConnectionFacts {
    this.#facts ??= inboundFacts(this.#socket, this.#arrival, this.#hub);
    return this.#facts;
  }

  get clientCert(): string | null {
    const { peer } = this.#arrival;
    if (this.#clientCert === null && peer !== null)
      this.#clientCert = clientCertElement(this.#hub.identity.id, peer);
    return this.#clientCert;
  }

  /** On the configuration that is in force now. */
  get policy(): ConnectionPolicy {
    const { snapshot } = this.#hub;
    if (this.#policy !== null && this.#snapshot === snapshot) return this.#policy;
    const { port, host, peer, sni } = this.#arrival;
    this.#snapshot = snapshot;
    this.#policy = bindConnection(snapshot.authorization, {
      principal: peer?.id.uri ?? null,
      sourceIp: this.#client.remoteAddress ?? '',
      destinationIp: host ?? this.#socket.localAddress ?? '',
      destinationPort: port,
      sni,
    });
    return this.#policy;
  }

  /** @param app a connection to the app that was made already, for bytes */
  start(first: Buffer | null, app: PlainConnection | null = null): void {
    const { clock } = this.#hub.parts;
    const { serve, peer } = this.#arrival;
    this.#unseen = peer === null && (first === null || first.length === 0);
    if (serve === 'tcp' && app !== null) {
      this.#serveTcp(first, app);
      return;
    }
    app?.socket.destroy();
    if (serve === 'http') this.#serveHttp(first);
    else if (serve === 'tcp' || this.#isDeniedTcp()) this.#serveTcp(first);
    else if (serve === 'tcp-first' || first?.length === 0) this.#awaitFirstWord();
    else {
      peek(this.#socket, {
        clock,
        timeoutMs: this.#hub.detectTimeoutMs,
        first,
        decide: isHttp1,
        atEnd: false,
        done: (http, bytes) => {
          if (http === null && bytes?.length === 0) this.#awaitFirstWord();
          else this.#heard(http, bytes, null, null);
        },
      });
    }
  }

  /** Whether it said that it is TCP, and policy does not have that: a request inside would not make it better. */
  #isDeniedTcp(): boolean {
    return this.#arrival.serve === 'tcp-first' && !decideConnection(this.policy).allow;
  }

  /** Silence is no protocol: the app is connected, in case it speaks first, and the client's first word still counts. */
  #awaitFirstWord(): void {
    const { settings, clock } = this.#hub.parts;
    // Who says TCP is not kept waiting for what could still become a request: the screen ends it if it does.
    const decide = this.#arrival.serve === 'tcp-first' ? beginsAsRequest : isHttp1;
    const options = { clock, timeoutMs: settings.tcpIdleTimeoutMs, decide, atEnd: false };
    if (!decideConnection(this.policy).allow || customMatches(this.policy, null) !== null) {
      peek(this.#socket, { ...options, done: (http, bytes) => this.#heard(http, bytes, null, null) });
      return;
    }
    this.app.connect((why, app) => {
      if (why !== null || this.#socket.destroyed) {
        app.socket.destroy();
        this.#serveTcp(null);
        return;
      }
      firstWord(this.#socket, app, {
        ...options,
        done: (http, bytes, fromApp) => this.#heard(http, bytes, app, fromApp),
      });
    });
  }

  /** Undecided counts as HTTP: what could still become a request is never passed on as something else. */
  #heard(
    http: boolean | null,
    bytes: Buffer | null,
    app: PlainConnection | null,
    fromApp: Buffer | null,
  ): void {
    if (http === false && !this.#mayBeMutual(bytes, fromApp)) {
      this.#serveTcp(bytes, app, fromApp);
      return;
    }
    app?.socket.destroy();
    if (bytes === null || bytes.length === 0) {
      this.#socket.destroy();
      this.onClosed();
    } else if (http === false) {
      this.onClosed();
      this.#hub.opens(this.#socket, this.#arrival, bytes);
    } else this.#serveHttp(bytes);
  }

  /** A client that was silent for long may turn out to speak TLS after all. */
  #mayBeMutual(bytes: Buffer | null, fromApp: Buffer | null): boolean {
    if (!this.#unseen || bytes === null || fromApp !== null || isTls(bytes) === false) return false;
    return modeOn(this.#hub.snapshot, this.#arrival.port) !== 'DISABLE';
  }

  #serveHttp(first: Buffer | null): void {
    const { settings, clock, recorder } = this.#hub.parts;
    const http = new InboundHttp(this);
    this.#http = http;
    serveHttp<ProxiedRequest>(this.#socket, {
      handler: http,
      limits: settings.http,
      clock,
      report: reason => recorder.http2Ended('inbound', reason),
      alpn: this.#arrival.facts?.alpn ?? null,
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

  /** `app` and what it sent already: when it was connected before the protocol was known. */
  #serveTcp(first: Buffer | null, app: PlainConnection | null = null, reply: Buffer | null = null): void {
    this.#protocol = 'tcp';
    this.#tcp = new InboundTcp(this, this.#hub.parts, this.#socket);
    this.#tcp.start({ first, app, reply });
  }

  openTunnel(exchange: Exchange<ProxiedRequest>, ends: TunnelEnds): void {
    const { clock, settings } = this.#hub.parts;
    const request = exchange.context as ProxiedRequest;
    if (this.#server instanceof H2Server) {
      this.#openStreamTunnel(exchange, ends);
      return;
    }
    this.#server = null;
    this.#protocol = 'tunnel';
    const splice = openTunnel(ends.client, ends.upstream, {
      clock,
      idleTimeoutMs: settings.tcpIdleTimeoutMs,
      record: request.record,
      first: ends,
      done: record => {
        record.status = exchange.status;
        request.finishTunnel();
        this.onClosed();
      },
    });
    this.#tunnel = { splice, request };
    // The app took its time, and the client is not believed any more.
    if (this.#because !== null) this.destroy();
  }

  #openStreamTunnel(exchange: Exchange<ProxiedRequest>, ends: TunnelEnds): void {
    const { clock, settings, connections, revalidation } = this.#hub.parts;
    const request = exchange.context as ProxiedRequest;
    new StreamTunnel(exchange, ends, {
      direction: 'inbound',
      peer: this.#arrival.peer,
      peers: revalidation,
      connections,
      clock,
      idleTimeoutMs: settings.tcpIdleTimeoutMs,
      carrier: () => this.describe(),
      recheck: () => (this.#http?.stillAllows(request) === false ? 'policy_denied' : null),
    });
  }

  onClosed(): void {
    this.#hub.parts.connections.delete(this);
    this.#hub.parts.revalidation.unwatch(this.#arrival.peer, this);
  }

  progress(): void {
    this.#tcp?.progress();
  }

  recheck(): CloseReason | null {
    const { peer, port } = this.#arrival;
    if (peer === null && modeOn(this.#hub.snapshot, port) === 'STRICT') return 'mtls_required';
    if (this.#tcp !== null) return this.#tcp.recheck();
    const { request } = this.#tunnel ?? {};
    const denied = request === undefined ? this.#isDeniedTcp() : !this.#http?.stillAllows(request);
    return denied ? 'policy_denied' : null;
  }

  denied(): void {
    this.#hub.parts.revalidation.end(this, 'policy_denied');
  }

  /** What reached the app is answered; a tunnel goes on until the deadline; what is neither yet ends at once. */
  retire(reason: CloseReason): void {
    const said = reason === 'policy_denied' ? this.#tunnel?.request.record.terminationDetails : null;
    this.#because = said ?? reason;
    if (this.#tcp !== null) this.#tcp.retire(reason);
    else if (this.#server !== null) this.#server.retire(reason);
    else if (this.#tunnel === null) this.#socket.destroy();
  }

  describe(): ConnectionRow {
    const { fromA = 0, fromB = 0 } = this.#tunnel?.splice ?? {};
    return {
      direction: 'inbound',
      peer: this.facts.sourcePrincipal,
      remote: this.facts.remoteAddress,
      local: this.facts.localAddress,
      protocol: this.#protocol,
      since: new Date(this.#since).toISOString(),
      bytesReceived: (this.#http?.requestBytes ?? 0) + (this.#tcp?.fromClient ?? fromA),
      bytesSent: (this.#http?.responseBytes ?? 0) + (this.#tcp?.fromApp ?? fromB),
    };
  }

  /** A connection of bytes says itself when it is done; until the drain's end it goes on. */
  drain(): void {
    if (this.#server !== null) this.#server.drain();
    else if (this.#protocol === 'detecting') this.destroy();
  }

  destroy(): void {
    const because = this.#because;
    if (this.#tcp !== null) this.#tcp.destroy();
    else if (this.#tunnel !== null) {
      const { splice, request } = this.#tunnel;
      if (because === null) splice.close();
      else {
        request.record.terminationDetails = because;
        splice.breakOff();
      }
    } else if (because !== null && this.#server !== null) this.#server.abort(because);
    else this.#socket.destroy();
  }
}

function ignore(): void {}

function beginsAsRequest(bytes: Buffer): boolean {
  return isHttp1(bytes) ?? false;
}
