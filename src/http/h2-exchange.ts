// Hot path: no promise, closure or string per chunk.
/** One request on an HTTP/2 client connection: sends it upstream, and is the sink of its response. */
import { randomBytes } from 'node:crypto';
import { FAILURES, type FailureCode, type ResponseFlag } from '../errors.ts';
import type { BodyDone } from './body-collector.ts';
import type {
  Clock,
  Duct,
  Exchange,
  LocalAnswer,
  ResponseEdits,
  ResponseSink,
  UpstreamStream,
} from './exchange.ts';
import type { FieldList } from './field-list.ts';
import { CONTENT_TYPE } from './fields.ts';
import { isGrpcContent } from './grpc.ts';
import { GrpcMessages } from './grpc-messages.ts';
import type { Delivery } from './h1-body.ts';
import { ParseFault, type ResponseHead } from './h1-parser.ts';
import { DROP_EXPECT, type RequestEdits } from './h1-write.ts';
import * as h2 from './h2-frames.ts';
import { type H2RequestHead, trailersOf } from './h2-head.ts';
import { RequestBody } from './h2-request-body.ts';
import type { H2Server } from './h2-server.ts';
import { H2Stream } from './h2-stream.ts';
import { H2Tunnel } from './h2-tunnel.ts';
import { encodeLocalHead, encodeResponse, encodeTrailers } from './h2-write.ts';
import { writeAnswer } from './local-answer.ts';
import { Outbox } from './outbox.ts';
import { failureAnswer, grpcTrailers, localResponse } from './reply.ts';

const MAX_ATTEMPTS = 3;
/** RFC 9110 9.2.2. */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'TRACE']);
export class H2Exchange<C> extends H2Stream implements Exchange<C>, ResponseSink {
  readonly head: H2RequestHead;
  readonly responseOut = new Outbox();
  context: C | null = null;
  status = 0;
  flag: ResponseFlag = '-';
  details = '';
  grpcStatus = '';
  responseEdits: ResponseEdits | null = null;
  bytesSent = 0;
  responseMs = -1;
  attempts = 0;
  /** A final response has begun. */
  responded = false;
  readonly #server: H2Server<C>;
  readonly #body: RequestBody;
  #upstream: UpstreamStream | null = null;
  /** The client was told to send its body, by us. */
  #continued = false;
  #tunnel: H2Tunnel | null = null;
  /** Of a gRPC call; null = it is none. */
  readonly #asked: GrpcMessages | null;
  /** Of its response, when that is gRPC's too. */
  #answered: GrpcMessages | null = null;
  /** The handler has it. */
  started = false;
  /** The response may still get trailers of our own. */
  #takesTrailers = false;
  #over = false;

  constructor(server: H2Server<C>, id: number, head: H2RequestHead) {
    super(server, id);
    this.#server = server;
    this.head = head;
    this.#body = new RequestBody(head);
    this.#asked = head.grpc && isGrpcContent(head.valueOf(CONTENT_TYPE)) ? new GrpcMessages() : null;
  }

  /** Its head is here, and it can be found by its id. @returns whether it may start */
  open(ended: boolean): boolean {
    const { head } = this;
    this.remoteEnded = ended;
    if (!ended) this.holdBack();
    if (head.protocolToken === null) return true;
    if (head.protocolToken.toLowerCase() !== 'websocket') {
      this.#server.handler.onRefused('bad_request', 'unknown :protocol');
      this.connection.failStream(this, h2.PROTOCOL_ERROR, 'h2_malformed');
      return false;
    }
    // As everybody knows it: an upgrade (RFC 8441 5).
    head.upgrade = 'websocket';
    return true;
  }

