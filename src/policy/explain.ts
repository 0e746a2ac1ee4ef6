/** What would happen to a described request, and why: the code that enforces, asked without a socket. */
import type { PathNormalization, RequestAuthentication, Resources, Workload } from '../config/resources.ts';
import { type Authorization, compileAuthorization } from './compile.ts';
import {
  bindConnection,
  type ConnectionPolicy,
  customMatches,
  decideConnection,
  findingsOf,
} from './decide.ts';
import type { AssumedAnswer, ExplainAnswer, FrontDoor } from './explain-answer.ts';
import { connectionFate, modeSource } from './explain-connection.ts';
import { type Explained, explainHttp, type HttpStage, outcomeOf } from './explain-http.ts';
import { authorizerLine } from './explain-live.ts';
import { nearestRule } from './explain-nearest.ts';
import type { ExplainRequest } from './explain-request.ts';
import { type EffectiveMtls, effectiveMtls, isUnwritten, mtlsModeFor } from './peer-authentication.ts';
import { selectAuthentication } from './select.ts';
import { acceptedTrustDomains } from './trust-domain.ts';

export type { ExplainAnswer, FrontDoor } from './explain-answer.ts';

/** Workloads whose compiled policy is kept: requests of one file are about few. */
const MAX_WORKLOADS = 64;

type Asked = Pick<Workload, 'namespace' | 'labels'>;

/** What is in force at one workload. */
interface Stage {
  readonly mtls: EffectiveMtls;
  readonly authorization: Authorization;
  readonly tokens: HttpStage['tokens'];
  readonly normalization: PathNormalization;
  readonly trustDomains: readonly string[];
}

/** Explains one request on a configuration of which nothing else is asked. */
export function explainRequest(
  resources: Resources,
  workload: Asked,
  request: ExplainRequest,
  door: FrontDoor,
): Promise<ExplainAnswer> {
  return new Explainer(resources, workload, door).explain(request);
}

/** Explains requests on one configuration; each workload's policy is compiled once. */
export class Explainer {
  readonly #resources: Resources;
  readonly #workload: Asked;
  readonly #door: FrontDoor;
  readonly #stages = new Map<string, Stage>();

  /**
   * @param workload the one that is meant when a request names none
   * @param door the checks of the connection, of HTTP framing and of tokens
   */
  constructor(resources: Resources, workload: Asked, door: FrontDoor) {
    this.#resources = resources;
    this.#workload = { namespace: workload.namespace, labels: workload.labels };
    this.#door = door;
  }

  /** Explains one request. The request's own `workload` wins over the one given. */
  async explain(request: ExplainRequest): Promise<ExplainAnswer> {
    const stage = this.#stageOf({
      namespace: request.workload?.namespace ?? this.#workload.namespace,
      labels: request.workload?.labels ?? this.#workload.labels,
    });
    const mode = mtlsModeFor(stage.mtls, request.destination.port);
    const unwritten = isUnwritten(stage.mtls, request.destination.port);
    const id = request.id === null ? {} : { id: request.id };
    const tcp = request.protocol === 'tcp';
    const { protocol, transport, alpn, source } = request;
    const { principal } = source;
    const { trustDomains } = stage;
    const fate = connectionFate(
      { protocol, transport, alpn, principal, mode, unwritten, trustDomains },
      this.#door.peerFault,
    );
    const place = modeSource(stage.mtls, request.destination.port, mode);
    if (fate.refused) {
      const trace = [`${place}: ${fate.why}`];
      const { reason } = fate;
      return { ...id, decision: 'deny', reason, mtlsMode: mode, audit: [], dryRun: [], trace };
    }
    const policy = bindConnection(stage.authorization, {
      principal: fate.principal,
      sourceIp: source.ip,
      destinationIp: request.destination.ip,
      destinationPort: request.destination.port,
      // Where TLS is not terminated nobody reads the name in it.
      sni: fate.principal === null ? null : request.sni,
    });
    const explained = tcp
      ? explainTcp(policy, request)
      : await explainHttp({ policy, ...stage, door: this.#door }, request);
    const answer = { ...id, ...explained, mtlsMode: mode };
    if (transport === 'plaintext' || fate.principal !== null) return inOrder(answer);
    const opaque = `${place}: TLS passes to the app as bytes, so nobody knows the peer`;
    return inOrder({ ...answer, trace: [opaque, ...explained.trace] });
  }

  #stageOf(workload: Asked): Stage {
    const key = JSON.stringify([workload.namespace, Object.entries(workload.labels).sort()]);
    const known = this.#stages.get(key);
    if (known !== undefined) return known;
    if (this.#stages.size >= MAX_WORKLOADS) this.#stages.clear();
    const stage = compileStage(this.#resources, workload, this.#door);
    this.#stages.set(key, stage);
    return stage;
  }
}

/** The fields as the contract lists them, the trace last. */
function inOrder(answer: ExplainAnswer): ExplainAnswer {
  const { mtlsMode, path, custom, audit, dryRun, trace, nearest, ...decided } = answer;
  return {
    ...decided,
    mtlsMode,
    ...(path !== undefined && { path }),
    ...(custom !== undefined && { custom }),
    audit,
    dryRun,
    trace,
    ...(nearest !== undefined && { nearest }),
  };
}

function compileStage(resources: Resources, workload: Asked, door: FrontDoor): Stage {
  const { mesh } = resources;
  const { rootNamespace } = mesh;
  const selecting = resources.requestAuthentications.filter(
    policy => selectAuthentication([policy], workload, rootNamespace).length > 0,
  );
  const rules = selectAuthentication(selecting, workload, rootNamespace);
  return {
    mtls: effectiveMtls({ policies: resources.peerAuthentications, workload, rootNamespace }),
    authorization: compileAuthorization({
      policies: resources.authorizationPolicies,
      workload,
      mesh: { ...mesh, providers: mesh.extensionProviders, multipleProviders: false },
    }),
    tokens: rules.length === 0 ? null : { ...door.tokens(rules), policies: selecting.map(nameOf) },
    normalization: mesh.pathNormalization,
    trustDomains: acceptedTrustDomains(mesh),
  };
}

function nameOf({ metadata }: RequestAuthentication): string {
  return `${metadata.namespace}/${metadata.name}`;
}

/** A connection whose bytes are not HTTP: there are no tokens, and HTTP authorizers are not asked. */
function explainTcp(policy: ConnectionPolicy, request: ExplainRequest): Explained {
  const trace: string[] = [];
  const assumed: AssumedAnswer[] = [];
  const rest = () => ({ ...(assumed.length > 0 && { custom: assumed }), audit: [], dryRun: [], trace });
  for (const match of customMatches(policy, null, trace) ?? []) {
    if (match.bad !== null) return { ...outcomeOf(match.decision), ...rest() };
    const { provider, policy: name, rule } = match;
    assumed.push({ provider, policy: name, rule, assumed: request.custom });
    trace.push(authorizerLine(match, `${request.custom === 'allow' ? 'allows' : 'denies'} (assumed)`));
    if (request.custom === 'deny') {
      const refusal = { allow: false, reason: 'ext_authz_denied', policy: name, rule, missed: null };
      return { ...outcomeOf(refusal), ...rest() };
    }
  }
  const findings = findingsOf(policy, null, trace);
  const decision = decideConnection(policy, trace);
  const nearest = decision.missed === null ? null : nearestRule(policy, null);
  return {
    ...outcomeOf(decision),
    ...rest(),
    ...(findings !== null && { audit: findings.audit, dryRun: findings.dryRun }),
    ...(nearest !== null && { nearest }),
  };
}
