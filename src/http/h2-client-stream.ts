// Hot path: no promise, closure or string per chunk.
/** One request's place on an upstream HTTP/2 connection, and its response. */
import type { OutgoingRequest, ResponseSink, UpstreamStream } from './exchange.ts';
import type { FieldList } from './field-list.ts';
import type { Delivery } from './h1-body.ts';
import { ParseFault } from './h1-parser.ts';
import type { H2Client } from './h2-client.ts';
import * as h2 from './h2-frames.ts';
import { responseOf, trailersOf } from './h2-head.ts';
import { H2Stream } from './h2-stream.ts';
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

  constructor(client: H2Client) {
    super(client, 0);
    this.#client = client;
  }

  get requests(): number {
    return this.#client.requests;
  }

  begin(sink: ResponseSink, request: OutgoingRequest, body: Outbox, whole: boolean): void {
    this.#sink = sink;
    this.#begun = true;
    if (!this.#client.begin(this)) {
      // The connection retired after the place was given: nothing was sent.
      this.localEnded = true;
      body.clear();
      queueMicrotask(() => this.onRefused());
      return;
    }
    // It may have been told since the place was given.
    this.sendWindow = this.#client.peerWindow;
    const { encoder, output, scheme, memo } = this.#client;
    encoder.begin();
    encodeRequest(encoder, request.head, request.edits, { drop: request.drop, scheme, memo });
    const empty = whole && body.empty;
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
    this.sendEnd(trailers);
  }

  sendTrailers(lines: string): void {
    const { encoder, output } = this.connection;
    encoder.begin();
    encodeTrailers(encoder, lines);
    output.headers(this.id, encoder.buffer, encoder.length, true);
  }

  onSent(): void {
    // The response says when it is over.
  }

  pauseResponse(): void {
    this.holdBack();
  }

  resumeResponse(): void {
    this.release();
  }

  onDrained(): void {
    this.#sink?.onUpstreamDrain();
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
    if (head.framing === 'length') this.#length = head.contentLength;
    else if (head.framing === 'none') this.#length = 0;
    const delivery = sink.onResponse(head);
    if (delivery === null) return this.#fault('unexpected response');
    this.#delivery = delivery;
    if (end) this.#complete(sink, '');
    else sink.flushResponse(false, true);
  }

  #onTrailers(sink: ResponseSink, list: FieldList, end: boolean): void {
    if (!end) return this.#fault('trailers that do not end the response');
    const trailers = trailersOf(list, null);
    if (trailers instanceof ParseFault) this.#fault(trailers.what);
    else this.#complete(sink, trailers.lines);
  }

  onData(bytes: Buffer, borrowed: boolean, more: boolean): void {
    const sink = this.#sink;
    if (sink === null) return;
    if (!this.#answered) return this.#fault('content before the response');
    if (this.#length >= 0 && this.received > this.#length)
      return this.#fault('content-length is less than the body');
    const { responseOut } = sink;
    if (this.#delivery === 'chunked') {
      responseOut.text(`${bytes.length.toString(16)}\r\n`);
      responseOut.data(bytes);
      responseOut.text('\r\n');
    } else responseOut.data(bytes);
    sink.flushResponse(borrowed, more);
  }

  onEnd(): void {
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
    const sink = this.#sink;
    this.#sink = null;
    this.connection.failStream(this, h2.PROTOCOL_ERROR, 'h2_malformed');
    this.#tell(sink, 'protocol', what);
  }

  /** The response did not begin in time. */
  onLate(): void {
    const sink = this.#sink;
    this.#sink = null;
    this.connection.resetStream(this, h2.CANCEL);
    this.#tell(sink, 'timeout', 'response timeout');
  }

  /** Not processed: above the last stream of a GOAWAY, or the connection was closing already. */
  onRefused(): void {
    const sink = this.#sink;
    this.#sink = null;
    this.#tell(sink, 'refused', 'connection closes');
  }

  onReset(code: number | null): void {
    const sink = this.#sink;
    this.#sink = null;
    // RFC 9113 8.1: a server may say that it wants no more of a request that it has answered; then this has been told.
    if (code === h2.REFUSED_STREAM) this.#tell(sink, 'refused', 'stream refused');
    else if (code === null) this.#tell(sink, 'reset', 'connection closed');
    else {
      // One stream of a connection that is alive: nothing had gone stale, and the server may have acted on it.
      sink?.responseOut.clear();
      sink?.onUpstreamFailure('reset', 'stream reset', true);
    }
  }

  onStalled(): void {
    this.onLate();
  }

  #tell(sink: ResponseSink | null, kind: 'reset' | 'protocol' | 'timeout' | 'refused', what: string): void {
    if (sink === null) return;
    sink.responseOut.clear();
    sink.onUpstreamFailure(kind, what, this.#answered || this.#interim > 0);
  }
}
