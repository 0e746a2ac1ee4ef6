/** The app beside the sidecar: one address on this host, plain TCP, connections kept and reused. */
import type { PortProtocol } from '../config/resources.ts';
import type { Clock } from '../http/exchange.ts';
import type { ClientSource } from '../net/client-source.ts';
import { connectPlain, type PlainConnection, refusePlain } from '../net/connect.ts';
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
  /** They come from the address of this client instead; absent = they do not. */
  readonly client?: AppClient | null;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly connectTimeoutMs: number;
  /** Of its port; absent = HTTP/1.1, whatever the client speaks. */
  readonly protocol?: PortProtocol;
}

/** The client whose address the app sees. Connections are for its requests only. */
export interface AppClient {
  readonly address: string;
  readonly sources: ClientSource;
  /** How many connections for requests there may be for all clients. */
  readonly room: Room;
}

/** A number of connections that many share. */
export interface Room {
  /** Counts one more. @returns false when it is too many */
  take(): boolean;
  /** One that was counted is gone. */
  free(): void;
}

export class AppDestination implements Destination, Target {
  readonly host: string;
  readonly port: number;
  readonly upstream: HttpUpstream;
  readonly name: string;
  readonly cluster: string;
  readonly tries = 1;
  active = 0;
  /** Others have taken its place: who still has it asks for another. */
  replaced = false;
  readonly #source: string | null;
  readonly #client: AppClient | null;
  #era: number;
  readonly #timeoutMs: number;

  constructor(options: AppOptions) {
    const { host, port, clock, recorder, protocol = 'http' } = options;
    this.host = host;
    this.port = port;
    this.#source = options.source ?? null;
    this.#client = options.client ?? null;
    this.#era = this.#client?.sources.era ?? 0;
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
      open: done => {
        const room = this.#client?.room;
        if (room?.take() === false) {
          recorder.upstreamConnect('inbound', 'connection_limit');
          process.nextTick(done, 'connection_limit', null); // whoever asks is not told in the middle of it
          return;
        }
        this.connect((why, connection) => {
          if (why !== null) room?.free();
          else if (room !== undefined) connection.socket.once('close', () => room.free());
          recorder.upstreamConnect('inbound', why ?? 'success');
          done(why, why === null ? connection : null);
        });
      },
    });
  }

  /** No connection is open, and none is wanted. */
  get idle(): boolean {
    return this.upstream.pool.open === 0;
  }

  /** One connection; `done` as of connectPlain. */
  connect(done: (why: string | null, connection: PlainConnection) => void): void {
    const { host, port } = this;
    const target = { host, port, timeoutMs: this.#timeoutMs, source: this.#source };
    if (this.#client === null) {
      connectPlain(target, done);
      return;
    }
    const { address, sources } = this.#client;
    sources.bind(address, host, bound => {
      if (typeof bound === 'string') {
        refusePlain(bound, done);
        return;
      }
      connectPlain({ ...target, descriptor: bound }, (why, connection) => {
        if (why === 'connect_timeout' && bound !== null) sources.doubt(host);
        done(why, connection);
      });
    });
  }

  pick(): Target {
    return this;
  }

  report(): void {
    // One endpoint: there is no other to prefer.
  }

  /** Closes connections that wait for a request. */
  rest(): void {
    this.upstream.pool.clear();
  }

  sweep(now: number): void {
    const { era = 0 } = this.#client?.sources ?? {};
    if (era !== this.#era) this.upstream.renew();
    this.#era = era;
    this.upstream.sweep(now);
  }

  close(): void {
    this.upstream.close();
  }
}
