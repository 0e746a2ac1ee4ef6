/** The TCP ports that Sidecar.egress opens on this workload, each for one service. */
import type { Resources, Workload } from '../config/resources.ts';

export interface EgressPort {
  readonly listen: { readonly host: string; readonly port: number };
  readonly host: string;
  readonly port: number;
}

/** HTTP egress listeners need none: the outbound port serves them by Host. */
const HTTP = /^(?:HTTP|HTTP2|GRPC|GRPC-WEB)$/;

/**
 * The listeners of the Sidecar that applies: the workload's own by selector, else its namespace's. One needs a port, a
 * TCP protocol and one host with that service port; `bind` defaults to 127.0.0.1.
 */
export function egressPorts(resources: Resources, workload: Workload): EgressPort[] {
  const own = resources.sidecars.filter(sidecar => sidecar.metadata.namespace === workload.namespace);
  const labelled = own.find(
    ({ selector }) =>
      selector !== null && Object.entries(selector).every(([key, value]) => workload.labels[key] === value),
  );
  const sidecar = labelled ?? own.find(({ selector }) => selector === null);
  const ports: EgressPort[] = [];
  for (const { port, bind, hosts } of sidecar?.egress ?? []) {
    if (port === null || HTTP.test(port.protocol)) continue;
    for (const written of hosts) {
      const host = written.slice(written.indexOf('/') + 1).toLowerCase();
      if (host.includes('*')) continue;
      ports.push({
        listen: { host: bind ?? '127.0.0.1', port: port.number },
        host,
        port: servicePort(resources, host, port.number),
      });
      break;
    }
  }
  return ports;
}

/** The service's port of the same number, else its only TCP port: a listener may open another port than the service has. */
function servicePort(resources: Resources, host: string, number: number): number {
  const named = resources.serviceEntries.filter(entry =>
    entry.hosts.some(name => name.toLowerCase() === host),
  );
  const ports = named.flatMap(entry => entry.ports);
  if (ports.some(port => port.number === number)) return number;
  const tcp = ports.filter(port => !HTTP.test(port.protocol));
  return tcp.length === 1 ? (tcp[0]?.number ?? number) : number;
}
