import { addressFamily } from './addresses.ts';
import { refuseDryRun } from './annotations.ts';
import type { ResourceDocument } from './document.ts';
import { isDnsLabel, wildcardNameProblem } from './names.ts';
import { quote } from './quote.ts';
import type { EgressListener, Sidecar } from './resources.ts';
import type { Section } from './section.ts';
import { readSelector } from './selector.ts';
import { readListenerPort } from './service-port.ts';

const POLICIES = ['REGISTRY_ONLY', 'ALLOW_ANY'] as const;

/** Reads a Sidecar (networking.istio.io); null when the report has an error. */
export function readSidecar(document: ResourceDocument): Sidecar | null {
  const { spec, metadata, origin, report } = document;
  refuseDryRun(document);
  const selector = readSelector(spec, 'workloadSelector', 'labels');
  const egress = readEgress(spec, metadata.namespace);
  const outboundTrafficPolicy = readOutbound(spec);
  spec.notHonoured('ingress', 'inboundConnectionPool');
  spec.close();
  const says = ['ingress', 'inboundConnectionPool', 'outboundTrafficPolicy'].some(name => spec.has(name));
  if (egress.length === 0 && !says && !report.failed) {
    spec.fault('is empty; write egress, or outboundTrafficPolicy');
  }
  if (report.failed) return null;
  return { kind: 'Sidecar', metadata, origin, selector, egress, outboundTrafficPolicy };
}

/** A written policy without a mode is REGISTRY_ONLY, the zero value of Istio's enum. */
function readOutbound(spec: Section): Sidecar['outboundTrafficPolicy'] {
  const section = spec.section('outboundTrafficPolicy');
  if (!section) return null;
  const mode = section.choice('mode', POLICIES);
  section.notSupported('egressProxy');
  section.close();
  return mode ?? 'REGISTRY_ONLY';
}

function readEgress(spec: Section, namespace: string): readonly EgressListener[] {
  const taken = new Set<number>();
  const sections = spec.sections('egress') ?? [];
  return sections.map((section, i) => {
    const listener = readListener(section, namespace);
    const number = listener.port?.number;
    if (!section.has('port') && i < sections.length - 1) {
      section.fault('has no port: the listener for all other ports must be the last of the list');
    }
    if (number !== undefined && taken.has(number))
      section.error('port', `${number} is taken by another listener`);
    if (number !== undefined) taken.add(number);
    return listener;
  });
}

function readListener(section: Section, namespace: string): EgressListener {
  const port = section.section('port');
  const bind = section.text('bind') || null;
  if (bind !== null && addressFamily(bind) === null) {
    section.error(
      'bind',
      bind.startsWith('unix://')
        ? 'unix:// is not supported yet; refused'
        : `${quote(bind)} is not an IP address`,
    );
  }
  const hosts = readHosts(section, namespace);
  section.choice('captureMode', ['DEFAULT', 'IPTABLES', 'NONE']); // Outrider listens on the port in any case
  section.close();
  return { port: port && readListenerPort(port), bind, hosts };
}

function readHosts(section: Section, namespace: string): readonly string[] {
  const items = section.texts('hosts') ?? [];
  if (!section.hasEntries('hosts'))
    section.error('hosts', 'must name at least one host, as namespace/dnsName');
  for (const { value, place, path } of items) {
    const problem = hostProblem(value);
    if (problem !== null) section.report.error(place, `${path}: ${problem}`);
  }
  const hosts = items.map(({ value }) => value.replace(/^\.\//, `${namespace}/`));
  for (const [i, { place, path }] of items.entries()) {
    const repeated = repeatOf(hosts[i] ?? '', hosts.slice(0, i));
    if (repeated) section.report.warning(place, `${path}: ${repeated}`);
  }
  return items.map(({ value }) => value);
}

/** How a host overlaps with those before it; null when it does not. */
function repeatOf(host: string, before: readonly string[]): string | null {
  const [namespace] = host.split('/', 1);
  const covering = before.find(earlier => [host, `${namespace}/*`, '*/*'].includes(earlier));
  if (covering !== undefined) return `${quote(covering)} before it covers it already; remove one`;
  const covers =
    host.endsWith('/*') && before.some(earlier => host === '*/*' || earlier.startsWith(`${namespace}/`));
  return covers ? 'covers hosts before it; remove those' : null;
}

/** `namespace/dnsName`: the namespace may be `*` or `.`, the name `*` or `*.domain`, never a short name. */
function hostProblem(host: string): string | null {
  const slash = host.indexOf('/');
  if (slash < 0)
    return `${quote(host)} must have the form namespace/dnsName, such as ./* or prod/db.example.com`;
  const namespace = host.slice(0, slash);
  const name = host.slice(slash + 1);
  if (namespace.startsWith('~')) return `${quote(host)}: excluding with ~ is not supported yet; refused`;
  if (namespace !== '*' && namespace !== '.' && !isDnsLabel(namespace))
    return `${quote(namespace)} is not a namespace`;
  if (name !== '*' && !name.includes('.')) return `${quote(name)} is a short name; write the full name`;
  if (name.includes('*') && name !== '*' && !name.startsWith('*.'))
    return `${quote(name)}: only *.DOMAIN is allowed`;
  return wildcardNameProblem(name);
}
