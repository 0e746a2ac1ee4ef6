import { X509Certificate } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { showCertificates } from '../../src/cli/certs-show.ts';
import { spanText } from '../../src/cli/certs-text.ts';
import {
  type IdentityPems,
  rawUris,
  temporaryIdentity,
  testAuthority,
  testCrl,
  testIdentity,
  testIntermediate,
} from '../certificates.ts';

const NOW = Date.UTC(2026, 10, 25, 12);
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

async function run({ dir, json, now }: { action?: 'show'; dir: string; json: boolean; now?: number }) {
  let out = '';
  const io = { stdout: { write: (text: string) => (out += text) } };
  const code = await showCertificates(dir, { json, io, ...(now !== undefined && { now }) });
  return { code, out };
}

/** A chain of three that began at NOW: root 10 years, intermediate 30 days, leaf 24 hours. */
async function chainOf(): Promise<IdentityPems> {
  const root = await testAuthority({ now: NOW, days: 3_650 });
  return testIdentity(await testIntermediate(root, { now: NOW, days: 30 }), 'foo/web', {
    now: NOW,
    ttlMs: DAY,
  });
}

t.test('show prints the chain from leaf to root as a person reads it', async t => {
  const pems = await chainOf();
  const [leaf, intermediate] = pems.certChainPem.split(/(?<=END CERTIFICATE-----\n)/);
  const serials = [leaf, intermediate, pems.rootPem].map(pem => new X509Certificate(pem!).serialNumber);
  const dir = temporaryIdentity(t, pems);
  const { code, out } = await run({ dir, json: false, now: NOW + 20 * HOUR + 48 * 60_000 });
  t.equal(code, 0);
  t.equal(
    out,
    `leaf, cert-chain.pem
  SPIFFE ID  spiffe://cluster.local/ns/foo/sa/web
  subject    none
  issuer     O=cluster.local,CN=Outrider development intermediate
  serial     ${serials[0]}
  key        EC P-256
  valid      2026-11-25T11:59:00Z to 2026-11-26T12:00:00Z, expires in 3 h 12 min
  usages     digitalSignature, serverAuth, clientAuth

intermediate, cert-chain.pem
  SPIFFE ID  spiffe://cluster.local
  subject    O=cluster.local,CN=Outrider development intermediate
  issuer     O=cluster.local,CN=Outrider development CA
  serial     ${serials[1]}
  key        EC P-256
  valid      2026-11-25T11:59:00Z to 2026-12-25T12:00:00Z, expires in 29 days
  usages     CA, keyCertSign, cRLSign

root, root-cert.pem
  SPIFFE ID  spiffe://cluster.local
  subject    O=cluster.local,CN=Outrider development CA
  issuer     O=cluster.local,CN=Outrider development CA (itself)
  serial     ${serials[2]}
  key        EC P-256
  valid      2026-11-25T11:59:00Z to 2036-11-22T12:00:00Z, expires in 10 years
  usages     CA, keyCertSign, cRLSign

usable: run would take the files of ${dir}
`,
  );
});

t.test('show says since when a certificate is out of date, or how long until it begins', async t => {
  const dir = temporaryIdentity(t, await chainOf());
  const late = await run({ dir, json: false, now: NOW + 3 * DAY });
  t.equal(late.code, 1);
  t.match(late.out, /expired 2 days ago\n[\s\S]+\nnot usable: cert-chain\.pem: expired 2026-11-26T12:00:00Z/);
  const early = await run({ dir, json: false, now: NOW - 3 * HOUR });
  t.match(early.out, /begins in 2 h 59 min\n[\s\S]+\nnot usable: cert-chain\.pem: is valid only from/);
  const asJson = JSON.parse((await run({ dir, json: true, now: NOW + 3 * DAY })).out);
  t.match(asJson.certificates[0], { validity: 'expired', secondsLeft: -172_800, daysLeft: -2 });
  t.match(asJson, { ok: false, fault: { reason: 'expired' } });
});

