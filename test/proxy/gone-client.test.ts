import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { get, startApp, wirePlain } from '../peers.ts';
import { startSidecar } from '../sidecar.ts';

t.setTimeout(60_000);

const own = await testIdentity(await testAuthority(), 'foo/httpbin');

/** Everybody but who asks here. */
const OTHERS = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: others, namespace: foo}
spec: {rules: [{from: [{source: {notIpBlocks: ["127.0.0.0/8"]}}]}]}
`;

t.test(
  'who resets a connection before it was seen has no request, whatever policy says of addresses',
  async t => {
    const app = await startApp(t);
    const sidecar = await startSidecar(t, {
      app: app.port,
      certs: temporaryIdentity(t, own),
      manifests: OTHERS,
    });
    process.kill(sidecar.child.pid ?? 0, 'SIGSTOP');
    const socket = connect(sidecar.ports.inbound, '127.0.0.1').on('error', () => {});
    await once(socket, 'connect');
    await new Promise(resolve => socket.write(get('/nobody'), resolve));
    socket.resetAndDestroy();
    await once(socket, 'close');
    process.kill(sidecar.child.pid ?? 0, 'SIGCONT');
    const line = await sidecar.access.take(line => line.response_code_details === 'connection_reset');
    t.equal(line.downstream_remote_address, '');
    const wire = await wirePlain(t, sidecar.ports.inbound);
    wire.send(get('/here'));
    t.match(await sidecar.access.take(line => line.path === '/here'), { response_code: 403 });
    t.equal(app.connections(), 0);
  },
);
