// Hot path: no promise, closure or string per chunk.
/** One outbound destination: its endpoints, how one is picked, and how a connection to it is opened and checked. */
import type { Socket } from 'node:net';
import type { Clock, Duct } from '../http/exchange.ts';
import { connectPlain, Inlet } from '../net/connect.ts';
import type { Recorder } from '../telemetry/recorder.ts';
import { type Algorithm, Balancer } from '../upstream/balance.ts';
import { EndpointHealth, mayEject, type Outcome } from '../upstream/outlier.ts';
import {
  OFFERED_FOR_EITHER,
  OFFERED_FOR_HTTP,
  OFFERED_FOR_HTTP2,
  OFFERED_FOR_SHARED,
  OFFERED_FOR_TCP,
  offeredOutside,
} from './alpn.ts';
import type { Wants } from './h2-upstream.ts';
import { HboneDialer } from './hbone-dialer.ts';
import { HttpUpstream } from './http-upstream.ts';
import { nameOf, PeerDuct, watchPeer } from './peer-duct.ts';
import type { Destination, Target } from './request.ts';
import type { PeerWatch, Vouched } from './revalidation.ts';
import { poolOf, type RouteEndpoint, type RouteSpec, type UpstreamTls } from './route.ts';
import { shareHttp2 } from './share-http2.ts';

/**
 * Opens TLS to an endpoint and judges the peer before a byte is sent; `why` null = the connection is good.
 * `inlet` null: bytes come as 'data' events. `socket`: the connection to the endpoint, when it is there already.
 */
export type OpenTls = (
  to: {
    host: string;
    port: number;
    security: UpstreamTls & { tls: true };
    timeoutMs: number;
    inlet: Inlet | null;
    socket?: Socket;
    alpn?: readonly string[];
  },
  done: (why: string | null, duct: PeerDuct | null) => void,
) => void;

export interface ClusterParts {
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly openTls: OpenTls;
  readonly peers: PeerWatch;
  readonly warn: (message: string, fields: Record<string, unknown>) => void;
  /** Names of this workload as HBONE tells them (W3C Baggage). */
  readonly baggage: string;
  /** Whether a connection that was just made leads back to Outrider's own outbound ports. */
  readonly loops: (socket: Socket) => boolean;
}

/** Istio's defaults: connectTimeout 10 s; idle connections to a peer sidecar may stay long. */
const CONNECT_TIMEOUT_MS = 10_000;
const IDLE_MS = 60_000;
/** Envoy's implicit retries on connect failure, plus the first try. */
const MAX_TRIES = 3;

export class EndpointTarget implements Target {
  readonly endpoint: RouteEndpoint;
  readonly upstream: HttpUpstream;
  readonly health: EndpointHealth;
  readonly name: string;
  readonly cluster: string;
  readonly weight: number;
  active = 0;
  /** Its name as proved on the last connection made. */
  peer: string | null = null;
  #parts: ClusterParts;
  #timeoutMs: number;
  /** Where the endpoint asks for HBONE. */
  #hbone: HboneDialer | null = null;

  constructor(endpoint: RouteEndpoint, spec: RouteSpec, cluster: string, parts: ClusterParts) {
    const pool = poolOf(spec.policy);
    this.endpoint = endpoint;
    this.cluster = cluster;
    this.weight = endpoint.weight;
    this.name = endpoint.address.includes(':')
      ? `[${endpoint.address}]:${endpoint.port}`
      : `${endpoint.address}:${endpoint.port}`;
    this.health = new EndpointHealth(spec.policy?.outlierDetection ?? null);
    this.#parts = parts;
    this.#timeoutMs = pool.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
    this.upstream = new HttpUpstream({
      clock: parts.clock,
      limits: {
        maxConnections: pool.maxConnections ?? 4_096,
        maxPending: pool.http1MaxPendingRequests ?? 16_384,
        maxRequestsPerConnection: pool.maxRequestsPerConnection ?? 0,
        idleTimeoutMs: pool.httpIdleTimeoutMs ?? IDLE_MS,
      },
      peers: parts.peers,
      sharing: shareHttp2({
        direction: 'outbound',
        clock: parts.clock,
        recorder: parts.recorder,
        speaks: spec.http.speaks,
        memo: spec.http.shares && isMutual(endpoint),
        fallsBack: spec.http.fallsBack,
        maxStreams: pool.maxConcurrentStreams,
        keepAlive: pool.http2KeepAlive,
      }),
      open: (done, wants) => this.#open(offered(wants, spec.http.fallsBack), done),
    });
  }

  /** Opens one connection for bytes; TLS peers are judged before `done`. */
  open(done: (why: string | null, duct: Duct | null) => void): void {
    this.#open(OFFERED_FOR_TCP, done);
  }

