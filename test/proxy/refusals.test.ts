import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { dialTls, get, startApp, type Wire, wirePlain, wireTls } from '../peers.ts';
import { startSidecar } from '../sidecar.ts';
import { WRONG_CERTIFICATES } from '../wrong-certificates.ts';

t.setTimeout(120_000);

const POLICIES = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: foo}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: callers, namespace: foo}
spec:
  rules:
    - from: [{source: {principals: [cluster.local/ns/foo/sa/sleep]}}]
      to: [{operation: {methods: [GET], paths: [/info*]}}]
`;

const authority = await testAuthority();
const good = await testIdentity(authority, 'foo/sleep');
const app = await startApp(t);
const sidecar = await startSidecar(t, {
  certs: temporaryIdentity(t, await testIdentity(authority, 'foo/httpbin')),
  app: app.port,
  manifests: POLICIES,
});
const { inbound } = sidecar.ports;

function refusals(reason: string): Promise<number> {
  return sidecar.metric('outrider_tls_handshakes_total', { direction: 'inbound', result: 'failure', reason });
}

/** A refused connection: not one byte comes back, the app is not connected, the reason is logged and counted once. */
async function refused(t: Test, reason: string, attempt: () => Wire | Promise<Wire>): Promise<void> {
  const [counted, connections] = [await refusals(reason), app.connections()];
  const wire = await attempt();
  t.equal(await wire.rest(), '', 'nothing is written');
  const line = await sidecar.access.take(l => l.downstream_remote_address === `127.0.0.1:${wire.localPort}`);
  t.match(line, {
    response_code: 0,
    response_flags: 'NR',
    response_code_details: reason,
    direction: 'inbound',
    method: null,
    source_principal: null,
    connection_security_policy: 'none',
  });
  t.equal((await refusals(reason)) - counted, 1);
  t.equal(app.connections(), connections);
}

t.test('an allowed peer gets its answer, and one line says who it was', async t => {
  const wire = await wireTls(t, inbound, good);
  t.equal((await wire.ask(get('/info?x=1', 'user-agent: a "quoted" one'))).status, 200);
  t.match(await sidecar.access.take(l => l.path === '/info?x=1'), {
    method: 'GET',
    protocol: 'HTTP/1.1',
    response_code: 200,
    response_flags: '-',
    response_code_details: 'via_upstream',
    authority: 'app.example',
    user_agent: 'a "quoted" one',
    upstream_host: `127.0.0.1:${app.port}`,
    direction: 'inbound',
    source_principal: 'spiffe://cluster.local/ns/foo/sa/sleep',
    destination_principal: 'spiffe://cluster.local/ns/foo/sa/httpbin',
    connection_security_policy: 'mutual_tls',
    tls_version: 'TLSv1.3',
    policy_decision: 'allow',
    policy: 'foo/callers',
    policy_rule: 0,
  });
});

t.test('a request that policy denies gets 403 and never reaches the app', async t => {
  const other = await testIdentity(authority, 'foo/other');
  for (const [pems, request, path] of [
    [other, get('/info'), '/info'],
    [good, get('/admin'), '/admin'],
    [good, 'POST /info-2 HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n', '/info-2'],
    [good, get('/info/../secret'), '/info/../secret'],
  ] as const) {
    const wire = await wireTls(t, inbound, pems);
    const connections = app.connections();
    const reply = await wire.ask(request);
    t.same([reply.status, reply.body], [403, 'RBAC: access denied']);
    t.equal(reply.header('content-type'), 'text/plain');
    t.equal(reply.header('connection'), null, 'a whole request: the connection goes on');
    t.equal(app.connections(), connections);
    t.match(await sidecar.access.take(l => l.path === path), {
      response_code: 403,
      response_flags: '-',
      response_code_details: 'rbac_access_denied_matched_policy[none]',
      policy_decision: 'deny',
      policy: 'foo/callers',
      policy_rule: null,
      upstream_host: null,
    });
    t.equal((await wire.ask(request)).status, 403);
  }
});

t.test('a denied request with a body is not read as the next request', async t => {
  const wire = await wireTls(t, inbound, good);
  const inner = get('/info/smuggled');
  const reply = await wire.ask(
    `POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: ${inner.length}\r\n\r\n${inner}`,
  );
  t.equal(reply.status, 403);
  t.equal((await wire.ask(get('/info/next'))).received().url, '/info/next');
});

t.test('a client without a certificate is closed', t =>
  refused(t, 'no_certificate', () => dialTls(t, inbound, null)),
);

t.test('so it is on TLS 1.2', async t => {
  await refused(t, 'no_certificate', () => dialTls(t, inbound, null, { maxVersion: 'TLSv1.2' }));
  const foreign = await testIdentity(await testAuthority(), 'foo/sleep');
  await refused(t, 'untrusted', () => dialTls(t, inbound, foreign, { maxVersion: 'TLSv1.2' }));
});

t.test('what it sent before it was judged is not answered', async t => {
  const foreign = await testIdentity(await testAuthority(), 'foo/sleep');
  await refused(t, 'untrusted', () => dialTls(t, inbound, foreign).send(get('/info')));
});

for (const wrong of WRONG_CERTIFICATES.filter(({ client }) => client !== null)) {
  t.test(`a certificate ${wrong.name} is closed`, async t => {
    const pems = await wrong.make(authority);
    await refused(t, wrong.client as string, () => dialTls(t, inbound, pems));
  });
}

t.test('plaintext on a STRICT port is closed without a byte, not even a TLS alert', async t => {
  for (const bytes of [
    'CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'SSH-2.0-client\r\n',
    '\r\n\r\n\r\n\r\n',
    'hello, whoever listens here\n',
    '\0'.repeat(64),
    'G',
  ]) {
    const wire = await wirePlain(t, inbound);
    wire.send(bytes).socket.end();
    t.equal(await wire.rest(), '', JSON.stringify(bytes));
    const line = await sidecar.access.take(
      l => l.downstream_remote_address === `127.0.0.1:${wire.localPort}`,
    );
    t.match(
      line,
      { response_flags: 'NR', connection_security_policy: 'none' },
      line.response_code_details ?? '',
    );
  }
  await refused(t, 'not_tls', async () => (await wirePlain(t, inbound)).send(get('/info')));
});

t.test('what looks like TLS and is none gets one alert at most', async t => {
  for (const bytes of [
    [0x80, 0x2e, 0x01, 0x03, 0x01, ...Buffer.alloc(60)], // an SSLv2 hello
    [0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x28], // an alert out of nothing
    [0x17, 0x03, 0x03, 0x00, 0x05, 1, 2, 3, 4, 5], // application data
    [0x16, 0x03, 0x01, 0xff, 0xff, ...Buffer.alloc(100)], // a record too long
    [0x16, 0x03, 0x01, 0x00, 0x05, 9, 9, 9, 9, 9], // no hello
  ]) {
    const wire = await wirePlain(t, inbound);
    wire.send(Buffer.from(bytes));
    t.match(
      await wire.rest(),
      /^(?:\x15\x03[\x00-\x04]\x00\x02\x02[\x00-\xff])?$/,
      JSON.stringify(bytes.slice(0, 8)),
    );
    const line = await sidecar.access.take(
      l => l.downstream_remote_address === `127.0.0.1:${wire.localPort}`,
    );
    t.match(
      line,
      { response_flags: 'NR', connection_security_policy: 'none' },
      line.response_code_details ?? '',
    );
  }
});

t.test(
  'a client that leaves in the middle of its handshake is a connection_reset, and nothing else',
  async t => {
    await refused(t, 'connection_reset', async () => {
      const wire = await wirePlain(t, inbound);
      wire.send(Buffer.from([0x16, 0x03, 0x01, 0x00, 0x80, 1, 0]));
      wire.socket.end();
      return wire;
    });
  },
);

t.test('after all that it serves as before', async t => {
  t.equal((await (await wireTls(t, inbound, good)).ask(get('/info'))).status, 200);
  t.same(sidecar.other.all, []);
  t.equal(await sidecar.metric('outrider_worker_restarts_total'), 0);
});
