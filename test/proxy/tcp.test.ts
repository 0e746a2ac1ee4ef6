import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { deadPort, startTcpApp, wirePlain, wireTls } from '../peers.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const MIB = 1024 * 1024;
const authority = await testAuthority();
const own = await testIdentity(authority, 'foo/db');
const client = await testIdentity(authority, 'foo/sleep');
const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';

async function start(t: Test, app: number, options: { protocol?: string; manifests?: string } = {}) {
  const { protocol = 'tcp', manifests = 'kind: MeshConfig\n' } = options;
  const flags = ['--protocol', `${app}=${protocol}`];
  return startSidecar(t, { certs: temporaryIdentity(t, own), app, manifests, flags });
}

/** An app whose one connection the test holds in its hands. */
async function held(t: Test): Promise<{ port: number; socket: Promise<Socket>; connections: () => number }> {
  const { promise, resolve } = Promise.withResolvers<Socket>();
  const app = await startTcpApp(t, resolve);
  return { ...app, socket: promise };
}

t.test('bytes pass both ways, and the log and the metrics have them', async t => {
  const echo = await startTcpApp(t, socket => socket.pipe(socket));
  const sidecar = await start(t, echo.port);
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  wire.send('one');
  t.equal((await wire.take(3)).toString(), 'one');
  wire.send('two!').socket.end();
  t.equal(await wire.rest(), 'two!');
  t.match(await sidecar.access.take(l => l.bytes_received === 7), {
    bytes_sent: 7,
    method: null,
    protocol: null,
    response_code: 0,
    response_flags: '-',
    connection_termination_details: null,
    upstream_host: `127.0.0.1:${echo.port}`,
    source_principal: SLEEP,
    connection_security_policy: 'mutual_tls',
    policy_decision: 'allow',
  });
  const labels = {
    source_principal: SLEEP,
    request_protocol: 'tcp',
    connection_security_policy: 'mutual_tls',
  };
  for (const [name, expected] of [
    ['istio_tcp_connections_opened_total', 1],
    ['istio_tcp_connections_closed_total', 1],
    ['istio_tcp_received_bytes_total', 7],
    ['istio_tcp_sent_bytes_total', 7],
  ] as const) {
    t.equal(await sidecar.metric(name, labels), expected, name);
  }
  t.equal(await sidecar.metric('outrider_connections_open'), 0);
});

t.test('a client that ends its side is still sent what the app has to say', async t => {
  const app = await held(t);
  const sidecar = await start(t, app.port);
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  wire.send('question').socket.end();
  const socket = await app.socket;
  const asked: string[] = [];
  socket.on('data', chunk => asked.push(String(chunk)));
  await once(socket, 'end');
  t.equal(asked.join(''), 'question');
  socket.write('answer');
  t.equal((await wire.take(6)).toString(), 'answer');
  socket.end(', and more');
  t.equal(await wire.rest(), ', and more');
});

t.test('an app that ends its side is still sent what the client has to say', async t => {
  const app = await held(t);
  const sidecar = await start(t, app.port);
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  const socket = await app.socket;
  socket.end('only this');
  t.equal(await wire.rest(), 'only this');
  wire.send('a long reply').socket.end();
  const heard: string[] = [];
  socket.on('data', chunk => heard.push(String(chunk)));
  await once(socket, 'end');
  t.equal(heard.join(''), 'a long reply');
  t.match(await sidecar.access.take(l => l.bytes_received === 12), { bytes_sent: 9 });
});

t.test('64 MiB arrive whole, each way and both ways at once', async t => {
  const block = randomBytes(MIB);
  const expected = createHash('sha256');
  for (let i = 0; i < 64; i++) expected.update(block);
  const digest = expected.digest('hex');
  const app = await startTcpApp(t, async socket => {
    const arrived = digestOf(socket);
    for (let i = 0; i < 64; i++) if (!socket.write(block)) await once(socket, 'drain');
    socket.end(await arrived); // its digest, 64 characters after what it sent
  });
  const sidecar = await start(t, app.port);
  const { socket } = await wireTls(t, sidecar.ports.inbound, client);
  socket.removeAllListeners('data');
  const sums = createHash('sha256');
  let received = 0;
  let tail = '';
  socket.on('data', (chunk: Buffer) => {
    const body = chunk.subarray(0, Math.max(0, 64 * MIB - received));
    sums.update(body);
    tail += chunk.toString('latin1', body.length);
    received += chunk.length;
  });
  for (let i = 0; i < 64; i++) if (!socket.write(block)) await once(socket, 'drain');
  socket.end();
  await once(socket, 'end');
  t.equal(received, 64 * MIB + 64);
  t.equal(sums.digest('hex'), digest, 'what the app sent');
  t.equal(tail, digest, 'what the client sent');
});

async function digestOf(socket: Socket): Promise<string> {
  const sums = createHash('sha256');
  socket.on('data', chunk => sums.update(chunk));
  await once(socket, 'end');
  return sums.digest('hex');
}

