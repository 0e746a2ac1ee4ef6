/** Which HTTP a client speaks, and the loop that reads it: HTTP/1.1, or HTTP/2 by ALPN or by its preface (RFC 9113 3.3). */
import type { Socket } from 'node:net';
import type { Clock, HttpLimits, RequestHandler } from '../http/exchange.ts';
import { H1Server } from '../http/h1-server.ts';
import type { H2Report } from '../http/h2-frames.ts';
import { H2Server } from '../http/h2-server.ts';
import { beginsHttp2 } from '../net/detect.ts';
import { agreesHttp2, OUTRIDER_H2 } from './alpn.ts';
import { peek } from './peek.ts';

/** One client's requests, whatever their framing. */
export type HttpLoop<C> = H1Server<C> | H2Server<C>;

export interface HttpLoopOptions<C> {
  readonly handler: RequestHandler<C>;
  readonly limits: HttpLimits;
  readonly clock: Clock;
  readonly report: H2Report;
  /** What TLS agreed on; null = nothing, or no TLS. */
  readonly alpn: string | null;
  /** Bytes that were read before. */
  readonly first: Buffer | null;
  /** Whether no further request is to begin after those that came. */
  readonly draining: () => boolean;
  /** The loop has taken the connection over; null = it is gone. */
  readonly begun: (loop: HttpLoop<C> | null) => void;
}

/** Begins the loop, at once where ALPN or the first bytes tell which. */
export function serveHttp<C>(socket: Socket, options: HttpLoopOptions<C>): void {
  const { alpn, first } = options;
  if (agreesHttp2(alpn)) begin(socket, options, true, first);
  else if (alpn?.includes('http/1') === true) begin(socket, options, false, first);
  else {
    peek(socket, {
      clock: options.clock,
      timeoutMs: options.limits.headerTimeoutMs,
      first,
      decide: beginsHttp2,
      atEnd: false,
      done: (http2, bytes) => {
        if (bytes === null || bytes.length === 0) {
          socket.destroy();
          options.begun(null);
        } else begin(socket, options, http2 === true, bytes);
      },
    });
  }
}

function begin<C>(socket: Socket, options: HttpLoopOptions<C>, http2: boolean, first: Buffer | null): void {
  const { handler, limits, clock, report, alpn } = options;
  const duct = { socket, inlet: null };
  const loop = http2
    ? new H2Server<C>(duct, handler, { limits, clock, memo: alpn === OUTRIDER_H2, report })
    : new H1Server<C>(duct, handler, { limits, clock });
  options.begun(loop);
  if (options.draining()) {
    // HTTP/2 can say that a request was not begun; HTTP/1.1 answers it first.
    if (loop instanceof H2Server) loop.drain();
    else loop.draining = true;
  }
  if (first !== null && first.length > 0) loop.takeFirst(first);
}
