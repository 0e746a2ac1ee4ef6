import { withoutTokens } from './query-tokens.ts';
import type { AccessRecord } from './record.ts';

/** What a span says of a finished request: OpenTelemetry's HTTP semantic conventions (stable, 1.23 and later). */
export interface SpanFacts {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly failed: boolean;
}

const METHODS = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'CONNECT',
  'OPTIONS',
  'TRACE',
  'PATCH',
  'QUERY',
]);
const MAX_VALUE = 256; // characters, Envoy's max_path_tag_length

/** Name, attributes and outcome of the request's span: SERVER inbound, CLIENT outbound. */
export function spanFacts(record: AccessRecord): SpanFacts {
  const { conn } = record;
  const server = conn.direction === 'inbound';
  const method = METHODS.has(record.method ?? '') ? (record.method ?? '') : '_OTHER';
  const attributes: Record<string, string | number> = { 'http.request.method': method };
  const put = (name: string, value: string | number | null | undefined): void => {
    if (value === null || value === undefined || value === '') return;
    attributes[name] = typeof value === 'string' ? value.slice(0, MAX_VALUE) : value;
  };
  if (method === '_OTHER') put('http.request.method_original', record.method);
  putTarget(record, put);
  put('http.request.body.size', record.bytesReceived);
  put('http.response.body.size', record.bytesSent);
  put('network.protocol.name', 'http');
  put('network.protocol.version', record.protocol?.split('/')[1]);
  const peer = server ? conn.remoteAddress : record.upstreamHost;
  const [peerAddress, peerPort] = peer === null ? [] : hostAndPort(peer);
  put('network.peer.address', peerAddress);
  put('network.peer.port', peerPort);
  if (server) {
    put('client.address', peerAddress);
    put('user_agent.original', record.headers?.headerValues('user-agent')[0]);
  }
  if (record.status > 0) put('http.response.status_code', record.status);
  put('rpc.grpc.status_code', record.grpcStatus);
  const failed = record.status === 0 || record.status >= (server ? 500 : 400);
  if (failed) put('error.type', record.flag === '-' ? String(record.status) : record.flag);
  put('outrider.response_flags', record.flag);
  put('outrider.source_principal', conn.sourcePrincipal);
  put('outrider.destination_principal', conn.destinationPrincipal);
  put('outrider.upstream_cluster', record.upstreamCluster);
  put('outrider.policy', record.policy);
  put('outrider.request_id', record.requestId);
  const route = record.routeName === null ? '' : ` ${record.routeName}`;
  return { name: (method === '_OTHER' ? 'HTTP' : method) + route, attributes, failed };
}

type Put = (name: string, value: string | number | null | undefined) => void;

function putTarget(record: AccessRecord, put: Put): void {
  const scheme = record.conn.tlsVersion === null && record.conn.security !== 'mutual_tls' ? 'http' : 'https';
  const target = withoutTokens(record.path ?? '');
  const query = target.indexOf('?');
  const [address, port] = hostAndPort(record.authority ?? '');
  put('server.address', address);
  put('server.port', port);
  if (record.conn.direction === 'outbound') {
    put('url.full', target.startsWith('/') ? `${scheme}://${record.authority ?? ''}${target}` : target);
    return;
  }
  put('url.scheme', scheme);
  put('url.path', query === -1 ? target : target.slice(0, query));
  if (query !== -1) put('url.query', target.slice(query + 1));
}

const HOST_PORT = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/;

/** `host`, `host:port`, `[v6]:port`; anything else is a host as it stands. */
function hostAndPort(text: string): [string, number | undefined] {
  const parts = HOST_PORT.exec(text);
  if (parts === null) return [text, undefined];
  return [parts[1] ?? parts[2] ?? '', parts[3] === undefined ? undefined : Number(parts[3])];
}
