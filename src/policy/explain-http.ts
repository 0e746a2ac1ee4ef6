/** One described HTTP request on a connection that was let in: what each stage says of it, in the order of the wire. */
import type { PathNormalization } from '../config/resources.ts';
import { type RequestAttributes, type VerifiedJwt, wireText } from './attributes.ts';
import { type ConnectionPolicy, customMatches, type Decision, decideRequest, findingsOf } from './decide.ts';
import type { AssumedAnswer, ExplainAnswer, FrontDoor, Outcome, TokenCheck } from './explain-answer.ts';
import { authorizerLine, tokenLine } from './explain-live.ts';
import { nearestRule } from './explain-nearest.ts';
import type { ExplainRequest } from './explain-request.ts';
import { isKnownMethod } from './method.ts';
import { normaliseTarget, pathOf } from './normalise.ts';

/** What is in force on the connection. */
export interface HttpStage {
  readonly policy: ConnectionPolicy;
  readonly normalization: PathNormalization;
  readonly door: FrontDoor;
  /** null = no RequestAuthentication concerns the workload. */
  readonly tokens: (TokenCheck & { readonly policies: readonly string[] }) | null;
}

/** The part of an answer that is about the request. */
export type Explained = Outcome &
  Pick<ExplainAnswer, 'path' | 'custom' | 'audit' | 'dryRun' | 'trace' | 'nearest'>;

/** Explains one request. */
export async function explainHttp(stage: HttpStage, asked: ExplainRequest): Promise<Explained> {
  const read = readRequest(stage, asked);
  if (typeof read === 'string') {
    const trace = [`the request is answered with 400: ${read}`];
    const reason = `bad_request: ${read}`;
    return { decision: 'deny', status: 400, reason, audit: [], dryRun: [], trace };
  }
  const story = new Story(stage, asked, read);
  return story.custom() ?? (await story.token()) ?? story.decide();
}

/** The stages of one request, one after the other; each answers when it ends the request. */
class Story {
  readonly #stage: HttpStage;
  readonly #asked: ExplainRequest;
  readonly #trace: string[] = [];
  #request: RequestAttributes;
  #assumed: AssumedAnswer[] = [];

  constructor(stage: HttpStage, asked: ExplainRequest, request: RequestAttributes) {
    this.#stage = stage;
    this.#asked = asked;
    this.#request = request;
  }

  /** CUSTOM: nobody is asked; the answer is assumed. */
  custom(): Explained | null {
    const matches = customMatches(this.#stage.policy, this.#request, this.#trace);
    for (const { provider, policy, rule, bad, decision } of matches ?? []) {
      if (bad !== null) return this.#end(outcomeOf(decision, { status: 403, grpcStatus: 7 }));
      const assumed = this.#asked.custom;
      this.#assumed.push({ provider, policy, rule, assumed });
      this.#trace.push(
        authorizerLine({ provider, policy, rule }, `${assumed === 'allow' ? 'allows' : 'denies'} (assumed)`),
      );
      if (assumed === 'deny') {
        const refusal = { allow: false, reason: 'ext_authz_denied', policy, rule, missed: null };
        return this.#end(outcomeOf(refusal, { status: 403, grpcStatus: 7 }));
      }
    }
    return null;
  }

  async token(): Promise<Explained | null> {
    const { tokens } = this.#stage;
    if (tokens === null) return null;
    const request = this.#request;
    const { method, host, rawPath } = request;
    const verdict = await tokens.check({
      method,
      host,
      scheme: this.#asked.transport === 'mtls' ? 'https' : 'http',
      target: rawPath,
      headerValues: name => request.headerValues(name),
    });
    if (verdict.ok) {
      this.#trace.push(tokenLine(tokens.policies, verdict.jwt));
      this.#request = edited(request, verdict);
      return null;
    }
    this.#trace.push(tokenLine(tokens.policies, { refused: verdict.body }));
    for (const place of tokens.missingKeys) {
      this.#trace.push(`the keys of ${place} are not at hand here: a live sidecar fetches them`);
    }
    const grpcStatus = verdict.status === 401 ? 16 : 7;
    const refusal = { allow: false, reason: verdict.details, policy: null, rule: null, missed: null };
    return this.#end(outcomeOf(refusal, { status: verdict.status, grpcStatus }));
  }

