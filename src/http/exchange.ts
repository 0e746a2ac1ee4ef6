// Hot path: no promise, closure or string per chunk.
/**
 * The seam between framing and everything else: one request and its response, whatever the wire looks like.
 * The loop calls `onRequest`; the handler answers with `forward`, `reply`, `answer` or `acceptTunnel`, at once or later.
 */
import type { Socket } from 'node:net';
import type { FailureCode, ResponseFlag } from '../errors.ts';
import type { Delivery } from './h1-body.ts';
import type { RequestHead, ResponseHead } from './h1-parser.ts';
import type { RequestEdits } from './h1-write.ts';
import type { Outbox } from './outbox.ts';

/** A connection's bytes without events: the reader in force takes each chunk as it comes. */
export interface Inlet {
  /** `borrowed`: the chunk is a view of a buffer that the next read overwrites. */
  receive: ((chunk: Buffer, borrowed: boolean) => void) | null;
}

/** A socket and how its bytes arrive: by its inlet, or by its 'data' event when that is null. */
export interface Duct {
  readonly socket: Socket;
  readonly inlet: Inlet | null;
}

/** Deadlines are checked by one coarse clock a thread, so that arming one costs a field, not a timer. */
export interface Deadline {
  /** Milliseconds on the clock's scale; Infinity = none. */
  deadline: number;
  onDeadline(): void;
}

export interface Clock {
  /** Milliseconds, at most one tick old. */
  now: number;
  add(item: Deadline): void;
  delete(item: Deadline): void;
}

export interface HttpLimits {
  readonly headerTimeoutMs: number;
  readonly idleTimeoutMs: number;
  /** 0 = none. */
  readonly responseTimeoutMs: number;
}

/** An answer of Outrider's own that is not in the failure table: a token's verdict, an external authorizer's. */
export interface LocalAnswer {
  /** A final one, 200 to 599. */
  readonly status: number;
  /** Any but those that frame the message; names and values that could break out of a line are made harmless. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Text is sent as UTF-8, and as text/plain when `headers` do not say otherwise. */
  readonly body: string | Buffer;
  /** What a gRPC request gets in place of status and body. */
  readonly grpcStatus: number;
  readonly grpcMessage: string;
  readonly flag: ResponseFlag;
  /** Envoy's response code details. */
  readonly details: string;
}

/** Changes to the final response on one exchange, the app's or our own; never to what frames it. */
export interface ResponseEdits {
  /** Lower-case names of fields that are left out first. */
  readonly remove: readonly string[];
  /** Complete lines that are added, each ending in CRLF. */
  readonly added: string;
}

/** One request; `C` is what the handler keeps with it. */
export interface Exchange<C> {
  readonly head: RequestHead;
  context: C | null;
  /** What the client saw or would have: 0 until a response began. */
  status: number;
  flag: ResponseFlag;
  /** Envoy's response code details, or ''. */
  details: string;
  /** grpc-status of the response, or ''. */
  grpcStatus: string;
  /** Set before the response's head comes; null = none. */
  responseEdits: ResponseEdits | null;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** performance.now() when the response's head came, or -1. */
  readonly responseMs: number;
  /** Times this request was begun on an upstream connection. */
  readonly attempts: number;
  /** gRPC messages that came from the client, and from upstream; 0 in HTTP/1.1, which gRPC does not speak. */
  readonly requestMessages: number;
  readonly responseMessages: number;
  /** The clock of its connection. */
  readonly clock: Clock;
  /**
   * Reads the request's body before it is sent anywhere: calls `done` once, at once or later, with all of it, or with
   * its first `limit` bytes when more comes; never after the exchange is over. A client that waits for 100 (Continue)
   * gets it from here. `forward` still sends the whole body, framed as it came. Not after `forward`.
   */
  collectBody(limit: number, done: (body: Buffer, complete: boolean) => void): void;
  /** Sends the request on a stream that carried none yet. */
  forward(stream: UpstreamStream, edits: RequestEdits): void;
  /** Answers from the failure table. `detail` goes into the body where the table has a place for it. */
  reply(code: FailureCode, detail: string, details: string): void;
  /** Answers with what somebody else chose. HEAD gets no body, gRPC its own form. */
  answer(answer: LocalAnswer): void;
  /**
   * The time that the client gave is over: what is under way upstream is dropped, and the client told in the way that
   * still is possible.
   */
  expire(details: string): void;
  /** CONNECT that the proxy serves itself: answers 200, then hands the bytes over. */
  acceptTunnel(): void;
}

