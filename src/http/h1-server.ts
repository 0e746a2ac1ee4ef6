// Hot path: no promise, closure or string per chunk.
/**
 * One client's HTTP/1.1 connection: reads requests one after the other (pipelined ones wait their turn), hands each to
 * the handler, writes responses, and decides when the connection may go on (RFC 9112 9).
 */
import type { FailureCode } from '../errors.ts';
import type { Clock, Deadline, Duct, HttpLimits, RequestHandler } from './exchange.ts';
import { BodyReader } from './h1-body.ts';
import { HIGH_WATER_BYTES } from './h1-client.ts';
import { H1Exchange } from './h1-exchange.ts';
import { headEnd, ParseFault, parseRequest, type RequestHead } from './h1-parser.ts';
import { FULL_RECORD_BYTES, Outbox } from './outbox.ts';
import { localResponse } from './reply.ts';

/** Bytes read ahead of what can be sent on; then the client is paused. */
const READ_AHEAD_BYTES = 64 * 1024;
/** Empty lines before a request line (RFC 9112 2.2 asks for one at least). */
const MAX_EMPTY_LINES = 4;
/** How long a closed connection is read to its end, so that a reset does not destroy the last answer. */
const LINGER_MS = 1_000;

export class H1Server<C> implements Deadline {
  readonly duct: Duct;
  readonly handler: RequestHandler<C>;
  readonly limits: HttpLimits;
  readonly clock: Clock;
  /** How long nothing may come or go, in ms; Infinity = for ever. */
  readonly idleMs: number;
  readonly reader = new BodyReader();
  readonly out = new Outbox();
  deadline: number;
  /** The next response says Connection: close. */
  draining = false;
  /** More of the request's body is likely to come in this turn of the event loop. */
  moreFollows = false;
  /** TLS: bytes come a record at a time, several for one read. */
  #inRecords: boolean;
  #exchange: H1Exchange<C> | null = null;
  #pending: Buffer | null = null;
  #scanned = 0;
  #emptyLines = 0;
  #reading = false;
  #paused = false;
  /** The client takes no more answers: its next request waits until it does. */
  #stalled = false;
  #ended = false;
  #lingering = false;
  /** No further request, whatever was read of it. */
  #retired = false;
  #closed = false;
  #onData = (chunk: Buffer): void => this.#receive(chunk);
  #onEnd = (): void => this.#onPeerEnd();
  #onClose = (): void => this.#onSocketClose();
  #onError = (): void => {};
  #onDrain = (): void => this.#onClientDrain();
  #onFinish = (): void => {
    this.deadline = this.clock.now + LINGER_MS;
  };

  /** Takes over `duct`; `first` are bytes of it that were read before. */
  constructor(duct: Duct, handler: RequestHandler<C>, options: { limits: HttpLimits; clock: Clock }) {
    this.duct = duct;
    this.#inRecords = 'encrypted' in duct.socket;
    this.handler = handler;
    this.limits = options.limits;
    this.clock = options.clock;
    this.idleMs = this.limits.idleTimeoutMs > 0 ? this.limits.idleTimeoutMs : Number.POSITIVE_INFINITY;
    this.deadline = this.clock.now + this.limits.headerTimeoutMs;
    const { socket } = duct;
    socket
      .on('error', this.#onError)
      .on('close', this.#onClose)
      .on('end', this.#onEnd)
      .on('drain', this.#onDrain);
    socket.on('data', this.#onData);
    this.clock.add(this);
    // It may have ended, or been paused, while its first bytes were looked at.
    if (socket.readableEnded) this.#ended = true;
    socket.resume();
  }

  /** Bytes that were read off the connection before it was known to be HTTP/1.1. */
  takeFirst(bytes: Buffer): void {
    this.#receive(bytes);
  }

  /** No further request after the one in flight or under way; an idle connection closes now. */
  drain(): void {
    this.draining = true;
    if (this.#exchange === null && this.#pending === null) this.#finishConnection();
  }

  /**
   * The client is not believed any more: what was sent on is answered, nothing else is begun, not even what was read ahead.
   *
   * @param why for the details of a request that was not sent on yet, and is denied
   */
  retire(why: string): void {
    this.#retired = true;
    this.draining = true;
    const exchange = this.#exchange;
    if (exchange === null) this.#finishConnection();
    else if (exchange.attempts === 0) exchange.reply('policy_denied', '', why);
  }

  /** Closes at once; `why`: for the details of the request under way. */
  abort(why: string): void {
    this.#exchange?.onClientGone(why);
    this.destroy();
  }

  destroy(): void {
    this.duct.socket.destroy();
  }

  /** As `destroy`, and a client without TLS cannot take it for a clean end (TLS tells the two apart by close_notify). */
  reset(): void {
    const { socket } = this.duct;
    if ('encrypted' in socket) socket.destroy();
    else socket.resetAndDestroy();
  }

  onDeadline(): void {
    if (this.#exchange !== null) this.#exchange.onIdle();
    else if (this.#lingering || this.#stalled || this.#pending === null) this.destroy();
    else this.refuse('request_timeout', 'header section took too long');
  }

  #receive(chunk: Buffer): void {
    if (this.#lingering || this.#closed) return;
    let bytes = chunk;
    if (this.#pending !== null) {
      bytes = Buffer.concat([this.#pending, chunk]);
      this.#pending = null;
    }
    this.#read(bytes);
  }

  #read(bytes: Buffer): void {
    let at = 0;
    this.#reading = true;
    while (at < bytes.length && !this.#lingering && !this.#closed) {
      const exchange = this.#exchange;
      if (exchange === null) {
        if (this.duct.socket.writableLength > HIGH_WATER_BYTES) {
          this.#stall(bytes, at);
          break;
        }
        const next = this.#readHead(bytes, at);
        if (next < 0) break;
        at = next;
        continue;
      }
      if (this.reader.done) {
        this.#keep(bytes, at);
        // What follows CONNECT could be a request or the tunnel's: nobody may choose (CVE-2025-64763).
        if (exchange.head.method === 'CONNECT') exchange.onEarlyBytes();
        break;
      }
      at = this.reader.feed(bytes, at, exchange.requestOut);
      this.touch();
      if (this.reader.fault !== null) {
        exchange.onRequestFault(this.reader.fault);
        break;
      }
      this.moreFollows = this.#inRecords && bytes.length >= FULL_RECORD_BYTES && !this.reader.done;
      exchange.onRequestBytes();
    }
    this.#reading = false;
    // Read ahead, and ended: the rest of its body can never come.
    if (this.#ended && !this.reader.done && this.reader.fault === null) this.#exchange?.onClientGone();
    if (this.#exchange !== null || this.#stalled) return;
    if (this.#ended || (this.draining && this.#pending === null)) this.#finishConnection();
  }

  /** Something came or went. */
  touch(): void {
    this.deadline = this.clock.now + this.idleMs;
  }

  /** Answers that nobody reads would pile up, one for each pipelined request. */
  #stall(bytes: Buffer, at: number): void {
    this.#keep(bytes, at);
    this.#stalled = true;
    this.pause();
  }

  #onClientDrain(): void {
    if (this.#exchange !== null) this.#exchange.onClientDrain();
    else if (this.#stalled) {
      this.#stalled = false;
      this.#readOn();
    }
  }

  /** @returns the offset after the head and the body bytes taken, or -1 when reading stops here */
  #readHead(bytes: Buffer, start: number): number {
    let at = start;
    while (at + 1 < bytes.length && bytes[at] === 0x0d && bytes[at + 1] === 0x0a) {
      at += 2;
      if (++this.#emptyLines > MAX_EMPTY_LINES) return this.#refuseAt('empty lines before the request');
    }
    if (at >= bytes.length) return at;
    const end = headEnd(bytes, at, at === 0 ? this.#scanned : 0);
    if (end instanceof ParseFault) {
      this.refuse(end.code, end.what);
      return -1;
    }
    if (end < 0) {
      if (this.#scanned === 0) this.deadline = this.clock.now + this.limits.headerTimeoutMs;
      this.#pending = at === 0 ? bytes : bytes.subarray(at);
      this.#scanned = this.#pending.length;
      return -1;
    }
    this.#scanned = 0;
    this.#emptyLines = 0;
    const head = parseRequest(bytes.toString('latin1', at, end));
    if (head instanceof ParseFault) {
      this.refuse(head.code, head.what);
      return -1;
    }
    const exchange = new H1Exchange<C>(this, head);
    this.#exchange = exchange;
    this.reader.begin(head, 'same', this.handler.withheldTrailers);
    this.touch();
    at = end;
    if (!this.reader.done && at < bytes.length) {
      at = this.reader.feed(bytes, at, exchange.requestOut);
      if (this.reader.fault !== null) {
        this.#exchange = null;
        this.refuse(this.reader.fault.code, this.reader.fault.what, head);
        return -1;
      }
    }
    this.moreFollows = this.#inRecords && bytes.length >= FULL_RECORD_BYTES && !this.reader.done;
    this.handler.onRequest(exchange);
    return at;
  }

  #refuseAt(what: string): number {
    this.refuse('bad_request', what);
    return -1;
  }

  /** Answers a message that never became an exchange, and closes: where the next one begins nobody knows. */
  refuse(code: FailureCode, what: string, head: RequestHead | null = null): void {
    this.handler.onRefused(code, what);
    const grpc = head?.grpc ?? false;
    const reply = localResponse({ code, detail: what, grpc, bodiless: head?.method === 'HEAD', close: true });
    this.out.text(reply.text);
    this.out.flush(this.duct.socket, false);
    this.linger();
  }

  #keep(bytes: Buffer, at: number): void {
    this.#pending = at === 0 ? bytes : bytes.subarray(at);
    if (this.#pending.length > READ_AHEAD_BYTES) this.pause();
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.duct.socket.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.duct.socket.resume();
  }

  /** The exchange is over; goes on with the next request, or ends. */
  exchangeDone(keep: boolean): void {
    const exchange = this.#exchange;
    if (exchange === null) return;
    this.#exchange = null;
    this.handler.onFinished(exchange);
    if (this.#closed) return;
    if (!keep || this.#retired) {
      this.linger();
      return;
    }
    if ((this.draining || this.#ended) && this.#pending === null) {
      if (!this.#reading) this.#finishConnection();
      return;
    }
    this.touch();
    if (!this.#reading) this.#readOn();
  }

  /** Reads what was read ahead, and then the socket. */
  #readOn(): void {
    this.resume();
    const pending = this.#pending;
    if (pending === null) return;
    this.#pending = null;
    this.#read(pending);
  }

  /** Ends our side and reads the client's to its end for a moment: a reset now would take the answer with it. */
  linger(): void {
    const { socket } = this.duct;
    if (this.#lingering || this.#closed || socket.destroyed) return;
    this.#lingering = true;
    this.#pending = null;
    // First everything is delivered, however slowly it is read; then the moment begins.
    this.touch();
    socket.once('finish', this.#onFinish);
    socket.end();
    if (this.#ended) return;
    this.#paused = false;
    socket.resume();
  }

  #finishConnection(): void {
    if (this.#lingering || this.#closed) return;
    this.linger();
  }

  #onPeerEnd(): void {
    this.#ended = true;
    if (this.#lingering) {
      this.duct.socket.destroySoon();
      return;
    }
    const exchange = this.#exchange;
    if (exchange !== null) {
      // Half-closed clients still read: only a body that can never be whole ends the exchange.
      if (!this.reader.done) exchange.onClientGone();
      return;
    }
    if (!this.#stalled) this.#finishConnection();
  }

  #onSocketClose(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.clock.delete(this);
    this.#pending = null;
    this.#exchange?.onClientGone();
    this.handler.onClosed();
  }

  get peerEnded(): boolean {
    return this.#ended;
  }

  /** Gives the connection away: bytes from now on are a tunnel's. @returns what was read ahead */
  detach(): Buffer | null {
    const { socket } = this.duct;
    socket
      .off('data', this.#onData)
      .off('end', this.#onEnd)
      .off('close', this.#onClose)
      .off('drain', this.#onDrain);
    socket.pause();
    this.clock.delete(this);
    this.#closed = true;
    const early = this.#pending;
    this.#pending = null;
    return early;
  }

  get hasEarlyBytes(): boolean {
    return this.#pending !== null;
  }
}
