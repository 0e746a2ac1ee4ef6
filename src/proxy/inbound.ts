// Hot path: no promise, closure or string per chunk.
/**
 * The inbound hub: accept → (detect) → terminate mutual TLS → who is it → HTTP or bytes → may they → to the app.
 * Everything before the first request runs once a connection; `onRequest` is the hot path.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { PortProtocol } from '../config/resources.ts';
import { FAILURES, type FailureCode } from '../errors.ts';
import type { Clock, Duct, Exchange, HttpLimits, RequestHandler } from '../http/exchange.ts';
import type { RequestHead } from '../http/h1-parser.ts';
import { H1Server } from '../http/h1-server.ts';
import { DROP_PROTO, DROP_XFCC } from '../http/h1-write.ts';
import { judgePeer, type PeerIdentity } from '../identity/peer.ts';
import type { IdentityGeneration } from '../identity/svid.ts';
import { connectPlain, type PlainConnection } from '../net/connect.ts';
import { isHttp1, isTls, RequestLineScreen } from '../net/detect.ts';
import type { Splice } from '../net/splice.ts';
import { createTerminator, type HandshakeFacts, type Terminator } from '../net/tls.ts';
import { bindConnection, type ConnectionPolicy, decideConnection, decideRequest } from '../policy/decide.ts';
import { isKnownMethod } from '../policy/method.ts';
import { normaliseTarget, pathOf } from '../policy/normalise.ts';
import { AccessRecord, type ConnectionFacts } from '../telemetry/record.ts';
import type { Recorder } from '../telemetry/recorder.ts';
import type { Tracer } from '../telemetry/trace.ts';
import { AppDestination } from './app.ts';
import { clientCertElement } from './client-cert-header.ts';
import type { ConnectionRow, Connections, OpenConnection } from './connections.ts';
import { firstWord } from './first-word.ts';
import { materialOf } from './material.ts';
import { peek } from './peek.ts';
import { ProxiedRequest, standardEdits } from './request.ts';
import { modeOn, protocolOn, type Snapshot } from './snapshot.ts';
import { openTunnel } from './tunnel.ts';

export interface InboundSettings {
  /** The app, or null: the original destination's port on 127.0.0.1. */
  readonly app: { readonly host: string; readonly port: number } | null;
  readonly protocols: readonly { readonly port: number; readonly protocol: PortProtocol }[];
  readonly http: HttpLimits;
  readonly handshakeTimeoutMs: number;
  readonly detectTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly tcpIdleTimeoutMs: number;
}

export interface InboundParts {
  readonly settings: InboundSettings;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly connections: Connections;
  readonly tracer: () => Tracer | null;
  readonly warn: (message: string, fields: Record<string, unknown>) => void;
}

export class Inbound {
  snapshot: Snapshot;
  identity: IdentityGeneration;
  draining = false;
  readonly parts: InboundParts;
  #terminator: Terminator;
  #apps = new Map<string, AppDestination>();

  constructor(snapshot: Snapshot, identity: IdentityGeneration, parts: InboundParts) {
    this.snapshot = snapshot;
    this.identity = identity;
    this.parts = parts;
    this.#terminator = this.#createTerminator();
  }

