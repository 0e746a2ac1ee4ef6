/**
 * Every case of h1-cases.jsonl (what each asks for is in case-verdict.ts) through the loop alone, through a real
 * sidecar's inbound port over mutual TLS, and through its outbound port, mutual TLS to the upstream.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { connect as connectSecure, createServer as createSecureServer } from 'node:tls';
import t, { type Test } from 'tap';
import { type IdentityPems, temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { listenUntilEnd, SIDECAR_HTTP } from '../peers.ts';
import { startSidecar } from '../sidecar.ts';
import { CaseUpstream, loadCases, type Route, runCases } from './case-runner.ts';
import type { Case } from './case-verdict.ts';
import { startLoop } from './loop.ts';
import { type Message, valuesOf } from './strict-messages.ts';

t.setTimeout(120_000);

const cases = loadCases();
const authority = await testAuthority();
const own = await testIdentity(authority, 'foo/server');
const caller = await testIdentity(authority, 'foo/client');
const OWN_CERT = /^By=[^,]*\/sa\/server;Hash=\w{64};[^,]*URI=spiffe:\/\/cluster\.local\/ns\/foo\/sa\/client$/;

t.test('the loop alone', async t => {
  const upstream = new CaseUpstream();
  const loop = await startLoop(t, { app: await listenPlain(t, upstream) });
  await passAll(t, { open: () => dial(loop.port), upstream }, cases);
});

t.test('a sidecar, inbound over mutual TLS and outbound with mutual TLS to the upstream', async t => {
  const app = new CaseUpstream();
  const peer = new CaseUpstream();
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: await listenPlain(t, app),
    manifests: serviceOn(await listenSecure(t, peer)),
    flags: ['--access-log', 'off'],
  });
  const { inbound, outbound } = sidecar.ports;
  const named = await reachable(t, cases, peer);
  await Promise.all([
    t.test('inbound', t =>
      passAll(t, { open: () => dialSecure(inbound), upstream: app, check: carriesTheCaller }, cases),
    ),
    t.test('outbound', t => passAll(t, { open: () => dial(outbound), upstream: peer }, named)),
  ]);
});

t.test('a proxy that passes every byte on is found out by every rejection', async t => {
  const upstream = new CaseUpstream();
  const port = await listenPlain(t, upstream);
  const rejections = cases.filter(one => one.kind === 'request' && one.expect === 'reject' && !one.alt);
  const faults = await runCases({ open: () => dial(port), upstream }, rejections);
  for (const [id, found] of faults) t.not(found.length, 0, id);
  t.ok(faults.size > 50);
});

async function passAll(t: Test, route: Route, all: readonly Case[]): Promise<void> {
  const faults = await runCases(route, all);
  for (const [id, found] of faults) t.same(found, [], id);
  t.equal(faults.size, 175);
}

/** What the app must know of its caller, whatever the caller sent. */
function carriesTheCaller(message: Message): string | null {
  const certs = valuesOf(message, 'x-forwarded-client-cert');
  return certs.length === 1 && OWN_CERT.test(certs[0] ?? '')
    ? null
    : `the app got the XFCC ${JSON.stringify(certs)}`;
}

/** Services for the names in the cases, all of them the upstream on `port`. */
function serviceOn(port: number): string {
  return `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: named-in-the-cases, namespace: foo}
spec:
  hosts: ["*.test"]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: https, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, ports: {http: ${port}, https: ${port}}}]
  subjectAltNames: ["spiffe://cluster.local/ns/foo/sa/server"]
`;
}

/** The one case that names an address goes to that address: the upstream listens there too, in plaintext. */
async function reachable(t: Test, all: readonly Case[], upstream: CaseUpstream): Promise<Case[]> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => upstream.accept(socket));
  t.teardown(() => server.close());
  server.listen(0, '::1');
  const hasIpv6 = await once(server, 'listening').then(
    () => true,
    () => false,
  );
  if (!hasIpv6) await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const host = hasIpv6 ? `[::1]:${port}` : `127.0.0.1:${port}`;
  return all.map(one =>
    one.id === 'host-ipv6' ? { ...one, raw: one.raw.replace('[::1]:8080', host) } : one,
  );
}

function listenPlain(t: Test, upstream: CaseUpstream): Promise<number> {
  return listenUntilEnd(
    t,
    createServer({ allowHalfOpen: true, noDelay: true }, socket => upstream.accept(socket)),
  );
}

function listenSecure(t: Test, upstream: CaseUpstream): Promise<number> {
  const options = { ...credentials(own), requestCert: true, allowHalfOpen: true, noDelay: true };
  return listenUntilEnd(
    t,
    createSecureServer(options, socket => upstream.accept(socket)),
  );
}

async function dial(port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true });
  await once(socket, 'connect');
  return socket;
}

async function dialSecure(port: number): Promise<Socket> {
  const half = { allowHalfOpen: true, noDelay: true };
  const socket = connectSecure({
    host: '127.0.0.1',
    port,
    rejectUnauthorized: false,
    ALPNProtocols: SIDECAR_HTTP,
    ...credentials(caller),
    ...half,
  });
  await once(socket, 'secureConnect');
  return socket;
}

function credentials(pems: IdentityPems) {
  return { cert: pems.certChainPem, key: pems.keyPem, ca: pems.rootPem };
}
