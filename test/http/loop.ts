/**
 * The HTTP/1.1 loop by itself, in this process: a plain listener, H1Server, ProxiedRequest, an app. No TLS, no policy;
 * everything else is what the sidecar runs.
 */
import { createServer, type Server, type Socket } from 'node:net';
import type { FailureCode } from '../../src/errors.ts';
import type { Clock, Deadline, Duct, Exchange, HttpLimits, RequestHandler } from '../../src/http/exchange.ts';
import { H1Server } from '../../src/http/h1-server.ts';
import { DROP_XFCC, type RequestEdits } from '../../src/http/h1-write.ts';
import { connectPlain } from '../../src/net/connect.ts';
import { AppDestination } from '../../src/proxy/app.ts';
import { HttpUpstream, type OpenConnection } from '../../src/proxy/http-upstream.ts';
import { type Destination, ProxiedRequest, type Target } from '../../src/proxy/request.ts';
import { openTunnel } from '../../src/proxy/tunnel.ts';
import type { PoolLimits } from '../../src/upstream/pool.ts';
import { listenUntilEnd } from '../peers.ts';
import { inboundFacts, recorder } from '../telemetry/facts.ts';

type Teardown = { teardown(fn: () => unknown): unknown };

/** A clock that goes on only when the test says so. */
export class FakeClock implements Clock {
  now = 1_000;
  readonly items = new Set<Deadline>();

  add(item: Deadline): void {
    this.items.add(item);
  }

  delete(item: Deadline): void {
    this.items.delete(item);
  }

  /** Lets `ms` pass, and every deadline in it fall due. */
  advance(ms: number): void {
    this.now += ms;
    for (const item of this.items) {
      if (item.deadline > this.now) continue;
      item.deadline = Number.POSITIVE_INFINITY;
      item.onDeadline();
    }
  }
}

export const LIMITS: HttpLimits = { headerTimeoutMs: 10_000, idleTimeoutMs: 3_600_000, responseTimeoutMs: 0 };

export interface LoopOptions {
  /** The app's port; or `open` says how a connection to it is made. */
  readonly app?: number;
  readonly open?: OpenConnection;
  readonly limits?: Partial<HttpLimits>;
  readonly pool?: Partial<PoolLimits>;
  /** What is sent on; by default the target as it came, no line added, XFCC dropped. */
  readonly edits?: (exchange: Exchange<ProxiedRequest>) => RequestEdits;
  /** Takes the request; by default it goes to the app. */
  readonly onRequest?: (request: ProxiedRequest, send: () => void) => void;
  /** CONNECT is served as the outbound hub does it: the loop answers 200 itself and joins the client to the app. */
  readonly ownConnect?: boolean;
}

/** A running loop and what happened in it. */
export class Loop {
  readonly clock = new FakeClock();
  readonly servers: H1Server<ProxiedRequest>[] = [];
  readonly finished: Exchange<ProxiedRequest>[] = [];
  readonly refused: { code: FailureCode; what: string }[] = [];
  readonly limits: HttpLimits;
  readonly options: LoopOptions;
  readonly destination: Destination & { readonly upstream: HttpUpstream };
  readonly recorder = recorder().recorder;
  port = 0;
  /** Client connections that ended. */
  closed = 0;
  #wake: (() => void)[] = [];

  constructor(options: LoopOptions) {
    this.options = options;
    this.limits = { ...LIMITS, ...options.limits };
    const port = options.app ?? 0;
    const place = { host: '127.0.0.1', port, clock: this.clock, connectTimeoutMs: 10_000 };
    this.destination =
      options.pool === undefined && options.open === undefined
        ? new AppDestination({ ...place, recorder: this.recorder })
        : new LimitedApp(this.clock, options.open ?? (done => dial(port, done)), options.pool ?? {});
  }

  /** Client sockets of the connections so far, on the loop's side. */
  get sockets(): readonly Socket[] {
    return this.servers.map(server => server.duct.socket);
  }

  accept(socket: Socket): void {
    socket.on('error', () => {});
    const server = new H1Server<ProxiedRequest>({ socket, inlet: null }, new LoopHandler(this), {
      limits: this.limits,
      clock: this.clock,
    });
    this.servers.push(server);
    socket.on('data', () => this.note());
    this.note();
  }

