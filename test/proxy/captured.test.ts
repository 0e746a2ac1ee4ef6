import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { http2Tls, http2Tunnel, takeFrom } from '../http2-peers.ts';
import { deadPort, startTcpApp } from '../peers.ts';
import { startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const HERE_ONLY = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: here-only, namespace: foo}
spec: {action: ALLOW, rules: [{when: [{key: destination.ip, values: [127.0.0.1]}]}]}
`;
const httpbin = await testIdentity(authority, 'foo/httpbin');

t.test('a connection to the inbound listener itself is a loop, with no app named', async t => {
  const sidecar = await startSidecar(t, { certs: temporaryIdentity(t, httpbin) });
  const client = connect(sidecar.ports.inbound, '127.0.0.1').on('error', () => {});
  await once(client, 'close');
  t.match(await sidecar.access.take(line => line.direction === 'inbound'), {
    response_flags: 'NR',
    response_code_details: 'loop',
  });
  t.same(sidecar.other.all, [], 'standard error is lines of JSON');
});

t.test('with capture off and no app nobody knows where a connection was going', async t => {
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, httpbin),
    flags: ['--capture', 'off'],
  });
  const client = connect(sidecar.ports.inbound, '127.0.0.1').on('error', () => {});
  await once(client, 'close');
  t.match(await sidecar.access.take(line => line.direction === 'inbound'), {
    response_code_details: 'no_destination',
  });
});

t.test("with no app named, HBONE leads to every port of the workload but Outrider's own", async t => {
  const app = await startTcpApp(t, socket => socket.pipe(socket));
  const hbone = await deadPort();
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, httpbin),
    manifests: HERE_ONLY,
    flags: ['--hbone', `127.0.0.1:${hbone}`, '--protocol', `${app.port}=tcp`],
  });
  const client = await http2Tls(t, hbone, httpbin);
  const connectTo = (authority: string) => http2Tunnel(client, { ':authority': authority });
  // Policy goes by the address that was connected to, whatever the client calls it.
  for (const host of ['127.0.0.1', '10.9.8.7']) {
    const { stream } = await connectTo(`${host}:${app.port}`);
    stream.write('hello');
    t.equal(await takeFrom(stream, 5), 'hello', host);
    stream.end();
    t.match(await sidecar.access.take(line => line.bytes_received === 5), { destination_port: app.port });
  }
  for (const port of [hbone, ...Object.values(sidecar.ports)])
    await t.rejects(connectTo(`127.0.0.1:${port}`), { message: '503' }, `${port}`);
});