  /** A connection of this endpoint that is no request's: it stands on whoever answered. */
  watch(duct: PeerDuct, connection: Vouched): void {
    this.peer = nameOf(duct.peer);
    watchPeer(this.#parts.peers, duct, connection);
  }

  #open(alpn: readonly string[], done: (why: string | null, duct: Duct | null) => void): void {
    const { address, port, security } = this.endpoint;
    const settle = (why: string | null, duct: Duct | null): void => {
      this.#parts.recorder.upstreamConnect('outbound', why ?? 'success');
      done(why, duct);
    };
    if (!security.tls) {
      connectPlain({ host: address, port, timeoutMs: this.#timeoutMs }, (why, connection) => {
        if (why !== null) settle(why, null);
        else if (this.#parts.loops(connection.socket)) {
          connection.socket.destroy();
          settle('loop', null);
        } else settle(null, connection);
      });
      return;
    }
    if (this.endpoint.tunnel && security.mode === 'ISTIO_MUTUAL') {
      this.#dialer(security).open((why, duct) => {
        if (duct instanceof PeerDuct) this.peer = nameOf(duct.peer);
        settle(why, duct);
      });
      return;
    }
    const inlet = new Inlet();
    const offer = security.mode === 'ISTIO_MUTUAL' ? alpn : offeredOutside(alpn);
    this.#parts.openTls(
      {
        host: address,
        port,
        security,
        timeoutMs: this.#timeoutMs,
        inlet,
        ...(offer.length > 0 && { alpn: offer }),
      },
      (why, duct) => {
        if (duct !== null) this.peer = nameOf(duct.peer);
        settle(why, duct);
      },
    );
  }

  #dialer(security: UpstreamTls & { tls: true }): HboneDialer {
    const { clock, recorder, openTls, peers, baggage } = this.#parts;
    const { address, port } = this.endpoint;
    this.#hbone ??= new HboneDialer({
      address,
      port,
      security,
      timeoutMs: this.#timeoutMs,
      baggage,
      clock,
      recorder,
      openTls,
      peers,
    });
    return this.#hbone;
  }

  /** Connections made with the certificates until now are not used again. */
  renew(): void {
    this.upstream.renew();
    this.#hbone?.renew();
  }

  close(): void {
    this.upstream.close();
    this.#hbone?.renew();
  }
}

/** Nobody else knows Outrider's own protocol. */
function isMutual({ security }: RouteEndpoint): boolean {
  return security.tls && security.mode === 'ISTIO_MUTUAL';
}

function offered(wants: Wants, either: boolean): readonly string[] {
  if (wants === 'http1-alone') return OFFERED_FOR_HTTP;
  if (wants === 'http1') return OFFERED_FOR_SHARED;
  return either ? OFFERED_FOR_EITHER : OFFERED_FOR_HTTP2;
}

export class Cluster implements Destination {
  readonly spec: RouteSpec;
  readonly name: string;
  readonly tries: number;
  readonly targets: readonly EndpointTarget[];
  #balancer: Balancer<EndpointTarget>;
  #parts: ClusterParts;
  /** Requests that may be under way. */
  #maxRequests: number | null;

  constructor(spec: RouteSpec, parts: ClusterParts) {
    this.spec = spec;
    this.name = `outbound|${spec.port.number}||${spec.host}`;
    this.#parts = parts;
    this.targets = spec.endpoints.map(endpoint => new EndpointTarget(endpoint, spec, this.name, parts));
    this.tries = Math.min(MAX_TRIES, Math.max(2, this.targets.length));
    const algorithm: Algorithm = spec.policy?.loadBalancer ?? 'LEAST_REQUEST';
    this.#balancer = new Balancer(algorithm);
    this.#maxRequests = poolOf(spec.policy).http2MaxRequests;
  }

  isFull(): boolean {
    const most = this.#maxRequests;
    if (most === null) return false;
    let active = 0;
    for (const target of this.targets) active += target.active;
    return active >= most;
  }

  pick(tried: readonly Target[] | null = null): EndpointTarget | null {
    const { targets } = this;
    if (targets.length === 1 && this.spec.policy?.outlierDetection == null) return targets[0] ?? null;
    const { now } = this.#parts.clock;
    const healthy = targets.filter(target => !target.health.ejected(now));
    if (tried === null) return this.#balancer.pick(healthy);
    const others = healthy.filter(target => !tried.includes(target));
    return this.#balancer.pick(others.length > 0 ? others : healthy);
  }

  report(target: Target, outcome: Outcome): void {
    const detection = this.spec.policy?.outlierDetection;
    if (detection == null || !(target instanceof EndpointTarget)) return;
    const { now } = this.#parts.clock;
    const ejected = this.targets.filter(t => t.health.ejected(now)).length;
    if (
      target.health.count(outcome, now, mayEject(this.targets.length, ejected, detection.maxEjectionPercent))
    ) {
      this.#parts.warn('endpoint ejected', { cluster: this.name, endpoint: target.name, outcome });
    }
  }

  renew(pardon = false): void {
    for (const target of this.targets) {
      target.renew();
      if (pardon) target.health.pardon();
    }
  }

  sweep(now: number): void {
    for (const target of this.targets) target.upstream.sweep(now);
  }

  close(): void {
    for (const target of this.targets) target.close();
  }
}
