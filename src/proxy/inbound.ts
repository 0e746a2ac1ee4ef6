/**
 * The inbound hub: accept → (detect) → terminate mutual TLS → who is it → a connection that serves HTTP or bytes.
 * All of it runs once a connection; requests are `inbound-http.ts`.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { PortProtocol } from '../config/resources.ts';
import { FAILURES } from '../errors.ts';
import type { Clock, HttpLimits } from '../http/exchange.ts';
import { judgePeer, type PeerIdentity } from '../identity/peer.ts';
import type { IdentityGeneration } from '../identity/svid.ts';
import { isTls } from '../net/detect.ts';
import { createTerminator, type HandshakeFacts, type Terminator } from '../net/tls.ts';
import { AccessRecord } from '../telemetry/record.ts';
import type { Recorder } from '../telemetry/recorder.ts';
import type { Tracer } from '../telemetry/trace.ts';
import { AppDestination } from './app.ts';
import type { Authorizers } from './authorizers.ts';
import type { Connections } from './connections.ts';
import { InboundConnection, inboundFacts } from './inbound-connection.ts';
import { materialOf } from './material.ts';
import { peek } from './peek.ts';
import { modeOn, protocolOn, type Snapshot } from './snapshot.ts';

export interface InboundSettings {
  /** The app, or null: the original destination's port on 127.0.0.1. */
  readonly app: { readonly host: string; readonly port: number } | null;
  readonly protocols: readonly { readonly port: number; readonly protocol: PortProtocol }[];
  readonly http: HttpLimits;
  readonly handshakeTimeoutMs: number;
  readonly detectTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly tcpIdleTimeoutMs: number;
  /** `explain`: the access log says why a request was denied; `tell`: the answer does. */
  readonly denials: { readonly explain: boolean; readonly tell: boolean };
}

export interface InboundParts {
  readonly settings: InboundSettings;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly connections: Connections;
  readonly tracer: () => Tracer | null;
  readonly authorizers: Authorizers;
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
    const record = new AccessRecord(inboundFacts(raw, { port: 0, peer: null, facts: null }, this));
    record.requestProtocol = 'tcp';
    record.protocol = null;
    record.flag = FAILURES.no_route.flag;
    record.details = why;
    raw.destroy();
    this.parts.recorder.refuseConnection(record);
  }
}
