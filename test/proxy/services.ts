/** Manifests of destinations for tests: a ServiceEntry, and the DestinationRule that says how to speak to it. */

export interface Service {
  readonly host: string;
  /** Where it is: ports of 127.0.0.1. */
  readonly endpoints: readonly number[];
  readonly port?: number;
  readonly protocol?: string;
  readonly location?: 'MESH_INTERNAL' | 'MESH_EXTERNAL';
  readonly subjectAltNames?: readonly string[];
  /** DestinationRule trafficPolicy, YAML flow; absent = no rule. */
  readonly policy?: string;
  /** More fields of every endpoint, YAML flow. */
  readonly endpoint?: string;
}

export function service(options: Service): string {
  const { host, endpoints, port = 80, protocol = 'HTTP', location = 'MESH_INTERNAL', policy } = options;
  const name = host.replaceAll('.', '-');
  const more = options.endpoint === undefined ? '' : `, ${options.endpoint}`;
  const at = endpoints.map(number => `{address: 127.0.0.1, ports: {main: ${number}}${more}}`).join(', ');
  const names = options.subjectAltNames;
  return `
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: foo}
spec:
  hosts: [${host}]
  location: ${location}
  resolution: STATIC
  ports: [{number: ${port}, name: main, protocol: ${protocol}}]
  endpoints: [${at}]
${names === undefined ? '' : `  subjectAltNames: [${names.join(', ')}]`}
${policy === undefined ? '' : rule(host, policy)}`;
}

function rule(host: string, policy: string): string {
  return `
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${host.replaceAll('.', '-')}, namespace: foo}
spec: {host: ${host}, trafficPolicy: {${policy}}}
`;
}

/** trafficPolicy: mutual TLS, and the peer must be one of `names`. */
export function mutual(...names: readonly string[]): string {
  return `tls: {mode: ISTIO_MUTUAL, subjectAltNames: [${names.join(', ')}]}`;
}
