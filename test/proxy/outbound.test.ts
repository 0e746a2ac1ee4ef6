import { once } from 'node:events';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { get, startApp, startTcpApp, valuesOf, wirePlain } from '../peers.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';
import { mutual, service } from './services.ts';

t.setTimeout(120_000);

const HTTPBIN = 'spiffe://cluster.local/ns/foo/sa/httpbin';
const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';
const STRICT = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: foo}
spec: {mtls: {mode: STRICT}}
`;

const authority = await testAuthority();
const httpbin = await testIdentity(authority, 'foo/httpbin');
const sleep = await testIdentity(authority, 'foo/sleep');

/** The server's side of a pair, which takes mutual TLS only. */
async function startServer(t: Test, app: number, flags: readonly string[] = []): Promise<Sidecar> {
  return startSidecar(t, { certs: temporaryIdentity(t, httpbin), app, manifests: STRICT, flags });
}

async function startClient(t: Test, manifests: string, flags: readonly string[] = []): Promise<Sidecar> {
  return startSidecar(t, {
    certs: temporaryIdentity(t, sleep),
    manifests: `kind: MeshConfig${manifests}`,
    flags,
  });
}

t.test('a pair of sidecars: the app speaks plain HTTP, the wire is mutual TLS', async t => {
  const app = await startApp(t);
  const server = await startServer(t, app.port);
  const { inbound } = server.ports;
  const client = await startClient(
    t,
    service({ host: 'httpbin.foo', endpoints: [inbound], policy: mutual(HTTPBIN) }),
  );
  const wire = await wirePlain(t, client.ports.outbound);
  const request = (path: string, ...lines: string[]) =>
    `GET ${path} HTTP/1.1\r\nHost: httpbin.foo\r\n${lines.map(line => `${line}\r\n`).join('')}\r\n`;

  t.test('by Host', async t => {
    const received = (await wire.ask(request('/info?x=1', 'X-Forwarded-Client-Cert: evil'))).received();
    t.equal(received.url, '/info?x=1');
    t.same(valuesOf(received, 'host'), ['httpbin.foo']);
    t.match(valuesOf(received, 'x-forwarded-client-cert'), [
      new RegExp(`^By=${HTTPBIN};Hash=[0-9a-f]{64};Subject="";URI=${SLEEP}$`),
    ]);
    t.match(await client.access.take(l => l.path === '/info?x=1'), {
      direction: 'outbound',
      response_code: 200,
      upstream_host: `127.0.0.1:${inbound}`,
      upstream_cluster: 'outbound|80||httpbin.foo',
      authority: 'httpbin.foo',
    });
    t.match(await server.access.take(l => l.path === '/info?x=1'), {
      direction: 'inbound',
      source_principal: SLEEP,
      destination_principal: HTTPBIN,
      connection_security_policy: 'mutual_tls',
      requested_server_name: 'outbound_.80_._.httpbin.foo',
    });
  });

  t.test('the request has one id, in both logs and at the app', async t => {
    const received = (await wire.ask(request('/id'))).received();
    const [id] = valuesOf(received, 'x-request-id');
    t.equal((await client.access.take(l => l.path === '/id')).request_id, id);
    t.equal((await server.access.take(l => l.path === '/id')).request_id, id);
  });

  t.test('by an absolute target, whatever Host says', async t => {
    const received = (
      await wire.ask('GET http://httpbin.foo/abs?y HTTP/1.1\r\nHost: other.example\r\n\r\n')
    ).received();
    t.equal(received.url, '/abs?y');
    t.same(valuesOf(received, 'host'), ['httpbin.foo']);
  });

  t.test('host names compare without case, a final dot and a written port', async t => {
    for (const host of ['HTTPBIN.Foo', 'httpbin.foo.', 'httpbin.foo:80'])
      t.equal((await wire.ask(get('/').replace('app.example', host))).status, 200, host);
    const other = await wire.ask(get('/').replace('app.example', 'httpbin.foo:81'));
    t.same([other.status, other.body], [502, 'no route'], 'a port that the service does not have');
  });

  t.test('CONNECT hands over the bytes, over mutual TLS too', async t => {
    const tunnel = await wirePlain(t, client.ports.outbound);
    const accepted = await tunnel.connect('httpbin.foo:80');
    t.equal(accepted.status, 200);
    const received = (await tunnel.ask(get('/tunnelled'))).received();
    t.equal(received.url, '/tunnelled');
    t.match(valuesOf(received, 'x-forwarded-client-cert'), [new RegExp(`URI=${SLEEP}$`)]);
    tunnel.socket.end();
    await tunnel.rest();
    t.match(await client.access.take(l => l.method === 'CONNECT'), {
      response_code: 200,
      upstream_host: `127.0.0.1:${inbound}`,
    });
  });

  t.test('connections to the peer are kept and used again', async t => {
    const handshakes = () => server.metric('outrider_tls_handshakes_total', { result: 'success' });
    const before = await handshakes();
    const hits = await client.metric('outrider_upstream_pool_hits_total');
    for (let i = 0; i < 50; i++) {
      const fresh = await wirePlain(t, client.ports.outbound);
      t.equal((await fresh.ask(request(`/${i}`))).status, 200);
      fresh.socket.destroy();
    }
    t.equal(await handshakes(), before);
    t.equal((await client.metric('outrider_upstream_pool_hits_total')) - hits, 50);
  });

  t.test('several requests at once have a connection each', async t => {
    const wires = await Promise.all(Array.from({ length: 8 }, () => wirePlain(t, client.ports.outbound)));
    const replies = await Promise.all(wires.map((one, i) => one.ask(request(`/parallel-${i}`))));
    t.same(
      replies.map(reply => reply.received().url),
      wires.map((_, i) => `/parallel-${i}`),
    );
  });

  t.test('a body of 8 MiB comes back whole', async t => {
    const body = 'x'.repeat(8 * 1024 * 1024);
    const reply = await wire.ask(
      `POST /big HTTP/1.1\r\nHost: httpbin.foo\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    t.ok(reply.received().body === body);
  });

  t.test('metrics name both ends', async t => {
    t.ok(
      await client.metric('istio_requests_total', {
        reporter: 'source',
        source_principal: SLEEP,
        destination_principal: HTTPBIN,
        destination_service: 'httpbin.foo',
        response_code: '200',
      }),
    );
    t.ok(
      await server.metric('istio_requests_total', {
        reporter: 'destination',
        source_principal: SLEEP,
        destination_principal: HTTPBIN,
        connection_security_policy: 'mutual_tls',
      }),
    );
  });
});