t.test('a side that does not read stops the other, and memory stays bounded', async t => {
  const app = await held(t);
  const sidecar = await start(t, app.port);
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  const socket = await app.socket; // it does not read
  const before = await sidecar.metric('outrider_resident_memory_bytes');
  const block = Buffer.alloc(MIB, 7);
  for (let i = 0; i < 64; i++) wire.send(block);
  const taken = await standsAt(sidecar);
  t.ok(taken < 24 * MIB, `${taken} bytes were taken`); // both kernels' buffers, and at most 1 MiB of ours
  t.ok((await sidecar.metric('outrider_resident_memory_bytes')) - before < 64 * MIB);
  let received = 0;
  socket.on('data', chunk => {
    received += chunk.length;
  });
  wire.socket.end();
  await once(socket, 'end');
  t.equal(received, 64 * MIB);
});

/** How many bytes the sidecar has read when it reads no more. */
async function standsAt(sidecar: Sidecar): Promise<number> {
  let last = -1;
  for (let same = 0, i = 0; same < 40 && i < 4_000; i++) {
    const [row] = JSON.parse((await sidecar.get('admin', '/connections')).body) as {
      bytesReceived: number;
    }[];
    same = row?.bytesReceived === last ? same + 1 : 0;
    last = row?.bytesReceived ?? -1;
  }
  return last;
}

t.test('on a declared tcp port the app may speak first', async t => {
  const app = await startTcpApp(t, socket => socket.write('220 ready\r\n'));
  const sidecar = await start(t, app.port);
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  t.equal((await wire.take(11)).toString(), '220 ready\r\n');
});

t.test('a declared tcp port passes on what looks like HTTP', async t => {
  const echo = await startTcpApp(t, socket => socket.pipe(socket));
  const sidecar = await start(t, echo.port, { protocol: 'tcp' });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  wire.send('GET / HTTP/1.1\r\n\r\n');
  t.equal((await wire.take(18)).toString(), 'GET / HTTP/1.1\r\n\r\n');
});

t.test('a declared http2 port refuses HTTP/2, which is not spoken yet', async t => {
  const app = await held(t);
  const sidecar = await start(t, app.port, { protocol: 'http2' });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  t.equal((await wire.ask('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')).status, 400);
  t.equal(app.connections(), 0);
});

t.test('a declared http port takes nothing else', async t => {
  const app = await held(t);
  const sidecar = await start(t, app.port, { protocol: 'http' });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  t.equal((await wire.ask('EHLO here\r\n\r\n')).status, 400);
  t.equal(app.connections(), 0);
});

t.test('a connection that policy denies is closed before the app is connected', async t => {
  const app = await startTcpApp(t, socket => socket.write('secret greeting'));
  const other = await testIdentity(authority, 'foo/other');
  const sidecar = await start(t, app.port, {
    manifests: `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: db, namespace: foo}
spec: {rules: [{from: [{source: {principals: [cluster.local/ns/foo/sa/sleep]}}]}]}
`,
  });
  const denied = await wireTls(t, sidecar.ports.inbound, other);
  denied.send('hello');
  t.equal(await denied.rest(), '');
  t.match(await sidecar.access.take(l => l.policy_decision === 'deny'), {
    connection_termination_details: /^rbac_access_denied_matched_policy\[/,
    source_principal: 'spiffe://cluster.local/ns/foo/sa/other',
    upstream_host: null,
    bytes_sent: 0,
  });
  t.equal(app.connections(), 0);
  t.equal((await (await wireTls(t, sidecar.ports.inbound, client)).take(15)).toString(), 'secret greeting');

  t.test('one that a new policy denies is closed while it lives', async t => {
    const live = await wireTls(t, sidecar.ports.inbound, client);
    await live.take(15);
    await sidecar.configure(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: db, namespace: foo}
spec: {rules: [{from: [{source: {principals: [cluster.local/ns/foo/sa/other]}}]}]}
`);
    t.equal(await live.rest(), '');
  });
});

t.test('an app that refuses is a closed connection with its reason in the log', async t => {
  const sidecar = await start(t, await deadPort());
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  t.equal(await wire.rest(), '');
  t.match(await sidecar.access.take(l => l.response_flags === 'UF'), {
    upstream_transport_failure_reason: 'ECONNREFUSED',
  });
});

t.test('a side that breaks takes the other with it', async t => {
  for (const side of ['client', 'app'] as const) {
    const app = await held(t);
    const sidecar = await start(t, app.port);
    const wire = await wirePlain(t, sidecar.ports.inbound); // a TLS socket cannot be made to reset
    wire.send('x');
    const socket = await app.socket;
    const [broken, other] = side === 'client' ? [wire.socket, socket] : [socket, wire.socket];
    const ended = once(other, 'close').then(
      () => 'closed',
      (error: NodeJS.ErrnoException) => error.code,
    );
    other.resume();
    broken.resetAndDestroy();
    t.equal(await ended, 'ECONNRESET', 'and it shows: a clean end would pass for the whole of what was sent');
    t.match(await sidecar.access.take(l => l.bytes_received === 1), {
      connection_termination_details: 'connection_reset',
    });
    t.equal(await sidecar.metric('outrider_connections_open'), 0);
  }
});
