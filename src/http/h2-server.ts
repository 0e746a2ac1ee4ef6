// Hot path: no promise, closure or string per chunk.
/** One client's HTTP/2 connection: each stream is a request; ends gracefully in two steps of GOAWAY (RFC 9113 6.8). */
import type { Clock, Duct, HttpLimits, RequestHandler } from './exchange.ts';
import type { FieldList } from './field-list.ts';
import { CONTENT_TYPE } from './fields.ts';
import { isGrpcContent } from './grpc.ts';
import { MAX_HEAD_BYTES, ParseFault } from './h1-parser.ts';
import { UNREASONABLE } from './h2-budget.ts';
import { H2Connection } from './h2-connection.ts';
import { H2Exchange } from './h2-exchange.ts';
import { METHOD } from './h2-field-kind.ts';
import * as h2 from './h2-frames.ts';
import { requestOf } from './h2-head.ts';
import { H2Refusal } from './h2-refusal.ts';
import type { H2Stream } from './h2-stream.ts';
import { valueIn } from './listed-fields.ts';

const SETTINGS = [
  [h2.MAX_CONCURRENT_STREAMS, h2.MAX_STREAMS],
  [h2.INITIAL_WINDOW_SIZE, h2.STREAM_WINDOW],
  [h2.MAX_HEADER_LIST_SIZE, MAX_HEAD_BYTES],
  [h2.ENABLE_CONNECT_PROTOCOL, 1],
] as const;

/** Of the PING that tells when the client has read the first GOAWAY. */
const LAST_CALL = Buffer.from('lastcall', 'latin1');
/** How long the client may take to answer it. */
const LAST_CALL_MS = 2_000;
/** How long what was said last may take to leave. */
const LINGER_MS = 1_000;

export interface H2ServerOptions {
  readonly limits: HttpLimits;
  readonly clock: Clock;
  /** The other side is an Outrider that says what HTTP/2 lacks of an HTTP/1.1 message. */
  readonly memo: boolean;
  readonly report: h2.H2Report | null;
}

export class H2Server<C> extends H2Connection {
  readonly handler: RequestHandler<C>;
  readonly limits: HttpLimits;
  /** No further request: streams that begin now are refused, or left to be sent elsewhere. */
  draining = false;
  #retired = false;
  /** When the client will have read the first GOAWAY; Infinity = it was not sent, or has been. */
  #lastCall = Number.POSITIVE_INFINITY;
  /** Streams above it are not served; -1 = all are. */
  #lastServed = -1;
  #ended = false;
  /** The client has ended, and what it sent before waits to be read. */
  #endsLater = false;
  /** Opened, and not yet started: those of the read under way, and what was too much for one turn. */
  #fresh: H2Exchange<C>[] = [];
  #closed = false;
  #closeAt = Number.POSITIVE_INFINITY;
  #onData = (chunk: Buffer): void => this.read(chunk, false);
  #onEnd = (): void => this.#onPeerEnd();
  #onClose = (): void => this.#onSocketClose();
  #onError = (): void => {};

