/** Where outbound traffic goes: ServiceEntry hosts and ports, the DestinationRule that governs each, and its TLS. */
import type {
  ConnectionPool,
  DestinationRule,
  MeshConfig,
  Resources,
  ServiceEndpoint,
  ServiceEntry,
  ServicePort,
  TrafficPolicy,
  Workload,
} from '../config/resources.ts';
import { parseAddress } from '../policy/address.ts';
import { hostMatches } from './authority.ts';
import type { Speaks } from './h2-upstream.ts';

export type UpstreamTls =
  | {
      readonly tls: false;
      readonly why:
        | 'destination_rule'
        | 'mesh_external'
        | 'auto_mtls_off'
        | 'endpoint_not_in_mesh'
        | 'passthrough';
    }
  | {
      readonly tls: true;
      readonly mode: 'ISTIO_MUTUAL' | 'MUTUAL' | 'SIMPLE';
      readonly sni: string;
      /** The peer must have one of these; empty = the chain and the trust domain decide. */
      readonly subjectAltNames: readonly string[];
      readonly clientCertificate: string | null;
      readonly privateKey: string | null;
      readonly caCertificates: string | null;
      readonly caCrl: string | null;
      readonly insecureSkipVerify: boolean;
    };

/** One endpoint of a route. */
export interface RouteEndpoint {
  readonly address: string;
  readonly port: number;
  readonly weight: number;
  readonly security: UpstreamTls;
  /** It asks for HBONE (label `networking.istio.io/tunnel: http`), where mutual TLS is spoken. */
  readonly tunnel: boolean;
}

/** Which HTTP is spoken to a service port. */
export interface RouteHttp {
  readonly speaks: Speaks;
  /** Requests of HTTP/1.1 share connections with a peer that knows how. */
  readonly shares: boolean;
  /** HTTP/2 is a wish of the configuration, not what the port was declared to speak. */
  readonly fallsBack: boolean;
}

/** A service port, ready to be opened. */
export interface RouteSpec {
  readonly host: string;
  readonly http: RouteHttp;
  readonly port: ServicePort;
  readonly entry: ServiceEntry;
  readonly policy: TrafficPolicy | null;
  readonly endpoints: readonly RouteEndpoint[];
}

/** The ServiceEntry and port for `host` and `port`; exact hosts win over wildcards, longer ones over shorter. */
export function findService(
  resources: Resources,
  host: string,
  port: number | null,
): { entry: ServiceEntry; port: ServicePort } | null {
  let best: { entry: ServiceEntry; port: ServicePort; rank: number } | null = null;
  for (const entry of resources.serviceEntries) {
    for (const pattern of entry.hosts) {
      const lower = pattern.toLowerCase();
      if (!hostMatches(lower, host)) continue;
      const rank = lower.startsWith('*') ? lower.length : Number.MAX_SAFE_INTEGER;
      const found = servicePort(entry, port);
      if (found !== null && (best === null || rank > best.rank)) best = { entry, port: found, rank };
    }
  }
  return best;
}

/** Whether a ServiceEntry names `host`, whatever its ports. */
export function isDeclared(resources: Resources, host: string): boolean {
  return resources.serviceEntries.some(entry =>
    entry.hosts.some(pattern => pattern !== '*' && hostMatches(pattern.toLowerCase(), host)),
  );
}

/** Without a port in the request: 80, or the only HTTP port there is. */
function servicePort(entry: ServiceEntry, port: number | null): ServicePort | null {
  const wanted = port ?? 80;
  const exact = entry.ports.find(p => p.number === wanted);
  if (exact !== undefined || port !== null) return exact ?? null;
  const http = entry.ports.filter(p => p.protocol.startsWith('HTTP') || p.protocol.startsWith('GRPC'));
  return http.length === 1 ? (http[0] ?? null) : null;
}

/** Where a captured connection was going, and whether only the endpoint there will do. */
export interface RouteOriginal {
  readonly host: string;
  readonly port: number;
  readonly endpoint: boolean;
}

/**
 * Everything about one service port that the files say.
 * @param original resolution NONE: the connection goes on to there
 */
