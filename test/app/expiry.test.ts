/** What an operator and the peers see when the own certificate ends, and when a new one comes. */
import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import t from 'tap';
import { temporaryIdentity, testAuthority, testIdentity, writeIdentityFolder } from '../certificates.ts';
import { dialTls, get, startApp, startTlsPeer, wirePlain, wireTls } from '../peers.ts';
import { mutual, service } from '../proxy/services.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const HTTPBIN = 'spiffe://cluster.local/ns/foo/sa/httpbin';
const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';
const STRICT = `
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: foo}
spec: {mtls: {mode: STRICT}}
`;
t.jobs = 2; // most of it is waiting for an end

const LIFE_MS = 10_000; // longer than a start on a busy machine and what is done before the end
const authority = await testAuthority();
const peer = await testIdentity(authority, 'foo/sleep');

/** Answers every request in keeping the connection. */
function answer(socket: TLSSocket): void {
  socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'));
}

function isNearing(left: string): (line: { readonly msg: string; left?: unknown }) => boolean {
  return line => line.msg === 'own certificate nears its end and no new one came' && line.left === left;
}

function ready(sidecar: Sidecar): Promise<{ status: number; body: string }> {
  return sidecar.get('health', '/healthz/ready');
}

t.test('an own certificate that ends: open connections stay, new ones are refused and say why', async t => {
  const server = await startTlsPeer(t, peer, answer);
  const now = Date.now();
  const short = await testIdentity(authority, 'foo/httpbin', { now, notBefore: now, ttlMs: LIFE_MS });
  const certs = temporaryIdentity(t, short);
  const policy = (more = ''): string => `${mutual(SLEEP)}${more}`;
  const services = [
    service({ host: 'kept.foo', endpoints: [server.port], policy: policy() }),
    service({
      host: 'fresh.foo',
      endpoints: [server.port],
      policy: policy(', outlierDetection: {consecutive5xxErrors: 2, baseEjectionTime: 600s}'),
    }),
  ];
  const manifests = `kind: MeshConfig${services.join('')}${STRICT}`;
  const sidecar = await startSidecar(t, { certs, app: (await startApp(t)).port, manifests });
  const inbound = await wireTls(t, sidecar.ports.inbound, peer);
  t.equal((await inbound.ask(get('/before'))).status, 200);
  const outbound = await wirePlain(t, sidecar.ports.outbound);
  const out = (host: string) => outbound.ask(get('/').replace('app.example', host));
  t.equal((await out('kept.foo')).status, 200);
  t.equal((await ready(sidecar)).body.trim(), 'LIVE');

  const serial = new X509Certificate(short.certChainPem).serialNumber;
  const third = await sidecar.log.take(isNearing('a third of its life'));
  t.match(third, { level: 'warn', id: HTTPBIN, serial, generation: 1 });
  await sidecar.log.take(isNearing('a tenth of its life'));
  const said = await sidecar.log.take(({ msg }) => msg.startsWith('own certificate expired'));
  t.match(said, { level: 'error', reason: 'own_certificate_expired', id: HTTPBIN, serial, generation: 1 });

  t.equal((await inbound.ask(get('/after'))).status, 200, 'an open connection stays');
  t.equal((await out('kept.foo')).status, 200, 'an idle upstream connection too');
  const refused = dialTls(t, sidecar.ports.inbound, peer);
  await new Promise(resolve => refused.socket.once('close', resolve).on('error', () => {}));
  const line = await sidecar.access.take(
    ({ response_code_details }) => response_code_details === 'own_certificate_expired',
  );
  t.match(line, { direction: 'inbound', response_flags: 'NR' });
  const reason = { direction: 'inbound', result: 'failure', reason: 'own_certificate_expired' };
  t.equal(await sidecar.metric('outrider_tls_handshakes_total', reason), 1);
  const failed = await out('fresh.foo');
  t.equal(failed.status, 503);
  t.equal(failed.body, 'upstream connect error: own_certificate_expired');
  t.equal((await out('fresh.foo')).body, 'no healthy upstream', 'it was tried twice, and is ejected');
  const notReady = await ready(sidecar);
  t.equal(notReady.status, 503);
  t.match(notReady.body, /^certificate expired \d{4}-/);
  t.equal(
    await sidecar.metric('outrider_certificate_expiry_seconds', { kind: 'leaf', id: HTTPBIN }),
    Math.floor((now + LIFE_MS) / 1_000),
  );

  writeIdentityFolder(certs, await testIdentity(authority, 'foo/httpbin'));
  await sidecar.log.take(({ msg }) => msg === 'certificates replaced');
  await sidecar.metric('outrider_workers');
  t.equal((await (await wireTls(t, sidecar.ports.inbound, peer)).ask(get('/new'))).status, 200);
  t.equal((await inbound.ask(get('/still'))).status, 200);
  t.equal((await out('fresh.foo')).status, 200, 'what failed for our own fault ejects nobody');
  t.equal((await ready(sidecar)).status, 200);
});

t.test('an own certificate that ends does not close a port to plaintext that it lets in', async t => {
  const now = Date.now();
  const short = await testIdentity(authority, 'foo/httpbin', { now, ttlMs: LIFE_MS });
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, short),
    app: (await startApp(t)).port,
  });
  await sidecar.log.take(({ msg }) => msg.startsWith('own certificate expired'));
  t.equal((await (await wirePlain(t, sidecar.ports.inbound)).ask(get('/'))).status, 200);
  dialTls(t, sidecar.ports.inbound, peer).socket.on('error', () => {});
  await sidecar.access.take(({ response_code_details: why }) => why === 'own_certificate_expired');
});

t.test('certificates of the chain and the bundle have their dates in the metrics', async t => {
  const certs = temporaryIdentity(t, await testIdentity(authority, 'foo/httpbin'));
  const sidecar = await startSidecar(t, { certs, app: (await startApp(t)).port });
  const root = new X509Certificate(authority.rootPem);
  t.equal(
    await sidecar.metric('outrider_certificate_expiry_seconds', { kind: 'root', serial: root.serialNumber }),
    root.validToDate.getTime() / 1_000,
  );
});
