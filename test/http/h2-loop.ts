/** The HTTP/2 loop by itself, in this process: a plain listener, H2Server, ProxiedRequest, an app. No TLS, no policy. */
import { createServer } from 'node:net';
import { type Duplex, duplexPair } from 'node:stream';
import type { FailureCode } from '../../src/errors.ts';
import type { Duct, Exchange, RequestHandler } from '../../src/http/exchange.ts';
import { DROP_XFCC } from '../../src/http/h1-write.ts';
import { H2Server } from '../../src/http/h2-server.ts';
import { CoarseClock } from '../../src/net/clock.ts';
import { AppDestination } from '../../src/proxy/app.ts';
import { type Destination, ProxiedRequest } from '../../src/proxy/request.ts';
import { listenUntilEnd } from '../peers.ts';
import { inboundFacts, recorder } from '../telemetry/facts.ts';
import { LIMITS } from './loop.ts';

type Teardown = { teardown(fn: () => unknown): unknown };

/** A running loop and what happened in it. */
export class H2Loop {
  readonly clock = new CoarseClock();
  readonly servers: H2Server<ProxiedRequest>[] = [];
  readonly refused: string[] = [];
  /** Reasons for which a connection or stream was ended. */
  readonly reasons: string[] = [];
  /** Methods of requests, in the order in which they began. */
  readonly begun: string[] = [];
  readonly finished: Exchange<ProxiedRequest>[] = [];
  readonly recorder = recorder().recorder;
  readonly destination: Destination;
  port = 0;
  closed = 0;

  constructor(app: number) {
    const place = { host: '127.0.0.1', port: app, clock: this.clock, connectTimeoutMs: 10_000 };
    this.destination = new AppDestination({ ...place, recorder: this.recorder });
  }

  accept(socket: Duplex): void {
    socket.on('error', () => {});
    const duct = { socket, inlet: null } as unknown as Duct;
    const server = new H2Server<ProxiedRequest>(duct, new LoopHandler(this), {
      limits: LIMITS,
      clock: this.clock,
      memo: false,
      report: reason => this.reasons.push(reason),
    });
    this.servers.push(server);
  }
}

/** A connection to the loop in memory: every piece that is written is read as one piece. */
export function dialInMemory(loop: H2Loop): Duplex {
  const [client, server] = duplexPair();
  loop.accept(Object.assign(server, { destroySoon: () => server.end(() => server.destroy()) }));
  return client;
}

export async function startH2Loop(t: Teardown, app: number): Promise<H2Loop> {
  const loop = new H2Loop(app);
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => loop.accept(socket));
  loop.port = await listenUntilEnd(t, server);
  t.teardown(() => loop.clock.stop());
  return loop;
}

class LoopHandler implements RequestHandler<ProxiedRequest> {
  readonly withheldTrailers = null;
  #loop: H2Loop;

  constructor(loop: H2Loop) {
    this.#loop = loop;
  }

  onRequest(exchange: Exchange<ProxiedRequest>): void {
    this.#loop.begun.push(exchange.head.method);
    const request = new ProxiedRequest(exchange, inboundFacts(), this.#loop.recorder);
    const { rawPath: target } = exchange.head;
    request.send(this.#loop.destination, { target, added: '', drop: DROP_XFCC, remove: null });
  }

  onRetry(exchange: Exchange<ProxiedRequest>): void {
    exchange.context?.retry();
  }

  onFinished(exchange: Exchange<ProxiedRequest>): void {
    exchange.context?.finish();
    this.#loop.finished.push(exchange);
  }

  onRefused(_code: FailureCode, what: string): void {
    this.#loop.refused.push(what);
  }

  onTunnel(): void {
    throw new Error('no tunnel is asked for');
  }

  onClosed(): void {
    this.#loop.closed++;
  }
}
