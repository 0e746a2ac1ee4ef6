/**
 * What is asked of a request before policy's own word, where configuration asks for it: external authorizers (CUSTOM),
 * then tokens (RequestAuthentication). Both may take time; meanwhile the configuration can change and the client can go.
 */
import type { FailureCode } from '../errors.ts';
import type { RequestHead } from '../http/h1-parser.ts';
import { HeaderEdits } from '../http/header-edits.ts';
import type { JwtVerdict } from '../identity/jwt.ts';
import { customMatches } from '../policy/decide.ts';
import type { CustomMatch } from '../policy/decision.ts';
import type { RefusedBy } from '../policy/explain-live.ts';
import { pathOf } from '../policy/normalise.ts';
import { authzQuestion } from './authz-question.ts';
import type { AuthzAnswer } from './ext-authz-question.ts';
import type { InboundView } from './inbound-http.ts';
import type { ProxiedRequest } from './request.ts';

/** What becomes of a target that cannot be normalised: the body's word, and Envoy's response code details. */
export const INVALID_PATH = ['invalid path', 'path_normalization_failed'] as const;

const PERMISSION_DENIED = 7; // grpc/doc/statuscodes.md
const UNAUTHENTICATED = 16;

/** Why a request was refused here, for its record. */
export interface AdmissionRefusal {
  readonly policy: string | null;
  readonly rule: number | null;
  readonly missed: string | null;
  /** Envoy's response code details. */
  readonly reason: string;
  readonly provider: string | null;
  /** What of it an explanation tells. */
  readonly refusedBy: RefusedBy;
}

export interface AdmissionEnds {
  /** The target by the normalisation in force; null = it is refused. */
  targetOf(head: RequestHead): string | null;
  /** Go on to policy, with the request's target as the app gets it. */
  admitted(request: ProxiedRequest, target: string): void;
  /** Notes it on the record, before the answer is written. */
  refused(request: ProxiedRequest, refusal: AdmissionRefusal): void;
}

/** One request's way through authorizers and tokens; made only where there is one of them to ask. */
export class Admission {
  readonly #request: ProxiedRequest;
  readonly #view: InboundView;
  readonly #ends: AdmissionEnds;
  readonly #rawPath: string;
  #target: string;
  #generation: unknown = null;
  readonly #gone = new AbortController();

  constructor(request: ProxiedRequest, target: string, view: InboundView, ends: AdmissionEnds) {
    this.#request = request;
    this.#view = view;
    this.#ends = ends;
    this.#rawPath = request.exchange.head.rawPath;
    this.#target = target;
    request.onGone = () => this.#gone.abort();
  }

