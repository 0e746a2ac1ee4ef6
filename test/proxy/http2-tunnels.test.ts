import { createServer } from 'node:http';
import { createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { http2Plain, http2Tls, http2Tunnel, takeFrom } from '../http2-peers.ts';
import { listenUntilEnd, startTcpApp } from '../peers.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';
import { mutual, service } from './services.ts';

t.setTimeout(120_000);

const HTTPBIN = 'spiffe://cluster.local/ns/foo/sa/httpbin';
const authority = await testAuthority();
const httpbin = await testIdentity(authority, 'foo/httpbin');
const sleep = await testIdentity(authority, 'foo/sleep');

const POLICY = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: foo}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}
`;

interface Handshake {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly key: string | undefined;
  readonly upgrade: string | undefined;
}

/** An app that switches to an echo of bytes, as one that speaks WebSocket does. */
async function startEcho(t: Test): Promise<{ readonly port: number; readonly handshakes: Handshake[] }> {
  const handshakes: Handshake[] = [];
  const server = createServer((_request, response) => response.end('no upgrade'));
  server.on('upgrade', ({ method, url, headers }, socket) => {
    handshakes.push({ method, url, key: headers['sec-websocket-key'], upgrade: headers.upgrade });
    socket.on('error', () => {});
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n',
    );
    socket.pipe(socket);
  });
  return { port: await listenUntilEnd(t, server), handshakes };
}

function startInbound(t: Test, app: number): Promise<Sidecar> {
  return startSidecar(t, {
    certs: temporaryIdentity(t, httpbin),
    app,
    manifests: POLICY,
    flags: ['--protocol', `${app}=http`],
  });
}

const WEBSOCKET = {
  ':protocol': 'websocket',
  ':scheme': 'https',
  ':path': '/chat',
  ':authority': 'app.example',
  'sec-websocket-version': '13',
};

t.test('a WebSocket in a stream of HTTP/2 (RFC 8441)', async t => {
  const app = await startEcho(t);
  const sidecar = await startInbound(t, app.port);
  const client = await http2Tls(t, sidecar.ports.inbound, sleep);
  await new Promise(resolve => client.session.once('remoteSettings', resolve));

  t.test('is the upgrade of HTTP/1.1 to the app, and carries bytes both ways', async t => {
    const { stream, head } = await http2Tunnel(client, WEBSOCKET);
    t.match(app.handshakes, [{ method: 'GET', url: '/chat', key: /^.{24}$/, upgrade: 'websocket' }]);
    t.equal(head['sec-websocket-protocol'], 'chat');
    t.equal(head['sec-websocket-accept'], undefined);
    stream.write('hello');
    t.equal(await takeFrom(stream, 5), 'hello');
    const other = await client.ask('/plain');
    t.equal(other.body.toString(), 'no upgrade', 'the connection serves others meanwhile');
    stream.end(Buffer.alloc(1_000_000, 'w'));
    t.equal((await takeFrom(stream, 1_000_000)).length, 1_000_000);
    t.match(await sidecar.access.take(l => l.path === '/chat'), {
      response_code_details: 'upgrade_completed',
      bytes_received: 1_000_005,
      bytes_sent: 1_000_005,
    });
  });

  t.test('keeps key and accept of a client that has them, as Envoy sends them for its own', async t => {
    const key = 'dGhlIHNhbXBsZSBub25jZQ==';
    const { head, stream } = await http2Tunnel(client, { ...WEBSOCKET, 'sec-websocket-key': key });
    t.equal(app.handshakes.at(-1)?.key, key);
    t.equal(head['sec-websocket-accept'], 'x');
    stream.close();
  });

  t.test('is decided by policy on its handshake', async t => {
    await t.rejects(http2Tunnel(client, { ...WEBSOCKET, ':path': '/admin' }), { message: '403' });
  });

  t.test('and no other protocol', async t => {
    await t.rejects(http2Tunnel(client, { ...WEBSOCKET, ':protocol': 'connect-udp' }));
    t.equal((await client.ask('/still')).status, 200);
  });

  t.test('ends alone when its client resets it', async t => {
    const { stream } = await http2Tunnel(client, WEBSOCKET);
    stream.close(8);
    t.equal((await client.ask('/still')).status, 200);
    t.equal(app.handshakes.length, 3);
  });
});

t.test('a WebSocket in a stream, through a pair, to an app that takes it so', async t => {
  const server = createHttp2Server({ settings: { enableConnectProtocol: true } });
  const asked: (string | undefined)[] = [];
  server.on('stream', (raw, headers) => {
    const stream = raw as ServerHttp2Stream;
    asked.push(headers[':protocol'] as string | undefined);
    stream.on('error', () => {});
    stream.respond({ ':status': 200, 'sec-websocket-protocol': 'chat' });
    stream.pipe(stream);
  });
  const app = await listenUntilEnd(t, server);
  const inbound = await startSidecar(t, {
    certs: temporaryIdentity(t, httpbin),
    app,
    flags: ['--protocol', `${app}=http2`],
  });
  const outbound = await startSidecar(t, {
    certs: temporaryIdentity(t, sleep),
    manifests: `kind: MeshConfig${service({
      host: 'chat.foo',
      endpoints: [inbound.ports.inbound],
      protocol: 'HTTP2',
      policy: mutual(HTTPBIN),
    })}`,
  });
  const client = await http2Plain(t, outbound.ports.outbound, 'chat.foo');
  await new Promise(resolve => client.session.once('remoteSettings', resolve));
  const { stream, head } = await http2Tunnel(client, { ...WEBSOCKET, ':authority': 'chat.foo' });
  t.same(asked, ['websocket']);
  t.equal(head['sec-websocket-protocol'], 'chat');
  stream.end(Buffer.alloc(2_000_000, 'w'));
  t.equal((await takeFrom(stream, 2_000_000)).length, 2_000_000);
});

t.test('CONNECT in a stream of HTTP/2 leads out as on HTTP/1.1', async t => {
  const app = await startTcpApp(t, socket => socket.pipe(socket));
  const inbound = await startSidecar(t, {
    certs: temporaryIdentity(t, httpbin),
    app: app.port,
    flags: ['--protocol', `${app.port}=tcp`],
  });
  const outbound = await startSidecar(t, {
    certs: temporaryIdentity(t, sleep),
    manifests: `kind: MeshConfig${service({
      host: 'echo.foo',
      endpoints: [inbound.ports.inbound],
      port: 9000,
      protocol: 'TCP',
      policy: mutual(HTTPBIN),
    })}`,
  });
  const client = await http2Plain(t, outbound.ports.outbound);
  const tunnels = await Promise.all(
    Array.from({ length: 5 }, () => http2Tunnel(client, { ':authority': 'echo.foo:9000' })),
  );
  for (const [at, { stream }] of tunnels.entries()) {
    stream.write(`tunnel ${at}`);
    t.equal(await takeFrom(stream, 8), `tunnel ${at}`);
  }
  t.equal(app.connections(), 5);
  await t.rejects(http2Tunnel(client, { ':authority': 'echo.foo:9001' }), { message: '502' });
});