t.test('show has the revocation lists too', async t => {
  const authority = await testAuthority();
  const dir = temporaryIdentity(t, await testIdentity(authority, 'foo/web'));
  writeFileSync(
    join(dir, 'crl.pem'),
    await testCrl(authority, [], { nextUpdate: Date.now() + 90 * 60_000 + 500 }),
  );
  const { code, out } = await run({ dir, json: false });
  t.equal(code, 0);
  t.match(out, /\nrevocation list, crl\.pem\n {2}issuer {5}O=cluster\.local,CN=Outrider development CA\n/);
  t.match(out, /, expires in 1 h (?:29|30) min\n/);
  const shown = JSON.parse((await run({ dir, json: true })).out);
  t.match(shown.revocationLists, [{ file: 'crl.pem', issuer: /development CA/, nextUpdate: /Z$/ }]);
});

t.test('a span of time has two units at most', async t => {
  const spans: readonly (readonly [number, string])[] = [
    [0, '0 s'],
    [59_999, '59 s'],
    [60_000, '1 min'],
    [HOUR, '1 h'],
    [3 * HOUR + 12 * 60_000, '3 h 12 min'],
    [DAY, '1 day'],
    [DAY + 5 * HOUR, '1 day 5 h'],
    [2 * DAY, '2 days'],
    [729 * DAY, '729 days'],
    [3_650 * DAY - 1, '10 years'],
  ];
  for (const [ms, text] of spans) t.equal(spanText(ms), text);
});

t.test('show --json has the fields of every certificate and no key', async t => {
  const pems = await testIdentity(await testAuthority(), 'foo/sleep');
  const dir = temporaryIdentity(t, pems);
  const { code, out } = await run({ action: 'show', dir, json: true });
  const leaf = new X509Certificate(pems.certChainPem);
  t.equal(code, 0);
  t.match(JSON.parse(out), {
    ok: true,
    id: 'spiffe://cluster.local/ns/foo/sa/sleep',
    fault: null,
    certificates: [
      {
        file: 'cert-chain.pem',
        role: 'leaf',
        key: 'EC P-256',
        ca: false,
        keyUsage: ['digitalSignature'],
        extendedKeyUsage: ['serverAuth', 'clientAuth'],
        validity: 'in_date',
        secondsLeft: Number,
        uris: ['spiffe://cluster.local/ns/foo/sa/sleep'],
        serial: leaf.serialNumber,
        notAfter: leaf.validToDate.toISOString().replace('.000Z', 'Z'),
      },
      { file: 'root-cert.pem', role: 'root', issuer: 'O=cluster.local,CN=Outrider development CA', ca: true },
    ],
    revocationLists: [],
  });
  t.notMatch(out, /PRIVATE|BEGIN/);
});

t.test('show says in one line what is wrong, and shows what can be read', async t => {
  const authority = await testAuthority();
  const dir = temporaryIdentity(t, await testIdentity(authority, 'foo/sleep'));
  writeFileSync(join(dir, 'key.pem'), (await testIdentity(authority, 'foo/sleep')).keyPem);
  const mismatched = await run({ action: 'show', dir, json: false });
  t.equal(mismatched.code, 1);
  t.match(mismatched.out, /sa\/sleep[\s\S]+\nnot usable: key\.pem: does not belong to [^\n]+\n$/);
  rmSync(join(dir, 'key.pem'));
  t.match(await run({ action: 'show', dir, json: true }), { code: 1, out: /"reason":"file_missing"/ });
  const nowhere = join(dir, 'nowhere');
  t.match(await run({ action: 'show', dir: nowhere, json: false }), {
    code: 1,
    out: /^not usable: [^\n]+\n$/,
  });
});

t.test('show prints nothing of a certificate that could move the cursor', async t => {
  const authority = await testAuthority();
  const mutate = rawUris('spiffe://td/\u001b[2Jx\n');
  const pems = await testIdentity(authority, 'foo/sleep', { subject: 'CN=\u001b[2Jx', mutate });
  const { out } = await run({ action: 'show', dir: temporaryIdentity(t, pems), json: false });
  t.notMatch(out, /[^\x20-\x7e\n]/);
  t.match(out, /spiffe:\/\/td\/\?\[2Jx\?\n/);
});
