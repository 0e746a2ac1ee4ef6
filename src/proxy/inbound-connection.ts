/** One inbound connection, from the moment its peer is known: what it speaks, HTTP or bytes to the app, and its end. */
import type { Socket } from 'node:net';
import { FAILURES } from '../errors.ts';
import type { Exchange } from '../http/exchange.ts';
import { H1Server } from '../http/h1-server.ts';
import type { PeerIdentity } from '../identity/peer.ts';
import { connectPlain, type PlainConnection } from '../net/connect.ts';
import { isHttp1, isTls, RequestLineScreen } from '../net/detect.ts';
import type { Splice } from '../net/splice.ts';
import type { HandshakeFacts } from '../net/tls.ts';
import { bindConnection, type ConnectionPolicy, customMatches, decideConnection } from '../policy/decide.ts';
import type { Service } from '../policy/inbound-path.ts';
import { AccessRecord, type ConnectionFacts } from '../telemetry/record.ts';
import type { Recorder } from '../telemetry/recorder.ts';
import type { Tracer } from '../telemetry/trace.ts';
import type { AppDestination } from './app.ts';
import { clientCertElement } from './client-cert-header.ts';
import type { ConnectionRow, OpenConnection } from './connections.ts';
import type { ExtAuthz } from './ext-authz.ts';
import type { AuthzConnection } from './ext-authz-question.ts';
import { firstWord } from './first-word.ts';
import type { Inbound } from './inbound.ts';
import { inboundFacts } from './inbound-facts.ts';
import { InboundHttp, type InboundView, type TunnelEnds } from './inbound-http.ts';
import { peek } from './peek.ts';
import type { ProxiedRequest } from './request.ts';
import { modeOn, type Snapshot } from './snapshot.ts';
import { admitTcp, mayTcp, type TcpArrival } from './tcp-admission.ts';
import { openTunnel } from './tunnel.ts';

const FLAG_CLIENT_GONE = 'DC';

/** How a connection came in. */
export interface Arrival {
  /** The workload port that it is for. */
  readonly port: number;
  readonly serve: Service;
  readonly peer: PeerIdentity | null;
  readonly facts: HandshakeFacts | null;
  /** Of TLS that is not terminated, too. */
  readonly sni: string | null;
}

export class InboundConnection implements OpenConnection, InboundView, TcpArrival {
  readonly app: AppDestination;
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
  #server: H1Server<ProxiedRequest> | null = null;
  #http: InboundHttp | null = null;
  #splice: Splice | null = null;
  #tcpRecord: AccessRecord | null = null;
  #protocol = 'detecting';
  /** Nobody has looked yet whether a plaintext client speaks TLS. */
  #unseen = false;

  constructor(hub: Inbound, socket: Socket, arrival: Arrival) {
    this.#hub = hub;
    this.#socket = socket;
    this.#arrival = arrival;
    this.#snapshot = hub.snapshot;
    this.app = hub.appOn(arrival.port);
    hub.parts.connections.add(this);
    socket.on('error', ignore);
  }

  get snapshot(): Snapshot {
    return this.#hub.snapshot;
  }

  get recorder(): Recorder {
    return this.#hub.parts.recorder;
  }

  get tracer(): Tracer | null {
    return this.#hub.parts.tracer();
  }

  get denials(): InboundView['denials'] {
    return this.#hub.parts.settings.denials;
  }

