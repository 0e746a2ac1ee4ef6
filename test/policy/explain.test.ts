import { join } from 'node:path';
import t from 'tap';
import type { Resources } from '../../src/config/resources.ts';
import { type ExplainAnswer, explainRequest } from '../../src/policy/explain.ts';
import { parseExplainRequest } from '../../src/policy/explain-request.ts';
import { frontDoor } from '../../src/proxy/front-door.ts';
import { readCaseFile } from './case-file.ts';

const CASES = join(import.meta.dirname, 'cases');
const FOO = { namespace: 'foo', labels: { app: 'a' } };

function ask(resources: Resources, given: object): Promise<ExplainAnswer> {
  const parsed = parseExplainRequest({ destination: { port: 8080 }, ...given });
  if (!parsed.ok) throw new Error(parsed.reason);
  return explainRequest(resources, FOO, parsed.request, frontDoor());
}

const peer = (name: string) => ({ ip: '10.0.0.9', principal: `spiffe://cluster.local/ns/foo/sa/${name}` });

t.test('an answer has the fields of the contract', async t => {
  const { resources } = readCaseFile(join(CASES, 'deny-and-root-namespace.yaml'), t.testdir());
  t.strictSame(
    await ask(resources, {
      id: 'a1',
      source: peer('D'),
      destination: { port: 18080 },
      request: { path: '/x/../deny?x=1' },
    }),
    {
      id: 'a1',
      decision: 'deny',
      reason: 'rbac_access_denied_matched_policy[ns[foo]-policy[deny]-rule[0]]',
      policy: 'foo/deny',
      rule: 0,
      status: 403,
      mtlsMode: 'PERMISSIVE',
      path: '/deny',
      audit: [],
      dryRun: [],
      trace: [
        'DENY foo/deny rule 0: from.principals matched cluster.local/ns/foo/sa/D; to.ports matched 18080; ' +
          'to.methods matched GET; to.paths matched /deny; to.notPaths matched /deny (none of /deny/allow)',
      ],
    },
  );
});

t.test('the trace shows what each rule saw and wanted', async t => {
  const { resources } = readCaseFile(join(CASES, 'deny-and-root-namespace.yaml'), t.testdir());
  t.strictSame((await ask(resources, { request: { path: '/open' }, destination: { port: 18080 } })).trace, [
    'DENY foo/deny rule 0: from.principals did not match: saw no peer identity, wants cluster.local/ns/foo/sa/D',
    'DENY foo/deny rule 1: from.principals did not match: saw no peer identity, wants cluster.local/ns/foo/sa/D',
    'DENY foo/deny rule 2: from.principals did not match: saw no peer identity, wants cluster.local/ns/foo/sa/D',
    'DENY istio-system/global rule 0: to.paths did not match: saw /open, wants /global-deny*',
  ]);
  const tcp = readCaseFile(join(CASES, 'tcp.yaml'), t.testdir()).resources;
  const workload = { namespace: 'allow-both' };
  t.strictSame(
    (await ask(tcp, { workload, protocol: 'tcp', destination: { port: 81 }, source: peer('a') })).trace.slice(
      0,
      2,
    ),
    [
      'ALLOW allow-both/p rule 0: can never match: to.methods needs HTTP',
      'ALLOW allow-both/p rule 1: can never match: to.methods needs HTTP',
    ],
  );
  t.strictSame((await ask(tcp, { workload: { namespace: 'deny-method' }, protocol: 'tcp' })).trace, [
    'DENY deny-method/p rule 0: left out, which widens the rule: to.methods needs HTTP; matches everything',
  ]);
});

t.test('a request that gets 400', async t => {
  const { resources } = readCaseFile(join(CASES, 'paths.yaml'), t.testdir());
  for (const [says, request] of [
    ['a method in lower case', { method: 'get' }],
    ['an unknown method', { method: 'FOO' }],
    ['a method that is no token', { method: 'G ET' }],
    ['a path with %00', { path: '/a%00b' }],
    ['a path that does not begin with a slash', { path: 'a' }],
    ['an empty path', { path: '' }],
    ['a space in the path', { path: '/a b' }],
    ['bytes outside ASCII in the path', { path: '/é' }],
    ['a star for another method than OPTIONS', { path: '*' }],
    ['an empty host', { host: '' }],
    ['a host that is none', { host: 'a b' }],
    ['a line break in a header', { headers: { 'x-a': ['b\r\nx-c: d'] } }],
    ['a line break in the path', { path: '/ HTTP/1.1\r\nx: y\r\n\r\n' }],
    ['a header name with a space', { headers: { 'x a': ['b'] } }],
  ] as const) {
    const answer = await ask(resources, { request });
    t.match(answer, { decision: 'deny', status: 400, reason: /^bad_request: ./ }, says);
  }
  t.equal(
    (await ask(resources, { protocol: 'http2', request: { method: 'get', path: '/admin' } })).status,
    200,
    'HTTP/2 takes any method',
  );
  t.equal((await ask(resources, { request: { method: 'OPTIONS', path: '*' } })).path, '*');
  t.equal(
    (await ask(resources, { request: { method: 'CONNECT', path: 'a.com:443', host: 'a.com:443' } })).path,
    'a.com:443',
  );
  t.equal((await ask(resources, { request: { method: 'CONNECT', path: '/' } })).status, 400);
});

