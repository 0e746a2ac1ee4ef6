import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  type IdentityPems,
  rawUris,
  temporaryFolder,
  temporaryIdentity,
  testAuthority,
  testIdentity,
  testIntermediate,
  writeIdentityFolder,
} from '../certificates.ts';
import { startApp, startTlsPeer } from '../peers.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';
import { derOf, startWorkloadApi, svidOf } from '../workload-api-server.ts';
import { inboundRefusal, outboundRefusal } from './refusal.ts';
import { service } from './services.ts';

t.setTimeout(120_000);

const OWN = 'cluster.local';
const FOREIGN = 'other.example';
const root = await testAuthority();
const foreignRoot = await testAuthority({ trustDomain: FOREIGN, name: 'other CA' });
const httpbin = await testIdentity(root, 'foo/httpbin');
const app = await startApp(t);
const peer = await startTlsPeer(t, httpbin, socket => {
  socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'));
});
const MANIFESTS = service({ host: 'peer.foo', endpoints: [peer.port], policy: 'tls: {mode: ISTIO_MUTUAL}' });
const indented = (pem: string) => `|\n      ${pem.trim().split('\n').join('\n      ')}`;

/** A mesh config that believes the foreign root for its own trust domain. */
function believing(pem: string, trustDomains: string): string {
  return `kind: MeshConfig\ncaCertificates:\n  - trustDomains: [${trustDomains}]\n    pem: ${indented(pem)}\n`;
}

const of = (trustDomain: string, name: string) => rawUris(`spiffe://${trustDomain}/ns/foo/sa/${name}`);
const CASES: [who: string, pems: IdentityPems, reason: string | null][] = [
  ['of the own trust domain by the own root', await testIdentity(root, 'foo/a'), null],
  ['of another by its root', await testIdentity(foreignRoot, 'foo/a'), null],
  ['of another by its intermediate', await testIdentity(await testIntermediate(foreignRoot), 'foo/a'), null],
  [
    'of the own trust domain by the root of another',
    await testIdentity(foreignRoot, 'x', { mutate: of(OWN, 'a') }),
    'wrong_trust_root',
  ],
  [
    'of the own trust domain by an intermediate of another',
    await testIdentity(await testIntermediate(foreignRoot), 'x', { mutate: of(OWN, 'a') }),
    'wrong_trust_root',
  ],
  [
    'of another trust domain by the own root',
    await testIdentity(root, 'x', { mutate: of(FOREIGN, 'a') }),
    'wrong_trust_root',
  ],
  [
    'of a third trust domain by a root that is believed',
    await testIdentity(foreignRoot, 'x', { mutate: of('third.example', 'a') }),
    'foreign_trust_domain',
  ],
  ['of nobody', await testIdentity(await testAuthority({ trustDomain: FOREIGN }), 'foo/a'), 'untrusted'],
];

function outbound(t: Test, sidecar: Sidecar, pems: IdentityPems): Promise<string | null> {
  peer.present(pems);
  return outboundRefusal(t, sidecar, 'peer.foo');
}

const ways: [name: string, start: (t: Test) => Promise<Sidecar>][] = [
  [
    'caCertificates',
    t =>
      startSidecar(t, {
        certs: temporaryIdentity(t, httpbin),
        app: app.port,
        manifests: believing(foreignRoot.rootPem, FOREIGN) + MANIFESTS,
      }),
  ],
  [
    'federation by a Workload API',
    async t => {
      const api = await startWorkloadApi(t, {
        svids: [svidOf(`spiffe://${OWN}/ns/foo/sa/httpbin`, httpbin)],
        federatedBundles: { [`spiffe://${FOREIGN}`]: derOf(foreignRoot.rootPem) },
      });
      return startSidecar(t, { app: app.port, manifests: MANIFESTS, flags: ['--workload-api', api.target] });
    },
  ],
];

for (const [name, start] of ways) {
  t.test(`${name}: a root vouches for its own trust domain, both ways`, async t => {
    const sidecar = await start(t);
    for (const [who, pems, reason] of CASES) {
      for (let times = 0; times < 2; times += 1) {
        t.equal(await inboundRefusal(t, sidecar, pems), reason, `a client ${who}`);
        t.equal(await outbound(t, sidecar, pems), reason, `a server ${who}`);
      }
    }
    const { body } = await sidecar.get('admin', '/explain', {
      method: 'POST',
      body: [`spiffe://${FOREIGN}/ns/foo/sa/a`, 'spiffe://third.example/ns/foo/sa/a']
        .map(principal => JSON.stringify({ source: { principal }, destination: { port: 80 } }))
        .join('\n'),
    });
    const [believed, stranger] = body
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as { reason: string });
    t.not(believed?.reason, 'foreign_trust_domain', 'explain accepts whom connections accept');
    t.equal(stranger?.reason, 'foreign_trust_domain');
  });
}

t.test('a trust domain that the configuration lets go of is refused at once', async t => {
  const foreign = await testIdentity(foreignRoot, 'foo/a');
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, httpbin),
    app: app.port,
    manifests: believing(foreignRoot.rootPem, FOREIGN) + MANIFESTS,
  });
  t.equal(await inboundRefusal(t, sidecar, foreign), null);
  t.equal(await outbound(t, sidecar, foreign), null);
  await sidecar.configure(believing(foreignRoot.rootPem, 'third.example') + MANIFESTS);
  t.equal(await inboundRefusal(t, sidecar, foreign), 'foreign_trust_domain');
  t.equal(await outbound(t, sidecar, foreign), 'foreign_trust_domain');
  await sidecar.configure(`kind: MeshConfig${MANIFESTS}`);
  t.equal(await inboundRefusal(t, sidecar, foreign), 'untrusted', 'OpenSSL has not its root any more');
  t.equal(await outbound(t, sidecar, foreign), 'untrusted');
});

t.test('while the root is replaced, old and new are believed; then the new one only', async t => {
  const next = await testAuthority({ name: 'next CA' });
  const [old, young] = [await testIdentity(root, 'foo/a'), await testIdentity(next, 'foo/a')];
  const dir = writeIdentityFolder(join(temporaryFolder(t), 'certs'), httpbin);
  const sidecar = await startSidecar(t, {
    certs: dir,
    app: app.port,
    manifests: `kind: MeshConfig${MANIFESTS}`,
  });
  const asked = async () => [
    await inboundRefusal(t, sidecar, old),
    await outbound(t, sidecar, old),
    await inboundRefusal(t, sidecar, young),
    await outbound(t, sidecar, young),
  ];
  const rotate = async (pems: IdentityPems) => {
    writeIdentityFolder(dir, pems);
    await sidecar.log.take(l => l.msg === 'certificates replaced');
    await sidecar.metric('outrider_workers');
  };
  t.strictSame(await asked(), [null, null, 'untrusted', 'untrusted']);
  await rotate({ ...httpbin, rootPem: root.rootPem + next.rootPem });
  t.strictSame(await asked(), [null, null, null, null]);
  await rotate(await testIdentity(next, 'foo/httpbin'));
  t.strictSame(await asked(), ['untrusted', 'untrusted', null, null]);
});

t.test('caCertificates that cannot be read refuse the configuration with their line', async t => {
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, httpbin),
    app: app.port,
    manifests: `kind: MeshConfig${MANIFESTS}`,
  });
  sidecar.writeManifests(`kind: MeshConfig\ncaCertificates:\n  - pem: nonsense\n`);
  const line = await sidecar.log.take(l => JSON.stringify(l).includes('caCertificates[0].pem'));
  t.match(JSON.stringify(line), /manifests\.yaml:3:10/);
});
