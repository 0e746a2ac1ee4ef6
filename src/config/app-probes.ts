/** The probes of the app that injection rewrote to this sidecar: the variable ISTIO_KUBE_APP_PROBERS, as Istio writes it. */

export interface HttpProbe {
  readonly kind: 'http';
  readonly scheme: 'http' | 'https';
  readonly port: number;
  /** With its query; begins with a slash. */
  readonly path: string;
  readonly headers: readonly { readonly name: string; readonly value: string }[];
}

export interface TcpProbe {
  readonly kind: 'tcp';
  readonly port: number;
}

export interface GrpcProbe {
  readonly kind: 'grpc';
  readonly port: number;
  /** '' asks for the server as a whole. */
  readonly service: string;
}

export type AppProbe = (HttpProbe | TcpProbe | GrpcProbe) & { readonly timeoutMs: number };

/** The probes by the paths under which they are asked for; or why the variable cannot be read. */
export type AppProbes =
  | { readonly ok: true; readonly probes: ReadonlyMap<string, AppProbe> }
  | { readonly ok: false; readonly reason: string };

const PATH = /^\/app-(?:health|lifecycle)\/[a-z0-9-]+\/(?:livez|readyz|startupz|prestopz|poststartz)$/;
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const FIELD_VALUE = /^[\t\u0020-\u007e\u0080-\u00ff]*$/;
const DEFAULT_TIMEOUT_S = 1; // Kubernetes' own

class Wrong extends Error {}

/** Reads the variable; undefined and '' are no probes. */
export function parseAppProbes(text: string | undefined): AppProbes {
  if (!text) return { ok: true, probes: new Map() };
  try {
    const all = objectOf(JSON.parse(text), 'the whole');
    const probes = Object.entries(all).map(([path, value]) => {
      if (!PATH.test(path)) throw new Wrong(`${JSON.stringify(path)} is no path of a probe`);
      return [path, readProbe(objectOf(value, path), path)] as const;
    });
    return { ok: true, probes: new Map(probes) };
  } catch (error) {
    return { ok: false, reason: error instanceof Wrong ? error.message : 'it is not JSON' };
  }
}

function objectOf(value: unknown, where: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new Wrong(`${where} is not a mapping`);
}

function readProbe(probe: Readonly<Record<string, unknown>>, where: string): AppProbe {
  const seconds = probe.timeoutSeconds ?? DEFAULT_TIMEOUT_S;
  if (typeof seconds !== 'number' || !(seconds > 0))
    throw new Wrong(`${where}: timeoutSeconds is not a number of seconds`);
  const timeoutMs = seconds * 1_000;
  if (probe.tcpSocket != null) {
    return { kind: 'tcp', port: portOf(objectOf(probe.tcpSocket, where), where), timeoutMs };
  }
  if (probe.grpc != null) {
    const grpc = objectOf(probe.grpc, where);
    return { kind: 'grpc', port: portOf(grpc, where), service: textOf(grpc.service, where), timeoutMs };
  }
  if (probe.httpGet == null) throw new Wrong(`${where} asks neither httpGet, tcpSocket nor grpc`);
  return { ...readHttp(objectOf(probe.httpGet, where), where), timeoutMs };
}

function readHttp(http: Readonly<Record<string, unknown>>, where: string): HttpProbe {
  const scheme = textOf(http.scheme, where).toUpperCase() === 'HTTPS' ? 'https' : 'http';
  const path = textOf(http.path, where);
  const fields = http.httpHeaders ?? [];
  if (!Array.isArray(fields)) throw new Wrong(`${where}: httpHeaders is not a list`);
  const headers = fields.map(field => {
    const { name, value } = objectOf(field, where);
    const one = { name: textOf(name, where), value: textOf(value, where) };
    if (FIELD_NAME.test(one.name) && FIELD_VALUE.test(one.value)) return one;
    throw new Wrong(`${where}: ${JSON.stringify(one.name)} is not a header`);
  });
  return {
    kind: 'http',
    scheme,
    port: portOf(http, where),
    path: path.startsWith('/') ? path : `/${path}`,
    headers,
  };
}

function portOf({ port }: Readonly<Record<string, unknown>>, where: string): number {
  if (Number.isInteger(port) && Number(port) >= 1 && Number(port) <= 65_535) return Number(port);
  throw new Wrong(`${where}: ${JSON.stringify(port)} is not a port`);
}

function textOf(value: unknown, where: string): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return value;
  throw new Wrong(`${where}: ${JSON.stringify(value)} is not a text`);
}
