import type { ConnectionOptions } from 'node:tls';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { get, startApp, startTlsPeer, wirePlain, wireTls } from '../peers.ts';
import { mutual, service } from '../proxy/services.ts';
import { startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const client = await testIdentity(authority, 'foo/sleep');
const V12: ConnectionOptions = { maxVersion: 'TLSv1.2' };
const REFUSED = { message: /alert|disconnected|closed/ };

async function start(t: Test, manifests: string, flags: readonly string[], environment = {}) {
  const app = await startApp(t);
  const certs = temporaryIdentity(t, await testIdentity(authority, 'foo/httpbin'));
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests, flags, environment });
  const dial = (options: ConnectionOptions = {}) => wireTls(t, sidecar.ports.inbound, client, options);
  const negotiated = (labels: Readonly<Record<string, string>>) =>
    sidecar.metric('outrider_tls_negotiated_total', labels);
  return { sidecar, dial, negotiated };
}

t.test('what was negotiated is counted, and in the access log where it is asked for', async t => {
  const { sidecar, dial, negotiated } = await start(t, 'kind: MeshConfig\n', ['--access-log-tls']);
  t.equal((await (await dial()).ask(get('/hybrid'))).status, 200);
  t.match(await sidecar.access.take(line => line.path === '/hybrid'), {
    tls_version: 'TLSv1.3',
    tls_cipher: 'TLS_AES_128_GCM_SHA256',
    tls_group: 'X25519MLKEM768',
  });
  t.equal((await (await dial({ ...V12, ecdhCurve: 'P-256' })).ask(get('/old'))).status, 200);
  t.match(await sidecar.access.take(line => line.path === '/old'), { tls_group: 'P-256' });
  t.equal(await negotiated({ direction: 'inbound' }), 2);
  const hybrid = { direction: 'inbound', version: 'TLSv1.3', group: 'X25519MLKEM768' };
  t.equal(await negotiated({ ...hybrid, cipher: 'TLS_AES_128_GCM_SHA256' }), 1);
});

t.test('the access log says nothing of it otherwise', async t => {
  const { sidecar, dial } = await start(t, 'kind: MeshConfig\n', []);
  await (await dial()).ask(get('/'));
  const line = await sidecar.access.take(line => line.path === '/');
  t.notOk('tls_group' in line || 'tls_cipher' in line);
});

t.test('curves and cipher suites follow the mesh config', async t => {
  const { sidecar, dial } = await start(t, 'kind: MeshConfig\n', []);
  const weak: ConnectionOptions = { ...V12, ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' };
  const standing = await dial(weak);
  await sidecar.configure(
    'kind: MeshConfig\nmeshMTLS: {ecdhCurves: [P-384, P-256], cipherSuites: [ECDHE-ECDSA-AES256-GCM-SHA384]}\n',
  );
  await t.rejects(dial(weak), REFUSED);
  await t.rejects(dial({ ecdhCurve: 'X25519' }), REFUSED);
  const wire = await dial();
  t.match(wire.socket.getEphemeralKeyInfo(), { name: 'secp384r1' });
  t.equal((await standing.ask(get('/'))).status, 200, 'what stands goes on');
  t.equal(await sidecar.metric('outrider_tls_handshakes_total', { reason: 'no_shared_group' }), 1);
});

t.test('a compliance policy holds in and out, over the mesh config', async t => {
  const httpbin = await testIdentity(authority, 'foo/httpbin');
  const old = await startTlsPeer(t, httpbin, socket => socket.resume(), { ecdhCurve: 'X25519' });
  const new_ = await startTlsPeer(t, httpbin, socket =>
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')),
  );
  const manifests = [
    'kind: MeshConfig\nmeshMTLS: {ecdhCurves: [X25519]}',
    service({ host: 'old.foo', endpoints: [old.port], policy: mutual() }),
    service({ host: 'out.example', endpoints: [old.port], policy: 'tls: {mode: SIMPLE}' }),
    service({ host: 'new.foo', endpoints: [new_.port], policy: mutual() }),
  ].join('\n');
  const pqc = { OUTRIDER_COMPLIANCE_POLICY: 'pqc' };
  const { sidecar, dial, negotiated } = await start(t, manifests, [], pqc);
  await t.rejects(dial(V12), REFUSED);
  await t.rejects(dial({ ecdhCurve: 'X25519' }), REFUSED);
  t.equal((await (await dial()).ask(get('/'))).status, 200);
  const app = await wirePlain(t, sidecar.ports.outbound);
  const ask = async (host: string) => (await app.ask(get('/').replace('app.example', host))).status;
  t.same([await ask('old.foo'), await ask('out.example'), await ask('new.foo')], [503, 503, 200]);
  t.equal(await negotiated({ direction: 'outbound', group: 'X25519MLKEM768' }), 1);
  t.equal(await negotiated({}), 2);
});
