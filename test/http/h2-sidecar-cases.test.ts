/** The HTTP/2 table over both listeners of a real sidecar. */
import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import { connect as connectSecure } from 'node:tls';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { opened } from '../h2-peer.ts';
import { listenUntilEnd } from '../peers.ts';
import { service } from '../proxy/services.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';
import { bytesOf, CaseApp, type H2Route, runH2Case } from './h2-case-runner.ts';
import { CASES, plainRoute } from './h2-rows.ts';

t.setTimeout(180_000);

const authority = await testAuthority();
const own = await testIdentity(authority, 'foo/server');
const caller = await testIdentity(authority, 'foo/client');
const mode = (name: string): string => `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: foo}
spec: {mtls: {mode: ${name}}}
`;

async function passAll(t: Test, route: H2Route, sidecar: Sidecar, cut?: number): Promise<void> {
  // Byte by byte over TLS each is a record: every third row, and none that is long, or it takes half a minute.
  const rows = cut === undefined ? CASES : CASES.filter((row, i) => i % 3 === 0 && bytesOf(row).length < 500);
  for (const row of rows) {
    t.same(await runH2Case(route, row, cut === undefined ? {} : { cut }), [], row.id);
  }
  t.equal(await sidecar.metric('outrider_worker_restarts_total'), 0);
  t.same(sidecar.other.all, []);
  t.same(
    sidecar.log.all.filter(line => line.level === 'error'),
    [],
  );
}

t.test('inbound over mutual TLS, to an app that speaks HTTP/1.1', async t => {
  const app = new CaseApp();
  const port = await listenUntilEnd(t, createHttpServer(app.onRequest));
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: port,
    manifests: mode('STRICT'),
    flags: ['--access-log', 'off', '--protocol', `${port}=http`],
  });
  const { certChainPem: cert, keyPem: key } = caller;
  const open = async () => {
    const socket = connectSecure({
      host: '127.0.0.1',
      port: sidecar.ports.inbound,
      cert,
      key,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
    });
    socket.setNoDelay(true);
    await opened(socket, 'secureConnect');
    if (socket.alpnProtocol !== 'h2') throw new Error(`agreed to ${socket.alpnProtocol}`);
    return socket;
  };
  await passAll(t, { open, app }, sidecar);
  await passAll(t, { open, app }, sidecar, 1);
});

t.test('inbound in plaintext by prior knowledge, to an app that speaks HTTP/2', async t => {
  const app = new CaseApp();
  const port = await listenUntilEnd(t, createHttp2Server(app.onRequest));
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: port,
    manifests: mode('DISABLE'),
    flags: ['--access-log', 'off', '--protocol', `${port}=http2`],
  });
  await passAll(t, plainRoute(sidecar.ports.inbound, app), sidecar);
});

t.test('outbound in plaintext by prior knowledge', async t => {
  const app = new CaseApp();
  const port = await listenUntilEnd(t, createHttpServer(app.onRequest));
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, caller),
    manifests: service({ host: 'app.test', endpoints: [port], policy: 'tls: {mode: DISABLE}' }),
    flags: ['--access-log', 'off'],
  });
  await passAll(t, plainRoute(sidecar.ports.outbound, app), sidecar);
});
