/**
 * The inbound hub: accept → (the client's first bytes) → what becomes of it → (mutual TLS, who is it) → a connection that
 * serves HTTP or bytes. All of it runs once a connection; requests are `inbound-http.ts`.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { MtlsMode, PortProtocol } from '../config/resources.ts';
import type { CompliancePolicy } from '../config/settings.ts';
import { FAILURES } from '../errors.ts';
import type { Clock, HttpLimits } from '../http/exchange.ts';
import type { BelievedChains } from '../identity/believed-chains.ts';
import type { PeerIdentity } from '../identity/peer.ts';
import type { IdentityGeneration } from '../identity/svid.ts';
import type { Trust } from '../identity/trust.ts';
import { type ClientHello, ClientHelloReader, type Opening } from '../net/client-hello.ts';
import type { ClientSource } from '../net/client-source.ts';
import { isTls } from '../net/detect.ts';
import type { Address } from '../net/listen.ts';
import {
  createTerminator,
  type HandshakeFacts,
  type Terminator,
  type TerminatorOptions,
} from '../net/tls.ts';
import { sameTls, type TlsSettings } from '../net/tls-settings.ts';
import { inboundPath } from '../policy/inbound-path.ts';
import { looksAtServerName } from '../policy/server-name.ts';
import { AccessRecord } from '../telemetry/record.ts';
import type { Recorder } from '../telemetry/recorder.ts';
import type { Tracer } from '../telemetry/trace.ts';
import { agreedProtocol, agreesHttp2 } from './alpn.ts';
import { AppDestination } from './app.ts';
import { Apps } from './apps.ts';
import type { Authorizers } from './authorizers.ts';
import { judgeClient } from './client-judge.ts';
import type { Connections } from './connections.ts';
import { HboneConnection, hboneProtocol } from './hbone.ts';
import { type Arrival, InboundConnection } from './inbound-connection.ts';
import { inboundFacts } from './inbound-facts.ts';
import { isExpired, materialOf, OWN_EXPIRED } from './material.ts';
import { meshTls } from './mesh-tls.ts';
import { peek } from './peek.ts';
import type { Policed, Revalidation } from './revalidation.ts';
import { modeIsDefault, modeOn, protocolOn, type Snapshot } from './snapshot.ts';
import { StreamTunnel } from './stream-tunnel.ts';
import {
  type NoWorkloadPort,
  type WorkloadPort,
  WorkloadPorts,
  type WorkloadPortsOptions,
} from './workload-ports.ts';

export interface InboundSettings {
  /** The app, or null: the original destination's port on 127.0.0.1. */
  readonly app: { readonly host: string; readonly port: number } | null;
  readonly protocols: readonly { readonly port: number; readonly protocol: PortProtocol }[];
  readonly http: HttpLimits;
  readonly handshakeTimeoutMs: number;
  /** null = the mesh config's protocolDetectionTimeout. */
  readonly detectTimeoutMs: number | null;
  readonly connectTimeoutMs: number;
  readonly tcpIdleTimeoutMs: number;
  /** From the moment that an open connection is refused to its end. */
  readonly revalidationGraceMs: number;
  readonly compliancePolicy: CompliancePolicy | null;
  /** The access log says what TLS negotiated. */
  readonly logTls: boolean;
  /** `explain`: the access log says why a request was denied; `tell`: the answer does. */
  readonly denials: { readonly explain: boolean; readonly tell: boolean };
}

export interface InboundParts extends Omit<WorkloadPortsOptions, 'app'> {
  readonly settings: InboundSettings;
  /** Of connections to the app that come from its clients' addresses; null = they do not. */
  readonly sources: ClientSource | null;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly connections: Connections;
  readonly revalidation: Revalidation;
  readonly tracer: () => Tracer | null;
  readonly authorizers: Authorizers;
  readonly warn: (message: string, fields: Record<string, unknown>) => void;
  /** What all threads share, so that a client may resume its session on any of them. */
  readonly sessions: { readonly ticketSecret: Uint8Array; readonly believed: BelievedChains };
}

export class Inbound {
  snapshot: Snapshot;
  identity: IdentityGeneration;
  trust: Trust;
  draining = false;
  readonly parts: InboundParts;
  #tls: TlsSettings;
  #terminator: Terminator;
  /** Of the HBONE port; null = there is none. */
  #hbone: Terminator | null = null;
  readonly #apps: Apps;
  readonly #ports: WorkloadPorts;

