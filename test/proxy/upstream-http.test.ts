import { once } from 'node:events';
import { createSecureServer, createServer, type ServerHttp2Session } from 'node:http2';
import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { get, listenUntilEnd, type Received, startApp, startTcpApp, wirePlain } from '../peers.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';
import { mutual, service } from './services.ts';

t.setTimeout(120_000);

const HTTPBIN = 'spiffe://cluster.local/ns/foo/sa/httpbin';
const authority = await testAuthority();
const httpbin = await testIdentity(authority, 'foo/httpbin');
const sleep = await testIdentity(authority, 'foo/sleep');
const STRICT = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: foo}
spec: {mtls: {mode: STRICT}}
`;

interface Relay {
  readonly port: number;
  /** Connections that are open, and those that ever were. */
  readonly open: () => number;
  readonly ever: () => number;
  /** Breaks every connection. */
  cut(): void;
}

/** Stands between two sidecars and counts what is between them. */
async function startRelay(t: Test, to: number): Promise<Relay> {
  const open = new Set<Socket>();
  const { port, connections } = await startTcpApp(t, socket => {
    const on = connect({ host: '127.0.0.1', port: to, allowHalfOpen: true, noDelay: true });
    open.add(socket);
    on.on('error', () => socket.destroy());
    on.once('close', () => socket.destroy());
    socket.once('close', () => {
      on.destroy();
      open.delete(socket);
    });
    socket.pipe(on).pipe(socket);
  });
  return {
    port,
    open: () => open.size,
    ever: connections,
    cut: () => {
      for (const socket of open) socket.destroy();
    },
  };
}

function startServer(t: Test, app: number, flags: readonly string[] = []): Promise<Sidecar> {
  return startSidecar(t, { certs: temporaryIdentity(t, httpbin), app, manifests: STRICT, flags });
}

function startClient(t: Test, manifests: string): Promise<Sidecar> {
  return startSidecar(t, { certs: temporaryIdentity(t, sleep), manifests: `kind: MeshConfig${manifests}` });
}

function toHttpbin(port: number, policy = '', protocol = 'HTTP'): string {
  const tls = mutual(HTTPBIN);
  return service({
    host: 'httpbin.foo',
    endpoints: [port],
    protocol,
    policy: policy === '' ? tls : `${tls}, ${policy}`,
  });
}

const request = (path: string, ...lines: readonly string[]): string =>
  `GET ${path} HTTP/1.1\r\nHost: httpbin.foo\r\n${lines.map(line => `${line}\r\n`).join('')}\r\n`;

/** `count` requests at a time, each on a connection of its own to the sidecar. @returns the paths as the app saw them */
async function atOnce(t: Test, client: Sidecar, count: number): Promise<string[]> {
  const wires = await Promise.all(Array.from({ length: count }, () => wirePlain(t, client.ports.outbound)));
  const replies = await Promise.all(wires.map((wire, i) => wire.ask(request(`/${i}`))));
  for (const wire of wires) wire.socket.destroy();
  return replies.map(reply => (reply.status === 200 ? reply.received().url : reply.body));
}

const paths = (count: number): string[] => Array.from({ length: count }, (_, i) => `/${i}`);

t.test('between two sidecars, HTTP/1.1 requests share one connection', async t => {
  const app = await startApp(t);
  const server = await startServer(t, app.port);
  const relay = await startRelay(t, server.ports.inbound);
  const client = await startClient(t, toHttpbin(relay.port));

  t.test('from the first on, and later', async t => {
    t.same(await atOnce(t, client, 20), paths(20));
    t.same(await atOnce(t, client, 20), paths(20));
    t.equal(relay.ever(), 1);
  });

  t.test('and the app gets the fields as they were written', async t => {
    const wire = await wirePlain(t, client.ports.outbound);
    const { rawHeaders } = (
      await wire.ask(request('/', 'X-Camel: 1', 'x-lower: 2', 'X-Camel: 3'))
    ).received();
    const names = rawHeaders.filter((_, i) => i % 2 === 0);
    t.same(names.slice(0, 4), ['Host', 'X-Camel', 'x-lower', 'X-Camel']);
  });

  t.test('an upgrade has a connection of its own', async t => {
    const wire = await wirePlain(t, client.ports.outbound);
    const reply = await wire.ask(request('/', 'Connection: Upgrade', 'Upgrade: websocket'));
    t.equal(reply.status, 200);
    t.equal(relay.ever(), 2);
  });

  t.test('a connection that breaks is replaced', async t => {
    relay.cut();
    t.same(await atOnce(t, client, 5), paths(5));
    t.equal(relay.open(), 1);
  });
});

t.test('what the configuration says of shared connections', async t => {
  const app = await startApp(t);
  const server = await startServer(t, app.port, ['--protocol', `${app.port}=http`]);
  const relay = await startRelay(t, server.ports.inbound);
  const client = await startClient(t, toHttpbin(relay.port));
  const cases = [
    ['DO_NOT_UPGRADE: none is shared', 'h2UpgradePolicy: DO_NOT_UPGRADE', 'HTTP', 'http1'],
    ['UPGRADE: HTTP/2', 'h2UpgradePolicy: UPGRADE', 'HTTP', 'one'],
    ['a port declared HTTP2', 'maxRetries: 1', 'HTTP2', 'one'],
    ['useClientProtocol: HTTP/1.1 is shared', 'useClientProtocol: true', 'HTTP2', 'one'],
    [
      'maxConcurrentStreams: more than one connection where it is low',
      'maxConcurrentStreams: 2',
      'HTTP',
      'some',
    ],
  ] as const;
  for (const [name, http, protocol, wanted] of cases) {
    t.test(name, async t => {
      await client.configure(
        `kind: MeshConfig${toHttpbin(relay.port, `connectionPool: {http: {${http}}}`, protocol)}`,
      );
      const before = relay.ever();
      t.same(await atOnce(t, client, 10), paths(10));
      const made = relay.ever() - before;
      if (wanted === 'one') t.equal(made, 1);
      else t.ok(made > 1, `${made} connections`);
    });
  }

  t.test('http2MaxRequests is how many may be under way', async t => {
    const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
    const held = await startApp(t, (received, response) => {
      if (received.url === '/held') arrive();
      else response.end(JSON.stringify(received));
    });
    const other = await startServer(t, held.port);
    await client.configure(
      `kind: MeshConfig${toHttpbin(other.ports.inbound, 'connectionPool: {http: {http2MaxRequests: 1}}')}`,
    );
    const first = await wirePlain(t, client.ports.outbound);
    t.equal((await first.ask(request('/'))).status, 200);
    first.send(request('/held'));
    await arrived;
    const second = await wirePlain(t, client.ports.outbound);
    t.equal((await second.ask(request('/'))).status, 503);
    first.socket.resetAndDestroy(); // an end alone would still want the answer
    await client.access.take(line => line.path === '/held');
    t.equal((await second.ask(request('/'))).status, 200);
  });
});

/** A server of the mesh that is no Outrider and speaks HTTP/2. */
async function startPeer(t: Test, onSession: (session: ServerHttp2Session) => void = () => {}) {
  let sessions = 0;
  const { certChainPem: cert, keyPem: key, rootPem: ca } = httpbin;
  const server = createSecureServer({ cert, key, ca, requestCert: true, allowHTTP1: true });
  server.on('session', session => {
    sessions++;
    session.on('error', () => {});
    onSession(session);
  });
  server.on('request', (request, response) => {
    const received: Partial<Received> = { url: request.url, method: request.method };
    response.end(JSON.stringify({ ...received, version: request.httpVersion }));
  });
  return { port: await listenUntilEnd(t, server), sessions: () => sessions };
}

async function versionSeen(t: Test, client: Sidecar): Promise<string> {
  const wire = await wirePlain(t, client.ports.outbound);
  const { body } = await wire.ask(request('/'));
  wire.socket.destroy();
  return (JSON.parse(body) as { version: string }).version;
}

t.test('a peer that is no Outrider is spoken to as it agrees', async t => {
  const peer = await startPeer(t);
  const client = await startClient(t, toHttpbin(peer.port, '', 'HTTP2'));
  t.equal(await versionSeen(t, client), '2.0', 'a port declared HTTP2');
  for (const [policy, version] of [
    ['h2UpgradePolicy: DEFAULT', '1.1'],
    ['h2UpgradePolicy: UPGRADE', '2.0'],
    ['h2UpgradePolicy: DO_NOT_UPGRADE', '1.1'],
  ] as const) {
    await client.configure(`kind: MeshConfig${toHttpbin(peer.port, `connectionPool: {http: {${policy}}}`)}`);
    t.equal(await versionSeen(t, client), version, policy);
  }
});

t.test('a connection whose server says GOAWAY is replaced without a failed request', async t => {
  const open: ServerHttp2Session[] = [];
  const peer = await startPeer(t, session => open.push(session));
  const client = await startClient(t, toHttpbin(peer.port, '', 'HTTP2'));
  for (let round = 1; round <= 3; round++) {
    t.same(await atOnce(t, client, 10), paths(10));
    t.equal(peer.sessions(), round);
    const [session] = open.splice(0);
    session?.close(); // GOAWAY, and the end when the last stream is done
    if (session !== undefined && !session.destroyed) await once(session, 'close');
  }
});

t.test('an app that is declared http2 is spoken to in HTTP/2, whatever the client speaks', async t => {
  let sessions = 0;
  const server = createServer((request, response) => response.end(request.httpVersion));
  server.on('session', () => sessions++);
  const port = await listenUntilEnd(t, server);
  const { ports } = await startSidecar(t, {
    certs: temporaryIdentity(t, httpbin),
    app: port,
    manifests: STRICT.replace('STRICT', 'PERMISSIVE'),
    flags: ['--protocol', `${port}=http2`],
  });
  const wires = await Promise.all(Array.from({ length: 5 }, () => wirePlain(t, ports.inbound)));
  const replies = await Promise.all(wires.map(wire => wire.ask(get('/'))));
  t.same(
    replies.map(({ body }) => body),
    Array(5).fill('2.0'),
  );
  t.equal(sessions, 1);
});
