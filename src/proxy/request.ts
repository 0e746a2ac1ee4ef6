// Hot path: no promise, closure or string per chunk.
/** One request on its way through the hub: what it wants sent, where to, and its record. */
import { randomUUID } from 'node:crypto';
import type { FailureCode } from '../errors.ts';
import { FAILURES } from '../errors.ts';
import type { Deadline, Exchange, UpstreamStream } from '../http/exchange.ts';
import { FieldEdits } from '../http/field-edits.ts';
import { grpcStatusOfHttp, grpcTimeoutMs } from '../http/grpc.ts';
import type { RequestHead } from '../http/h1-parser.ts';
import { DROP_REQUEST_ID, DROP_TRACEPARENT, DROP_TRACESTATE, type RequestEdits } from '../http/h1-write.ts';
import type { ConnectionFacts } from '../telemetry/record.ts';
import { AccessRecord } from '../telemetry/record.ts';
import type { Recorder } from '../telemetry/recorder.ts';
import type { Tracer } from '../telemetry/trace.ts';
import type { Applicant, HttpUpstream } from './http-upstream.ts';

/** A request that cannot be repeated takes a connection that was used this recently, or a new one. */
const FRESH_IDLE_MS = 1_000;
/** RFC 9110 9.2.2: repeatable after a stale connection broke. */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'TRACE']);

/** Where a request goes: picks an upstream for each attempt. */
export interface Destination {
  /** Null when no endpoint is there or all are ejected. One of `tried` only when there is no other. */
  pick(tried: readonly Target[] | null): Target | null;
  /** Tells how the attempt on this target went (outlier detection). */
  report(target: Target, outcome: 'ok' | 'connect_failed' | 'gateway_error' | 'error'): void;
  /** Endpoints that may be tried for one request. */
  readonly tries: number;
  /** As many requests are under way as may be; absent = never. */
  isFull?(): boolean;
}

export interface Target {
  readonly upstream: HttpUpstream;
  /** `address:port`, for the record. */
  readonly name: string;
  readonly cluster: string | null;
  /** Requests in flight, for LEAST_REQUEST. */
  active: number;
}

export class ProxiedRequest implements Applicant, Deadline {
  readonly exchange: Exchange<ProxiedRequest>;
  readonly record: AccessRecord;
  gone = false;
  /** Called once when the request is over, for whoever waits for an answer on its behalf; null = nobody. */
  onGone: (() => void) | null = null;
  /** When the time is over that a gRPC client gave; Infinity = it gave none. */
  deadline = Number.POSITIVE_INFINITY;
  #edits: RequestEdits = NO_EDITS;
  #destination: Destination | null = null;
  #target: Target | null = null;
  /** Attempts that found no connection. */
  #tries = 0;
  /** It was the client that had no more time. */
  #expired = false;
  /** Could not be connected, or took no more; null = none yet. */
  #tried: Target[] | null = null;
  #recorder: Recorder;

  constructor(exchange: Exchange<ProxiedRequest>, facts: ConnectionFacts, recorder: Recorder) {
    this.exchange = exchange;
    this.#recorder = recorder;
    const record = new AccessRecord(facts);
    const { head } = exchange;
    record.method = head.method;
    record.path = head.target;
    record.authority = head.host;
    record.protocol = `HTTP/${head.version}`;
    record.requestProtocol = head.grpc ? 'grpc' : 'http';
    record.headers = head;
    if (head.requestId) record.requestId = requestIdOf(head);
    this.record = record;
    exchange.context = this;
    if (head.grpc) this.#limitTime();
  }