  /** Hands it to the handler; until then it may come to its end without having begun for anybody. */
  start(): void {
    if (this.started || this.#over || this.localEnded) return;
    this.started = true;
    this.#server.handler.onRequest(this);
  }

  get method(): string {
    return this.head.method;
  }

  get bytesReceived(): number {
    return this.received;
  }

  get requestMessages(): number {
    return this.#asked === null ? 0 : this.#asked.count;
  }

  get responseMessages(): number {
    return this.#answered === null ? 0 : this.#answered.count;
  }

  get clock(): Clock {
    return this.connection.clock;
  }

  // ---- the request

  forward(upstream: UpstreamStream, edits: RequestEdits): void {
    if (this.#over) {
      upstream.abandon();
      return;
    }
    this.attempts++;
    this.#upstream = upstream;
    this.#body.begin();
    const drop = this.#continued ? DROP_EXPECT : 0;
    const request = { head: this.head, edits: this.#handshake(upstream, edits), drop };
    const body = this.#body.framedFor(upstream);
    // Also of a body that turned out to be empty: an HTTP/1.1 server waits for its last chunk.
    if (this.remoteEnded) this.#body.endFor(upstream);
    const whole = this.#complete && this.#body.trailers === '' && body.empty;
    upstream.begin(this, request, body, whole, false);
    if (this.#complete)
      upstream.requestComplete(
        upstream.bare ? this.#body.trailers : '',
        this.#server.limits.responseTimeoutMs,
      );
    else if (!upstream.backedUp) this.release();
    else this.holdBack();
  }

  /** Everything of the request is here. An upgrade has no end before it is answered. */
  get #complete(): boolean {
    return this.remoteEnded || this.head.upgrade !== null || this.head.method === 'CONNECT';
  }

  /** A client that keeps the handshake of HTTP/1.1, as Envoy does for its own client, wants the answer to its key. */
  get #hasKey(): boolean {
    return this.head.sentValues('sec-websocket-key').length > 0;
  }

  /** RFC 8441 5: an HTTP/1.1 server wants a key. */
  #handshake(upstream: UpstreamStream, edits: RequestEdits): RequestEdits {
    if (this.head.protocolToken === null || upstream.bare || this.#hasKey) return edits;
    const key = `sec-websocket-key: ${randomBytes(16).toString('base64')}\r\n`;
    return { ...edits, added: edits.added + key };
  }

  onData(bytes: Buffer, borrowed: boolean, more: boolean): void {
    if (this.#tunnel !== null) {
      this.#tunnel.receive(borrowed ? Buffer.from(bytes) : bytes);
      return;
    }
    const { head } = this;
    if (head.method === 'CONNECT' || head.upgrade !== null) {
      this.start();
      this.#onEarlyBytes();
      return;
    }
    if (head.framing !== 'chunked' && this.received > head.contentLength) {
      this.#malformed('content-length is less than the body');
      return;
    }
    this.#asked?.feed(bytes);
    const upstream = this.#upstream;
    if (upstream === null) {
      this.#body.hold(bytes);
      this.#collected();
      return;
    }
    this.#body.add(bytes);
    if (!upstream.write(this.#body.framedFor(upstream), more)) this.holdBack();
  }

  onEnd(): void {
    this.#requestEnded('');
  }

  onFields(list: FieldList, end: boolean): void {
    if (!end) {
      this.#malformed('trailers that do not end the request');
      return;
    }
    const trailers = trailersOf(list, this.#server.handler.withheldTrailers, this.#server.memo);
    if (trailers instanceof ParseFault) this.#malformed(trailers.what);
    else this.#requestEnded(trailers.lines);
  }

  #requestEnded(trailers: string): void {
    if (this.#tunnel !== null) {
      this.#tunnel.receiveEnd();
      return;
    }
    const { head } = this;
    if (head.framing !== 'chunked' && this.received !== head.contentLength) {
      this.#malformed('content-length is more than the body');
      return;
    }
    this.#body.trailers = trailers;
    this.#collected();
    const upstream = this.#upstream;
    // An upgrade or CONNECT was whole from the start.
    if (upstream === null || head.upgrade !== null || head.method === 'CONNECT') return;
    this.#body.endFor(upstream);
    const body = this.#body.framedFor(upstream);
    if (!body.empty) upstream.write(body, false);
    upstream.requestComplete(upstream.bare ? trailers : '', this.#server.limits.responseTimeoutMs);
  }

  /** RFC 9113 8.1.1: what was forwarded of it is broken off, too. */
  #malformed(what: string): void {
    this.#server.handler.onRefused('bad_request', what);
    this.flag = 'DPE';
    this.details = what;
    this.#dropUpstream();
    this.connection.failStream(this, h2.PROTOCOL_ERROR, 'h2_malformed');
  }

  #onEarlyBytes(): void {
    this.#dropUpstream();
    this.reply('bad_request', 'bytes sent before the tunnel was open', 'early_data');
  }

  collectBody(limit: number, done: BodyDone): void {
    if (this.#over) return;
    this.#body.collect(limit, done);
    if (this.#collected()) return;
    if (this.head.expectContinue && !this.#continued) {
      this.#continued = true;
      this.#sendHead('HTTP/1.1 100 Continue\r\n\r\n');
    }
    this.release();
  }

  /** @returns whether nobody waits for more of the body before it is sent on */
  #collected(): boolean {
    if (this.#body.collects(this.remoteEnded)) return false;
    if (!this.remoteEnded) this.holdBack();
    this.#body.handOver(this.remoteEnded);
    return true;
  }

  onUpstreamDrain(): void {
    if (!this.#over) this.release();
  }

  // ---- the response

  onResponse(head: ResponseHead): Delivery | null {
    const { encoder, output } = this.connection;
    if (head.status < 200) {
      if (head.status === 101) return this.head.protocolToken !== null ? 'same' : null;
      if (head.status !== 100 || !this.#continued) {
        encoder.begin();
        encodeResponse(encoder, head, null, { memo: this.#server.memo });
        output.headers(this.id, encoder.buffer, encoder.length, false);
      }
      return 'bare';
    }
    // To RFC 8441 a 2xx is the tunnel, which an HTTP/1.1 server opens with 101 only.
    if (this.head.protocolToken !== null && head.status < 300) return null;
    this.status = head.status;
    this.responseMs = performance.now();
    this.responded = true;
    if (this.head.grpc) this.#beginGrpc(head);
    encoder.begin();
    encodeResponse(encoder, head, this.responseEdits, { memo: this.#server.memo });
    output.headers(this.id, encoder.buffer, encoder.length, false);
    return 'bare';
  }

  #beginGrpc(head: ResponseHead): void {
    this.grpcStatus = head.headerValues('grpc-status')[0] ?? '';
    if (!isGrpcContent(head.headerValues('content-type')[0])) return;
    this.#answered = new GrpcMessages();
    this.#takesTrailers = this.grpcStatus === '' && head.framing !== 'length';
  }

  onContent(bytes: Buffer, borrowed: boolean): void {
    this.#answered?.feed(bytes);
    this.sendBytes(bytes, borrowed);
    if (this.backedUp) this.#upstream?.pauseResponse();
  }

  flushResponse(borrowed: boolean): void {
    const { responseOut } = this;
    if (responseOut.empty) return;
    if (this.#answered !== null)
      for (const piece of responseOut.pieces) if (typeof piece !== 'string') this.#answered.feed(piece);
    this.send(responseOut, borrowed);
    if (this.backedUp) this.#upstream?.pauseResponse();
  }

  onDrained(): void {
    if (this.#tunnel !== null) this.#tunnel.onDrained();
    else this.#upstream?.resumeResponse();
  }

  onResponseEnd(bytes: number, trailers: string): void {
    this.bytesSent = bytes;
    this.#upstream = null;
    this.#takesTrailers = false;
    if (this.#over) return;
    if (trailers !== '' && this.head.grpc) this.grpcStatus = grpcStatusIn(trailers) ?? this.grpcStatus;
    this.sendEnd(trailers);
  }

  sendTrailers(lines: string): void {
    const { encoder, output } = this.connection;
    encoder.begin();
    encodeTrailers(encoder, lines, this.#server.memo);
    output.headers(this.id, encoder.buffer, encoder.length, true);
  }

  onSent(): void {
    if (this.#tunnel !== null) {
      this.#tunnel.onSent();
      return;
    }
    // RFC 9113 8.1: the response is whole, and what is left of the request serves nobody.
    if (!this.remoteEnded) this.connection.resetStream(this, h2.NO_ERROR);
    this.#server.answered();
    this.#end();
  }

  onSwitch(head: ResponseHead, upstream: Duct, rest: Buffer | null): void {
    this.#upstream = null;
    if (this.#over) {
      upstream.socket.destroy();
      return;
    }
    this.status = 200;
    this.#sendHead(`HTTP/1.1 200 OK\r\n${handshakeLines(head, this.#hasKey)}\r\n`);
    this.#openTunnel(upstream, rest);
  }

  acceptTunnel(): void {
    if (this.#over) return;
    this.status = 200;
    this.#sendHead('HTTP/1.1 200 OK\r\n\r\n');
    this.#openTunnel(null, null);
  }

  #openTunnel(upstream: Duct | null, rest: Buffer | null): void {
    this.responded = true;
    this.#over = true;
    this.#tunnel = new H2Tunnel(this, this.#server.duct.socket);
    this.release();
    if (this.remoteEnded) this.#tunnel.receiveEnd();
    this.#server.handler.onTunnel(this, this.#tunnel.duct, null, upstream, rest);
  }

  #sendHead(text: string): void {
    const { encoder, output } = this.connection;
    encoder.begin();
    encodeLocalHead(encoder, text);
    output.headers(this.id, encoder.buffer, encoder.length, false);
  }

  reply(code: FailureCode, detail: string, details: string): void {
    const { flag, grpcStatus } = FAILURES[code];
    if (!this.#mayAnswer(code, flag, details)) return;
    if (this.responseEdits !== null) {
      this.#write(failureAnswer(code, detail, details));
      return;
    }
    const { grpc, method } = this.head;
    const reply = localResponse({ code, detail, grpc, bodiless: method === 'HEAD', close: false });
    const split = reply.text.indexOf('\r\n\r\n') + 4;
    const body = split < reply.text.length ? Buffer.from(reply.text.slice(split), 'latin1') : null;
    this.#answer(reply.text.slice(0, split), body, { status: reply.status, grpcStatus });
  }

  answer(answer: LocalAnswer): void {
    if (this.#mayAnswer('upstream_reset', answer.flag, answer.details)) this.#write(answer);
  }

  expire(details: string): void {
    if (this.#tunnel === null) this.reply('response_timeout', '', details);
  }

  /** `code`: why what has begun breaks off. */
  #mayAnswer(code: FailureCode, flag: ResponseFlag, details: string): boolean {
    if (this.#over) return false;
    if (this.flag === '-') this.flag = flag;
    if (this.details === '') this.details = details;
    if (this.responded) this.#breakOff(code);
    return !this.responded;
  }

  #write(answer: LocalAnswer): void {
    const { method, grpc } = this.head;
    const written = writeAnswer(answer, { method, grpc, close: false, edits: this.responseEdits });
    this.#answer(
      written.head,
      written.body,
      written.status === 0
        ? { status: 0, grpcStatus: 0 }
        : {
            status: written.status,
            grpcStatus: answer.grpcStatus,
          },
    );
  }

  #answer(
    head: string,
    body: Buffer | null,
    { status, grpcStatus }: { readonly status: number; readonly grpcStatus: number },
  ): void {
    this.status = status;
    this.bytesSent = body?.length ?? 0;
    if (this.head.grpc) this.grpcStatus = String(grpcStatus);
    this.responded = true;
    this.#dropUpstream();
    this.#sendHead(head);
    if (body !== null) this.sendBytes(body, false);
    this.sendEnd('');
  }

  // ---- failures

  onUpstreamFailure(kind: 'reset' | 'protocol' | 'timeout' | 'refused', what: string, begun: boolean): void {
    const upstream = this.#upstream;
    this.#upstream = null;
    if (this.#over) return;
    if (!this.responded && !begun && upstream !== null && this.#repeatable(kind, upstream)) {
      if (!this.remoteEnded) this.holdBack();
      this.#server.handler.onRetry(this);
      return;
    }
    if (this.responded) {
      this.flag = kind === 'protocol' ? 'UPE' : 'UC';
      this.details = `upstream_${kind}_after_response_started`;
      this.#breakOff(kind === 'protocol' ? 'upstream_protocol' : 'upstream_reset');
    } else if (kind === 'protocol') this.reply('upstream_protocol', what, 'upstream_protocol_error');
    else if (kind === 'timeout') this.reply('response_timeout', '', 'response_timeout');
    else {
      const why = kind === 'refused' ? 'remote_refused_stream_reset' : 'connection_termination';
      this.reply('upstream_reset', '', `upstream_reset_before_response_started{${why}}`);
    }
  }

  /** RFC 9110 9.2.2, RFC 9113 8.7: what was not processed, or is idempotent and met a stale connection; and is whole. */
  #repeatable(kind: string, upstream: UpstreamStream): boolean {
    if (this.attempts >= MAX_ATTEMPTS || this.head.upgrade !== null) return false;
    if (!this.#body.repeatable) return false;
    if (this.head.expectContinue && !this.#continued) return false;
    if (kind === 'refused') return true;
    return kind === 'reset' && upstream.requests >= 2 && IDEMPOTENT.has(this.head.method);
  }

  /**
   * The response began and will not be whole. A gRPC client hears why in trailers, which it takes for the call's status;
   * but in the middle of a message only a reset is understood (gRPC over HTTP/2, "Errors").
   */
  #breakOff(code: FailureCode): void {
    this.#dropUpstream();
    if (this.#takesTrailers && this.#answered?.whole === true) {
      this.#takesTrailers = false;
      this.grpcStatus = String(FAILURES[code].grpcStatus);
      this.sendEnd(grpcTrailers(code, ''));
      return;
    }
    this.connection.resetStream(this, code === 'response_timeout' ? h2.CANCEL : h2.INTERNAL_ERROR);
    this.#end();
  }

  /** The client reset the stream, or its connection is gone. */
  onReset(code: number | null): void {
    if (this.#tunnel !== null) this.#tunnel.onReset();
    else this.#gone(code === null ? 'downstream_remote_disconnect' : 'http2.remote_reset');
  }

  /** Its client can take no answer any more, or may not. */
  onClientGone(why: string): void {
    this.connection.resetStream(this, h2.CANCEL);
    if (this.#tunnel !== null) this.#tunnel.onReset();
    else this.#gone(why);
  }

  #gone(why: string): void {
    if (this.#over) return;
    this.#dropUpstream();
    if (this.flag === '-') this.flag = 'DC';
    if (this.details === '') this.details = why;
    this.#end();
  }

  /** Nothing came or went for too long. */
  onStalled(): void {
    if (this.#tunnel !== null) return;
    this.#dropUpstream();
    const code = this.remoteEnded ? 'response_timeout' : 'request_timeout';
    this.reply(code, '', 'stream_idle_timeout');
    // Nobody may read the answer either.
    if (!this.localEnded && this.queuedBytes > 0) {
      this.#takesTrailers = false;
      this.#breakOff('upstream_reset');
    }
  }

  #dropUpstream(): void {
    const upstream = this.#upstream;
    this.#upstream = null;
    upstream?.abandon();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#body.clear();
    this.#server.handler.onFinished(this);
  }
}

function grpcStatusIn(trailers: string): string | null {
  return /(?:^|\n)grpc-status:[ \t]*(\d{1,3})/i.exec(trailers)?.[1] ?? null;
}

/** What an answer to a WebSocket handshake says besides that it took place; RFC 8441 5 has no use for its accept. */
function handshakeLines(head: ResponseHead, keepsAccept: boolean): string {
  let lines = '';
  for (const [name, value] of head.sentFields())
    if (keepsAccept || name !== 'sec-websocket-accept') lines += `${name}: ${value}\r\n`;
  return lines;
}
