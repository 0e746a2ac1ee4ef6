import { createHash, X509Certificate } from 'node:crypto';
import t from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { get, startApp, valuesOf, wirePlain, wireTls } from '../peers.ts';
import { startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const XFCC = 'x-forwarded-client-cert';
const PERMISSIVE = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: foo}
spec: {mtls: {mode: PERMISSIVE}}
`;
const APPEND = `
kind: MeshConfig
defaultConfig: {gatewayTopology: {forwardClientCertDetails: APPEND_FORWARD}}
---${PERMISSIVE}`;

/** Every way to write the header that an app behind CGI, WSGI or a case-blind map would take for it. */
const SPOOFS = [
  ['X-Forwarded-Client-Cert: By=x;URI=spiffe://cluster.local/ns/foo/sa/admin'],
  ['x-forwarded-client-cert: URI=spiffe://cluster.local/ns/foo/sa/admin'],
  ['X_FORWARDED_CLIENT_CERT: URI=spiffe://cluster.local/ns/foo/sa/admin'],
  ['x_forwarded-client_cert: URI=spiffe://cluster.local/ns/foo/sa/admin'],
  ['X-FORWARDED-CLIENT-CERT: a', 'accept: */*', 'X-Forwarded-Client-Cert: b'],
  ['x-forwarded-client-cert:', 'x-forwarded-client-cert: c'],
  ['connection: x-forwarded-client-cert', 'x-forwarded-client-cert: d'],
  ['Connection: close, X-Forwarded-Client-Cert'],
];

const authority = await testAuthority();
const own = await testIdentity(authority, 'foo/httpbin');
const client = await testIdentity(authority, 'foo/sleep', { subject: 'CN=sleep, O="Foo, Inc"' });
const { raw } = new X509Certificate(client.certChainPem);
const element =
  'By=spiffe://cluster.local/ns/foo/sa/httpbin;' +
  `Hash=${createHash('sha256').update(raw).digest('hex')};` +
  'Subject="O=Foo\\\\, Inc,CN=sleep";URI=spiffe://cluster.local/ns/foo/sa/sleep';

/** What the app saw of the header, in any spelling. */
function seen(received: { rawHeaders: readonly string[] }): string[] {
  return received.rawHeaders.filter((_, i) => {
    const name = received.rawHeaders[i - 1] ?? '';
    return i % 2 === 1 && name.toLowerCase().replaceAll('_', '-') === XFCC;
  });
}

t.test('the app learns who called it, in one element of x-forwarded-client-cert', async t => {
  const app = await startApp(t);
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: app.port,
    manifests: PERMISSIVE,
  });
  const reply = await (await wireTls(t, sidecar.ports.inbound, client)).ask(get('/'));
  t.equal(reply.status, 200);
  t.same(valuesOf(reply.received(), XFCC), [element]);

  t.test('an empty subject is an empty Subject, as Istio writes it', async t => {
    const plain = await testIdentity(authority, 'foo/sleep');
    const wire = await wireTls(t, sidecar.ports.inbound, plain);
    const [value = ''] = valuesOf((await wire.ask(get('/'))).received(), XFCC);
    t.match(value, /;Subject="";URI=spiffe:\/\/cluster\.local\/ns\/foo\/sa\/sleep$/);
  });

  for (const lines of SPOOFS) {
    t.test(`what a client writes is replaced: ${lines.join(' | ')}`, async t => {
      const wire = await wireTls(t, sidecar.ports.inbound, client);
      const reply = await wire.ask(get('/', ...lines));
      t.equal(reply.status, 200);
      t.same(seen(reply.received()), [element]);
    });
    t.test(`on plaintext it is removed: ${lines.join(' | ')}`, async t => {
      const wire = await wirePlain(t, sidecar.ports.inbound);
      const reply = await wire.ask(get('/', ...lines));
      t.equal(reply.status, 200);
      t.same(seen(reply.received()), []);
    });
  }

  t.test('each request of a kept connection, and of a pipeline, has the one element', async t => {
    const wire = await wireTls(t, sidecar.ports.inbound, client);
    wire.send(get('/1', `${XFCC}: a`) + get('/2') + get('/3', `${XFCC}: b`, `${XFCC}: c`));
    for (const path of ['/1', '/2', '/3']) {
      const received = (await wire.reply()).received();
      t.equal(received.url, path);
      t.same(seen(received), [element]);
    }
  });

  t.test('trailers cannot bring it either', async t => {
    const wire = await wireTls(t, sidecar.ports.inbound, client);
    const reply = await wire.ask(
      'POST / HTTP/1.1\r\nhost: app.example\r\ntransfer-encoding: chunked\r\ntrailer: x-forwarded-client-cert\r\n\r\n' +
        '2\r\nhi\r\n0\r\nX-Forwarded-Client-Cert: evil\r\n\r\n',
    );
    t.same([reply.status, reply.received().body], [200, 'hi']);
    t.same(seen(reply.received()), [element]);
  });
});

t.test('with APPEND_FORWARD the element stands after what the client sent, in one line', async t => {
  const app = await startApp(t);
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: app.port,
    manifests: APPEND,
  });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  const twice = await wire.ask(get('/', `${XFCC}: By=a;URI=b`, `${XFCC}: By=c;URI=d`));
  t.same(seen(twice.received()), [`By=a;URI=b,By=c;URI=d,${element}`]);
  t.same(seen((await wire.ask(get('/'))).received()), [element]);

  t.test('a plaintext client has proved nothing: its own is removed even so', async t => {
    const plain = await wirePlain(t, sidecar.ports.inbound);
    t.same(seen((await plain.ask(get('/', `${XFCC}: By=a;URI=b`))).received()), []);
  });
});
