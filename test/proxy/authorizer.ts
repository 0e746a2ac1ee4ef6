/** External authorizers for tests, and what is asked of them: an HTTP one with real sockets, questions, destinations. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import type {
  ExtAuthzGrpc,
  ExtAuthzHttp,
  ExtensionProvider,
  ServiceEntry,
} from '../../src/config/resources.ts';
import { CoarseClock } from '../../src/net/clock.ts';
import { Cluster, type OpenTls } from '../../src/proxy/cluster.ts';
import { type AuthzResult, ExtAuthz } from '../../src/proxy/ext-authz.ts';
import type { AuthzAnswer, AuthzQuestion, Field } from '../../src/proxy/ext-authz-question.ts';
import type { PeerWatch } from '../../src/proxy/revalidation.ts';
import type { RouteSpec, UpstreamTls } from '../../src/proxy/route.ts';
import { Recorder } from '../../src/telemetry/recorder.ts';
import { workloadFacts } from '../../src/telemetry/workload.ts';
import { listenUntilEnd, type Received } from '../peers.ts';

type Teardown = { teardown(fn: () => unknown): unknown };

/** Answers each check; what it was asked is kept. */
export async function startAuthorizer(
  t: Teardown,
  answer: (asked: Received, response: ServerResponse, request: IncomingMessage) => void = (_, response) =>
    response.end(),
) {
  const asked: Received[] = [];
  let connections = 0;
  const numbers = new WeakMap<object, number>();
  const server = createServer({ keepAliveTimeout: 60_000 }, async (request, response) => {
    const received = {
      method: request.method ?? '',
      url: request.url ?? '',
      rawHeaders: request.rawHeaders,
      body: await text(request.setEncoding('latin1')),
      connection: numbers.get(request.socket) ?? 0,
    };
    asked.push(received);
    answer(received, response, request);
  });
  server.on('connection', socket => numbers.set(socket, ++connections));
  return { port: await listenUntilEnd(t, server), asked, connections: () => connections };
}

/** The header lines of a check as an object; two lines of one name are a fault. */
export function headersOf({ rawHeaders }: Pick<Received, 'rawHeaders'>): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase();
    if (name in headers) throw new Error(`two lines of ${name}`);
    headers[name] = rawHeaders[i + 1] as string;
  }
  return headers;
}

const COMMON = {
  name: 'guard',
  service: 'authz.foo.svc',
  port: 80,
  timeoutMs: 10_000,
  failOpen: false,
  statusOnError: 403,
  clearRouteCache: false,
  includeRequestBodyInCheck: null,
};

export function httpProvider(options: Partial<ExtAuthzHttp> = {}): ExtAuthzHttp {
  return {
    ...COMMON,
    kind: 'http',
    pathPrefix: '',
    includeRequestHeadersInCheck: [],
    includeAdditionalHeadersInCheck: {},
    headersToUpstreamOnAllow: [],
    headersToDownstreamOnDeny: [],
    headersToDownstreamOnAllow: [],
    ...options,
  };
}

export function grpcProvider(options: Partial<ExtAuthzGrpc> = {}): ExtAuthzGrpc {
  return { ...COMMON, kind: 'grpc', ...options };
}

/** The body in the check, up to 8 bytes. */
export function bodyInCheck(allowPartialMessage: boolean, packAsBytes = false) {
  return { includeRequestBodyInCheck: { maxRequestBytes: 8, allowPartialMessage, packAsBytes } };
}

const PLAINTEXT: UpstreamTls = { tls: false, why: 'mesh_external' };

const ENTRY: ServiceEntry = {
  kind: 'ServiceEntry',
  metadata: { namespace: 'foo', name: 'authz', createdAt: 0, annotations: {} },
  origin: { file: '', line: 0, column: 0 },
  hosts: ['authz.foo.svc'],
  addresses: [],
  ports: [],
  location: 'MESH_INTERNAL',
  resolution: 'STATIC',
  endpoints: [],
  subjectAltNames: [],
};

/** Nothing changes while these tests run. */
export const unwatched: PeerWatch = { watch: () => {}, adopt: () => {}, unwatch: () => {} };

const noTls: OpenTls = () => {
  throw new Error('no TLS is wanted here');
};