  get authzConnection(): AuthzConnection {
    const { peer, port, facts, sni } = this.#arrival;
    return {
      principal: peer?.id.uri ?? null,
      sourceIp: this.#socket.remoteAddress ?? '',
      sourcePort: this.#socket.remotePort ?? 0,
      destinationIp: this.#socket.localAddress ?? '',
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
    const { port, peer, sni } = this.#arrival;
    this.#snapshot = snapshot;
    this.#policy = bindConnection(snapshot.authorization, {
      principal: peer?.id.uri ?? null,
      sourceIp: this.#socket.remoteAddress ?? '',
      destinationIp: this.#socket.localAddress ?? '',
      destinationPort: port,
      sni,
    });
    return this.#policy;
  }

  start(first: Buffer | null): void {
    const { settings, clock } = this.#hub.parts;
    const { serve, peer } = this.#arrival;
    this.#unseen = peer === null && (first === null || first.length === 0);
    // HTTP/2 is not spoken yet: its preface gets 400 rather than a way past policy.
    if (serve === 'http') this.#serveHttp(first);
    else if (serve === 'tcp' || this.#isDeniedTcp()) this.#serveTcp(first);
    else if (serve === 'tcp-first' || first?.length === 0) this.#awaitFirstWord();
    else {
      peek(this.#socket, {
        clock,
        timeoutMs: settings.detectTimeoutMs,
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
    const { host, port } = this.app;
    connectPlain({ host, port, timeoutMs: settings.connectTimeoutMs }, (why, app) => {
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
      this.#hub.opens(this.#socket, this.#arrival.port, bytes);
    } else this.#serveHttp(bytes);
  }

  /** A client that was silent for long may turn out to speak TLS after all. */
  #mayBeMutual(bytes: Buffer | null, fromApp: Buffer | null): boolean {
    if (!this.#unseen || bytes === null || fromApp !== null || isTls(bytes) === false) return false;
    return modeOn(this.#hub.snapshot, this.#arrival.port) !== 'DISABLE';
  }

  #serveHttp(first: Buffer | null): void {
    const { settings, clock } = this.#hub.parts;
    this.#protocol = 'http1';
    this.#http = new InboundHttp(this);
    this.#server = new H1Server<ProxiedRequest>({ socket: this.#socket, inlet: null }, this.#http, {
      limits: settings.http,
      clock,
    });
    if (this.#hub.draining) this.#server.draining = true;
    if (first !== null) this.#server.takeFirst(first);
  }

  /** `connected` and what it sent already: the app, when it was connected before the protocol was known. */
  #serveTcp(
    first: Buffer | null,
    connected: PlainConnection | null = null,
    reply: Buffer | null = null,
  ): void {
    this.#protocol = 'tcp';
    const record = new AccessRecord(this.facts);
    record.requestProtocol = 'tcp';
    record.protocol = null;
    this.#tcpRecord = record;
    this.recorder.openConnection(this.facts);
    const admitted = admitTcp(this, record, () => this.#whenGone());
    if (admitted === true) {
      this.#socket.pause();
      this.#connectTcp(record, first, connected, reply);
      return;
    }
    // While a provider is asked the app is not there.
    connected?.socket.destroy();
    if (admitted === false) {
      this.#endTcp(record);
      return;
    }
    this.#socket.pause();
    void admitted.then(allowed => {
      if (allowed && !this.#socket.destroyed) this.#connectTcp(record, first, null, null);
      else this.#endTcp(record);
    });
  }

  #whenGone(): AbortSignal {
    const gone = new AbortController();
    this.#socket.once('close', () => gone.abort());
    return gone.signal;
  }

  #connectTcp(
    record: AccessRecord,
    first: Buffer | null,
    connected: PlainConnection | null,
    reply: Buffer | null,
  ): void {
    const { settings } = this.#hub.parts;
    const { host, port } = this.app;
    record.upstreamHost = this.app.name;
    const onConnected = (why: string | null, upstream: PlainConnection): void => {
      this.recorder.upstreamConnect('inbound', why ?? 'success');
      // Asked again: policy may have changed since.
      if (why === null && !this.#socket.destroyed && mayTcp(this, record)) {
        this.#join(record, { upstream, first, reply });
        return;
      }
      if (why !== null) record.flag = FAILURES.connect_failed.flag;
      else if (this.#socket.destroyed) record.flag = FLAG_CLIENT_GONE;
      if (why === 'ECONNRESET' || (why === null && this.#socket.destroyed))
        record.terminationDetails = 'connection_reset';
      record.bytesReceived = first?.length ?? 0;
      record.transportFailure = why;
      // Visibly: a clean end would pass for an empty conversation.
      upstream.socket.resetAndDestroy();
      if (this.#arrival.peer === null && !this.#socket.destroyed) this.#socket.resetAndDestroy();
      this.#endTcp(record);
    };
    if (connected === null) connectPlain({ host, port, timeoutMs: settings.connectTimeoutMs }, onConnected);
    else onConnected(null, connected);
  }

  #endTcp(record: AccessRecord): void {
    this.#socket.destroy();
    this.recorder.finishConnection(record);
    this.onClosed();
  }

  #join(
    record: AccessRecord,
    { upstream, first, reply }: { upstream: PlainConnection; first: Buffer | null; reply: Buffer | null },
  ): void {
    const { clock, settings } = this.#hub.parts;
    this.#splice = openTunnel({ socket: this.#socket, inlet: null }, upstream, {
      clock,
      idleTimeoutMs: settings.tcpIdleTimeoutMs,
      record,
      first: { fromClient: first, fromUpstream: reply },
      // An app that spoke first speaks no HTTP.
      screen: reply === null ? this.#screenAfter(first) : null,
      done: () => this.#endTcp(record),
    });
  }

  /** On a port whose protocol nobody declared, bytes that passed as TCP may still turn out to be a request line. */
  #screenAfter(first: Buffer | null): RequestLineScreen | null {
    if (this.#hub.protocolOf(this.#arrival.port) !== 'auto') return null;
    const screen = new RequestLineScreen();
    if (first !== null) screen.passes(first);
    return screen.done ? null : screen;
  }

  openTunnel(exchange: Exchange<ProxiedRequest>, ends: TunnelEnds): void {
    const { clock, settings } = this.#hub.parts;
    const request = exchange.context as ProxiedRequest;
    this.#server = null;
    this.#protocol = 'tunnel';
    this.#splice = openTunnel(ends.client, ends.upstream, {
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
  }

  onClosed(): void {
    this.#hub.parts.connections.delete(this);
  }

  /** Counts what a connection of bytes carried so far. */
  progress(): void {
    const splice = this.#splice;
    const record = this.#tcpRecord;
    if (splice === null || record === null) return;
    record.bytesReceived = splice.fromA;
    record.bytesSent = splice.fromB;
    this.recorder.progressConnection(record);
  }

  /** A new configuration: closes what it would not have let in. */
  recheck(): void {
    const { snapshot } = this.#hub;
    const mode = modeOn(snapshot, this.#arrival.port);
    const { peer } = this.#arrival;
    const refusal = peer === null ? null : this.#hub.trust.refusal(peer, Date.now());
    if ((mode === 'STRICT' && peer === null) || refusal !== null) this.destroy();
    else if (this.#splice !== null && this.#protocol === 'tcp' && !decideConnection(this.policy).allow) {
      this.destroy();
    } else if (this.#isDeniedTcp()) this.destroy();
  }

  describe(): ConnectionRow {
    const splice = this.#splice;
    return {
      direction: 'inbound',
      peer: this.facts.sourcePrincipal,
      remote: this.facts.remoteAddress,
      local: this.facts.localAddress,
      protocol: this.#protocol,
      since: new Date(this.#since).toISOString(),
      bytesReceived: (this.#http?.requestBytes ?? 0) + (splice?.fromA ?? 0),
      bytesSent: (this.#http?.responseBytes ?? 0) + (splice?.fromB ?? 0),
    };
  }

  /** A connection of bytes says itself when it is done; until the drain's end it goes on. */
  drain(): void {
    if (this.#server !== null) this.#server.drain();
    else if (this.#protocol === 'detecting') this.destroy();
  }

  destroy(): void {
    if (this.#splice !== null) this.#splice.close();
    else this.#socket.destroy();
  }
}

function ignore(): void {}

function beginsAsRequest(bytes: Buffer): boolean {
  return isHttp1(bytes) ?? false;
}
