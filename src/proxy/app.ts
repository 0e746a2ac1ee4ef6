/** The app beside the sidecar: one address on this host, plain TCP, connections kept and reused. */
import type { PortProtocol } from '../config/resources.ts';
import type { Clock } from '../http/exchange.ts';
import { connectPlain, type PlainConnection } from '../net/connect.ts';
import type { Recorder } from '../telemetry/recorder.ts';
import { HttpUpstream } from './http-upstream.ts';
import type { Destination, Target } from './request.ts';
import { shareHttp2 } from './share-http2.ts';

/**
 * Below the shortest keep-alive that common app servers have (Node: 5 s), so that a request does not meet a connection
 * that the app is closing at this moment.
 */
const APP_IDLE_MS = 4_000;

export interface AppOptions {
  readonly host: string;
  readonly port: number;
  /** Connections come from this address; absent = from whichever the system takes. */
  readonly source?: string | null;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly connectTimeoutMs: number;
  /** Of its port; absent = HTTP/1.1, whatever the client speaks. */
  readonly protocol?: PortProtocol;
}

export class AppDestination implements Destination, Target {
  readonly host: string;
  readonly port: number;
  readonly upstream: HttpUpstream;
  readonly name: string;
  readonly cluster: string;
  readonly tries = 1;
  active = 0;
  readonly #source: string | null;
  readonly #timeoutMs: number;

  constructor(options: AppOptions) {
    const { host, port, clock, recorder, protocol = 'http' } = options;
    this.host = host;
    this.port = port;
    this.#source = options.source ?? null;
    this.#timeoutMs = options.connectTimeoutMs;
    this.name = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
    this.cluster = `inbound|${port}||`;
    this.upstream = new HttpUpstream({
      clock,
      peers: null,
      sharing:
        protocol === 'http' || protocol === 'tcp'
          ? null
          : shareHttp2({
              direction: 'inbound',
              clock,
              recorder,
              speaks: protocol === 'http2' ? 'http2' : 'client',
              memo: false,
              fallsBack: false,
              maxStreams: null,
              keepAlive: null,
            }),
      limits: {
        maxConnections: 4_096,
        maxPending: 16_384,
        maxRequestsPerConnection: 0,
        idleTimeoutMs: APP_IDLE_MS,
      },
      open: done =>
        this.connect((why, connection) => {
          recorder.upstreamConnect('inbound', why ?? 'success');
          done(why, why === null ? connection : null);
        }),
    });
  }

  /** One connection; `done` as of connectPlain. */
  connect(done: (why: string | null, connection: PlainConnection) => void): void {
    const { host, port } = this;
    connectPlain({ host, port, timeoutMs: this.#timeoutMs, source: this.#source }, done);
  }

  pick(): Target {
    return this;
  }

  report(): void {
    // One endpoint: there is no other to prefer.
  }

  sweep(now: number): void {
    this.upstream.sweep(now);
  }

  close(): void {
    this.upstream.close();
  }
}
