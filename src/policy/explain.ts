/** What would happen to a described request, and why: the code that enforces, asked without a socket. */
import type { MtlsMode, PathNormalization, Resources, Workload } from '../config/resources.ts';
import { type RequestAttributes, wireText } from './attributes.ts';
import { compileAuthorization } from './compile.ts';
import {
  bindConnection,
  type ConnectionPolicy,
  type Decision,
  decideConnection,
  decideRequest,
} from './decide.ts';
import type { ExplainRequest } from './explain-request.ts';
import { isKnownMethod } from './method.ts';
import { normaliseTarget, pathOf } from './normalise.ts';
import { type EffectiveMtls, effectiveMtls, mtlsModeFor } from './peer-authentication.ts';

/** One decision, in the order in which its fields are printed; absent fields have no meaning for this request. */
export interface ExplainAnswer {
  readonly id?: string;
  readonly decision: 'allow' | 'deny';
  /** HTTP status for the client (200 when the app is reached); absent on TCP and when the connection is refused. */
  readonly status?: number;
  /** Present with status 200 of a gRPC refusal. */
  readonly grpcStatus?: number;
  readonly reason?: string;
  /** `namespace/name` of the policy that decided. */
  readonly policy?: string;
  readonly rule?: number;
  readonly mtlsMode: MtlsMode;
  /** Path after normalisation: what policy saw and the app gets. */
  readonly path?: string;
  readonly audit: readonly string[];
  readonly trace: readonly string[];
}

/** The checks before policy that belong to others: each says in a word or line why it refuses, or null. */
export interface FrontDoor {
  /** Why the peer's SPIFFE ID is refused in the handshake, such as `foreign_trust_domain`. */
  readonly peerFault: (principal: string, trustDomains: readonly string[]) => string | null;
  /** Why the request gets 400 before its path and method are looked at. */
  readonly requestFault: (request: ExplainRequest) => string | null;
}

const OPEN: FrontDoor = { peerFault: foreignTrustDomain, requestFault: () => null };

/**
 * Explains one request. The request's own `workload` wins over the one given.
 * @param door the checks of the connection and of HTTP framing; without it only the trust domain is checked
 */
export function explainRequest(
  resources: Resources,
  workload: Pick<Workload, 'namespace' | 'labels'>,
  request: ExplainRequest,
  door: FrontDoor = OPEN,
): ExplainAnswer {
  const { mesh } = resources;
  const asked = {
    namespace: request.workload?.namespace ?? workload.namespace,
    labels: request.workload?.labels ?? workload.labels,
  };
  const { rootNamespace } = mesh;
  const mtls = effectiveMtls({ policies: resources.peerAuthentications, workload: asked, rootNamespace });
  const mtlsMode = mtlsModeFor(mtls, request.destination.port);
  const id = request.id === null ? {} : { id: request.id };
  const trustDomains = [mesh.trustDomain, ...mesh.trustDomainAliases];
  const refusal = refuseConnection(request, mtlsMode, trustDomains, door);
  if (refusal !== null) {
    const line = `${sourceOf(mtls, request.destination.port, mtlsMode)}: ${refusal.why}`;
    return { ...id, decision: 'deny', reason: refusal.reason, mtlsMode, audit: [], trace: [line] };
  }
  const authorization = compileAuthorization({
    policies: resources.authorizationPolicies,
    workload: asked,
    mesh: { ...mesh, providers: mesh.extensionProviders, multipleProviders: false },
  });
  const policy = bindConnection(authorization, {
    // Mutual TLS to a raw TCP port in DISABLE goes through as bytes: nobody learns who the peer is.
    principal: request.transport === 'mtls' && mtlsMode !== 'DISABLE' ? request.source.principal : null,
    sourceIp: request.source.ip,
    destinationIp: request.destination.ip,
    destinationPort: request.destination.port,
    sni: request.sni,
  });
  const answer =
    request.protocol === 'tcp'
      ? explainConnection(policy)
      : explainHttp(policy, request, mesh.pathNormalization, door);
  return { ...id, ...answer.decided, mtlsMode, ...answer.path, audit: [], trace: answer.trace };
}

interface Explained {
  readonly decided: Pick<ExplainAnswer, 'decision' | 'status' | 'grpcStatus' | 'reason' | 'policy' | 'rule'>;
  readonly path?: { readonly path: string };
  readonly trace: readonly string[];
}