  /** Takes over `duct`. */
  constructor(duct: Duct, handler: RequestHandler<C>, options: H2ServerOptions) {
    const { limits, clock, memo, report } = options;
    const idleMs = limits.idleTimeoutMs > 0 ? limits.idleTimeoutMs : Number.POSITIVE_INFINITY;
    super(duct, {
      clock,
      idleMs,
      report,
      memo,
      preface: true,
      headerTimeoutMs: limits.headerTimeoutMs,
    });
    this.handler = handler;
    this.limits = limits;
    this.idleMs = idleMs;
    const { socket } = duct;
    socket.on('error', this.#onError).on('close', this.#onClose).on('end', this.#onEnd);
    socket.on('data', this.#onData);
    clock.add(this);
    this.output.settings(SETTINGS);
    this.output.windowUpdate(0, h2.CONNECTION_WINDOW - h2.DEFAULT_WINDOW);
    if (socket.readableEnded) this.#ended = true;
    socket.resume();
  }

  /** How long nothing may come or go, in ms; Infinity = for ever. */
  readonly idleMs: number;

  /** Bytes that were read off the connection before it was known to be HTTP/2. */
  takeFirst(bytes: Buffer): void {
    this.read(bytes, false);
  }

  protected isIdle(id: number): boolean {
    return (id & 1) === 0 || id > this.lastPeerStream;
  }

  protected onNewStream(id: number, list: FieldList, end: boolean): void {
    if ((id & 1) === 0)
      return this.fail(h2.PROTOCOL_ERROR, 'h2_protocol_error', 'a client opens odd streams only');
    if (id <= this.lastPeerStream)
      return this.fail(h2.STREAM_CLOSED, 'h2_stream_closed', 'HEADERS on a stream that has ended');
    this.lastPeerStream = id;
    this.begun++;
    // RFC 9113 6.8: the client sends them again elsewhere.
    if (this.#lastServed >= 0 && id > this.#lastServed) return;
    if (this.streams.size >= h2.MAX_STREAMS || this.#retired) {
      this.refuseStream(id, h2.REFUSED_STREAM, 'h2_refused_stream');
      if (!this.budget.reset(this.clock.now)) this.#flooded();
      return;
    }
    const head = requestOf(list, end, this.memo);
    if (head instanceof ParseFault) {
      this.handler.onRefused(head.code, head.what);
      this.report(head.code === 'headers_too_large' ? 'h2_header_list_too_large' : 'h2_malformed');
      new H2Refusal(this, id, end).answer(head.code, head.what, isLargeCall(list));
      if (!this.budget.reset(this.clock.now)) this.#flooded();
      return;
    }
    const exchange = new H2Exchange<C>(this, id, head);
    this.streams.add(exchange);
    if (exchange.open(end)) this.#fresh.push(exchange);
  }

  /** What a read opens starts at its end: what the same read resets has cost little (CVE-2023-44487). */
  override readFrames(chunk: Buffer, borrowed: boolean): number {
    // Those that waited come first, and take the turn if they must.
    if (this.waiting && !this.#start()) return 0;
    const at = super.readFrames(chunk, borrowed);
    if (this.waiting) this.#start();
    return at;
  }

  override get waiting(): boolean {
    return this.#fresh.length > 0;
  }

  /** @returns false when some wait for the next turn */
  #start(): boolean {
    const fresh = this.#fresh;
    let started = 0;
    while (started < fresh.length) {
      fresh[started++]?.start();
      if (this.turnIsOver) break;
    }
    this.#fresh = fresh.slice(started);
    return started === fresh.length;
  }

  #flooded(): void {
    this.fail(h2.ENHANCE_YOUR_CALM, 'h2_rapid_reset', 'too many streams without an answer');
  }

  protected override onStreamReset(stream: H2Stream, code: number): void {
    const early = stream instanceof H2Exchange && !stream.responded;
    const weight = early && !stream.started ? UNREASONABLE : 1;
    stream.onReset(code);
    if (early && !this.budget.reset(this.clock.now, weight)) this.#flooded();
  }

  /** An exchange was answered whole. */
  answered(): void {
    this.budget.answered();
  }

  /** No further request after those under way; an idle connection closes now. */
  drain(): void {
    if (this.draining || this.over) return;
    this.draining = true;
    if (this.streams.size === 0) {
      this.#finish();
      return;
    }
    // What the client has sent before it reads this is still served.
    this.output.goaway(h2.MAX_WINDOW, h2.NO_ERROR, '');
    this.output.ping(LAST_CALL, 0, false);
    this.#lastCall = this.clock.now + LAST_CALL_MS;
  }

  protected onPong(payload: Buffer, at: number): void {
    if (payload.compare(LAST_CALL, 0, 8, at, at + 8) === 0) this.#sendLastGoaway();
  }

  #sendLastGoaway(): void {
    if (this.#lastServed >= 0 || !this.draining || this.over) return;
    this.#lastCall = Number.POSITIVE_INFINITY;
    this.#lastServed = this.lastPeerStream;
    this.output.goaway(this.#lastServed, h2.NO_ERROR, '');
    if (this.streams.size === 0) this.#finish();
  }

  /**
   * The client is not believed any more: what was sent on is answered, nothing else is begun.
   *
   * @param why for the details of requests that were not sent on yet, and are denied
   */
  retire(why: string): void {
    this.#retired = true;
    this.draining = true;
    this.#sendLastGoaway();
    for (const stream of this.streams.values())
      if (stream instanceof H2Exchange && stream.attempts === 0) stream.reply('policy_denied', '', why);
  }

  /** Closes at once; `why`: for the details of the requests under way. */
  abort(why: string): void {
    for (const stream of this.streams.values()) if (stream instanceof H2Exchange) stream.onClientGone(why);
    this.destroy();
  }

  destroy(): void {
    this.over = true;
    this.duct.socket.destroy();
  }

  /** The last of our words, and the end of the connection. */
  #finish(): void {
    if (this.over) return;
    if (this.#lastServed < 0) this.output.goaway(this.lastPeerStream, h2.NO_ERROR, '');
    this.#close();
  }

  #close(): void {
    this.over = true;
    this.output.flush();
    this.duct.socket.end();
    this.duct.socket.resume();
    this.#closeAt = this.clock.now + LINGER_MS;
  }

  protected onFault(): void {
    this.#close();
    this.endStreams();
  }

  protected onEmpty(): void {
    if (this.over) return;
    if (this.#ended || (this.draining && this.#lastServed >= 0)) this.#finish();
  }

  protected onGoaway(): void {
    // The client goes; it ends what it has begun and closes.
  }

  protected onSettings(): void {
    // A client's limits on streams are about pushes, which we never make.
  }

  protected onTick(now: number): void {
    if (now > this.#closeAt) this.duct.socket.destroy();
    if (this.over) return;
    if (now > this.#lastCall) this.#sendLastGoaway();
    if (this.#ended) this.#dropStuck();
    if (this.streams.size === 0 && now - this.idleSince > this.idleMs) this.#finish();
  }

  onCaughtUp(): void {
    if (this.#endsLater) this.#onPeerEnd();
  }

  #onPeerEnd(): void {
    // What it sent before its end is not all read: a body would pass for one that never comes.
    this.#endsLater = this.behind && !this.over;
    if (this.#endsLater) return;
    this.#ended = true;
    if (this.over) {
      this.duct.socket.destroySoon();
      return;
    }
    // Half-closed clients still read: only what can never be whole ends.
    for (const stream of this.streams.values()) if (!stream.remoteEnded) this.resetAs(stream);
    this.#dropStuck();
    if (this.streams.size === 0) this.#finish();
  }

  /** The client sends no more: a stream that waits for its window waits for ever, and the app's connection with it. */
  #dropStuck(): void {
    if (this.output.backedUp) return;
    for (const stream of this.streams.values()) {
      if (stream.queuedBytes === 0 || this.sendable(stream) > 0) continue;
      this.report('h2_stalled');
      this.resetAs(stream);
    }
  }

  private resetAs(stream: H2Stream): void {
    this.resetStream(stream, h2.CANCEL);
    stream.onReset(null);
  }

  #onSocketClose(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.over = true;
    this.clock.delete(this);
    this.endStreams();
    this.handler.onClosed();
  }
}

/** Whether it is a gRPC call whose metadata is too large; all else that is malformed gRPC reads as HTTP. */
function isLargeCall(list: FieldList): boolean {
  // 200, which gRPC's refusals are, would open a tunnel to CONNECT.
  if (!list.tooLarge || valueIn(list, METHOD) !== 'POST') return false;
  return isGrpcContent(valueIn(list, CONTENT_TYPE) ?? list.lateContentType);
}
