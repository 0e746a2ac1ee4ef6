/** One request to an external authorizer on a pooled connection, and its answer: whole, bounded, in time. */
import type { FailureCode } from '../errors.ts';
import type {
  Duct,
  OutgoingRequest,
  ResponseSink,
  UpstreamFailure,
  UpstreamStream,
} from '../http/exchange.ts';
import type { Delivery } from '../http/h1-body.ts';
import type { ResponseHead } from '../http/h1-parser.ts';
import { Outbox } from '../http/outbox.ts';
import type { Cluster, EndpointTarget } from './cluster.ts';
import type { Applicant } from './http-upstream.ts';

/** An answer's body is kept in memory for each request that waits. A page that explains a denial has some KiB. */
const MAX_ANSWER_BYTES = 1024 * 1024;
/** Node's longest timer. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export interface AuthzCallOptions {
  readonly request: OutgoingRequest;
  readonly body: Buffer | null;
  /** From now to the last byte of the answer; 0 = for ever. */
  readonly timeoutMs: number;
  readonly cluster: Cluster;
  readonly signal: AbortSignal;
}

export type AuthzReply =
  | { readonly ok: true; readonly head: ResponseHead; readonly body: Buffer }
  /** `why` null = the signal. */
  | { readonly ok: false; readonly why: string | null };

/** Sends the request and reads the answer. Does not reject. */
export function callAuthorizer(options: AuthzCallOptions): Promise<AuthzReply> {
  return new Promise(resolve => new AuthzCall(options, resolve).start());
}

class AuthzCall implements Applicant, ResponseSink {
  readonly responseOut = new Outbox();
  readonly method: string;
  gone = false;
  #options: AuthzCallOptions;
  #resolve: (reply: AuthzReply) => void;
  #stream: UpstreamStream | null = null;
  #target: EndpointTarget | null = null;
  #tried: EndpointTarget[] = [];
  /** A pooled connection had gone stale: from then on only a new one will do. */
  #fresh = false;
  #head: ResponseHead | null = null;
  #pieces: Buffer[] = [];
  #bytes = 0;
  #timer: NodeJS.Timeout | null = null;
  #onAbort = (): void => this.#end({ ok: false, why: null });

  constructor(options: AuthzCallOptions, resolve: (reply: AuthzReply) => void) {
    this.#options = options;
    this.method = options.request.head.method;
    this.#resolve = resolve;
  }

  start(): void {
    const { signal, timeoutMs } = this.#options;
    if (signal.aborted) {
      this.#onAbort();
      return;
    }
    signal.addEventListener('abort', this.#onAbort, { once: true });
    if (timeoutMs > 0) {
      this.#timer = setTimeout(
        () => this.#fail('timeout', 'gateway_error'),
        Math.min(timeoutMs, MAX_TIMER_MS),
      );
      this.#timer.unref();
    }
    this.#attempt();
  }

  #attempt(): void {
    const target = this.#options.cluster.pick(this.#tried);
    if (target === null) {
      this.#fail('no healthy endpoint', null);
      return;
    }
    this.#leaveTarget();
    this.#target = target;
    target.active++;
    target.upstream.apply(this, this.#fresh ? -1 : Number.POSITIVE_INFINITY);
  }

  onConnection(stream: UpstreamStream): void {
    this.#stream = stream;
    const { request, body } = this.#options;
    const out = new Outbox();
    if (body !== null) out.data(body);
    stream.begin(this, request, out, true, false);
    stream.requestComplete('', 0);
  }

  onNoConnection(code: FailureCode, why: string): void {
    const { cluster } = this.#options;
    if (code !== 'connect_failed' || this.#target === null) {
      this.#fail(why, null);
      return;
    }
    cluster.report(this.#target, 'connect_failed');
    this.#tried.push(this.#target);
    if (this.#tried.length < cluster.tries) this.#attempt();
    else this.#fail(why, null);
  }

  onResponse(head: ResponseHead): Delivery | null {
    if (head.status === 101) return null;
    if (head.status >= 200) this.#head = head;
    // The length is not a body's where there is none: of an answer to HEAD, of 304.
    if (head.framing === 'length' && head.contentLength > MAX_ANSWER_BYTES) {
      this.#fail('answer too large', 'error');
      return null;
    }
    return 'bare';
  }

  flushResponse(borrowed: boolean): void {
    for (const piece of this.responseOut.take()) {
      const bytes = typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece;
      this.#bytes += bytes.length;
      this.#pieces.push(borrowed ? Buffer.from(bytes) : bytes);
    }
    if (this.#bytes > MAX_ANSWER_BYTES) this.#fail('answer too large', 'error');
  }

  onResponseEnd(): void {
    this.#stream = null;
    const head = this.#head;
    if (this.gone || head === null) return;
    if (this.#target !== null)
      this.#options.cluster.report(this.#target, head.status >= 500 ? 'error' : 'ok');
    this.#end({ ok: true, head, body: Buffer.concat(this.#pieces) });
  }

  onSwitch(_head: ResponseHead, upstream: Duct): void {
    upstream.socket.destroy();
    this.#fail('switched protocols', 'error');
  }

  onUpstreamFailure(kind: UpstreamFailure, what: string, begun: boolean): void {
    const stream = this.#stream;
    this.#stream = null;
    if (this.gone) return;
    const stale = kind === 'refused' || (kind === 'reset' && stream !== null && stream.requests > 1);
    if (stale && !begun && !this.#fresh) {
      // A connection that was idle too long for the server; a check changes nothing and may be sent again.
      this.#fresh = true;
      this.#attempt();
    } else this.#fail(what, 'gateway_error');
  }

  onUpstreamDrain(): void {}

  #fail(why: string, outcome: 'error' | 'gateway_error' | null): void {
    if (this.gone) return;
    if (outcome !== null && this.#target !== null) this.#options.cluster.report(this.#target, outcome);
    this.#end({ ok: false, why });
  }

  #end(reply: AuthzReply): void {
    if (this.gone) return;
    this.gone = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#options.signal.removeEventListener('abort', this.#onAbort);
    this.#leaveTarget();
    const stream = this.#stream;
    this.#stream = null;
    stream?.abandon();
    this.#resolve(reply);
  }

  #leaveTarget(): void {
    const target = this.#target;
    this.#target = null;
    if (target === null) return;
    target.active--;
    target.upstream.forget(this);
  }
}
