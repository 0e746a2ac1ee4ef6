// Hot path: no promise, closure or string per chunk.
/**
 * One upstream HTTP/1.1 connection: writes a request, reads its response, and tells its owner when it is idle or gone.
 * Bytes that belong to no request (RFC 9112 6: two responses to one request) end the connection before they reach anyone.
 */
import type {
  Clock,
  Deadline,
  Duct,
  OutgoingRequest,
  ResponseSink,
  UpstreamFailure,
  UpstreamStream,
} from './exchange.ts';
import { BodyReader } from './h1-body.ts';
import { headEnd, ParseFault, parseResponse } from './h1-parser.ts';
import { writeRequestHead } from './h1-write.ts';
import { FULL_RECORD_BYTES, type Outbox } from './outbox.ts';

/** Above this many queued bytes the writer's source pauses; 'drain' resumes it. */
export const HIGH_WATER_BYTES = 256 * 1024;
/** More interim responses than this to one request is no honest server. */
const MAX_INTERIM = 64;

export interface ClientOwner {
  /** The response is complete and the connection may serve another request. */
  onIdle(client: H1Client): void;
  /** The connection is closed or useless; called once. */
  onGone(client: H1Client): void;
}

export class H1Client implements UpstreamStream, Deadline {
  readonly duct: Duct;
  readonly bare = false;
  deadline = Number.POSITIVE_INFINITY;
  requests = 0;
  /** When it last became idle, on the clock's scale. */
  idleSince = 0;
  /** Longest the server keeps it idle, from Keep-Alive: timeout, in ms. */
  idleLimitMs = Number.POSITIVE_INFINITY;
  #owner: ClientOwner;
  /** TLS: bytes come a record at a time, several for one read. */
  #inRecords: boolean;
  #clock: Clock;
  #sink: ResponseSink | null = null;
  #reader = new BodyReader();
  #pending: Buffer | null = null;
  #inBody = false;
  #reusable = true;
  #interim = 0;
  #gone = false;
  #requestSent = false;
  #paused = false;
  #ended = false;
  #onData = (chunk: Buffer): void => this.#receive(chunk, false);
  #onEnd = (): void => this.#onPeerEnd();
  #onClose = (): void => this.#fail('reset', 'connection closed');
  #onError = (): void => {};
  #onDrain = (): void => this.#sink?.onUpstreamDrain();