export function routeSpec(
  resources: Resources,
  workload: Workload,
  host: string,
  found: { entry: ServiceEntry; port: ServicePort },
  original: RouteOriginal | null = null,
): RouteSpec {
  const { entry, port } = found;
  const rule = ruleFor(resources, workload, entry, host);
  const policy = policyFor(rule, port.number);
  // STATIC without endpoints has none: its name is not looked up.
  const named =
    entry.resolution === 'NONE' || (entry.resolution !== 'STATIC' && entry.endpoints.length === 0);
  const here = entry.resolution === 'NONE' ? original : null;
  const endpoints = named ? [{ ...NO_ENDPOINT, address: here?.host ?? host }] : entry.endpoints;
  const portOf = (endpoint: ServiceEndpoint): number =>
    here?.port ?? endpoint.ports[port.name] ?? port.targetPort ?? port.number;
  const isThere = (endpoint: ServiceEndpoint): boolean =>
    original?.endpoint !== true ||
    (portOf(endpoint) === original.port && sameAddress(endpoint.address, original.host));
  return {
    host,
    http: httpOf(port, policy, resources.mesh),
    port,
    entry,
    policy,
    endpoints: endpoints.filter(isThere).map(endpoint => ({
      address: endpoint.address,
      port: portOf(endpoint),
      weight: endpoint.weight > 0 ? endpoint.weight : 1,
      security: securityOf({ resources, host, entry, port, policy, endpoint }),
      tunnel: endpoint.labels['networking.istio.io/tunnel'] === 'http',
    })),
  };
}

function sameAddress(a: string, b: string): boolean {
  return a === b || parseAddress(a)?.join() === parseAddress(b)?.join();
}

/**
 * As Istio decides it (pilot/pkg/networking/core/cluster_traffic_policy.go, shouldH2Upgrade): useClientProtocol, then the
 * rule, then what the port was declared to speak, then the mesh. What nobody declared is spoken as the client speaks.
 */
function httpOf(port: ServicePort, policy: TrafficPolicy | null, mesh: MeshConfig): RouteHttp {
  const { h2UpgradePolicy, useClientProtocol } = poolOf(policy);
  const shares = (h2UpgradePolicy ?? mesh.h2UpgradePolicy) !== 'DO_NOT_UPGRADE';
  const declared = declaredHttp(port);
  if (useClientProtocol) return { speaks: 'client', shares, fallsBack: declared === 'http1' };
  if (declared === 'http2') return { speaks: 'http2', shares, fallsBack: false };
  const wish = h2UpgradePolicy ?? (declared === 'http1' ? mesh.h2UpgradePolicy : null);
  if (wish === 'UPGRADE') return { speaks: 'http2', shares, fallsBack: true };
  return { speaks: declared ?? 'client', shares, fallsBack: false };
}

function declaredHttp({ protocol }: ServicePort): 'http1' | 'http2' | null {
  if (protocol === 'HTTP' || protocol === 'HTTP_PROXY') return 'http1';
  return protocol === 'HTTP2' || protocol === 'GRPC' || protocol === 'GRPC-WEB' ? 'http2' : null;
}

const NO_ENDPOINT: ServiceEndpoint = { address: '', ports: {}, labels: {}, serviceAccount: null, weight: 1 };

/** Istio's look-up: the client's namespace, the service's, the root; exact host before the longest wildcard. */
function ruleFor(
  resources: Resources,
  workload: Workload,
  entry: ServiceEntry,
  host: string,
): DestinationRule | null {
  for (const namespace of [workload.namespace, entry.metadata.namespace, resources.mesh.rootNamespace]) {
    let best: DestinationRule | null = null;
    for (const rule of resources.destinationRules) {
      if (rule.metadata.namespace !== namespace || !selects(rule, workload)) continue;
      const pattern = fullHost(rule).toLowerCase();
      if (!hostMatches(pattern, host)) continue;
      if (best === null || moreSpecific(pattern, fullHost(best).toLowerCase())) best = rule;
    }
    if (best !== null) return best;
  }
  return null;
}

function selects(rule: DestinationRule, workload: Workload): boolean {
  if (rule.selector === null) return true;
  if (rule.metadata.namespace !== workload.namespace) return false;
  return Object.entries(rule.selector).every(([key, value]) => workload.labels[key] === value);
}

