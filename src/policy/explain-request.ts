/** A described request: what `outrider explain` and `POST /explain` are asked, from unknown JSON to one complete value. */

export type ExplainProtocol = 'http' | 'http2' | 'grpc' | 'tcp';

/** A request with every default filled in. */
export interface ExplainRequest {
  /** As given, to be found again in the answer; null when there was none. */
  readonly id: string | null;
  /** null = the workload that is asked about in general. */
  readonly workload: { readonly namespace: string | null; readonly labels: Labels | null } | null;
  readonly protocol: ExplainProtocol;
  readonly transport: 'mtls' | 'plaintext';
  /** What the client offers in TLS; null = as a sidecar does. */
  readonly alpn: readonly string[] | null;
  readonly source: { readonly ip: string; readonly principal: string | null };
  readonly destination: { readonly ip: string; readonly port: number };
  readonly sni: string | null;
  /** What external authorizers are assumed to answer. */
  readonly custom: 'allow' | 'deny';
  readonly request: {
    readonly method: string;
    readonly path: string;
    readonly host: string;
    /** By lower-case name, one string a line. */
    readonly headers: ReadonlyMap<string, readonly string[]>;
  };
}

export type Labels = Readonly<Record<string, string>>;

export type ParsedRequest =
  | { readonly ok: true; readonly request: ExplainRequest }
  | { readonly ok: false; readonly reason: string };

/** Thrown and caught in this file only: the field that is wrong ends the reading of all others. */
class Wrong extends Error {}

/**
 * Reads one described request. Only `destination.port` must be there; fields without a meaning are passed over.
 * @returns the reason in one line when a field has the wrong shape
 */
export function parseExplainRequest(value: unknown): ParsedRequest {
  try {
    return { ok: true, request: readRequest(record(value, 'the request')) };
  } catch (error) {
    if (error instanceof Wrong) return { ok: false, reason: error.message };
    throw error;
  }
}

function readRequest(given: Fields): ExplainRequest {
  const source = record(given.source, 'source');
  const destination = record(given.destination, 'destination');
  const request = record(given.request, 'request');
  const protocol = oneOf(given.protocol, 'protocol', ['http', 'http2', 'grpc', 'tcp'] as const) ?? 'http';
  const principal = text(source.principal, 'source.principal');
  const to = { ip: text(destination.ip, 'destination.ip') ?? '127.0.0.1', port: port(destination.port) };
  const transport = oneOf(given.transport, 'transport', ['mtls', 'plaintext'] as const);
  return {
    id: typeof given.id === 'number' ? String(given.id) : text(given.id, 'id'),
    workload: workload(given.workload),
    protocol,
    alpn: alpn(given.alpn),
    transport: transport ?? (principal === null ? 'plaintext' : 'mtls'),
    source: { ip: text(source.ip, 'source.ip') ?? '127.0.0.1', principal },
    destination: to,
    sni: text(given.sni, 'sni'),
    custom: oneOf(given.custom, 'custom', ['allow', 'deny'] as const) ?? 'allow',
    request: {
      method: text(request.method, 'request.method') ?? (protocol === 'grpc' ? 'POST' : 'GET'),
      path: text(request.path, 'request.path') ?? '/',
      host: text(request.host, 'request.host') ?? `${to.ip.includes(':') ? `[${to.ip}]` : to.ip}:${to.port}`,
      headers: headers(request.headers),
    },
  };
}

function workload(value: unknown): ExplainRequest['workload'] {
  if (value === undefined || value === null) return null;
  const given = record(value, 'workload');
  const labels: Record<string, string> = {};
  for (const [name, label] of Object.entries(record(given.labels, 'workload.labels'))) {
    labels[name] = String(label);
  }
  return {
    namespace: text(given.namespace, 'workload.namespace'),
    labels: given.labels === undefined ? null : labels,
  };
}

function headers(value: unknown): Map<string, string[]> {
  const lines = new Map<string, string[]>();
  for (const [name, given] of Object.entries(record(value, 'request.headers'))) {
    const values = Array.isArray(given) ? given : [given];
    const strings = values.map(line => text(line, `request.headers.${name}`) ?? '');
    lines.set(name.toLowerCase(), [...(lines.get(name.toLowerCase()) ?? []), ...strings]);
  }
  return lines;
}

function alpn(value: unknown): readonly string[] | null {
  if (value === undefined || value === null) return null;
  if (!Array.isArray(value)) throw new Wrong('alpn is not a list');
  return value.map(name => text(name, 'alpn') ?? '');
}

function port(value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 65_535) return value;
  throw new Wrong(
    value === undefined ? 'destination.port is missing' : 'destination.port is not a port number',
  );
}

type Fields = Readonly<Record<string, unknown>>;

function record(value: unknown, name: string): Fields {
  if (value === undefined || value === null) return {};
  if (typeof value === 'object' && !Array.isArray(value)) return value as Fields;
  throw new Wrong(`${name} is not an object`);
}

function text(value: unknown, name: string): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value === 'string') return value;
  throw new Wrong(`${name} is not a string`);
}

function oneOf<T extends string>(value: unknown, name: string, allowed: readonly T[]): T | null {
  if (value === undefined || value === null) return null;
  const found = allowed.find(word => word === value);
  if (found === undefined) throw new Wrong(`${name} is none of ${allowed.join(', ')}`);
  return found;
}
