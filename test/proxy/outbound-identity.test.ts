import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import {
  type IdentityPems,
  temporaryFolder,
  temporaryIdentity,
  testAuthority,
  testIdentity,
} from '../certificates.ts';
import { get, startTcpApp, startTlsPeer, wirePlain } from '../peers.ts';
import { startSidecar } from '../sidecar.ts';
import { WRONG_CERTIFICATES } from '../wrong-certificates.ts';
import { mutual, service } from './services.ts';

t.setTimeout(120_000);

const HTTPBIN = 'spiffe://cluster.local/ns/foo/sa/httpbin';
const authority = await testAuthority();
const httpbin = await testIdentity(authority, 'foo/httpbin');
const other = await testIdentity(authority, 'foo/other');
const sleep = await testIdentity(authority, 'foo/sleep');
const ASK = get('/secret', 'authorization: Bearer top-secret').replace('app.example', 'httpbin.foo');

/** Answers every request and ends the connection. */
function answerOnce(socket: TLSSocket): void {
  socket.once('data', () =>
    socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok'),
  );
}

async function startClient(t: Test, manifests: string) {
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, sleep),
    manifests: `kind: MeshConfig${manifests}`,
  });
  return { sidecar, wire: await wirePlain(t, sidecar.ports.outbound) };
}

async function startPeer(t: Test, pems: IdentityPems, policy = mutual(HTTPBIN)) {
  const peer = await startTlsPeer(t, pems, answerOnce);
  const client = await startClient(t, service({ host: 'httpbin.foo', endpoints: [peer.port], policy }));
  return { peer, ...client };
}

t.test('the right peer gets the request', async t => {
  const { peer, wire } = await startPeer(t, httpbin);
  t.same([(await wire.ask(ASK)).status, peer.handshakes()], [200, 1]);
  t.match(peer.received(), /^GET \/secret HTTP\/1\.1\r\n/);
});

t.test('a peer with another SPIFFE ID gets not one byte', async t => {
  const { sidecar, peer, wire } = await startPeer(t, other);
  const reply = await wire.ask(ASK);
  const reason = 'unexpected identity spiffe://cluster.local/ns/foo/sa/other';
  t.same([reply.status, reply.body], [503, `upstream connect error: ${reason}`]);
  t.equal(reply.header('connection'), null, 'the app may go on');
  await peer.quiet();
  t.equal(peer.received(), '');
  t.match(await sidecar.access.take(l => l.path === '/secret'), {
    response_code: 503,
    response_flags: 'UF',
    response_code_details: 'upstream_reset_before_response_started{connection_failure}',
    upstream_transport_failure_reason: reason,
  });
  t.ok(await sidecar.metric('outrider_upstream_connects_total', { direction: 'outbound', result: reason }));
});

t.test('every connection is judged, also after a good one', async t => {
  const { peer, wire } = await startPeer(t, httpbin);
  t.equal((await wire.ask(ASK)).status, 200);
  await peer.quiet();
  const heard = peer.received().length;
  peer.present(other);
  for (let i = 0; i < 3; i++) t.equal((await wire.ask(ASK)).status, 503);
  await peer.quiet();
  t.equal(peer.received().length, heard);
  peer.present(httpbin);
  t.equal((await wire.ask(ASK)).status, 200);
});

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  t.test(`a session of a good connection is resumed with that peer, and no other, on ${version}`, async t => {
    const resumed: boolean[] = [];
    const answer = (socket: TLSSocket): void => {
      resumed.push(socket.isSessionReused());
      answerOnce(socket);
    };
    const peer = await startTlsPeer(t, httpbin, answer, { minVersion: version, maxVersion: version });
    const { wire } = await startClient(
      t,
      service({ host: 'httpbin.foo', endpoints: [peer.port], policy: mutual(HTTPBIN) }),
    );
    for (let i = 0; i < 3; i++) {
      t.equal((await wire.ask(ASK)).status, 200);
      await peer.quiet();
    }
    t.strictSame(resumed, [false, true, true]);
    const heard = peer.received().length;
    peer.present(other);
    for (let i = 0; i < 2; i++) t.equal((await wire.ask(ASK)).status, 503);
    await peer.quiet();
    t.notOk(resumed.slice(3).includes(true));
    t.equal(peer.received().length, heard);
  });
}

for (const wrong of WRONG_CERTIFICATES.filter(({ server }) => server !== null)) {
  t.test(`a peer with a certificate ${wrong.name} gets not one byte`, async t => {
    const pems = await wrong.make(authority);
    const { peer, wire } = await shared(t);
    const heard = peer.received().length;
    peer.present(pems);
    const reply = await wire.ask(ASK);
    t.same([reply.status, reply.body], [503, `upstream connect error: ${wrong.server}`]);
    await peer.quiet();
    t.equal(peer.received().length, heard);
  });
}

