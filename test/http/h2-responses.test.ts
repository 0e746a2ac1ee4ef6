/** The table of what a server may answer (h2-cases-responses.ts), through both directions of a real sidecar. */
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { service } from '../proxy/services.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';
import { CaseApp } from './h2-case-runner.ts';
import { RESPONSE_CASES } from './h2-cases-responses.ts';
import { type CaseServer, runResponseCase, startCaseServer } from './h2-response-runner.ts';
import { plainRoute } from './h2-rows.ts';

t.setTimeout(180_000);

const own = await testIdentity(await testAuthority(), 'foo/server');
const DISABLE = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: foo}
spec: {mtls: {mode: DISABLE}}
`;

async function passAll(t: Test, port: number, server: CaseServer, sidecar: Sidecar): Promise<void> {
  const { open } = plainRoute(port, new CaseApp());
  for (const row of RESPONSE_CASES)
    t.same(await runResponseCase({ open, server }, row), [], row.id, { todo: row.todo ?? false });
  t.equal(await sidecar.metric('outrider_worker_restarts_total'), 0);
  t.same(sidecar.other.all, []);
}

t.test('from the app', async t => {
  const server = await startCaseServer(t);
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: server.port,
    manifests: DISABLE,
    flags: ['--access-log', 'off', '--protocol', `${server.port}=http2`],
  });
  await passAll(t, sidecar.ports.inbound, server, sidecar);
});

t.test('from a service', async t => {
  const server = await startCaseServer(t);
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    manifests: service({
      host: 'app.test',
      endpoints: [server.port],
      protocol: 'HTTP2',
      policy: 'tls: {mode: DISABLE}',
    }),
    flags: ['--access-log', 'off'],
  });
  await passAll(t, sidecar.ports.outbound, server, sidecar);
});