  decide(): Explained {
    const { policy } = this.#stage;
    const findings = findingsOf(policy, this.#request, this.#trace);
    const decision = decideRequest(policy, this.#request, this.#trace);
    const outcome = outcomeOf(decision, decision.allow ? { status: 200 } : { status: 403, grpcStatus: 7 });
    const nearest = decision.missed === null ? null : nearestRule(policy, this.#request);
    return {
      ...this.#end(outcome),
      ...(findings !== null && { audit: findings.audit, dryRun: findings.dryRun }),
      ...(nearest !== null && { nearest }),
    };
  }

  /** A refusal of a gRPC request is an answer with status 200. */
  #end({ grpcStatus, ...outcome }: Outcome): Explained {
    const grpc = grpcStatus !== undefined && isGrpc(this.#asked);
    return {
      ...outcome,
      ...(grpc && { status: 200, grpcStatus }),
      path: this.#request.path,
      ...(this.#assumed.length > 0 && { custom: this.#assumed }),
      audit: [],
      dryRun: [],
      trace: this.#trace,
    };
  }
}

function isGrpc({ request }: ExplainRequest): boolean {
  return request.headers.get('content-type')?.[0]?.startsWith('application/grpc') === true;
}

function edited(
  request: RequestAttributes,
  verdict: { jwt: VerifiedJwt | null; target: string; headerValues(name: string): readonly string[] },
): RequestAttributes {
  const { method, host } = request;
  const { jwt, target } = verdict;
  const headerValues = (name: string) => verdict.headerValues(name);
  return { method, host, path: pathOf(target), rawPath: target, jwt, headerValues };
}

/** Without parts that say nothing. */
export function outcomeOf(decision: Decision, status: Pick<Outcome, 'status' | 'grpcStatus'> = {}): Outcome {
  return {
    decision: decision.allow ? 'allow' : 'deny',
    ...status,
    ...(decision.reason !== '' && { reason: decision.reason }),
    ...(decision.policy !== null && { policy: decision.policy }),
    ...(decision.rule !== null && { rule: decision.rule }),
  };
}

/** The request as a parser hands it over, or why it gets 400. */
function readRequest({ normalization, door }: HttpStage, asked: ExplainRequest): RequestAttributes | string {
  const { method, path, host, headers } = asked.request;
  const http1 = asked.protocol === 'http';
  const fault = door.requestFault(asked) ?? (http1 && !isKnownMethod(method) ? 'unknown method' : null);
  if (fault !== null) return fault;
  const form = originForm(method, path);
  const target = form === null ? null : normalisedTarget(method, wireText(form.target), normalization);
  if (form === null || target === null) return 'invalid path';
  return {
    method: wireText(method),
    host: wireText(form.host ?? host),
    path: pathOf(target),
    rawPath: target,
    jwt: null,
    headerValues: name => headerLines(name, headers.get(name) ?? [], http1),
  };
}

/**
 * Lines as a parser hands them over. HTTP/1 trims white space around a value, HTTP/2 does not; there cookie crumbs are one
 * value again (RFC 9113 8.2.3), none when empty.
 */
function headerLines(name: string, given: readonly string[], http1: boolean): readonly string[] {
  if (http1) return given.map(line => wireText(line.replace(/^[ \t]+|[ \t]+$/g, '')));
  const lines = given.map(wireText);
  if (name !== 'cookie') return lines;
  const cookie = lines.join('; ');
  return cookie === '' ? [] : [cookie];
}

/** A CONNECT target is an authority: there is no path in it to normalise. */
export function normalisedTarget(method: string, target: string, mode: PathNormalization): string | null {
  return method === 'CONNECT' ? target : normaliseTarget(target, mode);
}

/** RFC 9112 3.2: the four forms of a target; an absolute one has the host that counts. */
export function originForm(
  method: string,
  path: string,
): { readonly target: string; readonly host?: string } | null {
  if (method === 'CONNECT') return { target: path };
  if (path === '*') return method === 'OPTIONS' ? { target: '*' } : null;
  const absolute = /^https?:\/\/([^/?#]+)(.*)$/i.exec(path);
  if (absolute === null) return { target: path };
  const [, host, rest] = absolute as unknown as [string, string, string];
  return { target: rest.startsWith('/') ? rest : `/${rest}`, host };
}