t.test('without a DestinationRule a mesh service gets mutual TLS', async t => {
  const app = await startApp(t);
  const { inbound } = (await startServer(t, app.port)).ports;
  const client = await startClient(
    t,
    service({ host: 'a.foo', endpoints: [inbound] }) +
      service({ host: 'b.foo', endpoints: [inbound], endpoint: 'serviceAccount: httpbin' }) +
      service({ host: 'c.foo', endpoints: [inbound], endpoint: 'serviceAccount: other' }) +
      service({
        host: 'd.foo',
        endpoints: [inbound],
        subjectAltNames: ['spiffe://cluster.local/ns/foo/sa/x'],
      }),
  );
  for (const [host, status] of [
    ['a.foo', 200],
    ['b.foo', 200],
    ['c.foo', 503],
    ['d.foo', 503],
  ] as const) {
    const wire = await wirePlain(t, client.ports.outbound);
    t.equal((await wire.ask(get('/').replace('app.example', host))).status, status, host);
  }
});

t.test('plaintext goes out only where configuration says so', async t => {
  const app = await startApp(t);
  const plain = [app.port];
  const client = await startClient(
    t,
    service({ host: 'mesh.foo', endpoints: plain }) +
      service({ host: 'disabled.foo', endpoints: plain, policy: 'tls: {mode: DISABLE}' }) +
      service({ host: 'outside.example', endpoints: plain, location: 'MESH_EXTERNAL' }) +
      service({
        host: 'legacy.foo',
        endpoints: plain,
        endpoint: 'labels: {security.istio.io/tlsMode: disabled}',
      }),
  );
  for (const [host, status] of [
    ['mesh.foo', 503],
    ['disabled.foo', 200],
    ['outside.example', 200],
    ['legacy.foo', 200],
  ] as const) {
    const wire = await wirePlain(t, client.ports.outbound);
    t.equal((await wire.ask(get('/').replace('app.example', host))).status, status, host);
  }
});

t.test('a host that no ServiceEntry names', async t => {
  const app = await startApp(t);
  const host = `127.0.0.1:${app.port}`;
  const mesh = (mode: string) => `\noutboundTrafficPolicy: {mode: ${mode}}\n`;

  t.test('is passed through in plaintext with ALLOW_ANY', async t => {
    const client = await startClient(t, mesh('ALLOW_ANY'));
    const wire = await wirePlain(t, client.ports.outbound);
    const received = (await wire.ask(get('/any').replace('app.example', host))).received();
    t.same([received.url, valuesOf(received, 'host')], ['/any', [host]]);
    const tunnel = await wirePlain(t, client.ports.outbound);
    t.equal((await tunnel.connect(host)).status, 200);
    t.equal((await tunnel.ask(get('/tunnelled'))).received().url, '/tunnelled');
  });

  t.test('has no route with REGISTRY_ONLY', async t => {
    const client = await startClient(t, mesh('REGISTRY_ONLY'));
    const wire = await wirePlain(t, client.ports.outbound);
    const connections = app.connections();
    const reply = await wire.ask(get('/any').replace('app.example', host));
    t.same([reply.status, reply.body], [502, 'no route']);
    t.match(await client.access.take(l => l.path === '/any'), { response_flags: 'NR', response_code: 502 });
    const tunnel = await wirePlain(t, client.ports.outbound);
    const refused = await tunnel.connect(host);
    t.same([refused.status, refused.body], [502, 'no route']);
    t.equal(app.connections(), connections);
  });
});

