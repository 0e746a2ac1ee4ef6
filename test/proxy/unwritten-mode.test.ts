import t from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { dialTls, get, startApp, wirePlain, wireTls } from '../peers.ts';
import { startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const client = await testIdentity(authority, 'foo/sleep');
const app = await startApp(t);
const certs = temporaryIdentity(t, await testIdentity(authority, 'foo/httpbin'));
const PERMISSIVE =
  'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a, namespace: foo}\n' +
  'spec: {mtls: {mode: PERMISSIVE}}\n';
/** As curl does, with a certificate of the mesh. */
const NO_SIDECAR = { ALPNProtocols: ['http/1.1'] };

t.test('without a PeerAuthentication any client may prove who it is; none gets through as bytes', async t => {
  const sidecar = await startSidecar(t, { certs, app: app.port });
  const wire = await wireTls(t, sidecar.ports.inbound, client, NO_SIDECAR);
  t.equal((await wire.ask(get('/'))).status, 200);
  t.match(await sidecar.access.take(line => line.response_code === 200), {
    source_principal: 'spiffe://cluster.local/ns/foo/sa/sleep',
  });
  t.equal((await (await wirePlain(t, sidecar.ports.inbound)).ask(get('/'))).status, 200, 'plaintext too');
  const before = app.connections();
  dialTls(t, sidecar.ports.inbound, null, NO_SIDECAR);
  t.match(await sidecar.access.take(line => line.response_flags === 'NR'), {
    response_code_details: 'no_certificate',
  });
  t.equal(app.connections(), before, 'the app saw nothing of it');
});

t.test("where PERMISSIVE is written, TLS that no sidecar began is the app's own affair", async t => {
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests: PERMISSIVE });
  const { socket } = dialTls(t, sidecar.ports.inbound, client, NO_SIDECAR);
  const failed = new Promise(resolve => socket.once('error', resolve));
  t.match(await failed, { code: /SSL|ECONNRESET/ }, 'an app without TLS answers no hello');
});
