/** Both ends of the seam for tests: a stream that wants content only, below a real server, and a sink above a real client. */
import { createServer, type Socket } from 'node:net';
import type { FailureCode } from '../../src/errors.ts';
import type {
  Exchange,
  OutgoingRequest,
  RequestHandler,
  ResponseSink,
  UpstreamFailure,
  UpstreamStream,
} from '../../src/http/exchange.ts';
import type { Delivery } from '../../src/http/h1-body.ts';
import { ParseFault, parseResponse, type ResponseHead } from '../../src/http/h1-parser.ts';
import { H1Server } from '../../src/http/h1-server.ts';
import { Outbox } from '../../src/http/outbox.ts';
import { listenUntilEnd } from '../peers.ts';
import { FakeClock, LIMITS } from './loop.ts';

type Teardown = { teardown(fn: () => unknown): unknown };

/** Everything that waits for something to happen is asked again. */
export class Events {
  #wake: (() => void)[] = [];

  note(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  async until(reached: () => boolean): Promise<void> {
    while (!reached()) await new Promise<void>(resolve => this.#wake.push(resolve));
  }
}

function textOf(out: Outbox): string {
  return out
    .take()
    .map(piece => (typeof piece === 'string' ? piece : piece.toString('latin1')))
    .join('');
}

/** A response's head as the parser reads it. */
export function headOf(text: string, method = 'GET'): ResponseHead {
  const head = parseResponse(`HTTP/1.1 ${text}\r\n\r\n`, method);
  if (head instanceof ParseFault) throw new Error(head.what);
  return head;
}

/** An upstream stream that wants content only, as an HTTP/2 one does; the test plays the server. */
export class BareStream implements UpstreamStream {
  readonly bare = true;
  requests = 1;
  backedUp = false;
  /** What the next `write` says. */
  takesMore = true;
  content = '';
  whole: boolean | null = null;
  /** Null = the request is not complete. */
  trailers: string | null = null;
  timeoutMs = -1;
  paused = false;
  abandoned = false;
  request: OutgoingRequest | null = null;
  #sink: ResponseSink | null = null;
  #delivery: Delivery = 'bare';
  #bytes = 0;
  #events: Events;

  constructor(events: Events) {
    this.#events = events;
  }

  get sink(): ResponseSink {
    if (this.#sink === null) throw new Error('nothing was begun');
    return this.#sink;
  }

  begin(sink: ResponseSink, request: OutgoingRequest, body: Outbox, whole: boolean): void {
    if (this.#sink !== null) throw new Error('begun twice');
    this.#sink = sink;
    this.request = request;
    this.whole = whole;
    this.content += textOf(body);
    this.#events.note();
  }

  write(out: Outbox): boolean {
    if (this.trailers !== null || this.abandoned) throw new Error('written to after its end');
    this.content += textOf(out);
    this.#events.note();
    return this.takesMore;
  }

  requestComplete(trailers: string, timeoutMs: number): void {
    if (this.trailers !== null) throw new Error('complete twice');
    this.trailers = trailers;
    this.timeoutMs = timeoutMs;
    this.#events.note();
  }

  pauseResponse(): void {
    this.paused = true;
    this.#events.note();
  }

  resumeResponse(): void {
    this.paused = false;
    this.#events.note();
  }

  abandon(): void {
    this.abandoned = true;
    this.#events.note();
  }

  respond(head: string): this {
    this.#delivery = this.sink.onResponse(headOf(head, this.sink.method)) ?? 'same';
    this.sink.flushResponse(false, false);
    return this;
  }

  /** Body bytes, framed as the sink wants them. */
  send(content: string): this {
    const { responseOut } = this.sink;
    this.#bytes += content.length;
    if (this.#delivery === 'chunked') responseOut.text(`${content.length.toString(16)}\r\n${content}\r\n`);
    else responseOut.data(Buffer.from(content, 'latin1'));
    this.sink.flushResponse(false, false);
    return this;
  }

  end(trailers = ''): void {
    if (this.#delivery === 'chunked') this.sink.responseOut.text(`0\r\n${trailers}\r\n`);
    this.sink.flushResponse(false, false);
    this.sink.onResponseEnd(this.#bytes, trailers);
  }

  fail(kind: UpstreamFailure): void {
    this.sink.onUpstreamFailure(kind, kind, false);
  }
}

/** A listener whose requests go to streams that the test plays, a new one for each attempt. */
export class Seam implements RequestHandler<null> {
  readonly withheldTrailers = new Set(['x-own']);
  readonly events = new Events();
  readonly clock = new FakeClock();
  readonly streams: BareStream[] = [];
  readonly finished: Exchange<null>[] = [];
  server: H1Server<null> | null = null;
  port = 0;
  /** Changes a stream before it is used. */
  prepare: ((stream: BareStream) => void) | null = null;

  accept(socket: Socket): void {
    socket.on('error', () => {});
    this.server = new H1Server<null>({ socket, inlet: null }, this, { limits: LIMITS, clock: this.clock });
    socket.on('data', () => this.events.note());
    this.events.note();
  }

  onRequest(exchange: Exchange<null>): void {
    const stream = new BareStream(this.events);
    this.prepare?.(stream);
    this.streams.push(stream);
    exchange.forward(stream, { target: exchange.head.target, added: '', drop: 0, remove: null });
  }

  onRetry(exchange: Exchange<null>): void {
    this.onRequest(exchange);
  }

  onFinished(exchange: Exchange<null>): void {
    this.finished.push(exchange);
    this.events.note();
  }

  onRefused(_code: FailureCode, what: string): void {
    throw new Error(`refused: ${what}`);
  }

  onTunnel(): void {
    throw new Error('a tunnel that nobody asked for');
  }

  onClosed(): void {
    this.events.note();
  }

  /** The stream with this number, once it has begun. */
  async stream(number = 0): Promise<BareStream> {
    await this.events.until(() => this.streams[number] !== undefined);
    return this.streams[number] as BareStream;
  }
}

/** Listens until the test ends. */
export async function startSeam(t: Teardown): Promise<Seam> {
  const seam = new Seam();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => seam.accept(socket));
  seam.port = await listenUntilEnd(t, server);
  return seam;
}

/** A sink that wants content only, as an HTTP/2 exchange does. */
export class BareSink implements ResponseSink {
  readonly responseOut = new Outbox();
  readonly events = new Events();
  readonly method: string;
  readonly statuses: number[] = [];
  content = '';
  /** Null = not over. */
  end: { readonly bytes: number; readonly trailers: string } | null = null;
  failure: { readonly kind: UpstreamFailure; readonly begun: boolean } | null = null;

  constructor(method = 'GET') {
    this.method = method;
  }

  onResponse(head: ResponseHead): Delivery {
    this.statuses.push(head.status);
    return 'bare';
  }

  flushResponse(): void {
    // A borrowed buffer is overwritten after this: the text is a copy.
    this.content += textOf(this.responseOut);
    this.events.note();
  }

  onResponseEnd(bytes: number, trailers: string): void {
    this.end = { bytes, trailers };
    this.events.note();
  }

  onSwitch(): void {
    throw new Error('nothing was switched');
  }

  onUpstreamFailure(kind: UpstreamFailure, _what: string, begun: boolean): void {
    this.failure = { kind, begun };
    this.events.note();
  }

  onUpstreamDrain(): void {
    this.events.note();
  }
}
