// Hot path: no promise, closure or string per chunk.
/** One request on an HTTP/1.1 client connection: sends it upstream, and is the sink of its response. */
import { FAILURES, type FailureCode, type ResponseFlag } from '../errors.ts';
import { BodyCollector, type BodyDone } from './body-collector.ts';
import { ChunkContent } from './chunk-content.ts';
import type {
  Clock,
  Duct,
  Exchange,
  LocalAnswer,
  ResponseEdits,
  ResponseSink,
  UpstreamFailure,
  UpstreamStream,
} from './exchange.ts';
import type { Delivery } from './h1-body.ts';
import { HIGH_WATER_BYTES } from './h1-client.ts';
import type { ParseFault, RequestHead, ResponseHead } from './h1-parser.ts';
import type { H1Server } from './h1-server.ts';
import { DROP_EXPECT, type RequestEdits, writeResponseHead } from './h1-write.ts';
import { writeAnswer } from './local-answer.ts';
import { Outbox } from './outbox.ts';
import { failureAnswer, localResponse } from './reply.ts';
import { RetryCopy } from './retry-copy.ts';
import { isSwitchAllowed } from './upgrade.ts';

/** Request bytes held while no upstream connection is there; then the client is paused. */
const READ_AHEAD_BYTES = 64 * 1024;
const MAX_ATTEMPTS = 3;
/** A status among the lines of trailers. */
const GRPC_STATUS = /^grpc-status:[ \t]*(\d+)[ \t]*\r$/im;
/** RFC 9110 9.2.2. */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'TRACE']);

/** One request on an H1Server; the sink of its response. */
export class H1Exchange<C> implements Exchange<C>, ResponseSink {
  readonly head: RequestHead;
  readonly requestOut = new Outbox();
  context: C | null = null;
  status = 0;
  flag: ResponseFlag = '-';
  details = '';
  grpcStatus = '';
  responseEdits: ResponseEdits | null = null;
  bytesSent = 0;
  responseMs = -1;
  attempts = 0;
  readonly requestMessages = 0;
  readonly responseMessages = 0;
  #server: H1Server<C>;
  #stream: UpstreamStream | null = null;
  #idempotent: boolean;
  #collector: BodyCollector | null = null;
  /** The client was told to send its body, by us. */
  #continued = false;
  /** What of the body was sent; null = nothing, or it may not be repeated. */
  #copy: RetryCopy | null = null;
  /** Takes the body out of its chunks; null = it goes as it came. */
  #content: ChunkContent | null = null;
  #keep = true;
  #responded = false;
  /** Bytes of the response have left: it cannot be taken back. */
  #sent = false;
  /** The end of the connection ends the response. */
  #bare = false;
  #over = false;

  constructor(server: H1Server<C>, head: RequestHead) {
    this.#server = server;
    this.head = head;
    this.#idempotent = IDEMPOTENT.has(head.method);
  }

  get method(): string {
    return this.head.method;
  }

  get bytesReceived(): number {
    return this.#server.reader.bytes;
  }

  get clock(): Clock {
    return this.#server.clock;
  }

  get responseOut(): Outbox {
    return this.#server.out;
  }

