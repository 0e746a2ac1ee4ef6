// Hot path: no promise, closure or string per chunk.
/** One upstream HTTP/2 connection: gives places to requests, a stream each, and tells its owner when there is room. */
import type { Clock, Duct, UpstreamStream } from './exchange.ts';
import { MAX_HEAD_BYTES } from './h1-parser.ts';
import { H2ClientStream } from './h2-client-stream.ts';
import { H2Connection } from './h2-connection.ts';
import * as h2 from './h2-frames.ts';
import type { H2Stream } from './h2-stream.ts';

const SETTINGS = [
  [h2.ENABLE_PUSH, 0],
  [h2.INITIAL_WINDOW_SIZE, h2.STREAM_WINDOW],
  [h2.MAX_HEADER_LIST_SIZE, MAX_HEAD_BYTES],
] as const;

/** Streams before the server has said how many it takes (RFC 9113 6.5.2 recommends no fewer). */
const STREAMS_AT_FIRST = 100;
/** A connection is replaced before its stream ids run out (RFC 9113 5.1.1). */
const LAST_ID = 0x7fff_fff0;
/** How long the server may take to send its SETTINGS, and a header block. */
const HEADER_TIMEOUT_MS = 10_000;
const KEEP_ALIVE = Buffer.from('keepaliv', 'latin1');

export interface H2ClientOwner {
  /** A stream ended, or the server allows more: there may be room. */
  onRoom(client: H2Client): void;
  /** No further stream may begin; those that are open go on. Called once, before onGone. */
  onRetired(client: H2Client): void;
  /** The connection is closed; called once. */
  onGone(client: H2Client): void;
}

export interface H2ClientOptions {
  readonly clock: Clock;
  readonly scheme: 'http' | 'https';
  /** The server is an Outrider to which we say what HTTP/2 lacks of an HTTP/1.1 message. */
  readonly memo: boolean;
  /** DestinationRule connectionPool.http.maxConcurrentStreams, or Infinity. */
  readonly maxStreams: number;
  /** 0 = for ever: how long nothing may come or go on a stream. */
  readonly idleTimeoutMs: number;
  /** DestinationRule connectionPool.http.http2KeepAlive; null = none. */
  readonly keepAlive: { readonly intervalMs: number; readonly timeoutMs: number } | null;
  readonly report: h2.H2Report | null;
}

export class H2Client extends H2Connection {
  readonly scheme: 'http' | 'https';
  requests = 0;
  readonly #owner: H2ClientOwner;
  readonly #maxStreams: number;
  readonly #keepAlive: H2ClientOptions['keepAlive'];
  /** Places given whose stream has not begun. */
  #reserved = 0;
  /** What waits for the server's SETTINGS. */
  readonly #unsettled: (() => void)[] = [];
  #nextId = 1;
  #retired = false;
  #gone = false;
  #pingAt: number;
  #pongBy = Number.POSITIVE_INFINITY;
  #onData = (chunk: Buffer): void => this.read(chunk, false);
  #onEnd = (): void => this.#onPeerEnd();
  #onClose = (): void => this.#onSocketClose();
  #onError = (): void => {};

