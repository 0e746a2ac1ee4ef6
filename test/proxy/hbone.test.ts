import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { h2Secure } from '../h2-peer.ts';
import { type Http2Client, http2Tls, http2Tunnel, takeFrom } from '../http2-peers.ts';
import { deadPort, type Reply, startApp, startTcpApp, valuesOf, wirePlain, wireTls } from '../peers.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';
const HTTPBIN = 'spiffe://cluster.local/ns/foo/sa/httpbin';
const MALLORY = 'spiffe://cluster.local/ns/foo/sa/mallory';
const authority = await testAuthority();
const httpbin = await testIdentity(authority, 'foo/httpbin');
const sleep = await testIdentity(authority, 'foo/sleep');
const mallory = await testIdentity(authority, 'foo/mallory');

const POLICY = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: sleep-only, namespace: foo}
spec: {action: ALLOW, rules: [{from: [{source: {principals: [cluster.local/ns/foo/sa/sleep]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: foo}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}
`;
/** Paths mean nothing to bytes: DENY would be for all of them. */
const TCP_POLICY = POLICY.split('---')[0] ?? '';

async function start(t: Test, app: number, protocol: string): Promise<{ sidecar: Sidecar; hbone: number }> {
  const hbone = await deadPort();
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, httpbin),
    app,
    manifests: protocol === 'tcp' ? TCP_POLICY : POLICY,
    flags: ['--hbone', `127.0.0.1:${hbone}`, '--protocol', `${app}=${protocol}`],
  });
  return { sidecar, hbone };
}

const connect = (client: Http2Client, to: string) => http2Tunnel(client, { ':authority': to });

t.test('bytes in a tunnel reach the app, and the log says from whom', async t => {
  const app = await startTcpApp(t, socket => socket.pipe(socket));
  const { sidecar, hbone } = await start(t, app.port, 'tcp');
  const client = await http2Tls(t, hbone, sleep);
  const { stream } = await connect(client, `127.0.0.1:${app.port}`);
  stream.write('hello');
  t.equal(await takeFrom(stream, 5), 'hello');
  stream.end();
  t.match(await sidecar.access.take(l => l.protocol === null), {
    source_principal: SLEEP,
    bytes_received: 5,
    bytes_sent: 5,
    policy_decision: 'allow',
  });
  t.test('and a large one both ways', async t => {
    const { stream: large } = await connect(client, `127.0.0.1:${app.port}`);
    large.end(Buffer.alloc(3_000_000, 'z'));
    t.equal((await takeFrom(large, 3_000_000)).length, 3_000_000);
  });
});

t.test('requests in a tunnel are decided one by one, and the app is told who sent them', async t => {
  const app = await startApp(t);
  const { hbone } = await start(t, app.port, 'http');
  const client = await http2Tls(t, hbone, sleep);
  const { stream } = await connect(client, `127.0.0.1:${app.port}`);
  stream.write('GET /in HTTP/1.1\r\nHost: a\r\n\r\n');
  const reply = await takeFrom(stream, 200);
  t.match(reply, /^HTTP\/1\.1 200 /);
  const received = JSON.parse(reply.slice(reply.indexOf('\r\n\r\n') + 4));
  t.match(valuesOf(received, 'x-forwarded-client-cert')[0], `URI=${SLEEP}`);
  stream.write('GET /admin HTTP/1.1\r\nHost: a\r\n\r\n');
  t.match(await takeFrom(stream, 50), /^HTTP\/1\.1 403 /);
});

t.test('what is no tunnel to the workload is refused as ztunnel refuses it', async t => {
  const app = await startTcpApp(t, socket => socket.pipe(socket));
  const { hbone, sidecar } = await start(t, app.port, 'tcp');
  const client = await http2Tls(t, hbone, sleep);
  t.equal((await client.ask('/')).status, 400, 'no CONNECT');
  await t.rejects(connect(client, `app.example:${app.port}`), { message: '400' }, 'a name');
  await t.rejects(connect(client, '127.0.0.1:1'), { message: '503' }, 'a port that is not of the workload');
  await t.rejects(connect(await http2Tls(t, hbone, mallory), `127.0.0.1:${app.port}`), { message: '401' });
  t.match(await sidecar.access.take(l => l.response_code === 401), { policy_decision: 'deny' });
  t.equal(app.connections(), 0);
});

t.test('an app that cannot be reached is 503', async t => {
  const port = await deadPort();
  const { hbone } = await start(t, port, 'tcp');
  const client = await http2Tls(t, hbone, sleep);
  await t.rejects(connect(client, `127.0.0.1:${port}`), { message: '503' });
});

t.test('a client that does not offer HTTP/2 gets no connection', async t => {
  const app = await startTcpApp(t, socket => socket.pipe(socket));
  const { hbone } = await start(t, app.port, 'tcp');
  await t.rejects(wireTls(t, hbone, sleep, { ALPNProtocols: ['http/1.1'] }));
});

t.test('a tunnel that a new configuration denies is closed', async t => {
  const app = await startTcpApp(t, socket => socket.pipe(socket));
  const { sidecar, hbone } = await start(t, app.port, 'tcp');
  const client = await http2Tls(t, hbone, sleep);
  const { stream } = await connect(client, `127.0.0.1:${app.port}`);
  stream.write('hello');
  await takeFrom(stream, 5);
  const closed = new Promise(resolve => stream.once('close', resolve));
  stream.on('error', () => {});
  stream.resume();
  await sidecar.configure(TCP_POLICY.replace('sa/sleep', 'sa/nobody'));
  await closed;
  t.pass('closed');
});

t.test('who was accepted before the drain and shakes hands after it is told to go elsewhere', async t => {
  const app = await startTcpApp(t, socket => socket.pipe(socket));
  const { sidecar, hbone } = await start(t, app.port, 'tcp');
  const raw = connectTcp(hbone, '127.0.0.1');
  t.teardown(() => raw.destroy());
  await once(raw, 'connect');
  while ((await sidecar.metric('outrider_connections_open', { direction: 'inbound' })) === 0);
  await sidecar.get('admin', '/drain', { method: 'POST' });
  await sidecar.metric('outrider_workers'); // every worker knows
  const secure = { socket: raw, cert: sleep.certChainPem, key: sleep.keyPem, ca: sleep.rootPem };
  const peer = await h2Secure(t, hbone, secure);
  await peer.closed();
  t.match(peer.goaway, { lastStream: 0, code: 'NO_ERROR' });
});

t.test('an endpoint that asks for HBONE is reached through it', async t => {
  const app = await startApp(t);
  // The port is given by Istio; the address is this test's own.
  const address = '127.0.15.8';
  const server = await startSidecar(t, {
    certs: temporaryIdentity(t, httpbin),
    app: app.port,
    manifests: POLICY,
    flags: ['--hbone', `${address}:15008`, '--protocol', `${app.port}=http`],
  });
  const entry = (host: string, protocol: string, names: string) => `
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${host.replaceAll('.', '-')}, namespace: foo}
spec:
  hosts: [${host}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: main, protocol: ${protocol}}]
  subjectAltNames: [${names}]
  endpoints: [{address: ${address}, ports: {main: ${app.port}}, labels: {networking.istio.io/tunnel: http}}]
`;
  const client = await startSidecar(t, {
    certs: temporaryIdentity(t, sleep),
    manifests: `kind: MeshConfig${entry('web.foo', 'HTTP', HTTPBIN)}${entry('evil.foo', 'HTTP', MALLORY)}`,
  });
  const ask = async (host: string, path = '/') =>
    (await wirePlain(t, client.ports.outbound)).ask(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  const replies = await Promise.all(Array.from({ length: 20 }, () => ask('web.foo')));
  t.same([...new Set(replies.map(({ status, body }) => (status === 200 ? 200 : body)))], [200]);
  t.match(valuesOf((replies[0] as Reply).received(), 'x-forwarded-client-cert')[0], `URI=${SLEEP}`);
  t.equal((await ask('web.foo', '/admin')).status, 403, 'policy decides inside');
  const carriers = JSON.parse((await server.get('admin', '/connections')).body) as { protocol: string }[];
  t.equal(carriers.filter(({ protocol }) => protocol === 'hbone').length, 1, 'tunnels of one connection');
  const wrong = await ask('evil.foo');
  t.equal(wrong.status, 503);
  t.match(wrong.body, 'unexpected identity');
});