t.test('a way back to its own ports is refused, however it is written', async t => {
  const client = await startClient(t, '\n');
  const { outbound, inbound } = client.ports;
  for (const port of [outbound, inbound]) {
    for (const host of [
      '127.0.0.1',
      '127.0.0.2',
      '127.1',
      '2130706433',
      '0x7f000001',
      '0.0.0.0',
      '0',
      'localhost',
      'LOCALHOST.',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '[::]',
    ]) {
      const wire = await wirePlain(t, outbound);
      const reply = await wire.ask(get('/loop').replace('app.example', `${host}:${port}`));
      t.ok([400, 502, 503].includes(reply.status), `${host}: ${reply.status}`);
      if (port === inbound) continue; // a tunnel to it ends there
      const tunnel = await wirePlain(t, outbound);
      const connect = await tunnel.connect(`${host}:${port}`);
      t.ok([400, 502, 503].includes(connect.status), `CONNECT ${host}: ${connect.status}`);
    }
  }
  const accepted = client.access.all.filter(line => line.path === '/loop');
  t.ok(accepted.length <= 24, `each came once: ${accepted.length}`);
});

t.test('a service without endpoints is no healthy upstream; its name is not looked up', async t => {
  const client = await startClient(t, service({ host: 'localhost', endpoints: [] }));
  const wire = await wirePlain(t, client.ports.outbound);
  const reply = await wire.ask(get('/none').replace('app.example', 'localhost'));
  t.same([reply.status, reply.body], [503, 'no healthy upstream']);
  t.match(await client.access.take(l => l.path === '/none'), { response_flags: 'UH' });
});

t.test('a Sidecar egress listener takes TCP to its service over mutual TLS', async t => {
  const echo = await startTcpApp(t, socket => {
    socket.write('220 ready\r\n');
    socket.pipe(socket);
  });
  const server = await startServer(t, echo.port, ['--protocol', `${echo.port}=tcp`]);
  const { deadPort } = await import('../peers.ts');
  const port = await deadPort();
  const egress = (listen: number) => `
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: foo}
spec:
  egress:
    - port: {number: ${listen}, protocol: TCP, name: db}
      bind: 127.0.0.1
      hosts: [foo/db.foo]
    - hosts: ['./*']
`;
  const db = service({
    host: 'db.foo',
    port: 5432,
    protocol: 'TCP',
    endpoints: [server.ports.inbound],
    policy: mutual(HTTPBIN),
  });
  const client = await startClient(t, db + egress(port));
  const wire = await wirePlain(t, port);
  t.equal((await wire.take(11)).toString(), '220 ready\r\n');
  wire.send('select').socket.end();
  t.equal(await wire.rest(), 'select');
  t.match(await client.access.take(l => l.upstream_cluster === 'outbound|5432||db.foo'), {
    bytes_received: 6,
    bytes_sent: 17,
    direction: 'outbound',
  });
  t.match(await server.access.take(l => l.bytes_received === 6), { source_principal: SLEEP });

  t.test('a reload moves it', async t => {
    const moved = await deadPort();
    await client.configure(`kind: MeshConfig${db}${egress(moved)}`);
    t.equal((await (await wirePlain(t, moved)).take(11)).toString(), '220 ready\r\n');
    await t.rejects(wirePlain(t, port), { code: 'ECONNREFUSED' });
  });

  t.test('a wrong peer is closed before a byte', async t => {
    const wrong = mutual('spiffe://cluster.local/ns/foo/sa/other');
    const elsewhere = await deadPort();
    await client.configure(`kind: MeshConfig${db.replace(mutual(HTTPBIN), wrong)}${egress(elsewhere)}`);
    const refused = await wirePlain(t, elsewhere);
    refused.send('hello');
    t.equal(await refused.rest(), '');
    t.match(await client.access.take(l => l.response_flags === 'UF'), {
      upstream_transport_failure_reason: `unexpected identity ${HTTPBIN}`,
    });
  });
});

t.test('a CONNECT client that is gone before the tunnel stands leaves no connection behind', async t => {
  const accepted = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<void>();
  const app = await startTcpApp(t, socket => {
    accepted.resolve();
    socket.resume().once('close', () => closed.resolve());
  });
  const client = await startClient(t, '\n');
  const wire = await wirePlain(t, client.ports.outbound);
  wire.send(`CONNECT 127.0.0.1:${app.port} HTTP/1.1\r\nHost: x:1\r\n\r\n`);
  wire.socket.resetAndDestroy();
  await once(wire.socket, 'close');
  await Promise.race([accepted.promise.then(() => closed.promise), client.metric('outrider_workers')]);
  t.equal(await openOutbound(client), 0);
});

async function openOutbound(sidecar: Sidecar): Promise<number> {
  let open = -1;
  for (let i = 0; i < 500 && open !== 0; i++)
    open = await sidecar.metric('outrider_connections_open', { direction: 'outbound' });
  return open;
}
