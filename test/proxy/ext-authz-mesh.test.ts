import { createServer } from 'node:https';
import type { TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { checkIdentity, type IdentityGeneration } from '../../src/identity/svid.ts';
import { Trust } from '../../src/identity/trust.ts';
import { CoarseClock } from '../../src/net/clock.ts';
import { DEFAULT_TLS } from '../../src/net/tls-settings.ts';
import { Clusters } from '../../src/proxy/clusters.ts';
import { ALLOWED } from '../../src/proxy/ext-authz-question.ts';
import type { UpstreamTls } from '../../src/proxy/route.ts';
import { compileSnapshot } from '../../src/proxy/snapshot.ts';
import { UpstreamTlsDoor } from '../../src/proxy/upstream-tls.ts';
import { type IdentityPems, testAuthority, testIdentity } from '../certificates.ts';
import { loadText } from '../config/cases.ts';
import { listenUntilEnd } from '../peers.ts';
import {
  denial,
  destination,
  grpcProvider,
  guard,
  httpProvider,
  testRecorder,
  unwatched,
} from './authorizer.ts';
import { OK, startGrpcAuthorizer } from './grpc-authorizer.ts';
import { service } from './services.ts';

t.setTimeout(60_000);

const AUTHZ = 'spiffe://cluster.local/ns/foo/sa/authz';
const authority = await testAuthority();
const own = await testIdentity(authority, 'foo/httpbin');
const authz = await testIdentity(authority, 'foo/authz');
const other = await testIdentity(authority, 'foo/other');
const stranger = await testIdentity(await testAuthority(), 'foo/authz');

function generation(pems: IdentityPems, number = 1): IdentityGeneration {
  const files = {
    certChain: Buffer.from(pems.certChainPem),
    key: Buffer.from(pems.keyPem),
    root: Buffer.from(pems.rootPem),
  };
  const checked = checkIdentity(files, Date.now(), number);
  if (!checked.ok) throw new Error(checked.fault.message);
  return checked.value;
}

const MUTUAL: UpstreamTls = {
  tls: true,
  mode: 'ISTIO_MUTUAL',
  sni: 'outbound_.80_._.authz.foo.svc',
  subjectAltNames: [AUTHZ],
  clientCertificate: null,
  privateKey: null,
  caCertificates: null,
  caCrl: null,
  insecureSkipVerify: false,
};

/** An HTTP authorizer behind TLS, which notes who asks and what for. */
async function startHttps(t: Test, { certChainPem: cert, keyPem: key, rootPem: ca }: IdentityPems) {
  const seen: { peer: string | undefined; sni: unknown; serial: string }[] = [];
  const server = createServer(
    { cert, key, ca, requestCert: true, rejectUnauthorized: false },
    (request, response) => {
      const socket = request.socket as TLSSocket;
      const { subjectaltname, serialNumber } = socket.getPeerCertificate();
      seen.push({ peer: subjectaltname, sni: socket.servername, serial: serialNumber });
      response.end();
    },
  );
  return { port: await listenUntilEnd(t, server), seen };
}

function trustOf(identity: IdentityGeneration): Trust {
  return new Trust({ identity, trustDomains: ['cluster.local'] });
}

function door(): UpstreamTlsDoor {
  const identity = generation(own);
  return new UpstreamTlsDoor(identity, trustOf(identity), {
    tls: () => DEFAULT_TLS,
    compliancePolicy: null,
    negotiated: () => {},
  });
}

t.test('HTTP: the provider in the mesh is asked over mutual TLS', async t => {
  const { port, seen } = await startHttps(t, authz);
  const openTls = door().open;
  const { ask } = guard(t, httpProvider(), destination(t, [port], { security: MUTUAL, openTls }));
  t.same(await ask(), ALLOWED);
  t.match(seen, [
    { peer: /spiffe:\/\/cluster.local\/ns\/foo\/sa\/httpbin/, sni: 'outbound_.80_._.authz.foo.svc' },
  ]);
});

t.test('gRPC: the provider in the mesh is asked over mutual TLS, on one connection', async t => {
  const authorizer = await startGrpcAuthorizer(t, () => OK, { identity: authz });
  const openTls = door().open;
  const cluster = destination(t, [authorizer.port], { security: MUTUAL, openTls });
  const { ask } = guard(t, grpcProvider(), cluster, openTls);
  for (let i = 0; i < 3; i++) t.same(await ask(), ALLOWED);
  t.same([authorizer.checks.length, authorizer.connections()], [3, 1]);
});

for (const [who, pems, reason] of [
  ['another workload', other, /unexpected identity spiffe:\/\/cluster.local\/ns\/foo\/sa\/other/],
  ['a workload of another authority', stranger, /./],
] as const) {
  t.test(`${who} in the provider's place is asked nothing`, async t => {
    const openTls = door().open;
    const https = await startHttps(t, pems);
    const http = guard(t, httpProvider(), destination(t, [https.port], { security: MUTUAL, openTls }));
    t.match(denial(await http.ask()), { details: 'ext_authz_error' });
    t.match(http.warnings, [{ reason }]);
    t.same(https.seen, []);
    const authorizer = await startGrpcAuthorizer(t, () => OK, { identity: pems });
    const cluster = destination(t, [authorizer.port], { security: MUTUAL, openTls });
    const grpc = guard(t, grpcProvider(), cluster, openTls);
    t.match(denial(await grpc.ask()), { details: 'ext_authz_error' });
    t.match(grpc.warnings, [{ reason }]);
    t.same(authorizer.checks, []);
  });
}

t.test('after a rotation the provider is shown the new certificate', async t => {
  const upstream = door();
  const authorizer = await startGrpcAuthorizer(t, () => OK, { identity: authz });
  const security = { security: MUTUAL, openTls: upstream.open };
  const grpc = guard(t, grpcProvider(), destination(t, [authorizer.port], security), upstream.open);
  const { port, seen } = await startHttps(t, authz);
  const cluster = destination(t, [port], security);
  const http = guard(t, httpProvider(), cluster);
  await Promise.all([grpc.ask(), http.ask()]);
  const next = generation(await testIdentity(authority, 'foo/httpbin'), 2);
  upstream.replaceIdentity(next, trustOf(next));
  cluster.renew();
  grpc.extAuthz.renew();
  t.same([await grpc.ask(), await http.ask()], [ALLOWED, ALLOWED]);
  t.equal(authorizer.connections(), 2);
  t.equal(new Set(seen.map(({ serial }) => serial)).size, 2);
});

t.test('the provider is found as any service, and by its name where no ServiceEntry has it', async t => {
  const loaded = loadText(`
kind: MeshConfig
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
${service({ host: 'authz.foo.svc', endpoints: [9001, 9002], policy: 'tls: {mode: DISABLE}' })}
${service({ host: 'mesh.foo.svc', endpoints: [9003], port: 9000, protocol: 'GRPC' })}
`);
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.faults));
  const workload = { namespace: 'foo', serviceAccount: 'httpbin', labels: {} };
  const clock = new CoarseClock();
  t.teardown(() => clock.stop());
  const clusters = new Clusters(
    compileSnapshot(loaded.resources, workload, 1, {}),
    {
      clock,
      recorder: testRecorder(),
      openTls: door().open,
      peers: unwatched,
      warn: () => {},
      baggage: '',
      loops: () => false,
    },
    (host, port) => host === 'localhost' && port === 15_001,
  );
  const found = (host: string, port: number) =>
    clusters
      .findProvider(host, port)
      ?.targets.map(({ name, endpoint }) => `${name} ${endpoint.security.tls ? 'tls' : 'plain'}`) ?? null;
  t.same(found('Authz.foo.svc', 80), ['127.0.0.1:9001 plain', '127.0.0.1:9002 plain']);
  t.same(found('mesh.foo.svc', 9000), ['127.0.0.1:9003 tls']);
  t.same(found('elsewhere.example', 8080), ['elsewhere.example:8080 plain']);
  t.equal(found('authz.foo.svc', 81), null, 'a port that the service does not have');
  t.equal(found('localhost', 15_001), null, 'a listener of our own');
  t.equal(clusters.findProvider('mesh.foo.svc', 9000), clusters.find('mesh.foo.svc', 9000, null));
});
