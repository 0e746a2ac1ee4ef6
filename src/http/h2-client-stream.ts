// Hot path: no promise, closure or string per chunk.
/** One request's place on an upstream HTTP/2 connection, and its response. */
import type { OutgoingRequest, ResponseSink, UpstreamFailure, UpstreamStream } from './exchange.ts';
import type { FieldList } from './field-list.ts';
import type { Delivery } from './h1-body.ts';
import { ParseFault, type ResponseHead } from './h1-parser.ts';
import type { H2Client } from './h2-client.ts';
import * as h2 from './h2-frames.ts';
import { H2RequestHead, responseOf, trailersOf } from './h2-head.ts';
import { H2Stream } from './h2-stream.ts';
import { H2Tunnel } from './h2-tunnel.ts';
import { encodeRequest, encodeTrailers } from './h2-write.ts';
import type { Outbox } from './outbox.ts';

/** More interim responses than this to one request is no honest server. */
const MAX_INTERIM = 64;

export class H2ClientStream extends H2Stream implements UpstreamStream {
  readonly bare = true;
  /** On the clock's scale: until when the response must have begun. */
  responseBy = Number.POSITIVE_INFINITY;
  readonly #client: H2Client;
  #sink: ResponseSink | null = null;
  #delivery: Delivery = 'bare';
  /** The final response's head came. */
  #answered = false;
  /** Bytes that its content-length announces; -1 = none. */
  #length = -1;
  #interim = 0;
  #begun = false;
  /** A 2xx opens a tunnel: CONNECT, or the extended one of RFC 8441. */
  #connects = false;
  #tunnel: H2Tunnel | null = null;

  constructor(client: H2Client) {
    super(client, 0);
    this.#client = client;
  }

  get requests(): number {
    return this.#client.requests;
  }

  begin(sink: ResponseSink, request: OutgoingRequest, body: Outbox, whole: boolean): void {
    this.#sink = sink;
    const extended = request.head instanceof H2RequestHead && request.head.protocolToken !== null;
    this.#connects = extended || request.head.method === 'CONNECT';
    if (extended && !this.#client.peer.received) {
      // RFC 8441 3: not before the server has said that it takes it.
      this.#client.whenSettled(() => {
        if (this.#sink !== null) this.begin(sink, request, body, whole);
      });
      return;
    }
    this.#begun = true;
    if (extended && !this.#client.peer.connects) {
      this.#client.leave();
      this.localEnded = true;
      queueMicrotask(() => this.#tell('protocol', 'the server takes no WebSocket over HTTP/2', false));
      return;
    }
    if (!this.#client.begin(this)) {
      // The connection retired after the place was given: nothing was sent.
      this.localEnded = true;
      body.clear();
      queueMicrotask(() => this.onRefused());
      return;
    }
    // It may have been told since the place was given.
    this.sendWindow = this.#client.peer.window;
    const { encoder, output, scheme, memo } = this.#client;
    encoder.begin();
    encodeRequest(encoder, request.head, request.edits, { drop: request.drop, scheme, memo });
    const empty = whole && body.empty && !this.#connects;
    output.headers(this.id, encoder.buffer, encoder.length, empty);
    if (empty) this.localEnded = true;
    else this.send(body, false);
  }

  write(out: Outbox): boolean {
    if (this.localEnded) out.clear();
    else this.send(out, false);
    return !this.backedUp;
  }

