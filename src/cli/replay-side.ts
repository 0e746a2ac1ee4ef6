/** One of the two configurations that replay compares: what it decides about a logged request, by the code that enforces. */
import type { JwtRule, Resources } from '../config/resources.ts';
import type { RequestAttributes, VerifiedJwt } from '../policy/attributes.ts';
import { type Authorization, compileAuthorization } from '../policy/compile.ts';
import {
  bindConnection,
  type ConnectionPolicy,
  type CustomMatch,
  customMatches,
  type Decision,
  decideConnection,
  decideRequest,
} from '../policy/decide.ts';
import type { FrontDoor } from '../policy/explain-answer.ts';
import { connectionFate, modeSource } from '../policy/explain-connection.ts';
import { normalisedTarget, originForm } from '../policy/explain-http.ts';
import { pathOf } from '../policy/normalise.ts';
import {
  type EffectiveMtls,
  effectiveMtls,
  isUnwritten,
  mtlsModeFor,
} from '../policy/peer-authentication.ts';
import { selectAuthentication } from '../policy/select.ts';
import { acceptedTrustDomains } from '../policy/trust-domain.ts';
import { type Guess, guessedJwt, type TokenFate } from './replay-guess.ts';
import type { LoggedRequest } from './replay-line.ts';

/** What one configuration says of a request. */
export interface Verdict {
  readonly allow: boolean;
  /** `namespace/name`; null where no AuthorizationPolicy's rule decided. */
  readonly policy: string | null;
  readonly rule: number | null;
  /** The ALLOW policies of which no rule matched. */
  readonly missed: readonly string[];
  /** As in the log; '' when allowed. */
  readonly reason: string;
  /** In words: who decided, where it was no rule; '' = the policy says it all. */
  readonly by: string;
}

/** The workload as the command line names it; the namespace comes from the log where it is null. */
export interface ReplayWorkload {
  readonly namespace: string | null;
  readonly labels: Readonly<Record<string, string>>;
}

/** What is in force at a workload of one namespace. */
interface Stage {
  readonly mtls: EffectiveMtls;
  readonly authorization: Authorization;
  readonly jwtRules: readonly JwtRule[];
}

/** What the log tells of a request's token and of authorizers under this configuration. */
export interface Told {
  /** What may have become of the token by these rules; one = it is certain. */
  readonly tokens: (rules: readonly JwtRule[]) => readonly TokenFate[];
  /** null = it cannot be told. */
  readonly provider: (name: string) => 'allow' | 'deny' | null;
}

export class Side {
  readonly resources: Resources;
  readonly #workload: ReplayWorkload;
  readonly #peerFault: FrontDoor['peerFault'];
  readonly #stages = new Map<string, Stage>();

  constructor(resources: Resources, workload: ReplayWorkload, peerFault: FrontDoor['peerFault']) {
    this.resources = resources;
    this.#workload = workload;
    this.#peerFault = peerFault;
  }

  /** The JWT rules that concern the request's workload. */
  jwtRules(request: LoggedRequest): readonly JwtRule[] {
    return this.#stageOf(request).jwtRules;
  }

  /** Decides one request, as far as `guess` has the values that it takes. */
  decide(request: LoggedRequest, guess: Guess, told: Told): Verdict {
    const stage = this.#stageOf(request);
    const { mesh } = this.resources;
    const mode = mtlsModeFor(stage.mtls, request.destinationPort);
    const fate = connectionFate(
      {
        protocol: request.protocol,
        transport: request.secure ? 'mtls' : 'plaintext',
        alpn: null,
        principal: request.principal,
        mode,
        unwritten: isUnwritten(stage.mtls, request.destinationPort),
        trustDomains: acceptedTrustDomains(mesh),
      },
      this.#peerFault,
    );
    if (fate.refused) {
      const byName = fate.reason === 'foreign_trust_domain';
      const source = byName ? TRUST_DOMAINS : modeSource(stage.mtls, request.destinationPort, mode);
      return refused(fate.reason, source);
    }
    const policy = bindConnection(stage.authorization, {
      principal: fate.principal,
      sourceIp: request.sourceIp,
      destinationIp: request.destinationIp,
      destinationPort: request.destinationPort,
      sni: request.sni,
    });
    return request.protocol === 'tcp'
      ? (refusedByAuthorizer(customMatches(policy, null), guess, told) ?? verdictOf(decideConnection(policy)))
      : this.#decideHttp(policy, { request, guess, told, jwtRules: stage.jwtRules });
  }

