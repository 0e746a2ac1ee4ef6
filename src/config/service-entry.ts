import { isAddressOrRange } from './addresses.ts';
import { refuseDryRun } from './annotations.ts';
import type { ResourceDocument } from './document.ts';
import { nameProblem, wildcardNameProblem } from './names.ts';
import { quote } from './quote.ts';
import type { ServiceEntry, ServicePort } from './resources.ts';
import type { Section } from './section.ts';
import { readSelector } from './selector.ts';
import { readEndpoints } from './service-endpoint.ts';
import { namesItsHost, readServicePort } from './service-port.ts';

const RESOLUTIONS = ['NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS'] as const;
const LOCATIONS = ['MESH_EXTERNAL', 'MESH_INTERNAL'] as const;

/** Reads a ServiceEntry (networking.istio.io); null when the report has an error. */
export function readServiceEntry(document: ResourceDocument): ServiceEntry | null {
  const { spec, metadata, origin, report } = document;
  refuseDryRun(document);
  const resolution = spec.choice('resolution', RESOLUTIONS) ?? 'NONE';
  const location = spec.choice('location', LOCATIONS) ?? 'MESH_EXTERNAL';
  if (resolution === 'DYNAMIC_DNS') spec.error('resolution', 'DYNAMIC_DNS is not supported yet; refused');
  const hosts = readHosts(spec);
  const addresses = readAddresses(spec, resolution);
  const ports = readPorts(spec);
  const endpoints = readEndpoints(spec, ports, resolution);
  checkTogether(spec, { resolution, hosts, addresses, ports, endpointCount: endpoints.length });
  const subjectAltNames = (spec.texts('subjectAltNames') ?? []).map(({ value }) => value);
  readSelector(spec, 'workloadSelector', 'labels');
  spec.texts('exportTo');
  spec.notHonoured('exportTo', 'workloadSelector');
  spec.close();
  if (report.failed || resolution === 'DYNAMIC_DNS') return null;
  const base = { kind: 'ServiceEntry', metadata, origin } as const;
  return { ...base, hosts, addresses, ports, location, resolution, endpoints, subjectAltNames };
}

function readHosts(spec: Section): readonly string[] {
  const items = spec.texts('hosts') ?? [];
  if (!spec.hasEntries('hosts')) spec.error('hosts', 'must name at least one host');
  for (const { value, place, path } of items) {
    const problem = value === '*' ? '"*" alone is not a host; name a domain' : wildcardNameProblem(value);
    if (problem !== null) spec.report.error(place, `${path}: ${problem}`);
    else if (value.includes('*') && !value.startsWith('*.')) {
      spec.report.warning(place, `${path}: a wildcard stands for whole labels only; write *.DOMAIN`);
    }
  }
  return items.map(({ value }) => value);
}

function readAddresses(spec: Section, resolution: string): readonly string[] {
  const items = spec.texts('addresses') ?? [];
  for (const { value, place, path } of items) {
    if (!isAddressOrRange(value))
      spec.report.error(place, `${path}: ${quote(value)} is not an IP address or CIDR range`);
    else if (value.includes('/') && resolution !== 'NONE' && resolution !== 'STATIC') {
      spec.report.error(
        place,
        `${path}: CIDR ranges go with resolution NONE and STATIC only, not ${resolution}`,
      );
    }
  }
  return items.map(({ value }) => value);
}

function readPorts(spec: Section): readonly ServicePort[] {
  const names = new Set<string>();
  const numbers = new Set<number>();
  return (spec.sections('ports') ?? []).flatMap(section => {
    const port = readServicePort(section);
    if (!port) return [];
    if (names.has(port.name)) section.error('name', `${quote(port.name)} is taken by another port`);
    if (numbers.has(port.number)) section.error('number', `${port.number} is taken by another port`);
    names.add(port.name);
    numbers.add(port.number);
    return [port];
  });
}

interface Together {
  readonly resolution: string;
  readonly hosts: readonly string[];
  readonly addresses: readonly string[];
  readonly ports: readonly ServicePort[];
  readonly endpointCount: number;
}

/** What Istio says of fields that are each in order. */
function checkTogether(spec: Section, entry: Together): void {
  if (entry.resolution === 'NONE') checkUnresolved(spec, entry);
  else if (entry.resolution === 'STATIC') checkStatic(spec, entry);
  else if (entry.resolution !== 'DYNAMIC_DNS') checkLookup(spec, entry);
  const anonymous = entry.ports.find(({ protocol }) => !namesItsHost(protocol));
  if (entry.resolution === 'NONE' || entry.hosts.length < 2 || !anonymous) return;
  const { number, protocol } = anonymous;
  spec.error('hosts', `several hosts cannot share port ${number}: ${protocol} does not name its host`);
}

function checkUnresolved(spec: Section, { addresses, ports }: Together): void {
  if (spec.has('endpoints'))
    spec.error('endpoints', 'go with resolution STATIC or DNS; the resolution is NONE');
  const blind = ports.find(({ protocol }) => protocol === 'TCP' || protocol === 'AUTO');
  if (addresses.length > 0 || !blind) return;
  spec.warning(
    'ports',
    `nothing leads to port ${blind.number} (${blind.protocol}) without addresses or a resolution`,
  );
}

function checkStatic(spec: Section, { endpointCount }: Together): void {
  if (endpointCount > 0 || spec.has('workloadSelector')) return;
  spec.warning('resolution', 'is STATIC, but there are no endpoints: nothing can be reached');
}

function checkLookup(spec: Section, { resolution, hosts, addresses, ports, endpointCount }: Together): void {
  const wrong = endpointCount === 0 && hosts.find(host => nameProblem(host) !== null);
  if (wrong) {
    spec.error(
      'hosts',
      `${quote(wrong)} cannot be looked up; resolution ${resolution} needs endpoints or full names`,
    );
  }
  if (resolution === 'DNS_ROUND_ROBIN' && endpointCount > 1) {
    spec.error('endpoints', 'resolution DNS_ROUND_ROBIN takes one endpoint at most; write DNS for several');
  }
  const plain = ports.find(({ protocol }) => !/^(?:HTTP|GRPC)/.test(protocol) || protocol === 'HTTPS');
  if (hosts.length > 1 && addresses.length > 0 && plain && plain.protocol !== 'AUTO') {
    spec.warning(
      'hosts',
      `the addresses cannot tell several hosts apart on port ${plain.number} (${plain.protocol})`,
    );
  }
}
