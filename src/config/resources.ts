/**
 * What the manifests say, after parsing: plain, frozen, structured-cloneable data that crosses threads.
 * Absence is named: `null` means the file did not say; defaults are applied where the meaning is decided.
 */

export type MtlsMode = 'STRICT' | 'PERMISSIVE' | 'DISABLE';
export type PathNormalization = 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES';
export type PortProtocol = 'http' | 'http2' | 'tcp' | 'auto';

/** A place in a file; line and column count from 1. */
export interface Origin {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** One fault in a manifest or on a certificate, as `outrider check --json` prints it. */
export interface Fault extends Origin {
  readonly severity: 'error' | 'warning';
  readonly kind: string;
  readonly name: string;
  readonly message: string;
}

export interface Metadata {
  readonly namespace: string;
  readonly name: string;
  /** metadata.creationTimestamp in Unix milliseconds; 0 when absent. */
  readonly createdAt: number;
  readonly annotations: Readonly<Record<string, string>>;
}

/** matchLabels: every pair must be on the workload. `null` = no selector (or an empty one). */
export type Selector = Readonly<Record<string, string>> | null;

interface Resource<K extends string> {
  readonly kind: K;
  readonly metadata: Metadata;
  readonly origin: Origin;
}

/** security.istio.io PeerAuthentication. A `null` mode is UNSET. */
export interface PeerAuthentication extends Resource<'PeerAuthentication'> {
  readonly selector: Selector;
  readonly mode: MtlsMode | null;
  readonly ports: readonly { readonly port: number; readonly mode: MtlsMode | null }[];
}

/** AuthorizationPolicy rules[].from[].source; an absent field is undefined, a present one has at least one value. */
export interface Source {
  readonly principals?: readonly string[];
  readonly notPrincipals?: readonly string[];
  readonly requestPrincipals?: readonly string[];
  readonly notRequestPrincipals?: readonly string[];
  readonly namespaces?: readonly string[];
  readonly notNamespaces?: readonly string[];
  /** `namespace/name`, or `name` in the policy's own namespace. */
  readonly serviceAccounts?: readonly string[];
  readonly notServiceAccounts?: readonly string[];
  readonly trustDomains?: readonly string[];
  readonly notTrustDomains?: readonly string[];
  readonly ipBlocks?: readonly string[];
  readonly notIpBlocks?: readonly string[];
  readonly remoteIpBlocks?: readonly string[];
  readonly notRemoteIpBlocks?: readonly string[];
}

/** AuthorizationPolicy rules[].to[].operation. */
export interface Operation {
  readonly hosts?: readonly string[];
  readonly notHosts?: readonly string[];
  readonly ports?: readonly string[];
  readonly notPorts?: readonly string[];
  readonly methods?: readonly string[];
  readonly notMethods?: readonly string[];
  readonly paths?: readonly string[];
  readonly notPaths?: readonly string[];
}

/** AuthorizationPolicy rules[].when[]. */
export interface Condition {
  readonly key: string;
  readonly values: readonly string[];
  readonly notValues: readonly string[];
}

/** One rule; `null` from/to = absent, which matches everything. */
export interface Rule {
  readonly from: readonly Source[] | null;
  readonly to: readonly Operation[] | null;
  readonly when: readonly Condition[];
}

export type PolicyAction = 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';

/** security.istio.io AuthorizationPolicy. `bound` = it has targetRefs, which a sidecar passes over. */
export interface AuthorizationPolicy extends Resource<'AuthorizationPolicy'> {
  readonly selector: Selector;
  readonly bound: boolean;
  readonly action: PolicyAction;
  /** spec.provider.name of a CUSTOM policy; null with every other action. */
  readonly provider: string | null;
  /** The annotation istio.io/dry-run: evaluated, counted and logged, never enforced. */
  readonly dryRun: boolean;
  readonly rules: readonly Rule[];
}

/** One of RequestAuthentication's jwtRules, defaults applied; an absent list is empty. */
export interface JwtRule {
  readonly issuer: string;
  readonly audiences: readonly string[];
  /** JWKS as JSON text. With neither `jwks` nor `jwksUri` the issuer is asked for its OpenID configuration. */
  readonly jwks: string | null;
  readonly jwksUri: string | null;
  /** Fetching the key set may take this long. Istio's default: 5 s. */
  readonly timeoutMs: number;
  readonly fromHeaders: readonly { readonly name: string; readonly prefix: string }[];
  readonly fromParams: readonly string[];
  readonly fromCookies: readonly string[];
  readonly forwardOriginalToken: boolean;
  readonly outputPayloadToHeader: string | null;
  readonly outputClaimToHeaders: readonly { readonly header: string; readonly claim: string }[];
  readonly spaceDelimitedClaims: readonly string[];
}

/** security.istio.io RequestAuthentication. `bound` = it has targetRefs, which a sidecar passes over. */
export interface RequestAuthentication extends Resource<'RequestAuthentication'> {
  readonly selector: Selector;
  readonly bound: boolean;
  readonly jwtRules: readonly JwtRule[];
}

export interface ServicePort {
  readonly number: number;
  readonly name: string;
  /** Upper case as Istio writes it: HTTP, HTTP2, GRPC, TCP, TLS, HTTPS …; AUTO = not declared, told from the bytes. */
  readonly protocol: string;
  /** The endpoint's port when it differs from `number`. */
  readonly targetPort: number | null;
}

export interface ServiceEndpoint {
  /** An IP address or a DNS name. */
  readonly address: string;
  /** Port by service port name. */
  readonly ports: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string | null;
  readonly weight: number;
}

/** networking.istio.io ServiceEntry. */
export interface ServiceEntry extends Resource<'ServiceEntry'> {
  readonly hosts: readonly string[];
  readonly addresses: readonly string[];
  readonly ports: readonly ServicePort[];
  readonly location: 'MESH_INTERNAL' | 'MESH_EXTERNAL';
  readonly resolution: 'NONE' | 'STATIC' | 'DNS' | 'DNS_ROUND_ROBIN';
  readonly endpoints: readonly ServiceEndpoint[];
  readonly subjectAltNames: readonly string[];
}

export type ClientTlsMode = 'DISABLE' | 'SIMPLE' | 'MUTUAL' | 'ISTIO_MUTUAL';

/** DestinationRule trafficPolicy.tls (ClientTLSSettings). */
export interface ClientTls {
  readonly mode: ClientTlsMode;
  readonly sni: string | null;
  readonly subjectAltNames: readonly string[];
  readonly clientCertificate: string | null;
  readonly privateKey: string | null;
  readonly caCertificates: string | null;
  readonly caCrl: string | null;
  readonly insecureSkipVerify: boolean;
}

export interface ConnectionPool {
  readonly maxConnections: number | null;
  readonly connectTimeoutMs: number | null;
  readonly tcpIdleTimeoutMs: number | null;
  readonly http1MaxPendingRequests: number | null;
  readonly maxRequestsPerConnection: number | null;
  readonly httpIdleTimeoutMs: number | null;
  /** Requests under way, of HTTP/1.1 as of HTTP/2. */
  readonly http2MaxRequests: number | null;
  /** Of one HTTP/2 connection. */
  readonly maxConcurrentStreams: number | null;
  /** Null = the mesh config decides. */
  readonly h2UpgradePolicy: 'UPGRADE' | 'DO_NOT_UPGRADE' | null;
  readonly useClientProtocol: boolean;
  /** PING on HTTP/2 connections; null = none. */
  readonly http2KeepAlive: { readonly intervalMs: number; readonly timeoutMs: number } | null;
}

export interface OutlierDetection {
  readonly consecutive5xxErrors: number;
  readonly consecutiveGatewayErrors: number;
  readonly intervalMs: number;
  readonly baseEjectionTimeMs: number;
  readonly maxEjectionPercent: number;
}

/** DestinationRule trafficPolicy, or one of its portLevelSettings. */
export interface TrafficPolicy {
  readonly tls: ClientTls | null;
  readonly connectionPool: ConnectionPool | null;
  readonly loadBalancer: 'ROUND_ROBIN' | 'LEAST_REQUEST' | 'RANDOM' | null;
  readonly outlierDetection: OutlierDetection | null;
}

/** networking.istio.io DestinationRule. */
export interface DestinationRule extends Resource<'DestinationRule'> {
  readonly host: string;
  readonly selector: Selector;
  readonly trafficPolicy: TrafficPolicy | null;
  readonly portLevelSettings: readonly { readonly port: number; readonly policy: TrafficPolicy }[];
}

/** One Sidecar.egress listener that opens a port of its own. */
export interface EgressListener {
  readonly port: ServicePort | null;
  readonly bind: string | null;
  /** `namespace/dnsName` as written. */
  readonly hosts: readonly string[];
}

/** networking.istio.io Sidecar. */
export interface Sidecar extends Resource<'Sidecar'> {
  readonly selector: Selector;
  readonly egress: readonly EgressListener[];
  readonly outboundTrafficPolicy: 'ALLOW_ANY' | 'REGISTRY_ONLY' | null;
}

/** What envoyExtAuthzHttp and envoyExtAuthzGrpc of MeshConfig.extensionProviders have in common. */
interface ExtAuthzProvider {
  /** What an AuthorizationPolicy's provider.name says. */
  readonly name: string;
  /** A host name; of `namespace/host` the host. */
  readonly service: string;
  readonly port: number;
  /** Istio's default: 600 s. */
  readonly timeoutMs: number;
  /** When the provider cannot be asked: true = allow. */
  readonly failOpen: boolean;
  /** HTTP status when the provider cannot be asked and failOpen is false. */
  readonly statusOnError: number;
  readonly clearRouteCache: boolean;
  /** null = the check goes without the request's body. */
  readonly includeRequestBodyInCheck: {
    readonly maxRequestBytes: number;
    readonly allowPartialMessage: boolean;
    readonly packAsBytes: boolean;
  } | null;
}

/** External authorization over HTTP. Header lists hold Istio's patterns: exact, `prefix*`, `*suffix`, `*`. */
export interface ExtAuthzHttp extends ExtAuthzProvider {
  readonly kind: 'http';
  readonly pathPrefix: string;
  readonly includeRequestHeadersInCheck: readonly string[];
  readonly includeAdditionalHeadersInCheck: Readonly<Record<string, string>>;
  readonly headersToUpstreamOnAllow: readonly string[];
  readonly headersToDownstreamOnDeny: readonly string[];
  readonly headersToDownstreamOnAllow: readonly string[];
}

/** External authorization by envoy.service.auth.v3.Authorization/Check. */
export interface ExtAuthzGrpc extends ExtAuthzProvider {
  readonly kind: 'grpc';
}

export type ExtensionProvider = ExtAuthzHttp | ExtAuthzGrpc;

/** One of the mesh config's caCertificates: roots besides those of the workload's own bundle. */
export interface CaCertificates {
  /** PEM blocks of CA certificates. */
  readonly pem: string;
  /** Those that the roots vouch for; null = the mesh's own and its aliases. */
  readonly trustDomains: readonly string[] | null;
}

/** Istio's mesh config; defaults applied (Istio's own). */
export interface MeshConfig {
  readonly origin: Origin | null;
  readonly trustDomain: string;
  readonly trustDomainAliases: readonly string[];
  readonly rootNamespace: string;
  readonly pathNormalization: PathNormalization;
  /** null = the file says nothing. */
  readonly accessLogFile: string | null;
  readonly accessLogEncoding: 'TEXT' | 'JSON';
  readonly enableAutoMtls: boolean;
  readonly outboundTrafficPolicy: 'ALLOW_ANY' | 'REGISTRY_ONLY';
  /** inboundTrafficPolicy: redirected connections reach the app at the address they were going to, not at localhost. */
  readonly inboundPassthrough: boolean;
  /** How long the first bytes may let wait that tell the protocol; 0 = for ever. Outrider's default: 5 s. */
  readonly protocolDetectionTimeoutMs: number;
  /** Of services whose DestinationRule does not say; null = the file says nothing. */
  readonly h2UpgradePolicy: 'UPGRADE' | 'DO_NOT_UPGRADE' | null;
  readonly caCertificates: readonly CaCertificates[];
  /** Revocation lists: a file, or PEM blocks. Outrider's own field. */
  readonly caCrl: { readonly path: string } | { readonly pem: string } | null;
  /** meshMTLS, for mutual TLS within the mesh. */
  readonly minTlsVersion: 'TLSv1.2' | 'TLSv1.3';
  /** Of TLS 1.2, by OpenSSL's names, the best first; null = the file says nothing. */
  readonly tlsCipherSuites: readonly string[] | null;
  /** Key exchange groups, the best first; null = the file says nothing. */
  readonly tlsGroups: readonly string[] | null;
  /** Data-plane threads; 0 = one for each CPU. */
  readonly concurrency: number | null;
  readonly drainMs: number | null;
  readonly forwardClientCert: 'SANITIZE_SET' | 'APPEND_FORWARD';
  readonly tracing: Tracing | null;
  /** The external authorizers; providers of other kinds are left out. */
  readonly extensionProviders: readonly ExtensionProvider[];
}

/** Where spans go (OTLP over HTTP) and how many requests are sampled. */
export interface Tracing {
  /** http://host:port/path of an OTLP/HTTP traces endpoint. */
  readonly url: string;
  /** 0 to 100. */
  readonly samplingPercent: number;
}

/** Everything the files say, as one value. */
export interface Resources {
  readonly mesh: MeshConfig;
  readonly peerAuthentications: readonly PeerAuthentication[];
  readonly authorizationPolicies: readonly AuthorizationPolicy[];
  readonly requestAuthentications: readonly RequestAuthentication[];
  readonly destinationRules: readonly DestinationRule[];
  readonly serviceEntries: readonly ServiceEntry[];
  readonly sidecars: readonly Sidecar[];
}

/** The workload that Outrider stands beside, for selection. */
export interface Workload {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
}
