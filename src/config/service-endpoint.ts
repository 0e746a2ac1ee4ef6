import { addressFamily } from './addresses.ts';
import { isDnsLabel, nameProblem } from './names.ts';
import { quote } from './quote.ts';
import type { ServiceEndpoint, ServicePort } from './resources.ts';
import type { Item, Section } from './section.ts';
import { MAX_PORT } from './service-port.ts';

const LABEL_KEY =
  /^(?:[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?)*\/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;
const MAX_WEIGHT = 4_294_967_295; // uint32

/** Reads spec.endpoints of a ServiceEntry; each port that an endpoint names must be one of `ports`. */
export function readEndpoints(
  spec: Section,
  ports: readonly ServicePort[],
  resolution: string,
): readonly ServiceEndpoint[] {
  if (spec.has('endpoints') && spec.has('workloadSelector')) {
    spec.error('endpoints', 'only one of endpoints and workloadSelector can be set');
  }
  const known = new Set(ports.map(({ name }) => name));
  return (spec.sections('endpoints') ?? []).map(section => readEndpoint(section, known, resolution));
}

function readEndpoint(section: Section, known: ReadonlySet<string>, resolution: string): ServiceEndpoint {
  const address = readAddress(section, resolution);
  const ports = readPorts(section, known);
  const labels = readLabels(section);
  const serviceAccount = section.text('serviceAccount');
  const weight = section.whole('weight', 0, MAX_WEIGHT) || 1; // Istio: 0 and absent are 1
  section.notHonoured('network', 'locality');
  section.close();
  return {
    address,
    ports,
    labels,
    serviceAccount: serviceAccount || null,
    weight,
  };
}

function readAddress(section: Section, resolution: string): string {
  const address = section.required('address', 'an IP address or a name');
  if (address === null) return '';
  if (address.startsWith('unix://')) section.error('address', 'unix:// is not supported yet; refused');
  else if (addressFamily(address) !== null) return address;
  else if (resolution === 'STATIC') {
    section.error('address', `${quote(address)} is not an IP address; write resolution: DNS for names`);
  } else {
    const problem = nameProblem(address);
    if (problem !== null) section.error('address', problem);
  }
  return address;
}

/** Kubernetes' own form, which a selector has to match. */
function readLabels(section: Section): Readonly<Record<string, string>> {
  const labels = section.textMap('labels') ?? new Map<string, Item>();
  for (const [key, { value, place, path }] of labels) {
    if (!LABEL_KEY.test(key))
      section.report.error(place, `${path}: ${quote(key)} is not the name of a label`);
    if (!LABEL_VALUE.test(value))
      section.report.error(place, `${path}: ${quote(value)} is not the value of a label`);
  }
  return Object.fromEntries(Array.from(labels, ([key, { value }]) => [key, value]));
}

function readPorts(section: Section, known: ReadonlySet<string>): Readonly<Record<string, number>> {
  const ports = section.section('ports');
  if (!ports) return {};
  const found: Record<string, number> = {};
  for (const name of ports.names()) {
    const number = ports.whole(name, 1, MAX_PORT);
    if (!isDnsLabel(name) || !known.has(name)) {
      ports.report.error(ports.keyOf(name), `${ports.pathOf(name)}: is not the name of one of spec.ports`);
    } else if (number !== null) found[name] = number;
  }
  return found;
}