  #createTerminator(): Terminator {
    return createTerminator<PeerIdentity>({
      material: materialOf(this.identity),
      minVersion: this.snapshot.resources.mesh.minTlsVersion,
      handshakeTimeoutMs: this.parts.settings.handshakeTimeoutMs,
      judge: facts => this.#judge(facts),
      onSecure: (socket, peer, facts, raw) => this.#onSecure(socket, peer, facts, raw),
      onRefused: (reason, raw) => this.#onRefused(reason, raw),
    });
  }

  /** New handshakes use `identity` from now on. */
  replaceIdentity(identity: IdentityGeneration): void {
    this.identity = identity;
    this.#terminator.replace(materialOf(identity));
  }

  /** Decisions use `snapshot` from now on; connections that it would not have let in are closed. */
  replaceSnapshot(snapshot: Snapshot): void {
    const { minTlsVersion } = this.snapshot.resources.mesh;
    this.snapshot = snapshot;
    if (snapshot.resources.mesh.minTlsVersion !== minTlsVersion) {
      this.#terminator.close();
      this.#terminator = this.#createTerminator();
    }
    for (const connection of [...this.parts.connections]) {
      if (connection instanceof InboundConnection) connection.recheck();
    }
  }

  close(): void {
    this.#terminator.close();
    for (const app of this.#apps.values()) app.close();
  }

  sweep(now: number): void {
    for (const app of this.#apps.values()) app.sweep(now);
  }

  /** The app that serves a workload port. */
  appOn(port: number): AppDestination {
    const { app } = this.parts.settings;
    const host = app?.host ?? '127.0.0.1';
    const key = `${host}:${port}`;
    let found = this.#apps.get(key);
    if (found === undefined) {
      found = new AppDestination({
        host,
        port,
        clock: this.parts.clock,
        recorder: this.parts.recorder,
        connectTimeoutMs: this.parts.settings.connectTimeoutMs,
      });
      this.#apps.set(key, found);
    }
    return found;
  }

  /** Takes an accepted socket. */
  accept(raw: Socket): void {
    const port = this.#portOf(raw);
    if (port === null) {
      this.refused(raw, 'no_destination');
      return;
    }
    this.parts.recorder.connectionAccepted('inbound');
    raw.once('close', () => this.parts.recorder.connectionClosed('inbound'));
    const mode = modeOn(this.snapshot, port);
    if (mode === 'STRICT') this.#terminator.accept(raw);
    else if (mode === 'DISABLE' && this.protocolOf(port) === 'tcp') this.#begin(raw, port, null, null, null);
    else {
      peek(raw, {
        clock: this.parts.clock,
        timeoutMs: this.parts.settings.detectTimeoutMs,
        decide: isTls,
        done: (tls, bytes) => {
          if (bytes !== null) this.detected(raw, port, tls !== false && bytes.length > 0, bytes);
        },
      });
    }
  }

  protocolOf(port: number): PortProtocol {
    return protocolOn(this.parts.settings.protocols, port);
  }

  /** The workload port that a connection is for: the app's. */
  #portOf(_raw: Socket): number | null {
    return this.parts.settings.app?.port ?? null;
  }

  /**
   * The first bytes came, or none for too long: TLS is terminated (PERMISSIVE) or, towards an HTTP port, refused
   * (DISABLE). The mode may have changed since the accept.
   */
  detected(raw: Socket, port: number, tls: boolean, bytes: Buffer): void {
    const mode = modeOn(this.snapshot, port);
    const protocol = this.protocolOf(port);
    if (mode === 'STRICT' || (tls && mode === 'PERMISSIVE')) {
      if (raw.readableEnded) {
        this.#onRefused('connection_reset', raw);
        return;
      }
      if (bytes.length > 0) raw.unshift(bytes);
      this.#terminator.accept(raw);
    } else if (tls && protocol !== 'auto') this.refused(raw, 'mtls_disabled');
    else if (bytes.length === 0 && protocol === 'http' && mode === 'PERMISSIVE')
      this.refused(raw, 'detect_timeout');
    else this.#begin(raw, port, null, null, bytes);
  }

  #begin(
    socket: Socket,
    port: number,
    peer: PeerIdentity | null,
    facts: HandshakeFacts | null,
    first: Buffer | null,
  ): void {
    if (this.draining) {
      socket.destroy();
      return;
    }
    new InboundConnection(this, socket, { port, peer, facts }).start(first);
  }

  #judge(facts: HandshakeFacts): { ok: true; value: PeerIdentity } | { ok: false; reason: string } {
    const verdict = judgePeer({
      der: facts.der,
      authorizationError: facts.authorizationError,
      trustDomains: this.snapshot.trustDomains,
      role: 'client',
      now: Date.now(),
    });
    return verdict.ok ? { ok: true, value: verdict.peer } : verdict;
  }

  #onSecure(socket: TLSSocket, peer: PeerIdentity, facts: HandshakeFacts, raw: Socket): void {
    this.parts.recorder.handshake('inbound', 'success', '');
    const port = this.#portOf(raw);
    if (port === null || modeOn(this.snapshot, port) === 'DISABLE') socket.destroy();
    else this.#begin(socket, port, peer, facts, null);
  }

  #onRefused(reason: string, raw: Socket): void {
    this.parts.recorder.handshake('inbound', 'failure', reason);
    this.refused(raw, reason);
  }

  /** Closes a connection that never became one, and says why in the log. */
  refused(raw: Socket, why: string): void {
    const record = new AccessRecord(connectionFacts(raw, null, null, this.snapshot));
    record.requestProtocol = 'tcp';
    record.protocol = null;
    record.flag = FAILURES.no_route.flag;
    record.details = why;
    raw.destroy();
    this.parts.recorder.refuseConnection(record);
  }
}