/** A short name stands for a service of the rule's own namespace. */
function fullHost(rule: DestinationRule): string {
  return rule.host.includes('.') || rule.host.startsWith('*')
    ? rule.host
    : `${rule.host}.${rule.metadata.namespace}.svc.cluster.local`;
}

function moreSpecific(a: string, b: string): boolean {
  const wild = (text: string): boolean => text.startsWith('*');
  if (wild(a) !== wild(b)) return wild(b);
  return wild(a) && a.length > b.length;
}

/** portLevelSettings replace the destination's connectionPool, loadBalancer, outlierDetection and tls whole. */
function policyFor(rule: DestinationRule | null, port: number): TrafficPolicy | null {
  if (rule === null) return null;
  return rule.portLevelSettings.find(setting => setting.port === port)?.policy ?? rule.trafficPolicy;
}

interface SecurityQuestion {
  readonly resources: Resources;
  readonly host: string;
  readonly entry: ServiceEntry;
  readonly port: ServicePort;
  readonly policy: TrafficPolicy | null;
  readonly endpoint: ServiceEndpoint;
}

/**
 * TLS towards one endpoint. A DestinationRule wins; else auto mTLS: inside the mesh it is on, unless the endpoint says
 * `security.istio.io/tlsMode: disabled`. (Istio asks for `tlsMode: istio` on the endpoint; plaintext to a service that
 * is declared as part of the mesh is a surprise, so here it has to be said.)
 */
function securityOf(question: SecurityQuestion): UpstreamTls {
  const { resources, entry, policy, endpoint } = question;
  const tls = policy?.tls ?? null;
  if (tls !== null) {
    if (tls.mode === 'DISABLE') return { tls: false, why: 'destination_rule' };
    return {
      tls: true,
      mode: tls.mode,
      sni: tls.sni ?? (tls.mode === 'ISTIO_MUTUAL' ? istioSni(question) : question.host),
      subjectAltNames: tls.subjectAltNames.length > 0 ? tls.subjectAltNames : expectedNames(question),
      clientCertificate: tls.clientCertificate,
      privateKey: tls.privateKey,
      caCertificates: tls.caCertificates,
      caCrl: tls.caCrl,
      insecureSkipVerify: tls.insecureSkipVerify,
    };
  }
  if (entry.location === 'MESH_EXTERNAL') return { tls: false, why: 'mesh_external' };
  if (!resources.mesh.enableAutoMtls) return { tls: false, why: 'auto_mtls_off' };
  if (endpoint.labels['security.istio.io/tlsMode'] === 'disabled')
    return { tls: false, why: 'endpoint_not_in_mesh' };
  return {
    tls: true,
    mode: 'ISTIO_MUTUAL',
    sni: istioSni(question),
    subjectAltNames: expectedNames(question),
    clientCertificate: null,
    privateKey: null,
    caCertificates: null,
    caCrl: null,
    insecureSkipVerify: false,
  };
}

function istioSni({ port, host }: SecurityQuestion): string {
  return `outbound_.${port.number}_._.${host}`;
}

/** ServiceEntry.subjectAltNames, else the endpoint's service account in every trust domain of the mesh. */
function expectedNames({ resources, entry, endpoint }: SecurityQuestion): readonly string[] {
  if (entry.subjectAltNames.length > 0) return entry.subjectAltNames;
  if (endpoint.serviceAccount === null) return [];
  const { trustDomain, trustDomainAliases } = resources.mesh;
  return [trustDomain, ...trustDomainAliases].map(
    domain => `spiffe://${domain}/ns/${entry.metadata.namespace}/sa/${endpoint.serviceAccount}`,
  );
}

/** Istio's defaults (DestinationRule connectionPool). */
export function poolOf(policy: TrafficPolicy | null): ConnectionPool {
  return (
    policy?.connectionPool ?? {
      maxConnections: null,
      connectTimeoutMs: null,
      tcpIdleTimeoutMs: null,
      http1MaxPendingRequests: null,
      maxRequestsPerConnection: null,
      httpIdleTimeoutMs: null,
      http2MaxRequests: null,
      maxConcurrentStreams: null,
      h2UpgradePolicy: null,
      useClientProtocol: false,
      http2KeepAlive: null,
    }
  );
}