  requestComplete(trailers: string, timeoutMs: number): void {
    if (timeoutMs > 0 && !this.#answered) this.responseBy = this.connection.clock.now + timeoutMs;
    if (!this.#connects) this.sendEnd(trailers);
  }

  sendTrailers(lines: string): void {
    const { encoder, output } = this.connection;
    encoder.begin();
    encodeTrailers(encoder, lines, this.#client.memo);
    output.headers(this.id, encoder.buffer, encoder.length, true);
  }

  onSent(): void {
    // The response says when it is over.
    this.#tunnel?.onSent();
  }

  pauseResponse(): void {
    this.holdBack();
  }

  resumeResponse(): void {
    this.release();
  }

  onDrained(): void {
    if (this.#tunnel !== null) this.#tunnel.onDrained();
    else this.#sink?.onUpstreamDrain();
  }

  abandon(): void {
    this.#sink = null;
    if (!this.#begun) {
      this.#begun = true;
      this.#client.leave();
    } else this.connection.resetStream(this, h2.CANCEL);
  }

  onFields(list: FieldList, end: boolean): void {
    const sink = this.#sink;
    if (sink === null) return;
    if (this.#answered) {
      this.#onTrailers(sink, list, end);
      return;
    }
    const head = responseOf(list, end, sink.method, this.#client.memo);
    if (head instanceof ParseFault) return this.#fault(head.what);
    if (head.status < 200) {
      if (end) return this.#fault('an interim response that ends the stream');
      if (++this.#interim > MAX_INTERIM) return this.#fault('too many interim responses');
      if (sink.onResponse(head) === null) return this.#fault('unexpected response');
      sink.flushResponse(false, false);
      return;
    }
    this.#answered = true;
    this.responseBy = Number.POSITIVE_INFINITY;
    if (this.#connects && head.status < 300) {
      this.#switch(sink, head, end);
      return;
    }
    if (head.framing === 'length') this.#length = head.contentLength;
    else if (head.framing === 'none') this.#length = 0;
    const delivery = sink.onResponse(head);
    // It may have been given up at that.
    if (this.#sink === null) return;
    if (delivery === null) return this.#fault('unexpected response');
    this.#delivery = delivery;
    if (end) this.#complete(sink, '');
    else sink.flushResponse(false, true);
  }

  #switch(sink: ResponseSink, head: ResponseHead, end: boolean): void {
    this.#sink = null;
    this.#tunnel = new H2Tunnel(this, this.#client.duct.socket);
    if (end) this.#tunnel.receiveEnd();
    sink.onSwitch(head, this.#tunnel.duct, null);
  }

  #onTrailers(sink: ResponseSink, list: FieldList, end: boolean): void {
    if (!end) return this.#fault('trailers that do not end the response');
    const trailers = trailersOf(list, null, this.#client.memo);
    if (trailers instanceof ParseFault) this.#fault(trailers.what);
    else this.#complete(sink, trailers.lines);
  }

  onData(bytes: Buffer, borrowed: boolean, more: boolean): void {
    if (this.#tunnel !== null) {
      this.#tunnel.receive(borrowed ? Buffer.from(bytes) : bytes);
      return;
    }
    const sink = this.#sink;
    if (sink === null) return;
    if (!this.#answered) return this.#fault('content before the response');
    if (this.#length >= 0 && this.received > this.#length)
      return this.#fault('content-length is less than the body');
    if (this.#delivery === 'bare' && sink.onContent !== undefined) {
      sink.onContent(bytes, borrowed);
      return;
    }
    const { responseOut } = sink;
    if (this.#delivery === 'chunked') {
      responseOut.text(`${bytes.length.toString(16)}\r\n`);
      responseOut.data(bytes);
      responseOut.text('\r\n');
    } else responseOut.data(bytes);
    sink.flushResponse(borrowed, more);
  }

  onEnd(): void {
    this.#tunnel?.receiveEnd();
    const sink = this.#sink;
    if (sink === null) return;
    if (this.#answered) this.#complete(sink, '');
    else this.#fault('the stream ended before the response');
  }

  #complete(sink: ResponseSink, trailers: string): void {
    if (this.#length >= 0 && this.received !== this.#length)
      return this.#fault('content-length is more than the body');
    this.#sink = null;
    if (this.#delivery === 'chunked') sink.responseOut.text(`0\r\n${trailers}\r\n`);
    sink.flushResponse(false, false);
    // RFC 9113 8.1: the response is whole; the server wants no more of the request.
    if (!this.localEnded) this.connection.resetStream(this, h2.NO_ERROR);
    sink.onResponseEnd(this.received, trailers);
  }

  #fault(what: string): void {
    const sink = this.#takeSink();
    this.connection.failStream(this, h2.PROTOCOL_ERROR, 'h2_malformed');
    this.#tellTo(sink, 'protocol', what, this.#begunToAnswer);
  }

  /** The response did not begin in time. */
  onLate(): void {
    const sink = this.#takeSink();
    this.connection.resetStream(this, h2.CANCEL);
    this.#tellTo(sink, 'timeout', 'response timeout', this.#begunToAnswer);
  }

  /** Not processed: above the last stream of a GOAWAY, or the connection was closing already. */
  onRefused(): void {
    this.#tell('refused', 'connection closes', this.#begunToAnswer);
  }

  onReset(code: number | null): void {
    this.#tunnel?.onReset();
    if (code === h2.REFUSED_STREAM) this.#tell('refused', 'stream refused', this.#begunToAnswer);
    else if (code === null) this.#tell('reset', 'connection closed', this.#begunToAnswer);
    // One stream of a connection that is alive: nothing had gone stale, and the server may have acted on it.
    else this.#tell('reset', 'stream reset', true);
  }

  onStalled(): void {
    if (this.#tunnel === null) this.onLate();
  }

  get #begunToAnswer(): boolean {
    return this.#answered || this.#interim > 0;
  }

  #takeSink(): ResponseSink | null {
    const sink = this.#sink;
    this.#sink = null;
    return sink;
  }

  #tell(kind: UpstreamFailure, what: string, begun: boolean): void {
    this.#tellTo(this.#takeSink(), kind, what, begun);
  }

  #tellTo(sink: ResponseSink | null, kind: UpstreamFailure, what: string, begun: boolean): void {
    if (sink === null) return;
    sink.responseOut.clear();
    sink.onUpstreamFailure(kind, what, begun);
  }
}
