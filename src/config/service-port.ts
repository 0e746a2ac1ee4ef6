import { isDnsLabel } from './names.ts';
import { quote } from './quote.ts';
import type { ServicePort } from './resources.ts';
import type { Section } from './section.ts';

/** Istio's protocol names, upper case; '' (not declared) is AUTO: told from the first bytes. */
const PROTOCOLS = new Set([
  'HTTP',
  'HTTP2',
  'HTTP_PROXY',
  'HTTPS',
  'GRPC',
  'GRPC-WEB',
  'TCP',
  'TLS',
  'MONGO',
  'REDIS',
  'MYSQL',
  'UDP',
]);

export const MAX_PORT = 65_535;

/** A port of a ServiceEntry: number and name are required. */
export function readServicePort(section: Section): ServicePort | null {
  const number = readPortNumber(section, 'number');
  const name = section.required('name', 'what endpoints call the port');
  if (name !== null && !isDnsLabel(name)) section.error('name', `${quote(name)} is not a DNS label`);
  const protocol = readProtocol(section);
  const targetPort = section.has('targetPort') ? readPortNumber(section, 'targetPort') : null;
  section.close();
  return number === null || name === null ? null : { number, name, protocol, targetPort };
}

/** A port of a Sidecar's egress listener: only the number is required. */
export function readListenerPort(section: Section): ServicePort | null {
  const number = readPortNumber(section, 'number');
  const name = section.text('name') ?? '';
  if (name !== '' && !isDnsLabel(name)) section.error('name', `${quote(name)} is not a DNS label`);
  const protocol = readProtocol(section);
  if (section.whole('targetPort', 0, MAX_PORT))
    section.error('targetPort', 'has no meaning on a Sidecar; remove it');
  section.close();
  return number === null ? null : { number, name, protocol, targetPort: null };
}

/** A required port number from 1 to 65535. */
export function readPortNumber(section: Section, field: string): number | null {
  const number = section.whole(field, 1, MAX_PORT);
  if (number === null && !section.isWritten(field))
    section.error(field, `must be set, to a port from 1 to ${MAX_PORT}`);
  return number;
}

function readProtocol(section: Section): string {
  const written = section.text('protocol') ?? '';
  if (written === '') return 'AUTO';
  const protocol = written.toUpperCase();
  if (!PROTOCOLS.has(protocol)) {
    section.error('protocol', `${quote(written)} is not one of ${[...PROTOCOLS].join(', ')}`);
  } else if (protocol === 'UDP') section.warning('protocol', 'UDP is not proxied');
  return protocol;
}

/** True for a protocol whose requests, or whose SNI, name the host: several hosts can share a port. */
export function namesItsHost(protocol: string): boolean {
  return /^(?:HTTP|HTTP2|HTTP_PROXY|HTTPS|GRPC|GRPC-WEB|TLS)$/.test(protocol);
}
