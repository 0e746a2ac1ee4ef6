// Hot path: no promise, closure or string per chunk.
/**
 * The outbound hub: the app's plain HTTP/1.1 (or CONNECT, or a declared TCP port) → which service → an endpoint →
 * mutual TLS, the peer's identity checked before one byte is sent → forwarded.
 */
import type { Socket } from 'node:net';
import type { Clock, HttpLimits } from '../http/exchange.ts';
import type { IdentityGeneration } from '../identity/svid.ts';
import type { Address } from '../net/listen.ts';
import type { OriginalDst } from '../net/original-dst.ts';
import { isOwnConnection } from '../net/own-connections.ts';
import type { Recorder } from '../telemetry/recorder.ts';
import type { Tracer } from '../telemetry/trace.ts';
import type { Clusters } from './clusters.ts';
import type { Connections } from './connections.ts';
import { isExpired } from './material.ts';
import { OutboundConnection } from './outbound-connection.ts';
import type { PeerWatch } from './revalidation.ts';
import type { Snapshot } from './snapshot.ts';

export interface OutboundParts {
  readonly http: HttpLimits;
  readonly tcpIdleTimeoutMs: number;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly connections: Connections;
  readonly clusters: Clusters;
  readonly peers: PeerWatch;
  readonly tracer: () => Tracer | null;
  /** Where redirected connections were going; null = none come, or nobody can tell. */
  readonly originalDst: OriginalDst | null;
  /** Whether a port is one of Outrider's own listeners. */
  readonly isOwnPort: (port: number) => boolean;
  /** How long an app's first bytes are waited for; null = the mesh config's protocolDetectionTimeout. */
  readonly detectTimeoutMs: number | null;
  readonly warn: (message: string, fields: Record<string, unknown>) => void;
}

export class Outbound {
  snapshot: Snapshot;
  identity: IdentityGeneration;
  draining = false;
  readonly parts: OutboundParts;

  constructor(snapshot: Snapshot, identity: IdentityGeneration, parts: OutboundParts) {
    this.snapshot = snapshot;
    this.identity = identity;
    this.parts = parts;
  }

  replaceIdentity(identity: IdentityGeneration): void {
    const expired = isExpired(this.identity);
    this.identity = identity;
    this.parts.clusters.renew(expired);
  }

  replaceSnapshot(snapshot: Snapshot): void {
    this.snapshot = snapshot;
    this.parts.clusters.replace(snapshot);
  }

  /**
   * A connection to the outbound port: HTTP/1.1 as to a proxy, or HTTP/2 by prior knowledge; or one that the kernel led
   * here on its way to somebody else.
   */
  accept(raw: Socket): void {
    this.#count(raw);
    if (this.draining) {
      raw.destroy();
      return;
    }
    const to = this.parts.originalDst?.(raw) ?? null;
    if (to === null || isAddressedTo(raw, to)) new OutboundConnection(this, raw).serveHttp(null);
    // By the next turn what this thread connected to has told its own address.
    else setImmediate(() => this.#acceptCaptured(raw, to));
  }

  #acceptCaptured(raw: Socket, to: Address): void {
    if (raw.destroyed) return;
    const connection = new OutboundConnection(this, raw, to);
    const own = isOwnConnection(raw, to);
    if (own) this.#warnOfLoop(to);
    if (own || this.#isOwn(raw, to)) connection.refuseLoop();
    else connection.serveCaptured(to);
  }

  #isOwn({ remoteAddress }: Socket, { host, port }: Address): boolean {
    // Who connects to an address of this host comes from it.
    return this.parts.isOwnPort(port) && (host === remoteAddress || /^(?:127\.|::1$)/.test(host));
  }

  #warned = false;

  #warnOfLoop({ host, port }: Address): void {
    if (this.#warned) return;
    this.#warned = true;
    this.parts.warn(
      "Outrider's own connections are captured: the rules exempt another uid and gid than it has",
      {
        destination: `${host}:${port}`,
      },
    );
  }

  /** A connection to a Sidecar egress TCP listener: bytes to one service. */
  acceptTcp(raw: Socket, host: string, port: number): void {
    this.#count(raw);
    if (this.draining) raw.destroy();
    else new OutboundConnection(this, raw).serveTcp(this.parts.clusters.find(host, port, null), null);
  }

  #count(raw: Socket): void {
    const { recorder } = this.parts;
    recorder.connectionAccepted('outbound');
    raw.once('close', () => recorder.connectionClosed('outbound'));
  }
}

/** Nobody redirected it. */
function isAddressedTo({ localAddress, localPort }: Socket, { host, port }: Address): boolean {
  return port === localPort && host === localAddress;
}