interface Arrival {
  readonly port: number;
  readonly peer: PeerIdentity | null;
  readonly facts: HandshakeFacts | null;
}

/** One client connection, from the moment its peer is known. */
class InboundConnection implements OpenConnection, RequestHandler<ProxiedRequest> {
  #hub: Inbound;
  #socket: Socket;
  #arrival: Arrival;
  #facts: ConnectionFacts;
  #policy: ConnectionPolicy;
  #snapshot: Snapshot;
  #app: AppDestination;
  #tls: boolean;
  #clientCert: string;
  #since = new Date();
  #server: H1Server<ProxiedRequest> | null = null;
  #splice: Splice | null = null;
  #tcpRecord: AccessRecord | null = null;
  #protocol = 'detecting';
  #requestBytes = 0;
  #responseBytes = 0;

  constructor(hub: Inbound, socket: Socket, arrival: Arrival) {
    this.#hub = hub;
    this.#socket = socket;
    this.#arrival = arrival;
    this.#snapshot = hub.snapshot;
    this.#tls = arrival.peer !== null;
    this.#facts = connectionFacts(socket, arrival.peer, arrival.facts, hub.snapshot, hub.identity.id);
    this.#policy = this.#bind();
    this.#app = hub.appOn(arrival.port);
    this.#clientCert = arrival.peer === null ? '' : clientCertElement(hub.identity.id, arrival.peer);
    hub.parts.connections.add(this);
    socket.on('error', () => {});
  }