  #decideHttp(policy: ConnectionPolicy, asked: AskedHttp): Verdict {
    const { request, guess, told, jwtRules } = asked;
    const form = originForm(request.method, request.target);
    const { pathNormalization } = this.resources.mesh;
    const target = form === null ? null : normalisedTarget(request.method, form.target, pathNormalization);
    if (form === null || target === null) return refused('bad_request: invalid path', 'path normalisation');
    const attributes: RequestAttributes = {
      method: request.method,
      host: form.host ?? request.host,
      path: pathOf(target),
      rawPath: target,
      jwt: null,
      headerValues: name => headerLines(request, name, guess),
    };
    const custom = refusedByAuthorizer(customMatches(policy, attributes), guess, told);
    if (custom !== null) return custom;
    const fates = told.tokens(jwtRules);
    const fate = fates.length === 1 ? (fates[0] as TokenFate) : guess.token(fates);
    if (fate === 'refused') return refused('jwt_authn_access_denied', TOKEN_REFUSED);
    const jwt = fate === 'accepted' ? tokenOf(request, jwtRules, guess) : null;
    return verdictOf(decideRequest(policy, { ...attributes, jwt }));
  }

  #stageOf(request: LoggedRequest): Stage {
    const namespace = this.#workload.namespace ?? request.namespace ?? '';
    const known = this.#stages.get(namespace);
    if (known !== undefined) return known;
    if (this.#stages.size >= MAX_NAMESPACES) this.#stages.clear();
    const { mesh, peerAuthentications, authorizationPolicies, requestAuthentications } = this.resources;
    const workload = { namespace, labels: this.#workload.labels };
    const stage: Stage = {
      mtls: effectiveMtls({ policies: peerAuthentications, workload, rootNamespace: mesh.rootNamespace }),
      authorization: compileAuthorization({
        policies: authorizationPolicies,
        workload,
        mesh: { ...mesh, providers: mesh.extensionProviders, multipleProviders: false },
      }),
      jwtRules: selectAuthentication(requestAuthentications, workload, mesh.rootNamespace),
    };
    this.#stages.set(namespace, stage);
    return stage;
  }
}

/** `by` of a verdict where a token is refused. */
export const TOKEN_REFUSED = 'RequestAuthentication';

/** What refuses a peer of another trust domain. */
const TRUST_DOMAINS = 'mesh config (trust domains)';

/** Namespaces whose compiled policy is kept; a log of one sidecar has one. */
const MAX_NAMESPACES = 64;

interface AskedHttp {
  readonly request: LoggedRequest;
  readonly guess: Guess;
  readonly told: Told;
  readonly jwtRules: readonly JwtRule[];
}

function headerLines(request: LoggedRequest, name: string, guess: Guess): readonly string[] {
  const logged = request.headers.get(name);
  if (logged === undefined) return guess.header(name);
  return logged === null ? [] : [logged];
}

/** The refusal of the first authorizer that cannot be asked or denies; null = the request goes on. */
function refusedByAuthorizer(
  matches: readonly CustomMatch[] | null,
  guess: Guess,
  told: Told,
): Verdict | null {
  for (const { provider, policy, rule, bad, decision } of matches ?? []) {
    if (bad !== null) return verdictOf(decision);
    if ((told.provider(provider) ?? guess.provider(provider)) === 'deny') {
      return { ...refused('ext_authz_denied', `provider ${provider}`), policy, rule };
    }
  }
  return null;
}

/** Issuer and subject as logged: the issuer is one that a rule names, or ends at the last slash. */
function tokenOf({ requestPrincipal }: LoggedRequest, rules: readonly JwtRule[], guess: Guess): VerifiedJwt {
  if (requestPrincipal === null) return guessedJwt(guess, {});
  const named = rules.find(({ issuer }) => requestPrincipal.startsWith(`${issuer}/`))?.issuer;
  const end = named?.length ?? requestPrincipal.lastIndexOf('/');
  return guessedJwt(guess, { iss: requestPrincipal.slice(0, end), sub: requestPrincipal.slice(end + 1) });
}

function refused(reason: string, by: string): Verdict {
  return { allow: false, policy: null, rule: null, missed: [], reason, by };
}

function verdictOf({ allow, policy, rule, missed, reason }: Decision): Verdict {
  return { allow, policy, rule, missed: missed?.split(',') ?? [], reason, by: '' };
}
