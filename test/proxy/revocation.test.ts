import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readCertificate } from '../../src/identity/certificate.ts';
import { replaceFile } from '../../src/identity/folder.ts';
import {
  type Authority,
  type IdentityPems,
  temporaryFolder,
  testAuthority,
  testCrl,
  testIdentity,
  testIntermediate,
  writeIdentityFolder,
} from '../certificates.ts';
import { startApp, startTlsPeer } from '../peers.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';
import { inboundRefusal, outboundRefusal } from './refusal.ts';
import { service } from './services.ts';

t.setTimeout(120_000);

const root = await testAuthority();
const intermediate = await testIntermediate(root);
const httpbin = await testIdentity(root, 'foo/httpbin');
const foreignRoot = await testAuthority({ trustDomain: 'other.example', name: 'other CA' });
const app = await startApp(t);
const peer = await startTlsPeer(t, httpbin, socket => {
  socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'));
});
const MESH = `kind: MeshConfig
caCertificates:
  - trustDomains: [other.example]
    pem: |
      ${foreignRoot.rootPem.trim().split('\n').join('\n      ')}
`;
const MANIFESTS =
  MESH + service({ host: 'peer.foo', endpoints: [peer.port], policy: 'tls: {mode: ISTIO_MUTUAL}' });

/** The serial number in hex, as a list carries it. */
function serialOf(pem: string): string {
  const serial = readCertificate(new X509Certificate(pem).raw)?.serial ?? '';
  return Number.parseInt(serial.slice(0, 2), 16) >= 0x80 ? `00${serial}` : serial;
}

const lists = async (ofRoot: string[], ofIntermediate: string[], options = {}) =>
  (await testCrl(root, ofRoot, options)) + (await testCrl(intermediate, ofIntermediate, options));

function outbound(t: Test, sidecar: Sidecar, pems: IdentityPems): Promise<string | null> {
  peer.present(pems);
  return outboundRefusal(t, sidecar, 'peer.foo');
}

async function start(t: Test, crl: string | null, flags: readonly string[] = []) {
  const dir = writeIdentityFolder(join(temporaryFolder(t), 'certs'), httpbin);
  if (crl !== null) writeFileSync(join(dir, 'crl.pem'), crl);
  const sidecar = await startSidecar(t, { certs: dir, app: app.port, manifests: MANIFESTS, flags });
  return {
    sidecar,
    revoke: async (text: string) => {
      replaceFile(join(dir, 'crl.pem'), text, 0o644);
      await sidecar.log.take(l => l.msg === 'certificates replaced');
      await sidecar.metric('outrider_workers');
    },
  };
}

t.test('what a new list revokes is refused from then on, both ways: leaf and intermediate', async t => {
  const [good, bad] = [await testIdentity(intermediate, 'foo/a'), await testIdentity(intermediate, 'foo/b')];
  const own = await testIdentity(root, 'foo/c');
  const foreign = await testIdentity(await testIntermediate(foreignRoot), 'foo/d');
  const { sidecar, revoke } = await start(t, null);
  const asked = async () => {
    const all = [];
    for (const pems of [good, bad, own, foreign]) {
      all.push([await inboundRefusal(t, sidecar, pems), await outbound(t, sidecar, pems)]);
    }
    return all.map(([one, other]) => (one === other ? one : `${one} and ${other}`));
  };
  t.strictSame(await asked(), [null, null, null, null]);
  await revoke(await lists([], []));
  t.strictSame(await asked(), [null, null, null, null], 'a trust domain without lists is not asked for any');
  await revoke(await lists([], [serialOf(bad.certChainPem)]));
  t.strictSame(await asked(), [null, 'revoked', null, null]);
  await revoke(await lists([serialOf(intermediate.certPem)], []));
  t.strictSame(await asked(), ['revoked', 'revoked', null, null]);
  await revoke(await testCrl(root, []));
  t.strictSame(await asked(), ['no_crl', 'no_crl', null, null]);
  await revoke((await testCrl(root, [])) + (await testCrl(foreignRoot, [])));
  t.strictSame(await asked(), ['no_crl', 'no_crl', null, 'no_crl'], 'one of its CAs has a list now');
  await revoke(await lists([], []));
  t.strictSame(await asked(), [null, null, null, null], 'and what is revoked no more is believed again');
  const failures = { direction: 'inbound', result: 'failure', reason: 'revoked' };
  t.equal(await sidecar.metric('outrider_tls_handshakes_total', failures), 3);
});