  /** Waits until the loop has read this many bytes of its first client. */
  received(bytes: number): Promise<void> {
    return this.until(({ sockets }) => (sockets[0]?.bytesRead ?? 0) >= bytes);
  }

  note(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** Waits until `reached` of this loop's state holds; it is asked after everything that happens in the loop. */
  async until(reached: (loop: this) => boolean): Promise<void> {
    while (!reached(this)) await new Promise<void>(resolve => this.#wake.push(resolve));
  }
}

/** Starts a loop that ends with the test. */
export async function startLoop(t: Teardown, options: LoopOptions): Promise<Loop> {
  const loop = new Loop(options);
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, socket => loop.accept(socket));
  loop.port = await listenUntilEnd(t, server);
  t.teardown(() => loop.destination.upstream.close());
  return loop;
}

class LoopHandler implements RequestHandler<ProxiedRequest> {
  readonly withheldTrailers = null;
  #loop: Loop;
  #tunnelTo: Duct | null = null;

  constructor(loop: Loop) {
    this.#loop = loop;
  }

  onRequest(exchange: Exchange<ProxiedRequest>): void {
    const { options, destination } = this.#loop;
    const request = new ProxiedRequest(exchange, inboundFacts(), this.#loop.recorder);
    if (options.ownConnect === true && exchange.head.method === 'CONNECT') {
      this.#connect(exchange, request);
      return;
    }
    const edits = options.edits?.(exchange) ?? {
      target: exchange.head.rawPath,
      added: '',
      drop: DROP_XFCC,
      remove: null,
    };
    const send = (): void => request.send(destination, edits);
    if (options.onRequest === undefined) send();
    else options.onRequest(request, send);
    this.#loop.note();
  }

  #connect(exchange: Exchange<ProxiedRequest>, request: ProxiedRequest): void {
    dial(this.#loop.options.app ?? 0, (why, duct) => {
      if (duct === null) exchange.reply('connect_failed', why ?? '', '');
      else if (request.gone) duct.socket.destroy();
      else {
        this.#tunnelTo = duct;
        exchange.acceptTunnel();
      }
    });
  }

  onRetry(exchange: Exchange<ProxiedRequest>): void {
    exchange.context?.retry();
  }

  onFinished(exchange: Exchange<ProxiedRequest>): void {
    exchange.context?.finish();
    this.#loop.finished.push(exchange);
    this.#loop.note();
  }

  onRefused(code: FailureCode, what: string): void {
    this.#loop.refused.push({ code, what });
    this.#loop.note();
  }

  onTunnel(
    exchange: Exchange<ProxiedRequest>,
    client: Duct,
    early: Buffer | null,
    switched: Duct | null,
    reply: Buffer | null,
  ): void {
    const upstream = switched ?? this.#tunnelTo;
    const request = exchange.context;
    if (upstream === null || request === null) throw new Error('a tunnel to nowhere');
    openTunnel(client, upstream, {
      clock: this.#loop.clock,
      idleTimeoutMs: 3_600_000,
      record: request.record,
      first: { fromClient: early, fromUpstream: reply },
      done: () => {
        request.finishTunnel();
        this.#loop.finished.push(exchange);
        this.onClosed();
      },
    });
    this.#loop.note();
  }

  onClosed(): void {
    this.#loop.closed++;
    this.#loop.note();
  }
}

function dial(port: number, done: Parameters<OpenConnection>[0]): void {
  connectPlain({ host: '127.0.0.1', port, timeoutMs: 10_000 }, (why, connection) =>
    done(why, why === null ? connection : null),
  );
}

/** One app behind a pool with limits, or connections, of the test's own. */
class LimitedApp implements Destination, Target {
  readonly upstream: HttpUpstream;
  readonly name = 'app';
  readonly cluster = null;
  readonly tries = 1;
  active = 0;

  constructor(clock: Clock, open: OpenConnection, limits: Partial<PoolLimits>) {
    const defaults = {
      maxConnections: 4_096,
      maxPending: 16_384,
      maxRequestsPerConnection: 0,
      idleTimeoutMs: 4_000,
    };
    this.upstream = new HttpUpstream({ clock, limits: { ...defaults, ...limits }, open, peers: null });
  }

  pick(): Target {
    return this;
  }

  report(): void {}
}