  constructor(duct: Duct, owner: ClientOwner, clock: Clock) {
    this.duct = duct;
    this.#owner = owner;
    this.#inRecords = 'encrypted' in duct.socket;
    this.#clock = clock;
    const { socket, inlet } = duct;
    socket
      .on('error', this.#onError)
      .on('close', this.#onClose)
      .on('end', this.#onEnd)
      .on('drain', this.#onDrain);
    if (inlet === null) socket.on('data', this.#onData);
    else inlet.receive = (chunk, borrowed) => this.#receive(chunk, borrowed);
    clock.add(this);
  }

  /** Whether it can take a request now. */
  get usable(): boolean {
    return !this.#gone && !this.#ended && this.#sink === null && this.duct.socket.writable;
  }

  /** Whether a response is awaited or under way. */
  get busy(): boolean {
    return this.#sink !== null;
  }

  get backedUp(): boolean {
    return this.duct.socket.writableLength > HIGH_WATER_BYTES;
  }

  begin(sink: ResponseSink, request: OutgoingRequest, body: Outbox, _whole: boolean, more: boolean): void {
    this.#sink = sink;
    this.#inBody = false;
    this.#reusable = true;
    this.#requestSent = false;
    this.#interim = 0;
    this.requests++;
    this.deadline = Number.POSITIVE_INFINITY;
    body.textFirst(writeRequestHead(request.head, request.edits, request.drop));
    body.flush(this.duct.socket, false, more);
  }

  write(out: Outbox, more: boolean): boolean {
    out.flush(this.duct.socket, false, more);
    return this.duct.socket.writableLength <= HIGH_WATER_BYTES;
  }

  requestComplete(_trailers: string, timeoutMs: number): void {
    this.#requestSent = true;
    if (timeoutMs > 0 && !this.#inBody) this.deadline = this.#clock.now + timeoutMs;
  }

  onDeadline(): void {
    this.deadline = Number.POSITIVE_INFINITY;
    if (this.#sink !== null) this.#fail('timeout', 'response timeout');
  }

  pauseResponse(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.duct.socket.pause();
  }

  resumeResponse(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.duct.socket.resume();
  }

  abandon(): void {
    this.#sink = null;
    this.destroy();
  }

  destroy(): void {
    this.#leave();
    this.duct.socket.destroy();
  }

  /** Gives the socket away: to a tunnel. */
  #release(): void {
    const { socket, inlet } = this.duct;
    socket
      .off('close', this.#onClose)
      .off('end', this.#onEnd)
      .off('drain', this.#onDrain)
      .off('data', this.#onData);
    if (inlet !== null) inlet.receive = null;
    this.#leave();
  }

  #leave(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#clock.delete(this);
    this.#owner.onGone(this);
  }

  #receive(chunk: Buffer, borrowed: boolean): void {
    const sink = this.#sink;
    if (sink === null) {
      this.destroy();
      return;
    }
    let bytes = chunk;
    let borrowedNow = borrowed;
    const before = this.#pending;
    if (before !== null) {
      bytes = Buffer.concat([before, chunk]);
      borrowedNow = false;
      this.#pending = null;
    }
    this.#read(sink, bytes, before === null ? 0 : before.length, borrowedNow);
  }

  #read(sink: ResponseSink, bytes: Buffer, scanned: number, borrowed: boolean): void {
    let at = 0;
    while (!this.#inBody) {
      const end = headEnd(bytes, at, scanned);
      if (end instanceof ParseFault) return this.#fail('protocol', end.what);
      if (end < 0) {
        if (at < bytes.length)
          this.#pending = borrowed ? Buffer.from(bytes.subarray(at)) : bytes.subarray(at);
        sink.flushResponse(borrowed, false);
        return;
      }
      const head = parseResponse(bytes.toString('latin1', at, end), sink.method);
      if (head instanceof ParseFault) return this.#fail('protocol', head.what);
      at = end;
      this.deadline = Number.POSITIVE_INFINITY;
      if (head.status === 101 || (sink.method === 'CONNECT' && head.status >= 200 && head.status < 300)) {
        if (sink.method !== 'CONNECT' && sink.onResponse(head) === null) {
          return this.#fail('protocol', 'a 101 that was not asked for');
        }
        const rest = at < bytes.length ? Buffer.from(bytes.subarray(at)) : null;
        this.#sink = null;
        this.#release();
        sink.onSwitch(head, this.duct, rest);
        return;
      }
      if (head.status < 200 && ++this.#interim > MAX_INTERIM)
        return this.#fail('protocol', 'too many interim responses');
      const delivery = sink.onResponse(head);
      if (delivery === null) return this.#fail('protocol', 'unexpected response');
      if (head.status < 200) continue;
      this.#inBody = true;
      this.#reader.begin(head, delivery);
      if (head.close || head.framing === 'close' || (head.minor === 0 && !head.keepAlive))
        this.#reusable = false;
      if (head.keepAliveTimeout >= 0) this.idleLimitMs = Math.max(0, head.keepAliveTimeout * 1000 - 1000);
    }
    if (!this.#reader.done) {
      at = this.#reader.feed(bytes, at, sink.responseOut);
      if (this.#reader.fault !== null) return this.#fail('protocol', this.#reader.fault.what);
    }
    if (!this.#reader.done) {
      sink.flushResponse(borrowed, this.#inRecords && bytes.length >= FULL_RECORD_BYTES);
      return;
    }
    if (at < bytes.length) this.#reusable = false;
    this.#finish(sink, borrowed);
  }

  #finish(sink: ResponseSink, borrowed: boolean): void {
    sink.flushResponse(borrowed, false);
    this.#sink = null;
    this.resumeResponse();
    const { socket } = this.duct;
    // Its owner may begin another request on it at once.
    const { bytes, trailers } = this.#reader;
    // A response before the request's end leaves the rest of that request on this connection: it cannot be shared.
    if (!this.#reusable || !this.#requestSent || this.#ended || !socket.writable) this.destroy();
    else {
      this.idleSince = this.#clock.now;
      this.#owner.onIdle(this);
    }
    sink.onResponseEnd(bytes, trailers);
  }

  #onPeerEnd(): void {
    this.#ended = true;
    const sink = this.#sink;
    if (sink === null) {
      this.destroy();
      return;
    }
    if (this.#inBody && this.#reader.end(sink.responseOut)) this.#finish(sink, false);
    else this.#fail('reset', 'connection closed');
  }

  #fail(kind: UpstreamFailure, what: string): void {
    const sink = this.#sink;
    this.#sink = null;
    this.destroy();
    if (sink !== null) {
      sink.responseOut.clear();
      sink.onUpstreamFailure(kind, what, this.#inBody || this.#pending !== null || this.#interim > 0);
    }
  }
}