  #bind(): ConnectionPolicy {
    const { port, peer, facts } = this.#arrival;
    return bindConnection(this.#snapshot.authorization, {
      principal: peer?.id.uri ?? null,
      sourceIp: this.#socket.remoteAddress ?? '',
      destinationIp: this.#socket.localAddress ?? '',
      destinationPort: port,
      sni: facts?.sni ?? null,
    });
  }

  start(first: Buffer | null): void {
    const { settings, clock } = this.#hub.parts;
    const protocol = this.#hub.protocolOf(this.#arrival.port);
    // HTTP/2 is not spoken yet: its preface gets 400 rather than a way past policy.
    if (protocol === 'http' || protocol === 'http2') this.#serveHttp(first);
    else if (protocol === 'tcp') this.#serveTcp(first);
    else if (first?.length === 0) this.#awaitFirstWord();
    else {
      peek(this.#socket, {
        clock,
        timeoutMs: settings.detectTimeoutMs,
        first,
        decide: isHttp1,
        done: (http, bytes) => {
          if (http === null && bytes?.length === 0) this.#awaitFirstWord();
          else this.#heard(http, bytes, null, null);
        },
      });
    }
  }

  /** Silence is no protocol: the app is connected, in case it speaks first, and the client's first word still counts. */
  #awaitFirstWord(): void {
    const { settings, clock } = this.#hub.parts;
    const options = {
      clock,
      timeoutMs: settings.tcpIdleTimeoutMs,
      // A plaintext client may turn out to speak TLS after all.
      decide: (bytes: Buffer) => (this.#tls || isTls(bytes) === false ? isHttp1(bytes) : isTls(bytes)),
    };
    if (!decideConnection(this.#policy).allow) {
      peek(this.#socket, { ...options, done: (http, bytes) => this.#heard(http, bytes, null, null) });
      return;
    }
    const { host, port } = this.#app;
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
    if (http === false) {
      this.#serveTcp(bytes, app, fromApp);
      return;
    }
    app?.socket.destroy();
    if (bytes === null || bytes.length === 0) {
      this.#socket.destroy();
      this.onClosed();
    } else if (!this.#tls && isTls(bytes) !== false) {
      this.onClosed();
      this.#hub.detected(this.#socket, this.#arrival.port, true, bytes);
    } else this.#serveHttp(bytes);
  }

  #serveHttp(first: Buffer | null): void {
    const { settings, clock } = this.#hub.parts;
    this.#protocol = 'http1';
    this.#server = new H1Server<ProxiedRequest>({ socket: this.#socket, inlet: null }, this, {
      limits: settings.http,
      clock,
    });
    if (this.#hub.draining) this.#server.draining = true;
    if (first !== null) this.#server.takeFirst(first);
  }

  onRequest(exchange: Exchange<ProxiedRequest>): void {
    const hub = this.#hub;
    if (hub.snapshot !== this.#snapshot) this.#follow(hub.snapshot);
    const { head } = exchange;
    const request = new ProxiedRequest(exchange, this.#facts, hub.parts.recorder);
    const target =
      head.rawPath === '*' || head.method === 'CONNECT'
        ? head.rawPath
        : normaliseTarget(head.rawPath, this.#snapshot.normalization);
    if (target === null) {
      exchange.reply('bad_request', 'invalid path', 'path_normalization_failed');
      return;
    }
    if (!isKnownMethod(head.method)) {
      exchange.reply('bad_request', 'unknown method', 'http1.codec_error');
      return;
    }
    head.path = pathOf(target);
    if (this.#tls) head.clientCert = this.#clientCertOf(head);
    const decision = decideRequest(this.#policy, head);
    const { record } = request;
    record.decision = decision.allow ? 'allow' : 'deny';
    record.policy = decision.policy ?? decision.missed;
    record.policyRule = decision.rule;
    if (!decision.allow) {
      exchange.reply('policy_denied', '', decision.reason);
      return;
    }
    request.send(this.#app, this.#edits(request, target));
  }

  #edits(request: ProxiedRequest, target: string) {
    const { head } = request.exchange;
    let added = '';
    let drop = DROP_XFCC;
    if (this.#tls) added = `x-forwarded-client-cert: ${head.clientCert}\r\n`;
    // A mesh peer's word on the scheme is kept; nobody vouches for a plaintext client's.
    const proto = this.#tls ? head.headerValues('x-forwarded-proto') : [];
    if (proto.length !== 1 || (proto[0] !== 'http' && proto[0] !== 'https')) {
      added += this.#tls ? 'x-forwarded-proto: https\r\n' : 'x-forwarded-proto: http\r\n';
      drop |= DROP_PROTO;
    }
    return standardEdits(request, { target, added, drop, tracer: this.#hub.parts.tracer() });
  }

  #clientCertOf(head: RequestHead): string {
    if (!this.#snapshot.appendClientCert) return this.#clientCert;
    const sent = head.sentValues('x-forwarded-client-cert').join(',');
    return sent === '' ? this.#clientCert : `${sent},${this.#clientCert}`;
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
    const failure = FAILURES[code];
    const record = new AccessRecord(this.#facts);
    record.status = failure.status;
    record.flag = failure.flag;
    record.details = what;
    recorder.finishRequest(record);
  }

  onTunnel(
    exchange: Exchange<ProxiedRequest>,
    client: Duct,
    early: Buffer | null,
    upstream: Duct | null,
    reply: Buffer | null,
  ): void {
    if (upstream === null) {
      client.socket.destroy();
      return;
    }
    this.#server = null;
    this.#protocol = 'tunnel';
    const request = exchange.context as ProxiedRequest;
    this.#splice = openTunnel(client, upstream, {
      clock: this.#hub.parts.clock,
      idleTimeoutMs: this.#hub.parts.settings.tcpIdleTimeoutMs,
      record: request.record,
      first: { fromClient: early, fromUpstream: reply },
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

  /** `connected` and what it sent already: the app, when it was connected before the protocol was known. */
  #serveTcp(
    first: Buffer | null,
    connected: PlainConnection | null = null,
    reply: Buffer | null = null,
  ): void {
    const { recorder, clock, settings } = this.#hub.parts;
    this.#protocol = 'tcp';
    const record = new AccessRecord(this.#facts);
    record.requestProtocol = 'tcp';
    record.protocol = null;
    this.#tcpRecord = record;
    recorder.openConnection(this.#facts);
    const decision = decideConnection(this.#policy);
    record.decision = decision.allow ? 'allow' : 'deny';
    record.policy = decision.policy ?? decision.missed;
    record.policyRule = decision.rule;
    const finish = (): void => {
      recorder.finishConnection(record);
      this.onClosed();
    };
    if (!decision.allow) {
      record.terminationDetails = decision.reason;
      connected?.socket.destroy();
      this.#socket.destroy();
      finish();
      return;
    }
    const socket = this.#socket;
    socket.pause();
    const { host, port } = this.#app;
    record.upstreamHost = `${host}:${port}`;
    const onConnected = (why: string | null, upstream: PlainConnection): void => {
      recorder.upstreamConnect('inbound', why ?? 'success');
      if (why !== null || socket.destroyed) {
        record.flag = why === null ? FLAG_CLIENT_GONE : FAILURES.connect_failed.flag;
        record.transportFailure = why;
        upstream.socket.destroy();
        socket.destroy();
        finish();
        return;
      }
      this.#splice = openTunnel({ socket, inlet: null }, upstream, {
        clock,
        idleTimeoutMs: settings.tcpIdleTimeoutMs,
        record,
        first: { fromClient: first, fromUpstream: reply },
        // An app that spoke first speaks no HTTP.
        screen: reply === null ? this.#screenAfter(first) : null,
        done: finish,
      });
    };
    if (connected === null) connectPlain({ host, port, timeoutMs: settings.connectTimeoutMs }, onConnected);
    else onConnected(null, connected);
  }

  /** On a port whose protocol nobody declared, bytes that passed as TCP may still turn out to be a request line. */
  #screenAfter(first: Buffer | null): RequestLineScreen | null {
    if (this.#hub.protocolOf(this.#arrival.port) !== 'auto') return null;
    const screen = new RequestLineScreen();
    if (first !== null) screen.passes(first);
    return screen.done ? null : screen;
  }

  /** Binds to the configuration that is in force now. */
  #follow(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    this.#policy = this.#bind();
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

  /** A new configuration: closes what it would not have let in. */
  recheck(): void {
    const { snapshot } = this.#hub;
    this.#follow(snapshot);
    const mode = modeOn(snapshot, this.#arrival.port);
    const { peer } = this.#arrival;
    const foreign = peer !== null && !snapshot.trustDomains.includes(peer.id.trustDomain);
    if ((mode === 'STRICT' && peer === null) || foreign) this.destroy();
    else if (this.#splice !== null && this.#protocol === 'tcp' && !decideConnection(this.#policy).allow)
      this.destroy();
  }

  describe(): ConnectionRow {
    const splice = this.#splice;
    return {
      direction: 'inbound',
      peer: this.#facts.sourcePrincipal,
      remote: this.#facts.remoteAddress,
      local: this.#facts.localAddress,
      protocol: this.#protocol,
      since: this.#since.toISOString(),
      bytesReceived: this.#requestBytes + (splice?.fromA ?? 0),
      bytesSent: this.#responseBytes + (splice?.fromB ?? 0),
    };
  }

  drain(): void {
    // A connection of bytes says itself when it is done; until the drain's end it goes on.
    this.#server?.drain();
  }

  destroy(): void {
    if (this.#splice !== null) this.#splice.close();
    else this.#socket.destroy();
  }
}

const FLAG_CLIENT_GONE = 'DC';

function connectionFacts(
  socket: Socket,
  peer: PeerIdentity | null,
  facts: HandshakeFacts | null,
  snapshot: Snapshot,
  ownId: string | null = null,
): ConnectionFacts {
  return {
    direction: 'inbound',
    sourcePrincipal: peer?.id.uri ?? null,
    sourceNamespace: peer?.id.namespace ?? null,
    destinationPrincipal: peer === null ? null : ownId,
    destinationNamespace: snapshot.workload.namespace,
    destinationService: null,
    security: peer === null ? 'none' : 'mutual_tls',
    tlsVersion: facts?.tlsVersion ?? null,
    sni: facts?.sni ?? null,
    localAddress: `${socket.localAddress}:${socket.localPort}`,
    remoteAddress: `${socket.remoteAddress}:${socket.remotePort}`,
  };
}
