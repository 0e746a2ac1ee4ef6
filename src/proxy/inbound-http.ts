// Hot path: no promise, closure or string per chunk.
/** The requests of one inbound connection: parsed → policy → the app, and what the app is told of the peer. */
import { FAILURES, type FailureCode } from '../errors.ts';
import type { Duct, Exchange, FieldNames, RequestHandler } from '../http/exchange.ts';
import type { RequestHead } from '../http/h1-parser.ts';
import { DROP_PROTO, DROP_XFCC, type RequestEdits } from '../http/h1-write.ts';
import { type ConnectionPolicy, type Decision, decideRequest, findingsOf } from '../policy/decide.ts';
import { DECISION_HEADER, decisionHeader } from '../policy/decision-header.ts';
import { explainDenial } from '../policy/explain-live.ts';
import { isKnownMethod } from '../policy/method.ts';
import { normaliseTarget, pathOf } from '../policy/normalise.ts';
import { AccessRecord, type ConnectionFacts } from '../telemetry/record.ts';
import type { Recorder } from '../telemetry/recorder.ts';
import type { Tracer } from '../telemetry/trace.ts';
import { Admission, type AdmissionEnds, type AdmissionRefusal, INVALID_PATH } from './admission.ts';
import type { AppDestination } from './app.ts';
import type { ExtAuthz } from './ext-authz.ts';
import type { AuthzConnection } from './ext-authz-question.ts';
import { isHttp2 } from './h2-upstream.ts';
import { ProxiedRequest, standardEdits } from './request.ts';
import type { Snapshot } from './snapshot.ts';

/** What a request needs of its connection. */
export interface InboundView {
  /** What is in force now, and policy as it holds on this connection under it. */
  readonly snapshot: Snapshot;
  readonly policy: ConnectionPolicy;
  readonly facts: ConnectionFacts;
  readonly app: AppDestination;
  /** Outrider's own x-forwarded-client-cert element; null on plaintext. */
  readonly clientCert: string | null;
  readonly recorder: Recorder;
  readonly tracer: Tracer | null;
  /** `explain`: the access log says why a request was denied; `tell`: the answer does. */
  readonly denials: { readonly explain: boolean; readonly tell: boolean };
  /** What external authorizers are told of the connection. */
  readonly authzConnection: AuthzConnection;
  /** The external authorizer of that name; null when the mesh config in force has none. */
  authorizer(provider: string): ExtAuthz | null;
  openTunnel(exchange: Exchange<ProxiedRequest>, ends: TunnelEnds): void;
  onClosed(): void;
}

export interface TunnelEnds {
  readonly client: Duct;
  readonly upstream: Duct;
  /** What each side sent already. */
  readonly fromClient: Buffer | null;
  readonly fromUpstream: Buffer | null;
}

export class InboundHttp implements RequestHandler<ProxiedRequest>, AdmissionEnds {
  requestBytes = 0;
  responseBytes = 0;
  #view: InboundView;

  constructor(view: InboundView) {
    this.#view = view;
  }

  get withheldTrailers(): FieldNames | null {
    return this.#view.snapshot.writtenFields;
  }

  onRequest(exchange: Exchange<ProxiedRequest>): void {
    const view = this.#view;
    const { head } = exchange;
    const request = new ProxiedRequest(exchange, view.facts, view.recorder);
    const target = this.targetOf(head);
    if (target === null) {
      exchange.reply('bad_request', ...INVALID_PATH);
      return;
    }
    if (!isHttp2(head) && !isKnownMethod(head.method)) {
      exchange.reply('bad_request', 'unknown method', 'http1.codec_error');
      return;
    }
    head.path = pathOf(target);
    const { clientCert } = view;
    if (clientCert !== null) head.clientCert = this.#clientCertOf(head, clientCert);
    if (view.snapshot.authenticator === null && view.snapshot.authorization.http.custom.length === 0)
      this.admitted(request, target);
    else new Admission(request, target, view, this).start();
  }