  forward(stream: UpstreamStream, edits: RequestEdits): void {
    if (this.#over) {
      stream.abandon();
      return;
    }
    this.attempts++;
    this.#stream = stream;
    const { reader, moreFollows, limits } = this.#server;
    const { head } = this;
    const again = this.#copy === null ? 0 : this.#copy.repeat(this.requestOut);
    this.#keepCopy(stream, again);
    this.#content = stream.bare && head.framing === 'chunked' ? new ChunkContent(head) : null;
    const body = this.#bodyToSend();
    const trailers = this.#content === null ? '' : this.#content.trailers;
    const request = { head, edits, drop: this.#continued ? DROP_EXPECT : 0 };
    stream.begin(this, request, body, reader.done && trailers === '', moreFollows);
    if (reader.done) stream.requestComplete(trailers, limits.responseTimeoutMs);
    else if (stream.backedUp) this.#server.pause();
    else this.#server.resume();
  }

  collectBody(limit: number, done: BodyDone): void {
    if (this.#over) return;
    this.#collector = new BodyCollector(limit, done);
    if (this.#collected()) return;
    const { out, duct } = this.#server;
    // RFC 9110 10.1.1: HTTP/1.0 clients know no 100.
    if (this.head.expectContinue && this.head.minor === 1 && !this.#continued) {
      this.#continued = true;
      out.text('HTTP/1.1 100 Continue\r\n\r\n');
      out.flush(duct.socket, false);
    }
    this.#server.resume();
  }

  /** @returns whether nobody waits for more of the body before it is sent on */
  #collected(): boolean {
    const collector = this.#collector;
    if (collector === null) return true;
    const { reader } = this.#server;
    if (!collector.enough(reader, this.requestOut)) return false;
    this.#collector = null;
    if (!reader.done) this.#server.pause();
    collector.finish(this.head, reader, this.requestOut);
    return true;
  }

  /** More of the request's body is in requestOut. */
  onRequestBytes(): void {
    const stream = this.#stream;
    if (stream === null) {
      this.#onHeldBytes();
      return;
    }
    const { reader, moreFollows, limits } = this.#server;
    this.#keepCopy(stream, 0);
    if (!stream.write(this.#bodyToSend(), moreFollows)) this.#server.pause();
    if (reader.done) stream.requestComplete(this.#content?.trailers ?? '', limits.responseTimeoutMs);
  }

  /** What is in requestOut, as the stream wants it. */
  #bodyToSend(): Outbox {
    return this.#content === null ? this.requestOut : this.#content.take(this.requestOut);
  }

  #onHeldBytes(): void {
    if (this.#collector !== null) this.#collected();
    else if (this.requestOut.bytes > READ_AHEAD_BYTES) this.#server.pause();
  }

  /** Keeps what is in requestOut from that piece on, if the stream may come to nothing and the request be sent again. */
  #keepCopy({ bare }: UpstreamStream, from: number): void {
    // HTTP/2 can refuse what it did not process; HTTP/1.1 leaves it open.
    if ((!this.#idempotent && !bare) || this.requestOut.pieces.length <= from) return;
    this.#copy ??= new RetryCopy();
    this.#copy.keep(this.requestOut.pieces, from);
  }

  onRequestFault(fault: ParseFault): void {
    this.#dropStream();
    this.reply(fault.code, fault.what, fault.what);
  }

  /** Bytes behind a CONNECT that was not answered yet. */
  onEarlyBytes(): void {
    this.#dropStream();
    this.reply('bad_request', 'bytes sent before the tunnel was open', 'early_data');
  }

  /** Nothing came or went for too long. */
  onIdle(): void {
    this.#dropStream();
    const code = this.#server.reader.done ? 'response_timeout' : 'request_timeout';
    this.reply(code, '', 'stream_idle_timeout');
  }

  expire(details: string): void {
    this.#dropStream();
    this.reply('response_timeout', '', details);
  }

  reply(code: FailureCode, detail: string, details: string): void {
    const { flag, grpcStatus } = FAILURES[code];
    if (!this.#mayAnswer(flag, details)) return;
    this.#keep = this.#keepsAfterOwn() && code !== 'bad_request';
    if (this.responseEdits !== null) {
      this.#write(failureAnswer(code, detail, details));
      return;
    }
    const { grpc } = this.head;
    const bodiless = this.head.method === 'HEAD';
    const reply = localResponse({ code, detail, grpc, bodiless, close: !this.#keep });
    this.#server.out.text(reply.text);
    this.#answered(reply.status, reply.bodyBytes, grpcStatus);
  }

  answer(answer: LocalAnswer): void {
    if (!this.#mayAnswer(answer.flag, answer.details)) return;
    this.#keep = this.#keepsAfterOwn();
    this.#write(answer);
  }

  /** Notes why an answer of our own is due. @returns false when it comes too late; then what had begun is broken off */
  #mayAnswer(flag: ResponseFlag, details: string): boolean {
    if (this.#over) return false;
    if (this.flag === '-') this.flag = flag;
    if (this.details === '') this.details = details;
    if (this.#responded) this.#breakOff();
    return !this.#responded;
  }

  #keepsAfterOwn(): boolean {
    const { reader, draining } = this.#server;
    return reader.done && reader.fault === null && this.#clientKeeps() && !draining;
  }

  #write(answer: LocalAnswer): void {
    const { method, grpc } = this.head;
    const written = writeAnswer(answer, { method, grpc, close: !this.#keep, edits: this.responseEdits });
    const { out } = this.#server;
    out.text(written.head);
    if (written.body !== null) out.data(written.body);
    this.#answered(written.status, written.body?.length ?? 0, answer.grpcStatus);
  }

  #answered(status: number, bodyBytes: number, grpcStatus: number): void {
    const { out, duct } = this.#server;
    this.status = status;
    this.bytesSent = bodyBytes;
    if (this.head.grpc) this.grpcStatus = String(grpcStatus);
    this.#responded = true;
    out.flush(duct.socket, false);
    this.#end(this.#keep);
  }

  acceptTunnel(): void {
    if (this.#over) return;
    this.status = 200;
    const server = this.#server;
    server.out.text('HTTP/1.1 200 OK\r\n\r\n');
    server.out.flush(server.duct.socket, false);
    this.#over = true;
    const early = server.detach();
    server.handler.onTunnel(this, server.duct, early, null, null);
  }

  onResponse(head: ResponseHead): Delivery | null {
    const server = this.#server;
    if (head.status < 200) {
      if (head.status === 101) return isSwitchAllowed(this.head.upgrade, head.upgrade) ? 'same' : null;
      // RFC 9110 15.2: HTTP/1.0 clients know no interim responses.
      const asked = head.status !== 100 || !this.#continued;
      if (this.head.minor === 1 && asked) server.out.text(writeResponseHead(head, 'same', '', null));
      return 'same';
    }
    this.status = head.status;
    this.responseMs = performance.now();
    this.#responded = true;
    const keepWanted = this.#clientKeeps() && !server.draining && server.reader.fault === null;
    let delivery: Delivery = 'same';
    if (this.head.minor === 0 && (head.framing === 'chunked' || head.framing === 'close')) delivery = 'bare';
    else if (head.framing === 'close' || (head.framing === 'chunked' && this.#stream?.bare === true))
      delivery = 'chunked';
    this.#bare = delivery === 'bare';
    this.#keep = keepWanted && !this.#bare;
    const connection = this.#keep ? (this.head.minor === 0 ? 'keep-alive' : '') : 'close';
    if (this.head.grpc) this.grpcStatus = head.headerValues('grpc-status')[0] ?? '';
    server.out.text(writeResponseHead(head, delivery, connection, this.responseEdits));
    return delivery;
  }

  #clientKeeps(): boolean {
    // After a CONNECT that failed, a client that did not wait would send its tunnel's bytes as requests.
    if (this.head.method === 'CONNECT') return false;
    return this.head.minor === 1 ? !this.head.close : this.head.keepAlive && !this.head.close;
  }

  flushResponse(borrowed: boolean, more: boolean): void {
    const { out, duct } = this.#server;
    this.#sent = this.#responded;
    this.#server.touch();
    out.flush(duct.socket, borrowed, more);
    if (duct.socket.writableLength > HIGH_WATER_BYTES) this.#stream?.pauseResponse();
  }

  onClientDrain(): void {
    this.#stream?.resumeResponse();
  }

  onUpstreamDrain(): void {
    if (!this.#over) this.#server.resume();
  }

  onResponseEnd(bytes: number, trailers: string): void {
    this.bytesSent = bytes;
    this.#stream = null;
    if (this.head.grpc) this.grpcStatus = GRPC_STATUS.exec(trailers)?.[1] ?? this.grpcStatus;
    // The rest of a request that was answered early is never read as another request.
    this.#end(this.#keep && this.#server.reader.done);
  }

  onSwitch(head: ResponseHead, upstream: Duct, rest: Buffer | null): void {
    this.#stream = null;
    if (this.#over) {
      upstream.socket.destroy();
      return;
    }
    const server = this.#server;
    if (!server.reader.done) {
      // RFC 9110 7.8: the new protocol begins behind the request; the rest of this one would be taken for it.
      upstream.socket.destroy();
      this.reply('upstream_protocol', 'switched before the end of the request', 'upstream_protocol_error');
      return;
    }
    if (server.hasEarlyBytes) {
      // Bytes sent before the switch could be a request or a tunnel's: nobody may choose (CVE-2025-64763).
      upstream.socket.destroy();
      this.reply('bad_request', 'bytes sent before the protocol switched', 'early_data');
      return;
    }
    this.status = head.status;
    this.#over = true;
    server.out.text(writeResponseHead(head, 'same', '', this.responseEdits));
    server.out.flush(server.duct.socket, false);
    server.detach();
    server.handler.onTunnel(this, server.duct, null, upstream, rest);
  }

  onUpstreamFailure(kind: UpstreamFailure, what: string, begun: boolean): void {
    const stream = this.#stream;
    this.#stream = null;
    if (this.#over) return;
    const began = this.#responded;
    if (began && !this.#sent) this.#responded = false;
    if (!began && !begun && stream !== null && this.#repeatable(kind, stream)) {
      this.#server.handler.onRetry(this);
      return;
    }
    if (this.#sent) {
      this.flag = kind === 'protocol' ? 'UPE' : 'UC';
      this.details = `upstream_${kind}_after_response_started`;
      this.#breakOff();
      return;
    }
    if (kind === 'protocol') this.reply('upstream_protocol', what, 'upstream_protocol_error');
    else if (kind === 'timeout') this.reply('response_timeout', '', 'response_timeout');
    else {
      const why = kind === 'refused' ? 'remote_refused_stream_reset' : 'connection_termination';
      this.reply('upstream_reset', '', `upstream_reset_before_response_started{${why}}`);
    }
  }

  /**
   * Only what is still whole, and was not processed (RFC 9113 8.7), or is idempotent and met a connection that had gone
   * stale (RFC 9110 9.2.2).
   */
  #repeatable(kind: UpstreamFailure, stream: UpstreamStream): boolean {
    if (this.attempts >= MAX_ATTEMPTS || (this.#copy !== null && !this.#copy.whole)) return false;
    if (kind === 'refused') return true;
    if (kind !== 'reset' || stream.requests < 2 || !this.#idempotent) return false;
    return (!this.head.expectContinue || this.#continued) && this.head.upgrade === null;
  }

  /** Its client can take no answer any more, or may not. */
  onClientGone(why = 'downstream_remote_disconnect'): void {
    if (this.#over) return;
    this.#dropStream();
    this.flag = 'DC';
    this.details = why;
    this.#end(false);
    this.#server.destroy();
  }

  /** The response began and will not be whole: the only honest end is a visible one. */
  #breakOff(): void {
    if (this.#bare) this.#server.reset();
    else this.#server.destroy();
    this.#end(false);
  }

  #dropStream(): void {
    const stream = this.#stream;
    this.#stream = null;
    stream?.abandon();
  }

  #end(keep: boolean): void {
    if (this.#over) return;
    this.#over = true;
    this.#collector = null;
    this.#server.exchangeDone(keep);
  }
}