for (const [flags, after] of [
  [[], null],
  [['--expired-crl', 'refuse'], 'crl_expired'],
] as const) {
  t.test(
    `a list that went out of date, ${flags.join(' ') || 'by default'}: ${after ?? 'it is gone by'}`,
    async t => {
      const [good, bad] = [await testIdentity(root, 'foo/a'), await testIdentity(root, 'foo/b')];
      const ends = Math.ceil(Date.now() / 1_000) * 1_000 + 5_000;
      const crl = await testCrl(root, [serialOf(bad.certChainPem)], { nextUpdate: ends });
      const { sidecar } = await start(t, crl, flags);
      t.equal(await inboundRefusal(t, sidecar, bad), 'revoked');
      if (Date.now() < ends) {
        const early = await inboundRefusal(t, sidecar, good);
        t.ok(early === null || Date.now() > ends, 'believed while the list is in date');
      }
      await new Promise(resolve => setTimeout(resolve, Math.max(0, ends + 1 - Date.now()))); // the moment itself
      t.equal(await inboundRefusal(t, sidecar, good), after);
      t.equal(await outbound(t, sidecar, good), after);
      t.equal(await inboundRefusal(t, sidecar, bad), 'revoked');
    },
  );
}

/** A server outside the mesh, and a rule whose files are in a folder. */
async function startOuter(t: Test, options: { readonly mode: string; readonly crl: string }) {
  const outside = await testAuthority({ trustDomain: 'outside.example', name: 'outside CA' });
  const below = await testIntermediate(outside, { name: 'outside intermediate' });
  const dir = temporaryFolder(t);
  const client = await testIdentity(outside, 'ext/client');
  writeFileSync(join(dir, 'ca.pem'), outside.rootPem);
  writeFileSync(join(dir, 'cert.pem'), client.certChainPem);
  writeFileSync(join(dir, 'key.pem'), client.keyPem);
  const own = `, clientCertificate: ${join(dir, 'cert.pem')}, privateKey: ${join(dir, 'key.pem')}`;
  const files = `caCertificates: ${join(dir, 'ca.pem')}, caCrl: ${join(dir, 'crl.pem')}`;
  const policy = `tls: {mode: ${options.mode}, ${files}${options.mode === 'MUTUAL' ? own : ''}}`;
  const named = (authority: Authority) =>
    testIdentity(authority, 'ext/api', { dnsNames: ['api.outside.example'] });
  const manifests =
    MESH +
    service({ host: 'api.outside.example', endpoints: [peer.port], location: 'MESH_EXTERNAL', policy });
  const certs = writeIdentityFolder(join(temporaryFolder(t), 'certs'), httpbin);
  const write = (text: string) => writeFileSync(join(dir, 'crl.pem'), text);
  write(options.crl === '' ? await testCrl(outside, []) : options.crl);
  const sidecar = await startSidecar(t, { certs, manifests });
  let rewrites = 0;
  return {
    outside,
    below,
    named,
    asked: (pems: IdentityPems) => {
      peer.present(pems);
      return outboundRefusal(t, sidecar, 'api.outside.example');
    },
    /** Files of a rule are read again with each configuration. */
    revoke: async (text: string) => {
      write(text);
      await sidecar.configure(`${manifests}\n# ${++rewrites}`);
    },
  };
}

for (const mode of ['SIMPLE', 'MUTUAL']) {
  t.test(`${mode}: the lists of caCrl hold for a server outside the mesh`, async t => {
    const { outside, below, named, asked, revoke } = await startOuter(t, { mode, crl: '' });
    const [direct, deep] = [await named(outside), await named(below)];
    t.equal(await asked(direct), null);
    t.equal(await asked(deep), 'no_crl', 'every CA on the way needs one');
    await revoke((await testCrl(outside, [])) + (await testCrl(below, [])));
    t.equal(await asked(deep), null);
    await revoke((await testCrl(outside, [serialOf(below.certPem)])) + (await testCrl(below, [])));
    t.equal(await asked(deep), 'revoked');
    t.equal(await asked(direct), null);
    await revoke(await testCrl(outside, [serialOf(direct.certChainPem)]));
    t.equal(await asked(direct), 'revoked');
    await revoke('no list');
    t.match(await asked(direct), /^client certificates: the revocation lists: is no PEM file/);
  });
}