  /** OPTIONS * and CONNECT have no path to normalise. */
  targetOf(head: RequestHead): string | null {
    if (head.rawPath === '*' || head.method === 'CONNECT') return head.rawPath;
    return normaliseTarget(head.rawPath, this.#view.snapshot.normalization);
  }

  /** Policy's own word, on what is in force now. */
  admitted(request: ProxiedRequest, target: string): void {
    const view = this.#view;
    const { head } = request.exchange;
    const { record } = request;
    const decision = this.#decide(request);
    if (decision.allow) {
      request.send(view.app, this.#edits(request, target));
      return;
    }
    if (view.denials.explain) record.explanation = explainDenial(view.policy, head, { by: 'policy' });
    if (view.denials.tell) tellDecision(request.exchange, decisionHeader(decision));
    request.exchange.reply('policy_denied', '', decision.reason);
  }

  #decide({ record, exchange }: ProxiedRequest): Decision {
    const { policy } = this.#view;
    record.findings = findingsOf(policy, exchange.head);
    const decision = decideRequest(policy, exchange.head);
    record.decision = decision.allow ? 'allow' : 'deny';
    record.policy = decision.policy ?? decision.missed;
    record.policyRule = decision.rule;
    return decision;
  }

  /** Whether policy in force lets in the request of an open tunnel. Tokens and external authorizers are not asked anew. */
  stillAllows(request: ProxiedRequest): boolean {
    const { record, exchange } = request;
    const target = this.targetOf(exchange.head);
    if (target === null) {
      record.decision = 'deny';
      record.terminationDetails = INVALID_PATH[1];
      return false;
    }
    exchange.head.path = pathOf(target);
    const decision = this.#decide(request);
    if (!decision.allow) record.terminationDetails = decision.reason;
    return decision.allow;
  }

  refused(request: ProxiedRequest, refusal: AdmissionRefusal): void {
    const { record, exchange } = request;
    record.decision = 'deny';
    record.policy = refusal.policy ?? refusal.missed;
    record.policyRule = refusal.rule;
    const { denials, policy } = this.#view;
    if (denials.explain) record.explanation = explainDenial(policy, exchange.head, refusal.refusedBy);
    if (denials.tell) tellDecision(exchange, decisionHeader(refusal, refusal.provider));
  }

  #edits(request: ProxiedRequest, target: string): RequestEdits {
    const { head } = request.exchange;
    const tls = this.#view.clientCert !== null;
    const added = tls ? ['x-forwarded-client-cert', head.clientCert] : [];
    let drop = DROP_XFCC;
    // A mesh peer's word on the scheme is kept; nobody vouches for a plaintext client's.
    const proto = tls ? head.headerValues('x-forwarded-proto') : [];
    if (proto.length !== 1 || (proto[0] !== 'http' && proto[0] !== 'https')) {
      added.push('x-forwarded-proto', tls ? 'https' : 'http');
      drop |= DROP_PROTO;
    }
    return standardEdits(request, { target, added, drop, tracer: this.#view.tracer });
  }

  #clientCertOf(head: RequestHead, own: string): string {
    if (!this.#view.snapshot.appendClientCert) return own;
    const sent = head.sentValues('x-forwarded-client-cert').join(',');
    return sent === '' ? own : `${sent},${own}`;
  }

  onRetry(exchange: Exchange<ProxiedRequest>): void {
    exchange.context?.retry();
  }

  onFinished(exchange: Exchange<ProxiedRequest>): void {
    this.requestBytes += exchange.bytesReceived;
    this.responseBytes += exchange.bytesSent;
    exchange.context?.finish();
  }

  onRefused(code: FailureCode, what: string): void {
    const { recorder, facts } = this.#view;
    recorder.badRequest(what);
    const record = new AccessRecord(facts);
    record.status = FAILURES[code].status;
    record.flag = FAILURES[code].flag;
    record.details = what;
    recorder.finishRequest(record);
  }

  onTunnel(
    exchange: Exchange<ProxiedRequest>,
    client: Duct,
    early: Buffer | null,
    upstream: Duct | null,
    reply: Buffer | null,
  ): void {
    if (upstream === null) client.socket.destroy();
    else this.#view.openTunnel(exchange, { client, upstream, fromClient: early, fromUpstream: reply });
  }

  onClosed(): void {
    this.#view.onClosed();
  }
}

/** A development run: the refusal names what refused. */
function tellDecision(exchange: Exchange<ProxiedRequest>, value: string): void {
  exchange.responseEdits = { remove: [DECISION_HEADER], added: `${DECISION_HEADER}: ${value}\r\n` };
}