  /** Begins, and begins again when what is in force changes while an answer is awaited: only one configuration decides. */
  start(): void {
    this.#generation = this.#view.snapshot;
    const matches = customMatches(this.#view.policy, this.#request.exchange.head);
    if (matches === null) this.#authenticate();
    else this.#askProvider(matches, 0);
  }

  /** False when the answer that has come is of no use any more. */
  #stands(): boolean {
    if (this.#request.gone) return false;
    if (this.#view.snapshot === this.#generation) return true;
    this.#startAnew();
    return false;
  }

  #startAnew(): void {
    const { exchange } = this.#request;
    const { head } = exchange;
    head.edits = null;
    head.jwt = null;
    head.rawPath = this.#rawPath;
    exchange.responseEdits = null;
    const target = this.#ends.targetOf(head);
    if (target === null) {
      exchange.reply('bad_request', ...INVALID_PATH);
      return;
    }
    this.#target = target;
    head.path = pathOf(target);
    this.start();
  }

  #askProvider(matches: readonly CustomMatch[], at: number): void {
    const match = matches[at];
    if (match === undefined) {
      this.#authenticate();
      return;
    }
    if (match.bad !== null) {
      this.#refuse('policy_denied', {
        ...match.decision,
        provider: match.provider,
        refusedBy: { by: 'policy' },
      });
      return;
    }
    const authorizer = this.#view.authorizer(match.provider);
    if (authorizer === null) {
      const { provider, policy, rule } = match;
      const said = 'is not in the configuration in force';
      const refusedBy = { by: 'authorizer', provider, policy, rule, said } as const;
      this.#refuse('policy_denied', {
        policy,
        rule,
        missed: null,
        reason: 'ext_authz_error',
        provider,
        refusedBy,
      });
      return;
    }
    const ask = (bytes: Buffer | null, partial: boolean): void => {
      if (!this.#stands()) return;
      const question = authzQuestion(this.#request, this.#view, this.#target, bytes, partial);
      void authorizer.check(question, this.#gone.signal).then(answer => {
        if (this.#stands()) this.#answered(matches, at, answer);
      });
    };
    const { bodyLimit } = authorizer;
    const { head } = this.#request.exchange;
    if (bodyLimit === 0 || head.framing === 'none') ask(null, false);
    else this.#request.exchange.collectBody(bodyLimit, (bytes, complete) => ask(bytes, !complete));
  }

  #answered(matches: readonly CustomMatch[], at: number, answer: AuthzAnswer): void {
    const { exchange } = this.#request;
    const match = matches[at] as CustomMatch;
    if (!answer.allow) {
      const { provider, policy, rule } = match;
      const said = `answered ${answer.status}`;
      this.#ends.refused(this.#request, {
        policy,
        rule,
        missed: null,
        reason: answer.details,
        provider,
        refusedBy: { by: 'authorizer', provider, policy, rule, said },
      });
      exchange.answer({
        status: answer.status,
        headers: answer.headers,
        body: answer.body,
        grpcStatus: answer.grpcStatus,
        grpcMessage: answer.body.toString('latin1'),
        flag: answer.flag,
        details: answer.details,
      });
      return;
    }
    const { head } = exchange;
    for (const [name, value] of answer.set) editsOf(head).set(name, value);
    for (const name of answer.remove) editsOf(head).remove(name);
    if (answer.target !== null) this.#retarget(answer.target);
    if (answer.responseHeaders.length > 0 || answer.responseSet.length > 0) {
      const before = exchange.responseEdits ?? { remove: [], added: '' };
      const lines = [...answer.responseSet, ...answer.responseHeaders];
      exchange.responseEdits = {
        remove: [...before.remove, ...answer.responseSet.map(([name]) => name)],
        added: before.added + lines.map(([name, value]) => `${name}: ${value}\r\n`).join(''),
      };
    }
    this.#askProvider(matches, at + 1);
  }

  #authenticate(): void {
    const { authenticator } = this.#view.snapshot;
    const { head } = this.#request.exchange;
    if (authenticator === null) {
      this.#ends.admitted(this.#request, this.#target);
      return;
    }
    const verdict = authenticator.authenticate({
      method: head.method,
      host: head.host,
      scheme: this.#view.clientCert === null ? 'http' : 'https',
      target: this.#target,
      headerValues: name => head.headerValues(name),
    });
    if (verdict instanceof Promise) {
      void verdict.then(found => {
        if (this.#stands()) this.#authenticated(found);
      });
    } else this.#authenticated(verdict);
  }

  #authenticated(verdict: JwtVerdict): void {
    const { exchange, record } = this.#request;
    if (!verdict.ok) {
      const { status, body, wwwAuthenticate, details } = verdict;
      const nobody = { policy: null, rule: null, missed: null, provider: null };
      this.#ends.refused(this.#request, {
        ...nobody,
        reason: details,
        refusedBy: { by: 'token', body },
      });
      exchange.answer({
        status,
        headers: wwwAuthenticate === null ? [] : [['www-authenticate', wwwAuthenticate]],
        body,
        grpcStatus: status === 401 ? UNAUTHENTICATED : PERMISSION_DENIED,
        grpcMessage: body,
        flag: '-',
        details,
      });
      return;
    }
    const { head } = exchange;
    const { jwt, edits } = verdict;
    head.jwt = jwt;
    if (jwt !== null) record.requestPrincipal = principalOf(jwt.payload);
    if (edits !== null) {
      if (edits.remove.length > 0 || edits.headers.length > 0) editsOf(head).apply(edits);
      if (edits.target !== null) this.#retarget(edits.target);
    }
    this.#ends.admitted(this.#request, this.#target);
  }

  /** A provider or the removal of a token changed the query. */
  #retarget(target: string): void {
    this.#target = target;
    const { head } = this.#request.exchange;
    head.rawPath = target;
    head.path = pathOf(target);
  }

  #refuse(code: FailureCode, refusal: AdmissionRefusal): void {
    this.#ends.refused(this.#request, refusal);
    this.#request.exchange.reply(code, '', refusal.reason);
  }
}

function editsOf(head: { edits: HeaderEdits | null }): HeaderEdits {
  head.edits ??= new HeaderEdits();
  return head.edits;
}

/** `iss/sub`, as policies write it; null when the token lacks one of them. */
function principalOf(payload: Readonly<Record<string, unknown>>): string | null {
  const { iss, sub } = payload;
  return typeof iss === 'string' && typeof sub === 'string' && iss !== '' && sub !== ''
    ? `${iss}/${sub}`
    : null;
}