  constructor(snapshot: Snapshot, identity: IdentityGeneration, trust: Trust, parts: InboundParts) {
    this.snapshot = snapshot;
    this.identity = identity;
    this.trust = trust;
    this.parts = parts;
    const { app } = parts.settings;
    this.#ports = new WorkloadPorts({ ...parts, app: app?.port ?? null });
    this.#apps = new Apps({
      host: app?.host ?? null,
      sources: parts.sources,
      make: at => {
        const { clock, recorder, settings } = parts;
        const { connectTimeoutMs } = settings;
        return new AppDestination({
          ...at,
          clock,
          recorder,
          connectTimeoutMs,
          protocol: this.protocolOf(at.port),
        });
      },
    });
    this.#tls = meshTls(snapshot, parts.settings.compliancePolicy);
    this.#terminator = this.#createTerminator({
      listener: 'inbound',
      agree: (offered, raw) => agreedProtocol(this.protocolOf(this.#portOf(raw)), offered),
      onSecure: (socket, peer, facts, raw) => this.#onSecure(socket, peer, facts, raw),
    });
  }

  #createTerminator(
    door: Required<Pick<TerminatorOptions<PeerIdentity>, 'agree' | 'onSecure'>> & {
      readonly listener: string;
    },
  ): Terminator {
    const { ticketSecret, believed } = this.parts.sessions;
    return createTerminator<PeerIdentity>({
      agree: door.agree,
      onSecure: door.onSecure,
      material: materialOf(this.identity, this.trust),
      tls: this.#tls,
      resumption: {
        secret: ticketSecret,
        listener: door.listener,
        allowed: tls => mayResume(this.snapshot, tls),
      },
      handshakeTimeoutMs: this.parts.settings.handshakeTimeoutMs,
      judge: facts => judgeClient(facts, { trust: this.trust, believed }),
      onRefused: (reason, raw) => this.#onRefused(reason, raw),
    });
  }

  /** New handshakes use `identity` and believe whom `trust` believes from now on. */
  replaceIdentity(identity: IdentityGeneration, trust: Trust): void {
    this.identity = identity;
    this.trust = trust;
    this.#terminator.replace(materialOf(identity, trust));
    this.#hbone?.replace(materialOf(identity, trust));
  }

  /** Decisions use `snapshot` and `trust` from now on. */
  replaceSnapshot(snapshot: Snapshot, trust: Trust): void {
    const before = this.trust;
    const resumed = mayResume(this.snapshot, this.#tls);
    this.snapshot = snapshot;
    this.trust = trust;
    const tls = meshTls(snapshot, this.parts.settings.compliancePolicy);
    const resumes = mayResume(snapshot, tls);
    if (!sameTls(tls, this.#tls) || trust.epoch !== before.epoch || resumes !== resumed) {
      this.#tls = tls;
      this.#terminator.replace(materialOf(this.identity, trust), tls);
      this.#hbone?.replace(materialOf(this.identity, trust), tls);
    }
  }

  /** Open connections that policy has a say in. */
  *policed(): Generator<Policed> {
    for (const connection of this.parts.connections) {
      if (
        connection instanceof InboundConnection ||
        connection instanceof StreamTunnel ||
        connection instanceof HboneConnection
      )
        yield connection;
    }
  }

  close(): void {
    this.#terminator.close();
    this.#hbone?.close();
    this.#apps.close();
  }

  sweep(now: number): void {
    this.#apps.sweep(now);
  }

  /** How long a silent client is waited for; 0 = for ever. */
  get detectTimeoutMs(): number {
    const { mesh } = this.snapshot.resources;
    return this.parts.settings.detectTimeoutMs ?? mesh.protocolDetectionTimeoutMs;
  }

  /** The app that serves a workload port for a client. */
  appOn(workload: WorkloadPort, client: { readonly remoteAddress?: string | undefined }): AppDestination {
    return this.#apps.on(workload, this.snapshot.resources.mesh.inboundPassthrough, client);
  }

  /** Takes an accepted socket. */
  accept(raw: Socket): void {
    if (this.#isNobodys(raw)) return;
    const workload = this.#ports.find(raw);
    if (typeof workload === 'string') {
      this.refused(raw, workload);
      return;
    }
    this.parts.recorder.connectionAccepted('inbound');
    raw.once('close', () => this.parts.recorder.connectionClosed('inbound'));
    this.parts.connections.arrives(raw);
    this.opens(raw, workload, null);
  }

  /**
   * Asked first: a client that has reset its connection has no address any more. Policy would not know whom it decides
   * about, and the app would see another's; asked once, the socket knows it until its end.
   */
  #isNobodys(raw: Socket): boolean {
    if (raw.remoteAddress !== undefined) return false;
    this.refused(raw, 'connection_reset');
    return true;
  }

  /** Takes a socket that was accepted on the HBONE port: mutual TLS, whatever the mode of the ports behind. */
  acceptHbone(raw: Socket): void {
    if (this.#isNobodys(raw)) return;
    this.parts.recorder.connectionAccepted('inbound');
    raw.once('close', () => this.parts.recorder.connectionClosed('inbound'));
    this.parts.connections.arrives(raw);
    this.#hbone ??= this.#createTerminator({
      listener: 'hbone',
      agree: hboneProtocol,
      onSecure: (socket, peer, facts, raw) => {
        this.parts.recorder.handshake('inbound', 'success', '');
        this.parts.recorder.negotiated('inbound', facts);
        if (facts.alpn !== 'h2') {
          socket.destroy();
          return;
        }
        const connection = new HboneConnection(this, socket, { peer, facts, raw });
        // GOAWAY says that nothing was begun: the client asks elsewhere.
        if (this.draining) connection.drain();
        this.parts.connections.arrived(raw);
      },
    });
    if (isExpired(this.identity)) this.#onRefused(OWN_EXPIRED, raw);
    else this.#hbone.accept(raw);
  }

  /**
   * A connection begins. The mode on its port says how much of its first bytes has to be seen: nothing on a STRICT port,
   * a ClientHello on a PERMISSIVE one.
   *
   * @param bytes what came of it already
   */
  opens(raw: Socket, workload: WorkloadPort, bytes: Buffer | null): void {
    const { port, host } = workload;
    const mode = modeOn(this.snapshot, port);
    if (mode === 'STRICT') {
      this.#terminate(raw, bytes);
      return;
    }
    const protocol = this.protocolOf(port);
    if (mode === 'DISABLE' && (protocol === 'tcp' || protocol === 'auto')) {
      const serve = protocol === 'tcp' ? 'tcp' : 'detect';
      this.#begin(raw, { port, host, serve, peer: null, facts: null, sni: null }, bytes);
      return;
    }
    const hello = new ClientHelloReader();
    peek<Opening | 'ended'>(raw, {
      clock: this.parts.clock,
      timeoutMs: this.detectTimeoutMs,
      first: bytes,
      decide: mode === 'DISABLE' ? begun => tlsOrNot(begun) : begun => hello.look(begun),
      atEnd: 'ended',
      done: (opening, seen) => {
        if (seen !== null) this.#opened(raw, { workload, mode, opening }, seen);
      },
    });
  }

  /** Its first bytes came, or none for too long; `opening` null = not enough of them. */
  #opened(
    raw: Socket,
    {
      workload,
      mode,
      opening,
    }: { workload: WorkloadPort; mode: MtlsMode; opening: Opening | 'ended' | null },
    bytes: Buffer,
  ): void {
    const { port, host } = workload;
    if (modeOn(this.snapshot, port) !== mode) {
      this.opens(raw, workload, bytes.length > 0 ? bytes : null);
      return;
    }
    const protocol = this.protocolOf(port);
    const silent = opening === null && bytes.length === 0;
    if (opening === 'ended') this.refused(raw, 'connection_reset');
    else if (opening === 'too-large') this.refused(raw, 'client_hello_too_large');
    // An app that speaks first speaks no HTTP; without TLS, HTTP has its own patience.
    else if (
      opening === null &&
      !(silent && (protocol === 'tcp' || protocol === 'auto' || mode === 'DISABLE'))
    )
      this.refused(raw, 'detect_timeout');
    else {
      const hello = opening === null || opening === 'not-tls' ? null : opening;
      const unwritten = modeIsDefault(this.snapshot, port);
      const offered = { tls: hello !== null, alpn: hello?.alpn ?? NO_ALPN };
      const path = inboundPath({ mode, unwritten, protocol, ...offered });
      if (path.closed !== null) this.refused(raw, path.closed);
      else if (path.terminate) this.#terminate(raw, bytes);
      else {
        const sni = hello?.sni ?? null;
        this.#begin(raw, { port, host, serve: path.serve, peer: null, facts: null, sni }, bytes);
      }
    }
  }

  #terminate(raw: Socket, bytes: Buffer | null): void {
    if (raw.readableEnded) {
      this.#onRefused('connection_reset', raw);
      return;
    }
    if (isExpired(this.identity)) {
      this.#onRefused(OWN_EXPIRED, raw);
      return;
    }
    if (bytes !== null && bytes.length > 0) raw.unshift(bytes);
    this.#terminator.accept(raw);
  }

  protocolOf(port: number): PortProtocol {
    return protocolOn(this.parts.settings.protocols, port);
  }

  #portOf(raw: Socket): number {
    return this.#ports.of(raw)?.port ?? 0;
  }

  /** The workload port behind an address that a client names itself (HBONE), or why there is none. */
  workloadOf(address: Address, socket: Socket): WorkloadPort | NoWorkloadPort {
    return this.#ports.named(address, socket, this.snapshot.resources.mesh.inboundPassthrough);
  }

  #begin(socket: Socket, arrival: Arrival, first: Buffer | null): void {
    // While draining too: it was accepted before, and its client may have sent a request that it may not send again.
    new InboundConnection(this, socket, arrival).start(first);
    this.parts.connections.arrived(socket);
  }

  #onSecure(socket: TLSSocket, peer: PeerIdentity, facts: HandshakeFacts, raw: Socket): void {
    this.parts.recorder.handshake('inbound', 'success', '');
    this.parts.recorder.negotiated('inbound', facts);
    const port = this.#portOf(raw);
    const mode = port === 0 ? 'DISABLE' : modeOn(this.snapshot, port);
    if (mode === 'DISABLE') {
      this.refused(raw, 'mtls_disabled');
      return;
    }
    const unwritten = modeIsDefault(this.snapshot, port);
    const opening = { unwritten, protocol: this.protocolOf(port), tls: true, alpn: facts.offered };
    let path = inboundPath({ mode, ...opening });
    // The mode may have changed since the hello: it began as one that a STRICT port takes.
    if (path.closed !== null || !path.terminate) path = inboundPath({ mode: 'STRICT', ...opening });
    if (path.closed !== null) {
      socket.destroy();
      return;
    }
    // Who agreed to HTTP/2 speaks it.
    const serve = path.serve === 'detect' && agreesHttp2(facts.alpn) ? 'http' : path.serve;
    const host = this.#ports.of(raw)?.host ?? null;
    this.#begin(socket, { port, host, serve, peer, facts, sni: facts.sni, raw }, null);
    this.parts.connections.arrived(raw);
  }

  #onRefused(reason: string, raw: Socket): void {
    this.parts.recorder.handshake('inbound', 'failure', reason);
    this.refused(raw, reason);
  }

  /** Closes a connection that never became one, and says why in the log. */
  refused(raw: Socket, why: string): void {
    const record = new AccessRecord(inboundFacts(raw, NOBODY, this));
    record.requestProtocol = 'tcp';
    record.protocol = null;
    record.flag = FAILURES.no_route.flag;
    record.details = why;
    raw.destroy();
    this.parts.recorder.refuseConnection(record);
  }
}

/**
 * OpenSSL does not say which server name a client asks for when it resumes a TLS 1.2 session, and Node cannot give tickets
 * to TLS 1.3 alone: where the name counts and TLS 1.2 is allowed, nobody resumes.
 */
function mayResume({ authorization }: Snapshot, { minVersion }: TlsSettings): boolean {
  return minVersion === 'TLSv1.3' || !looksAtServerName(authorization);
}

const NO_ALPN: readonly string[] = [];
const NOBODY: Arrival = { port: 0, host: null, serve: 'tcp', peer: null, facts: null, sni: null };
/** A hello that nobody read: TLS is refused, whatever it says. */
const UNREAD: ClientHello = { sni: null, alpn: NO_ALPN };

/** As much of a hello as a port in DISABLE wants to know. */
function tlsOrNot(bytes: Buffer): Opening | null {
  const tls = isTls(bytes);
  if (tls === null) return null;
  return tls ? UNREAD : 'not-tls';
}