  constructor(duct: Duct, owner: H2ClientOwner, options: H2ClientOptions) {
    const { clock, idleTimeoutMs, report } = options;
    super(duct, {
      clock,
      idleMs: idleTimeoutMs > 0 ? idleTimeoutMs : Number.POSITIVE_INFINITY,
      report,
      memo: options.memo,
      preface: false,
      headerTimeoutMs: HEADER_TIMEOUT_MS,
    });
    this.#owner = owner;
    this.scheme = options.scheme;
    this.#maxStreams = options.maxStreams;
    this.#keepAlive = options.keepAlive;
    this.#pingAt = clock.now + (options.keepAlive?.intervalMs ?? Number.POSITIVE_INFINITY);
    const { socket, inlet } = duct;
    socket.on('error', this.#onError).on('close', this.#onClose).on('end', this.#onEnd);
    if (inlet === null) socket.on('data', this.#onData);
    else inlet.receive = (chunk, borrowed) => this.read(chunk, borrowed);
    clock.add(this);
    this.output.raw(h2.PREFACE);
    this.output.settings(SETTINGS);
    this.output.windowUpdate(0, h2.CONNECTION_WINDOW - h2.DEFAULT_WINDOW);
  }

  /** Open streams, and places given for one. */
  get active(): number {
    return this.streams.size + this.#reserved;
  }

  /** Streams that may begin now. */
  get room(): number {
    if (this.#retired || this.over || !this.duct.socket.writable) return 0;
    const allowed = Math.min(this.peer.received ? this.peer.streams : STREAMS_AT_FIRST, this.#maxStreams);
    return Math.max(0, allowed - this.active);
  }

  /** Takes a place; null = there is no room. */
  open(): UpstreamStream | null {
    if (this.room <= 0) return null;
    this.#reserved++;
    return new H2ClientStream(this);
  }

  /** A place becomes a stream. @returns false when none may begin any more */
  begin(stream: H2ClientStream): boolean {
    this.#reserved--;
    if (this.#retired || this.over || !this.duct.socket.writable) return false;
    stream.id = this.#nextId;
    this.#nextId += 2;
    this.requests++;
    this.streams.add(stream);
    if (this.#nextId > LAST_ID) this.retire();
    return true;
  }

  /** A place is given back without a stream. */
  leave(): void {
    this.#reserved--;
    this.#roomed();
  }

  /** No further stream; closed when the last is done. */
  retire(): void {
    if (this.#retired) return;
    this.#retired = true;
    if (!this.#gone) this.#owner.onRetired(this);
    this.#closeIfDone();
  }

  destroy(): void {
    this.over = true;
    this.duct.socket.destroy();
    this.#leaveOwner();
  }

  protected isIdle(id: number): boolean {
    return (id & 1) === 0 || id >= this.#nextId;
  }

  protected onNewStream(id: number): void {
    if (this.isIdle(id)) this.fail(h2.PROTOCOL_ERROR, 'h2_protocol_error', 'a server opens no streams');
    else this.fail(h2.STREAM_CLOSED, 'h2_stream_closed', 'HEADERS on a stream that has ended');
  }

  onCaughtUp(): void {
    // A server begins nothing, and so never too much at a time.
  }

  protected onEmpty(): void {
    if (this.#closeIfDone()) return;
    this.#roomed();
  }

  override forget(stream: H2Stream): void {
    const full = this.streams.size > 1;
    super.forget(stream);
    if (full) this.#roomed();
  }

  #roomed(): void {
    if (!this.#retired && !this.over) this.#owner.onRoom(this);
  }

  #closeIfDone(): boolean {
    if (!this.#retired || this.over || this.active > 0) return false;
    this.over = true;
    this.output.goaway(0, h2.NO_ERROR, '');
    this.output.flush();
    this.duct.socket.end();
    this.duct.socket.destroySoon();
    return true;
  }

  protected onGoaway(last: number): void {
    if (!this.#retired) {
      this.#retired = true;
      this.#owner.onRetired(this);
    }
    // RFC 9113 6.8: these were not processed and may be sent again.
    for (const stream of this.streams.values()) {
      if (stream.id <= last || !(stream instanceof H2ClientStream)) continue;
      stream.remoteEnded = true;
      stream.localEnded = true;
      this.forget(stream);
      stream.onRefused();
    }
    this.#closeIfDone();
  }

  protected onSettings(): void {
    this.#tellSettled();
    this.#roomed();
  }

  /** Calls `then` when the server's SETTINGS came, or the connection is gone. */
  whenSettled(then: () => void): void {
    this.#unsettled.push(then);
  }

  #tellSettled(): void {
    for (const then of this.#unsettled.splice(0)) then();
  }

  protected onPong(payload: Buffer, at: number): void {
    if (payload.compare(KEEP_ALIVE, 0, 8, at, at + 8) === 0) this.#pongBy = Number.POSITIVE_INFINITY;
  }

  protected onFault(): void {
    this.duct.socket.end();
    this.duct.socket.destroySoon();
    this.#onSocketClose();
  }

  protected onTick(now: number): void {
    for (const stream of this.streams.values())
      if (stream instanceof H2ClientStream && now > stream.responseBy) stream.onLate();
    if (now > this.#pongBy) {
      this.destroy();
      return;
    }
    if (this.#keepAlive === null || now < this.#pingAt || this.over) return;
    this.#pingAt = now + this.#keepAlive.intervalMs;
    if (this.#pongBy === Number.POSITIVE_INFINITY) this.#pongBy = now + this.#keepAlive.timeoutMs;
    this.output.ping(KEEP_ALIVE, 0, false);
  }

  /** A server that half-closes answers nothing more. */
  #onPeerEnd(): void {
    this.duct.socket.destroy();
  }

  #onSocketClose(): void {
    this.over = true;
    this.peer.received = true;
    this.clock.delete(this);
    this.#tellSettled();
    this.endStreams();
    this.#leaveOwner();
  }

  #leaveOwner(): void {
    if (this.#gone) return;
    this.#gone = true;
    if (!this.#retired) {
      this.#retired = true;
      this.#owner.onRetired(this);
    }
    this.#owner.onGone(this);
  }
}