  /** What comes late is of no use to the client, and costs the server (gRPC over HTTP/2, "Timeout"). */
  #limitTime(): void {
    const [timeout] = this.exchange.head.sentValues('grpc-timeout');
    if (timeout === undefined) return;
    // From when the head came, not from the clock's last tick: never early.
    this.deadline = this.record.startMs + grpcTimeoutMs(timeout);
    if (this.deadline !== Number.POSITIVE_INFINITY) this.exchange.clock.add(this);
  }

  onDeadline(): void {
    this.#expired = true;
    this.exchange.expire('max_duration_timeout');
  }

  /** Sends the request to `destination`, with the lines of `added` in place of those that `drop` names. */
  send(destination: Destination, edits: RequestEdits): void {
    if (destination.isFull?.() === true) {
      this.exchange.reply('overflow', 'too many requests', 'overflow');
      return;
    }
    this.#destination = destination;
    this.#edits = edits;
    this.#attempt();
  }

  #attempt(): void {
    const destination = this.#destination as Destination;
    const target = destination.pick(this.#tried);
    if (target === null) {
      this.exchange.reply('no_healthy_upstream', '', 'no_healthy_upstream');
      return;
    }
    this.#leaveTarget();
    this.#target = target;
    target.active++;
    this.record.upstreamHost = target.name;
    this.record.upstreamCluster = target.cluster;
    const repeatable = IDEMPOTENT.has(this.exchange.head.method) && this.exchange.attempts === 0;
    // After a stale connection only a new one will do.
    const maxIdleMs = this.exchange.attempts > 0 ? -1 : repeatable ? Number.POSITIVE_INFINITY : FRESH_IDLE_MS;
    const { upstream } = target;
    if (upstream.apply(this, maxIdleMs, upstream.wants(this.exchange.head))) this.#recorder.poolHit();
  }

  #leaveTarget(): void {
    if (this.#target === null) return;
    this.#target.active--;
    this.#target.upstream.forget(this);
    this.#target = null;
  }

  onConnection(stream: UpstreamStream): void {
    if (this.gone) {
      stream.abandon();
      return;
    }
    this.record.upstreamStartMs = performance.now();
    this.exchange.forward(stream, this.#edits);
  }

  onNoConnection(code: FailureCode, why: string): void {
    const destination = this.#destination;
    const target = this.#target;
    if (destination !== null && target !== null && code === 'connect_failed') {
      destination.report(target, 'connect_failed');
      this.record.transportFailure = why;
      this.#tries++;
      if (this.#tries < destination.tries) {
        this.#avoid(target);
        this.#attempt();
        return;
      }
    }
    this.exchange.reply(
      code,
      why,
      code === 'overflow' ? 'overflow' : 'upstream_reset_before_response_started{connection_failure}',
    );
  }

  /** Its connection had gone stale, or its server takes no more: once more on another, of another endpoint if there is one. */
  retry(): void {
    if (this.#target !== null) this.#avoid(this.#target);
    this.#attempt();
  }

  #avoid(target: Target): void {
    if (this.#tried === null) this.#tried = [target];
    else this.#tried.push(target);
  }

  /** A tunnel that this request opened has ended; its record has the bytes already. */
  finishTunnel(): void {
    this.gone = true;
    if (this.record.requestProtocol === 'grpc') this.exchange.clock.delete(this);
    this.#leaveTarget();
    this.record.details = 'upgrade_completed';
    this.#recorder.finishRequest(this.record);
  }

  /** Fills the record from the exchange and closes it. */
  finish(): void {
    this.gone = true;
    this.onGone?.();
    if (this.record.requestProtocol === 'grpc') this.#finishGrpc();
    const { exchange, record } = this;
    const destination = this.#destination;
    const target = this.#target;
    this.#leaveTarget();
    record.status = exchange.status;
    record.flag = exchange.flag;
    record.details =
      exchange.details === '' ? (exchange.attempts > 0 ? 'via_upstream' : null) : exchange.details;
    record.bytesReceived = exchange.bytesReceived;
    record.bytesSent = exchange.bytesSent;
    record.upstreamResponseMs = exchange.responseMs;
    // A client in a hurry says nothing of an endpoint, and must not have it ejected.
    if (destination !== null && target !== null && exchange.attempts > 0 && !this.#expired) {
      destination.report(target, outcomeOf(exchange.status, exchange.flag));
    }
    this.#recorder.finishRequest(record);
  }

  /** A response without a grpc-status counts as what its HTTP status stands for, as in Envoy. */
  #finishGrpc(): void {
    const { exchange, record } = this;
    exchange.clock.delete(this);
    if (exchange.grpcStatus !== '') record.grpcStatus = Number(exchange.grpcStatus);
    else if (exchange.status > 0) record.grpcStatus = grpcStatusOfHttp(exchange.status);
    record.requestMessages = exchange.requestMessages;
    record.responseMessages = exchange.responseMessages;
  }
}

function outcomeOf(status: number, flag: string): 'ok' | 'gateway_error' | 'error' {
  if (flag === 'UC' || flag === 'UT' || flag === 'UPE' || status === FAILURES.no_route.status)
    return 'gateway_error';
  if (status === FAILURES.connect_failed.status || status === FAILURES.response_timeout.status)
    return 'gateway_error';
  return status >= 500 ? 'error' : 'ok';
}

const NO_EDITS: RequestEdits = { target: '', added: '', drop: 0, remove: null };

/**
 * What every request gets: x-request-id when it has none, traceparent when tracing. Begins the span; `added` grows.
 * @returns the edits for the request towards `target`
 */
export function standardEdits(
  request: ProxiedRequest,
  options: { target: string; added: string[]; drop: number; tracer: Tracer | null },
): RequestEdits {
  const { head } = request.exchange;
  const { added } = options;
  let { drop } = options;
  const { edits } = head;
  if (!head.requestId && edits?.removes('x-request-id') !== true) {
    // An external authorizer may have been told it already.
    const id = request.record.requestId ?? randomUUID();
    added.push('x-request-id', id);
    drop |= DROP_REQUEST_ID;
    request.record.requestId = id;
  }
  const span = options.tracer?.begin(request.record, head.traceparent) ?? null;
  if (span !== null) {
    added.push('traceparent', span.traceparent);
    drop |= span.newTrace ? DROP_TRACEPARENT | DROP_TRACESTATE : DROP_TRACEPARENT;
  }
  if (edits === null) return new FieldEdits(options.target, added, drop, null);
  for (const [name, value] of edits.fields) added.push(name, value);
  return new FieldEdits(options.target, added, drop, edits.removed);
}

function requestIdOf(head: RequestHead): string | null {
  return head.headerValues('x-request-id')[0] ?? null;
}
