/** Rules that mean something else on TCP ports than they seem to say. */
import type { SectionsOf } from './document.ts';
import { httpFieldsOfOperation, namesPorts, onTcp } from './http-fields.ts';
import { appliesWherever } from './policy-scope.ts';
import type { AuthorizationPolicy, Operation, Resources, Rule, ServiceEntry, Source } from './resources.ts';

interface Known {
  readonly resources: Resources;
  readonly sections: SectionsOf;
}

/** Warns of DENY rules that get wider where there are no requests: wherever Istio does, and where it does not see it. */
export function warnOfWideDeny({ resources, sections }: Known): void {
  for (const policy of resources.authorizationPolicies) {
    if (policy.action !== 'DENY') continue;
    for (const rule of policy.rules) {
      const section = sections.get(rule);
      const problem = widening(rule);
      if (problem !== null) section?.report.warning(section.place, `${section.path}: ${problem}`);
    }
  }
}

const REMEDY = 'add to.operation.ports';

function widening(rule: Rule): string | null {
  const operations: readonly (Operation | null)[] = rule.to ?? [null];
  const wide = operations
    .filter(operation => !namesPorts(rule, operation))
    .map(operation => onTcp(rule, operation));
  const losing = wide.filter(({ loses }) => loses);
  if (losing.some(({ keeps }) => !keeps))
    return `denies every connection to TCP ports too, because they have no HTTP attributes; ${REMEDY}`;
  if (losing.length > 0)
    return `denies TCP connections too, whatever its HTTP attributes say: on TCP ports only the rest of the rule counts; ${REMEDY}`;
  return istioWarns(rule) ? `denies TCP connections too; ${REMEDY} if HTTP alone is meant` : null;
}

/** What Istio counts as holding on TCP; trustDomains do as well, but its validation does not know. */
const TCP_FIELDS = [
  'principals',
  'notPrincipals',
  'namespaces',
  'notNamespaces',
  'serviceAccounts',
  'notServiceAccounts',
  'ipBlocks',
  'notIpBlocks',
  'remoteIpBlocks',
  'notRemoteIpBlocks',
] as const satisfies readonly (keyof Source)[];

/** Istio's own condition for its warning (validation.go): no TCP attribute where the rule has HTTP ones. */
function istioWarns({ from, to }: Rule): boolean {
  const tcpFrom = from?.some(source => TCP_FIELDS.some(field => source[field] !== undefined)) ?? false;
  const tcpTo = to?.some(({ ports, notPorts }) => ports !== undefined || notPorts !== undefined) ?? false;
  return to ? !tcpTo : from !== null && !tcpFrom;
}

const TCP_PROTOCOLS = new Set(['TCP', 'MONGO', 'REDIS', 'MYSQL', 'TLS', 'HTTPS']); // bytes, to a sidecar

/** Warns of HTTP attributes beside a port that a ServiceEntry of the mesh declares as TCP. */
export function warnOfHttpOnTcp({ resources, sections }: Known): void {
  for (const policy of resources.authorizationPolicies) {
    if (policy.bound || (policy.action !== 'ALLOW' && policy.action !== 'DENY')) continue;
    const ports = tcpPorts(policy, resources);
    if (ports.size === 0) continue;
    for (const rule of policy.rules) {
      for (const operation of rule.to ?? []) {
        if (onTcp(rule, operation).loses) warnOfPorts(operation, policy, ports, sections);
      }
    }
  }
}

function warnOfPorts(
  operation: Operation,
  { action }: AuthorizationPolicy,
  ports: ReadonlyMap<number, ServiceEntry>,
  sections: SectionsOf,
): void {
  const section = sections.get(operation);
  for (const { value, place, path } of section?.texts('ports') ?? []) {
    const entry = ports.get(Number(value));
    if (!entry || !section) continue;
    const [field = 'the rule'] = httpFieldsOfOperation(operation);
    const effect =
      action === 'ALLOW'
        ? 'the rule never matches there'
        : `${field} is left out there, and the rule denies every connection that the rest of it matches`;
    const where = `${entry.metadata.namespace}/${entry.metadata.name} (${entry.origin.file}:${entry.origin.line})`;
    section.report.warning(
      place,
      `${path}: ServiceEntry ${where} declares port ${value} as TCP, which has no HTTP attributes: ${effect}; write a rule of its own for the port`,
    );
  }
}

/** The workload ports around a policy that entries of the mesh declare as TCP, and none as something else. */
function tcpPorts(
  policy: AuthorizationPolicy,
  { mesh, serviceEntries }: Resources,
): Map<number, ServiceEntry> {
  const found = new Map<number, ServiceEntry>();
  const other = new Set<number>();
  for (const entry of serviceEntries) {
    const everywhere = { metadata: entry.metadata, selector: null };
    if (
      entry.location !== 'MESH_INTERNAL' ||
      !appliesWherever({ ...policy, selector: null }, everywhere, mesh.rootNamespace)
    )
      continue;
    for (const port of entry.ports) {
      for (const number of workloadPorts(entry, port.name, port.targetPort ?? port.number)) {
        if (TCP_PROTOCOLS.has(port.protocol)) found.set(number, entry);
        else other.add(number);
      }
    }
  }
  for (const number of other) found.delete(number);
  return found;
}

/** Where endpoints listen for a port of the entry. */
function workloadPorts({ endpoints }: ServiceEntry, name: string, otherwise: number): readonly number[] {
  return endpoints.length === 0 ? [otherwise] : endpoints.map(({ ports }) => ports[name] ?? otherwise);
}