/** One client and one peer for the whole list; nothing names the peer, so that its certificate alone decides. */
let sharing: ReturnType<typeof startPeer> | null = null;
function shared(_t: Test): ReturnType<typeof startPeer> {
  sharing ??= startPeer(t, httpbin, 'tls: {mode: ISTIO_MUTUAL}');
  return sharing;
}

t.test('a peer that speaks no TLS is an error with its name', async t => {
  const heard: Buffer[] = [];
  const app = await startTcpApp(t, socket => {
    socket.on('data', (chunk: Buffer) => heard.push(chunk));
    socket.write('HTTP/1.1 400 Bad Request\r\n\r\n');
  });
  const { wire } = await startClient(
    t,
    service({ host: 'httpbin.foo', endpoints: [app.port], policy: mutual(HTTPBIN) }),
  );
  const reply = await wire.ask(ASK);
  t.same([reply.status, reply.body], [503, 'upstream connect error: not_tls']);
  t.notMatch(Buffer.concat(heard).toString('latin1'), 'top-secret');
});

t.test('a peer that stalls its handshake is given up in connectTimeout', async t => {
  const app = await startTcpApp(t, socket => socket.resume());
  const policy = `${mutual(HTTPBIN)}, connectionPool: {tcp: {connectTimeout: 200ms}}`;
  const { wire } = await startClient(t, service({ host: 'httpbin.foo', endpoints: [app.port], policy }));
  const reply = await wire.ask(ASK);
  t.same([reply.status, reply.body], [503, 'upstream connect error: handshake_timeout']);
});

t.test('CONNECT and requests alike: a wrong peer is 503 before the tunnel stands', async t => {
  const { peer, wire } = await startPeer(t, other);
  const reply = await wire.connect('httpbin.foo:80');
  t.same(
    [reply.status, reply.body],
    [503, 'upstream connect error: unexpected identity spiffe://cluster.local/ns/foo/sa/other'],
  );
  await peer.quiet();
  t.equal(peer.received(), '');
});

t.test('MUTUAL and SIMPLE ask for the name; their own files are used', async t => {
  const outside = await testAuthority({ trustDomain: 'outside.example' });
  const named = await testIdentity(outside, 'ext/api', { dnsNames: ['api.outside.example'] });
  const mine = await testIdentity(outside, 'ext/client');
  const dir = temporaryFolder(t);
  writeFileSync(join(dir, 'ca.pem'), outside.rootPem);
  writeFileSync(join(dir, 'cert.pem'), mine.certChainPem);
  writeFileSync(join(dir, 'key.pem'), mine.keyPem);
  const presented: (string | undefined)[] = [];
  const peer = await startTlsPeer(t, named, socket => {
    presented.push(socket.getPeerX509Certificate()?.subjectAltName);
    answerOnce(socket);
  });
  const external = { endpoints: [peer.port], location: 'MESH_EXTERNAL' as const };
  const ca = `caCertificates: ${join(dir, 'ca.pem')}`;
  const own = `clientCertificate: ${join(dir, 'cert.pem')}, privateKey: ${join(dir, 'key.pem')}`;
  const { wire } = await startClient(
    t,
    service({ ...external, host: 'api.outside.example', policy: `tls: {mode: SIMPLE, ${ca}}` }) +
      service({ ...external, host: 'wrong.outside.example', policy: `tls: {mode: SIMPLE, ${ca}}` }) +
      service({
        ...external,
        host: 'mutual.outside.example',
        policy: `tls: {mode: MUTUAL, ${ca}, ${own}, subjectAltNames: [api.outside.example]}`,
      }) +
      service({ ...external, host: 'system.outside.example', policy: 'tls: {mode: SIMPLE}' }) +
      service({
        ...external,
        host: 'missing.outside.example',
        policy: `tls: {mode: SIMPLE, caCertificates: ${join(dir, 'absent.pem')}}`,
      }),
  );
  const ask = async (host: string) => {
    const reply = await wire.ask(get('/').replace('app.example', host));
    return reply.status === 200 ? '200' : reply.body;
  };
  t.equal(await ask('api.outside.example'), '200');
  t.same(presented, [undefined], 'SIMPLE presents nothing');
  t.equal(await ask('mutual.outside.example'), '200');
  t.match(presented[1], 'URI:spiffe://outside.example/ns/ext/sa/client');
  t.match(await ask('wrong.outside.example'), /^upstream connect error: wrong_host_name/);
  t.match(await ask('system.outside.example'), /^upstream connect error: untrusted/);
  t.match(await ask('missing.outside.example'), /^upstream connect error: client certificates: ENOENT/);
});
