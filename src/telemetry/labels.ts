import type { AccessRecord, ConnectionFacts } from './record.ts';
import type { WorkloadFacts } from './workload.ts';

/** Labels of Istio's standard metrics, in Istio's order (istio-semantics, 7.1). */
export const CONNECTION_LABELS = [
  'reporter',
  'source_workload',
  'source_canonical_service',
  'source_canonical_revision',
  'source_workload_namespace',
  'source_principal',
  'source_app',
  'source_version',
  'source_cluster',
  'destination_workload',
  'destination_workload_namespace',
  'destination_principal',
  'destination_app',
  'destination_version',
  'destination_service',
  'destination_canonical_service',
  'destination_canonical_revision',
  'destination_service_name',
  'destination_service_namespace',
  'destination_cluster',
] as const;

export const REQUEST_LABELS: readonly string[] = [
  ...CONNECTION_LABELS,
  'request_protocol',
  'response_code',
  'grpc_response_status',
  'response_flags',
  'connection_security_policy',
];

/** Where the protocol of a request stands among its labels. */
export const REQUEST_PROTOCOL = REQUEST_LABELS.indexOf('request_protocol');

export const TCP_LABELS: readonly string[] = [
  ...CONNECTION_LABELS,
  'request_protocol',
  'response_flags',
  'connection_security_policy',
];

const UNKNOWN = 'unknown';

/** One end of a connection, as far as it is known. */
interface Side {
  readonly workload: string | null;
  readonly namespace: string | null;
  readonly principal: string | null;
  readonly app: string | null;
  readonly version: string | null;
  readonly cluster: string | null;
  readonly service: string | null;
  readonly revision: string;
}

/** The part of the labels that every record of a connection shares; an absent value is `unknown`, as in Istio. */
export function connectionLabels(facts: ConnectionFacts, workload: WorkloadFacts): string[] {
  const inbound = facts.direction === 'inbound';
  const host = inbound ? workload.service : facts.destinationService;
  const hostName = host === null ? null : serviceName(host);
  const hostNamespace = inbound ? workload.namespace : serviceNamespace(host);
  const own: Side = {
    workload: workload.name,
    namespace: workload.namespace,
    principal: inbound ? facts.destinationPrincipal : facts.sourcePrincipal,
    app: workload.app,
    version: workload.version,
    cluster: workload.cluster,
    service: workload.canonicalService,
    revision: workload.canonicalRevision,
  };
  const peer: Side = {
    workload: null,
    namespace: inbound ? facts.sourceNamespace : facts.destinationNamespace,
    principal: inbound ? facts.sourcePrincipal : facts.destinationPrincipal,
    app: null,
    version: null,
    cluster: null,
    service: inbound ? null : hostName,
    revision: 'latest',
  };
  const [source, destination] = inbound ? [peer, own] : [own, peer];
  const values = [
    inbound ? 'destination' : 'source',
    source.workload,
    source.service,
    source.revision,
    source.namespace,
    source.principal,
    source.app,
    source.version,
    source.cluster,
    destination.workload,
    destination.namespace,
    destination.principal,
    destination.app,
    destination.version,
    host,
    destination.service,
    destination.revision,
    hostName,
    hostNamespace,
    destination.cluster,
  ];
  return values.map(value => value ?? UNKNOWN);
}

export function requestLabels(shared: readonly string[], record: AccessRecord): string[] {
  return [
    ...shared,
    record.requestProtocol,
    String(record.status), // 0 = got no response, as Istio writes it
    record.requestProtocol === 'grpc' ? grpcLabel(record.grpcStatus) : '',
    record.flag,
    securityLabel(record.conn),
  ];
}

export function tcpLabels(shared: readonly string[], facts: ConnectionFacts, flag: string): string[] {
  return [...shared, 'tcp', flag, securityLabel(facts)];
}

/** The one series that takes what is beyond the bound: every label `unknown`. */
export function overflowLabels(names: readonly string[]): string[] {
  return names.map(() => UNKNOWN);
}

/** A client cannot vouch for what the server saw, so Istio's source reporter says `unknown`. */
function securityLabel(facts: ConnectionFacts): string {
  return facts.direction === 'outbound' ? UNKNOWN : facts.security;
}

/** A peer writes this number: only the 17 statuses of gRPC make series. */
function grpcLabel(status: number | null): string {
  if (status === null) return '';
  return status >= 0 && status <= 16 ? String(status | 0) : UNKNOWN;
}

const CLUSTER_SERVICE = /^([^.]+)\.([^.]+)\.svc(?:\.|$)/;

/** `httpbin` of `httpbin.foo.svc.cluster.local`; any other host is its own name. */
function serviceName(fqdn: string): string {
  return CLUSTER_SERVICE.exec(fqdn)?.[1] ?? fqdn;
}

function serviceNamespace(fqdn: string | null): string | null {
  return fqdn === null ? null : (CLUSTER_SERVICE.exec(fqdn)?.[2] ?? null);
}