export interface DestinationOptions {
  readonly address?: string;
  readonly security?: UpstreamTls;
  readonly openTls?: OpenTls;
  readonly peers?: PeerWatch;
}

/** A destination with an endpoint for each port of 127.0.0.1. */
export function destination(
  t: Teardown,
  ports: readonly number[],
  options: DestinationOptions = {},
): Cluster {
  const clock = new CoarseClock();
  const spec: RouteSpec = {
    host: 'authz.foo.svc',
    http: { speaks: 'http1', shares: false, fallsBack: false },
    port: { number: 80, name: 'http', protocol: 'HTTP', targetPort: null },
    entry: ENTRY,
    policy: { tls: null, connectionPool: null, loadBalancer: 'ROUND_ROBIN', outlierDetection: null },
    endpoints: ports.map(port => ({
      address: options.address ?? '127.0.0.1',
      port,
      weight: 1,
      security: options.security ?? PLAINTEXT,
      tunnel: false,
    })),
  };
  const cluster = new Cluster(spec, {
    clock,
    recorder: testRecorder(),
    openTls: options.openTls ?? noTls,
    peers: options.peers ?? unwatched,
    warn: () => {},
    baggage: '',
    loops: () => false,
  });
  t.teardown(() => {
    cluster.close();
    clock.stop();
  });
  return cluster;
}

/** Counts, and writes nothing. */
export function testRecorder(): Recorder {
  const facts = { name: null, namespace: 'foo', serviceAccount: 'httpbin', labels: {}, cluster: null };
  return new Recorder({
    workload: workloadFacts({ ...facts, domain: 'cluster.local' }),
    accessLog: 'off',
    writeLine: () => {},
  });
}

/** A provider that can be asked, and what it counted and warned of. */
export function guard(
  t: Teardown,
  provider: ExtensionProvider,
  cluster: Cluster | null,
  openTls: OpenTls = noTls,
) {
  const counts: string[] = [];
  const warnings: Record<string, unknown>[] = [];
  const extAuthz = new ExtAuthz(provider, {
    cluster: () => cluster,
    openTls,
    count: (name: string, result: AuthzResult) => counts.push(`${name} ${result}`),
    warn: (message, fields) => warnings.push({ message, ...fields }),
  });
  t.teardown(() => extAuthz.close());
  return { extAuthz, counts, warnings, ask: asker(extAuthz) };
}

export interface Ask {
  readonly method?: string;
  readonly host?: string;
  readonly target?: string;
  readonly headers?: readonly Field[];
  readonly body?: Buffer | null;
  readonly bodyPartial?: boolean;
  readonly connection?: Partial<AuthzQuestion['connection']>;
  readonly signal?: AbortSignal;
}

export function questionOf(ask: Ask): AuthzQuestion {
  return {
    head: {
      method: ask.method ?? 'GET',
      host: ask.host ?? 'app.foo:8080',
      target: ask.target ?? '/a/b?x=1',
      headerLines: ask.headers ?? [],
    },
    body: ask.body ?? null,
    bodyPartial: ask.bodyPartial ?? false,
    connection: {
      principal: 'spiffe://cluster.local/ns/foo/sa/sleep',
      sourceIp: '10.0.0.9',
      sourcePort: 40_000,
      destinationIp: '10.0.0.1',
      destinationPort: 8080,
      localPrincipal: 'spiffe://cluster.local/ns/foo/sa/httpbin',
      sni: 'outbound_.80_._.httpbin.foo',
      tlsVersion: 'TLSv1.3',
      ...ask.connection,
    },
    protocol: 'HTTP/1.1',
    requestId: '0b5a2b5e',
  };
}

function asker(extAuthz: ExtAuthz) {
  return (ask: Ask = {}): Promise<AuthzAnswer> =>
    extAuthz.check(questionOf(ask), ask.signal ?? new AbortController().signal);
}

/** An answer that lets the request pass; @throws Error for any other */
export function passed(answer: AuthzAnswer): AuthzAnswer & { allow: true } {
  if (!answer.allow) throw new Error(`denied with ${answer.status} ${answer.details}: ${answer.body}`);
  return answer;
}

/** The denial in short. */
export function denial(answer: AuthzAnswer) {
  if (answer.allow) throw new Error('allowed');
  return {
    status: answer.status,
    details: answer.details,
    flag: answer.flag,
    body: answer.body.toString('latin1'),
  };
}
