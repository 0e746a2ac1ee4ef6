import t from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { http2Plain, http2Tls, startHttp2App } from '../http2-peers.ts';
import { startApp, valuesOf } from '../peers.ts';
import { startSidecar } from '../sidecar.ts';
import { mutual, service } from './services.ts';

t.setTimeout(120_000);

const HTTPBIN = 'spiffe://cluster.local/ns/foo/sa/httpbin';
const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';
const POLICY = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: foo}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: foo}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}
`;

const authority = await testAuthority();
const httpbin = await testIdentity(authority, 'foo/httpbin');
const sleep = await testIdentity(authority, 'foo/sleep');
const server = { certs: temporaryIdentity(t, httpbin), manifests: POLICY };

t.test('HTTP/2 over mutual TLS to an app that speaks HTTP/1.1', async t => {
  const app = await startApp(t);
  const sidecar = await startSidecar(t, {
    ...server,
    app: app.port,
    flags: ['--protocol', `${app.port}=http`],
  });
  const client = await http2Tls(t, sidecar.ports.inbound, sleep);

  t.test('the app gets the request, and who sent it', async t => {
    const reply = await client.ask('/info?x=1', { headers: { cookie: ['a=1', 'b=2'], 'x-two': ['1', '2'] } });
    t.equal(reply.status, 200);
    const received = JSON.parse(reply.body.toString());
    t.equal(received.url, '/info?x=1');
    t.same(valuesOf(received, 'host'), ['app.example']);
    t.same(valuesOf(received, 'cookie'), ['a=1; b=2']);
    t.same(valuesOf(received, 'x-two'), ['1', '2']);
    t.match(valuesOf(received, 'x-forwarded-client-cert')[0], `URI=${SLEEP}`);
    t.match(await sidecar.access.take(l => l.path === '/info?x=1'), {
      protocol: 'HTTP/2',
      response_code: 200,
      source_principal: SLEEP,
    });
  });

  t.test('a body of unknown length arrives whole', async t => {
    const body = Buffer.alloc(1_000_000, 'x');
    const reply = await client.ask('/upload', { body });
    t.equal(JSON.parse(reply.body.toString()).body.length, body.length);
  });

  t.test('policy denies by path, and gRPC hears it in its own words', async t => {
    const denied = await client.ask('/admin');
    t.equal(denied.status, 403);
    t.equal(denied.body.toString(), 'RBAC: access denied');
    const grpc = await client.ask('/admin', { headers: { 'content-type': 'application/grpc' }, body: '' });
    t.match(
      [grpc.status, grpc.headers['grpc-status'], grpc.headers['grpc-message']],
      [200, '7', 'RBAC: access denied'],
    );
  });

  t.test('a hundred requests at a time are each answered', async t => {
    const replies = await Promise.all(Array.from({ length: 100 }, (_, i) => client.ask(`/many?${i}`)));
    t.same(
      replies.map(({ body }) => JSON.parse(body.toString()).url),
      Array.from({ length: 100 }, (_, i) => `/many?${i}`),
    );
  });
});

t.test('HTTP/2 to an app that speaks HTTP/2', async t => {
  const app = await startHttp2App(t, (stream, { body, trailers }) => {
    stream.respond({ ':status': 200, 'x-length': String(body.length) }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-back': String(trailers['x-forth'] ?? '') }));
    stream.end('ok');
  });
  const sidecar = await startSidecar(t, {
    ...server,
    app: app.port,
    flags: ['--protocol', `${app.port}=http2`],
  });
  const client = await http2Tls(t, sidecar.ports.inbound, sleep);
  const reply = await client.ask('/both', { body: 'hello', trailers: { 'x-forth': 'there' } });
  t.match(reply, { status: 200, headers: { 'x-length': '5' }, trailers: { 'x-back': 'there' } });
  await Promise.all(Array.from({ length: 50 }, () => client.ask('/more')));
  t.equal(app.connections(), 1, 'streams of one connection');
});

t.test('plaintext HTTP/2 by prior knowledge, where plaintext is allowed', async t => {
  const app = await startApp(t);
  const sidecar = await startSidecar(t, {
    certs: server.certs,
    app: app.port,
    flags: ['--protocol', `${app.port}=http`],
    manifests: POLICY.replace('STRICT', 'DISABLE'),
  });
  const client = await http2Plain(t, sidecar.ports.inbound);
  t.equal((await client.ask('/plain')).status, 200);
  t.equal((await client.ask('/admin')).status, 403);
});

t.test('a pair of sidecars carries HTTP/2 from app to app', async t => {
  const app = await startHttp2App(t);
  const inbound = await startSidecar(t, {
    ...server,
    app: app.port,
    flags: ['--protocol', `${app.port}=http2`],
  });
  const outbound = await startSidecar(t, {
    certs: temporaryIdentity(t, sleep),
    manifests: `kind: MeshConfig${service({
      host: 'grpc.foo',
      endpoints: [inbound.ports.inbound],
      protocol: 'GRPC',
      policy: mutual(HTTPBIN),
    })}`,
  });
  const client = await http2Plain(t, outbound.ports.outbound, 'grpc.foo');
  const body = Buffer.alloc(5_000_000, 'y');
  const reply = await client.ask('/pair', { body });
  t.match(reply, { status: 200, headers: { 'x-length': String(body.length) } });
  t.match(await outbound.access.take(l => l.path === '/pair'), {
    direction: 'outbound',
    protocol: 'HTTP/2',
    response_code: 200,
  });
});