/** The connection's fate before the first byte of a request. */
function refuseConnection(
  request: ExplainRequest,
  mode: MtlsMode,
  trustDomains: readonly string[],
  door: FrontDoor,
): { readonly reason: string; readonly why: string } | null {
  if (request.transport === 'plaintext') {
    return mode === 'STRICT' ? { reason: 'mtls_required', why: 'a plaintext connection is closed' } : null;
  }
  if (mode === 'DISABLE') {
    return request.protocol === 'tcp'
      ? null
      : { reason: 'mtls_disabled', why: 'TLS to an HTTP port is closed' };
  }
  const { principal } = request.source;
  if (principal === null) {
    return { reason: 'no_uri_san', why: 'a client certificate without a SPIFFE ID is refused' };
  }
  const fault = door.peerFault(principal, trustDomains);
  return fault === null ? null : { reason: fault, why: `the peer ${principal} is refused in the handshake` };
}

function foreignTrustDomain(principal: string, trustDomains: readonly string[]): string | null {
  const own = trustDomains.some(domain => principal.startsWith(`spiffe://${domain}/`));
  return own ? null : 'foreign_trust_domain';
}

function sourceOf({ source, ports }: EffectiveMtls, port: number, mode: MtlsMode): string {
  if (ports.has(port)) return `PeerAuthentication ${mode} on port ${port}`;
  if (source === null) return `PeerAuthentication ${mode} by default`;
  return `PeerAuthentication ${source.metadata.namespace}/${source.metadata.name} ${mode}`;
}

function explainConnection(policy: ConnectionPolicy): Explained {
  const trace: string[] = [];
  return { decided: outcome(decideConnection(policy, trace)), trace };
}

function explainHttp(
  policy: ConnectionPolicy,
  request: ExplainRequest,
  normalization: PathNormalization,
  door: FrontDoor,
): Explained {
  const { method, path: given, host, headers } = request.request;
  const http1 = request.protocol === 'http';
  const unknown = http1 && !isKnownMethod(method) ? 'unknown method' : null;
  const target = originForm(method, given);
  const normal = target === null ? null : normalised(method, wireText(target.target), normalization);
  const fault = door.requestFault(request) ?? unknown ?? (normal === null ? 'invalid path' : null);
  if (fault !== null || normal === null || target === null) {
    const reason = `bad_request: ${fault}`;
    return {
      decided: { decision: 'deny', status: 400, reason },
      trace: [`the request is answered with 400: ${fault}`],
    };
  }
  const attributes: RequestAttributes = {
    method: wireText(method),
    host: wireText(target.host ?? host),
    path: pathOf(normal),
    rawPath: normal,
    jwt: null,
    headerValues: name => headerLines(headers.get(name) ?? [], name === 'cookie' && !http1),
  };
  const trace: string[] = [];
  const decision = decideRequest(policy, attributes, trace);
  const grpc = headers.get('content-type')?.[0]?.startsWith('application/grpc') === true;
  return {
    decided: outcome(decision, httpStatus(decision, grpc)),
    path: { path: attributes.path },
    trace,
  };
}

/** Lines as a parser hands them over; HTTP/2 cookie crumbs are one value again (RFC 9113 8.2.3), none when empty. */
function headerLines(given: readonly string[], crumbs: boolean): readonly string[] {
  const lines = given.map(line => wireText(line.replace(/^[ \t]+|[ \t]+$/g, '')));
  if (!crumbs) return lines;
  const cookie = lines.join('; ');
  return cookie === '' ? [] : [cookie];
}

/** A CONNECT target is an authority: there is no path in it to normalise. */
function normalised(method: string, target: string, mode: PathNormalization): string | null {
  return method === 'CONNECT' ? target : normaliseTarget(target, mode);
}

/** RFC 9112 3.2: the four forms of a target; an absolute one has the host that counts. */
function originForm(method: string, path: string): { target: string; host?: string } | null {
  if (method === 'CONNECT') return { target: path };
  if (path === '*') return method === 'OPTIONS' ? { target: '*' } : null;
  const absolute = /^https?:\/\/([^/?#]+)(.*)$/i.exec(path);
  if (absolute === null) return { target: path };
  const [, host, rest] = absolute as unknown as [string, string, string];
  return { target: rest.startsWith('/') ? rest : `/${rest}`, host };
}

function outcome(decision: Decision, status: HttpStatus = {}): Explained['decided'] {
  return {
    decision: decision.allow ? 'allow' : 'deny',
    ...status,
    ...(decision.reason === '' ? {} : { reason: decision.reason }),
    ...(decision.policy === null ? {} : { policy: decision.policy }),
    ...(decision.rule === null ? {} : { rule: decision.rule }),
  };
}

type HttpStatus = Pick<ExplainAnswer, 'status' | 'grpcStatus'>;

function httpStatus({ allow }: Decision, grpc: boolean): HttpStatus {
  if (allow) return { status: 200 };
  return grpc ? { status: 200, grpcStatus: 7 } : { status: 403 };
}