t.test('a gRPC client that is denied gets 200 with its own status', async t => {
  const { resources } = readCaseFile(join(CASES, 'default-deny.yaml'), t.testdir());
  const workload = { namespace: 'no-rules' };
  const headers = { 'content-type': ['application/grpc+proto'] };
  t.match(await ask(resources, { workload, protocol: 'grpc', request: { headers } }), {
    status: 200,
    grpcStatus: 7,
  });
  t.match(await ask(resources, { workload, request: {} }), { status: 403, grpcStatus: undefined });
  t.notMatch(await ask(resources, { workload, protocol: 'tcp' }), { status: 403 }, 'TCP has no status');
});

t.test('a peer that does not get past the handshake', async t => {
  const { resources } = readCaseFile(join(CASES, 'default-deny.yaml'), t.testdir());
  for (const [principal, reason] of [
    ['spiffe://other.example/ns/foo/sa/a', 'foreign_trust_domain'],
    ['spiffe://cluster.local', 'bad_spiffe_id'],
    ['spiffe://cluster.local/ns//sa/a', 'bad_spiffe_id'],
    ['https://cluster.local/a', 'bad_spiffe_id'],
  ] as const) {
    const answer = await ask(resources, { source: { principal } });
    t.match(answer, { decision: 'deny', reason }, principal);
    t.notOk('status' in answer, 'there is no HTTP yet');
  }
  t.match(await ask(resources, { transport: 'mtls' }), { decision: 'deny', reason: 'no_uri_san' });
});

t.test('TLS counts as mutual TLS where it says so, or where nothing else is taken', async t => {
  const { resources: unwritten } = readCaseFile(join(CASES, 'default-deny.yaml'), t.testdir());
  const metadata = { namespace: 'istio-system', name: 'mesh', createdAt: 0, annotations: {} };
  const origin = { file: 'mesh.yaml', line: 1, column: 1 };
  const permissive = { kind: 'PeerAuthentication', metadata, origin, selector: null, ports: [] } as const;
  const resources = { ...unwritten, peerAuthentications: [{ ...permissive, mode: 'PERMISSIVE' as const }] };
  const workload = { namespace: 'elsewhere' };
  const given = { workload, source: peer('a') };
  t.match(await ask(resources, given), { decision: 'allow', mtlsMode: 'PERMISSIVE' }, 'as a sidecar offers');
  t.match(await ask(resources, { ...given, alpn: ['h2', 'http/1.1'] }), {
    decision: 'deny',
    reason: 'tls_without_istio_alpn',
  });
  t.match(await ask(resources, { ...given, alpn: [] }), { reason: 'tls_without_istio_alpn' });
  t.match(await ask(resources, { ...given, alpn: ['istio-h2'], protocol: 'grpc' }), { decision: 'allow' });
  const foreign = { ...given, source: peer('a'), protocol: 'tcp', alpn: ['h2'] };
  t.match(await ask(resources, foreign), {
    decision: 'allow',
    trace: [
      'PeerAuthentication istio-system/mesh PERMISSIVE: TLS passes to the app as bytes, so nobody knows the peer',
    ],
  });
  t.match(
    await ask(unwritten, { ...given, alpn: ['h2', 'http/1.1'] }),
    { decision: 'allow', mtlsMode: 'PERMISSIVE' },
    'where nobody wrote a mode, all TLS is mutual TLS',
  );
});

t.test('cookie crumbs of HTTP/2 are one value again', async t => {
  const { resources } = readCaseFile(join(CASES, 'headers.yaml'), t.testdir());
  const given = { workload: { namespace: 'inline' }, request: { headers: { cookie: ['a', 'b'] } } };
  t.equal(
    (await ask(resources, { ...given, protocol: 'http' })).decision,
    'allow',
    'HTTP/1.1 matches each line',
  );
  t.equal(
    (await ask(resources, { ...given, protocol: 'http2' })).decision,
    'deny',
    'HTTP/2 the joined value',
  );
  const empty = { ...given, request: { headers: { cookie: [''] } } };
  t.match(
    (await ask(resources, { ...empty, protocol: 'http2' })).trace.at(-1),
    /no such header/,
    'an empty one is none',
  );
});

t.test('what is no described request is refused in one line', async t => {
  for (const [value, reason] of [
    [{}, 'destination.port is missing'],
    [null, 'destination.port is missing'],
    [[], 'the request is not an object'],
    [{ destination: { port: 70000 } }, 'destination.port is not a port number'],
    [{ destination: { port: '80' } }, 'destination.port is not a port number'],
    [{ destination: { port: 80 }, protocol: 'spdy' }, 'protocol is none of http, http2, grpc, tcp'],
    [{ destination: { port: 80 }, transport: 'tls' }, 'transport is none of mtls, plaintext'],
    [{ destination: { port: 80 }, alpn: 'h2' }, 'alpn is not a list'],
    [{ destination: { port: 80 }, alpn: [2] }, 'alpn is not a string'],
    [{ destination: { port: 80 }, source: { ip: 1 } }, 'source.ip is not a string'],
    [{ destination: { port: 80 }, request: { headers: { a: [1] } } }, 'request.headers.a is not a string'],
  ] as const) {
    t.strictSame(parseExplainRequest(value), { ok: false, reason }, JSON.stringify(value));
  }
});