/** What an exchange is told of its response. After the end, a switch or a failure neither side calls the other. */
export interface ResponseSink {
  readonly method: string;
  /** Where body bytes go, framed as `onResponse` chose. */
  readonly responseOut: Outbox;
  /** Chooses how the body is delivered and writes the head; null = refuse it (unasked 101). */
  onResponse(head: ResponseHead): Delivery | null;
  /** Content of a response that is delivered 'bare', in place of what is gathered: for those that have the way. */
  onContent?(bytes: Buffer, borrowed: boolean): void;
  /** Writes what is gathered. `borrowed` as in Inlet, `more` as in Outbox.flush. */
  flushResponse(borrowed: boolean, more: boolean): void;
  /**
   * @param bytes of the body, without framing
   * @param trailers the trailer lines that go on, each ending in CRLF, '' = none; where chunks were delivered they are in
   * responseOut already
   */
  onResponseEnd(bytes: number, trailers: string): void;
  /** 101, or 2xx to CONNECT: `upstream` carries the tunnel's bytes from now on; `rest` came already. */
  onSwitch(head: ResponseHead, upstream: Duct, rest: Buffer | null): void;
  /**
   * There will be no (more) response; `begun`: bytes of one had come. 'refused': the server says that it did not process
   * the request (RFC 9113 8.7), so that it may be sent again whatever its method.
   */
  onUpstreamFailure(kind: UpstreamFailure, what: string, begun: boolean): void;
  /** The request's body may flow again. */
  onUpstreamDrain(): void;
}

export type UpstreamFailure = 'reset' | 'protocol' | 'timeout' | 'refused';

/** What of a request stands before its body. */
export interface OutgoingRequest {
  readonly head: RequestHead;
  readonly edits: RequestEdits;
  /** Added to that of the edits. */
  readonly drop: number;
}

/** One request's place on an upstream connection: an HTTP/1.1 connection is its own place, an HTTP/2 one gives a stream. */
export interface UpstreamStream {
  /** Requests begun on its connection so far. */
  readonly requests: number;
  /** The body is wanted as content only; else framed as HTTP/1.1 frames it by `head.framing`. */
  readonly bare: boolean;
  /** More is queued than should be: the source of the body pauses until `onUpstreamDrain`. */
  readonly backedUp: boolean;
  /**
   * Sends the head, and what is there of the body.
   *
   * @param whole nothing follows, no trailers either
   * @param more the rest follows in this turn of the event loop
   */
  begin(sink: ResponseSink, request: OutgoingRequest, body: Outbox, whole: boolean, more: boolean): void;
  /** Sends more of the body, all that is in `out`. @returns false when the source should pause until `onUpstreamDrain` */
  write(out: Outbox, more: boolean): boolean;
  /**
   * Nothing follows; called after a whole `begin` too. From now the response has `timeoutMs` to begin (0 = for ever).
   *
   * @param trailers lines of the request's trailers, each ending in CRLF; only where `bare`
   */
  requestComplete(trailers: string, timeoutMs: number): void;
  /** Nothing more of the response is wanted for now. */
  pauseResponse(): void;
  resumeResponse(): void;
  /**
   * Nothing of the response is wanted any more, whether the request began or not: an HTTP/1.1 connection is closed, an
   * HTTP/2 stream reset with CANCEL. Nothing is called after it.
   */
  abandon(): void;
}

/** Some names of fields. */
export interface FieldNames {
  /** @param name in lower case, with `-` for `_` */
  has(name: string): boolean;
}

/** What the proxy does with requests; one object a client connection. */
export interface RequestHandler<C> {
  /** Names, lower case and with `-`, that no trailer of a request may carry: those that Outrider itself writes; null = none. */
  readonly withheldTrailers: FieldNames | null;
  onRequest(exchange: Exchange<C>): void;
  /** The upstream broke or refused before a byte of the response, and the request can be sent again (RFC 9110 9.2.2). */
  onRetry(exchange: Exchange<C>): void;
  /** The exchange is over; called once for each onRequest. */
  onFinished(exchange: Exchange<C>): void;
  /** A message was refused before it became an exchange. */
  onRefused(code: FailureCode, what: string): void;
  /** 101 or an accepted CONNECT: both sides are bytes now. `upstream` is null for acceptTunnel. */
  onTunnel(
    exchange: Exchange<C>,
    client: Duct,
    early: Buffer | null,
    upstream: Duct | null,
    reply: Buffer | null,
  ): void;
  /** The client connection is gone. */
  onClosed(): void;
}
