import type { AccessRecord, ConnectionFacts } from './record.ts';
import type { WorkloadFacts } from './workload.ts';

/** Labels of Istio's standard metrics, in Istio's order (istio-semantics, 7.1). */
const CONNECTION_LABELS = [
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

export const TCP_LABELS: readonly string[] = [
  ...CONNECTION_LABELS,
  'request_protocol',
  'response_flags',
  'connection_security_policy',
];

const UNKNOWN = 'unknown';

/** The part of the labels that every record of a connection shares; an absent value is `unknown`, as in Istio. */
export function connectionLabels(facts: ConnectionFacts, own: WorkloadFacts): string[] {
  const inbound = facts.direction === 'inbound';
  const service = inbound ? own.service : facts.destinationService;
  const peerNamespace = inbound ? facts.sourceNamespace : facts.destinationNamespace;
  const name = service === null ? null : serviceName(service);
  const ownSide = [own.name, own.canonicalService, own.canonicalRevision];
  const [sourceWorkload, sourceService, sourceRevision] = inbound ? [] : ownSide;
  const [destinationWorkload, destinationService, destinationRevision] = inbound ? ownSide : [];
  return [
    inbound ? 'destination' : 'source',
    sourceWorkload ?? UNKNOWN,
    sourceService ?? UNKNOWN,
    sourceRevision ?? (inbound ? 'latest' : UNKNOWN),
    (inbound ? peerNamespace : own.namespace) ?? UNKNOWN,
    facts.sourcePrincipal ?? UNKNOWN,
    (inbound ? null : own.app) ?? UNKNOWN,
    (inbound ? null : own.version) ?? UNKNOWN,
    (inbound ? null : own.cluster) ?? UNKNOWN,
    destinationWorkload ?? UNKNOWN,
    (inbound ? own.namespace : peerNamespace) ?? UNKNOWN,
    facts.destinationPrincipal ?? UNKNOWN,
    (inbound ? own.app : null) ?? UNKNOWN,
    (inbound ? own.version : null) ?? UNKNOWN,
    service ?? UNKNOWN,
    destinationService ?? name ?? UNKNOWN,
    destinationRevision ?? (inbound ? UNKNOWN : 'latest'),
    name ?? UNKNOWN,
    (inbound ? own.namespace : serviceNamespace(service)) ?? UNKNOWN,
    (inbound ? own.cluster : null) ?? UNKNOWN,
  ];
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
