/** An endpoint that takes no more, as one that drains: its requests go to another. */
import { constants, createSecureServer } from 'node:http2';
import t from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { http2Plain, startHttp2App } from '../http2-peers.ts';
import { deadPort, listenUntilEnd } from '../peers.ts';
import { mutual, service } from '../proxy/services.ts';
import { startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const SERVER = 'spiffe://cluster.local/ns/foo/sa/httpbin';
const REQUESTS = 30; // ten begin at each endpoint

t.test(
  'what an endpoint refuses is sent to another, a POST as well, and one that is dead beside it',
  async t => {
    const authority = await testAuthority();
    const pems = await testIdentity(authority, 'foo/httpbin');
    const { certChainPem: cert, keyPem: key, rootPem: ca } = pems;
    let refused = 0;
    const refusing = createSecureServer({ cert, key, ca, requestCert: true });
    refusing.on('session', session => session.on('error', () => {}));
    refusing.on('stream', stream => {
      refused++;
      stream.on('error', () => {});
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
    });
    const app = await startHttp2App(t);
    const inbound = await startSidecar(t, {
      certs: temporaryIdentity(t, pems),
      app: app.port,
      flags: ['--protocol', `${app.port}=http2`],
    });
    const endpoints = [await listenUntilEnd(t, refusing), inbound.ports.inbound, await deadPort()];
    const outbound = await startSidecar(t, {
      certs: temporaryIdentity(t, await testIdentity(authority, 'foo/sleep')),
      manifests: `kind: MeshConfig${service({
        host: 'calls.foo',
        endpoints,
        protocol: 'GRPC',
        policy: `${mutual(SERVER)}, loadBalancer: {simple: ROUND_ROBIN}`,
      })}`,
    });
    const client = await http2Plain(t, outbound.ports.outbound, 'calls.foo');
    for (let number = 0; number < REQUESTS; number++) {
      const reply = await client.ask('/', { body: 'once' });
      t.equal(reply.status, 200);
    }
    t.equal(app.received.length, REQUESTS, 'each arrived once');
    t.ok(refused >= REQUESTS / endpoints.length, 'as many as began there were refused');
  },
);
