import { createPrivateKey, X509Certificate } from 'node:crypto';
import t from 'tap';
import { judgePeer, type PeerVerdict } from '../../src/identity/peer.ts';
import { readPem } from '../../src/identity/pem.ts';
import { Trust, type TrustParts } from '../../src/identity/trust.ts';
import {
  type Authority,
  type IdentityPems,
  rawUris,
  testAuthority,
  testCrl,
  testIdentity,
  testIntermediate,
} from '../certificates.ts';
import { crlOf, crlPem, issuerOf, utcTime } from '../crls.ts';

const OWN = 'cluster.local';
const FOREIGN = 'other.example';
const HOUR_MS = 3_600_000;
const root = await testAuthority();
const foreignRoot = await testAuthority({ trustDomain: FOREIGN, name: 'other CA' });

interface Given extends Partial<TrustParts> {
  readonly roots?: string;
  readonly federated?: Readonly<Record<string, string>>;
  readonly crl?: string | null;
}

function trust({ roots = root.rootPem, federated = {}, crl = null, ...parts }: Given = {}): Trust {
  const identity = { rootPem: roots, crlPem: crl, trustDomain: OWN, federated };
  return new Trust({ identity, trustDomains: [OWN, 'old.local'], ...parts });
}

/** Judges what a client shows, as OpenSSL would have passed it. */
function judge(
  believed: Trust,
  { certChainPem }: Pick<IdentityPems, 'certChainPem'>,
  now = Date.now(),
): PeerVerdict {
  const read = readPem(certChainPem);
  if (!read.ok) throw new Error(read.fault);
  const [der, ...signers] = read.blocks.map(block => block.der);
  if (!der) throw new Error('no certificate');
  return judgePeer({
    der,
    signers: () => signers,
    authorizationError: null,
    trust: believed,
    role: 'client',
    now,
  });
}

function reasonOf(verdict: PeerVerdict): string | null {
  return verdict.ok ? null : verdict.reason;
}

function believedPeer(believed: Trust, pems: IdentityPems) {
  const verdict = judge(believed, pems);
  if (!verdict.ok) throw new Error(verdict.reason);
  return verdict.peer;
}

const foreignId = (name: string) => rawUris(`spiffe://${FOREIGN}/ns/foo/sa/${name}`);
const ownId = (name: string) => rawUris(`spiffe://${OWN}/ns/foo/sa/${name}`);
const federated = { [FOREIGN]: foreignRoot.rootPem };
const extraRoots = [{ pem: foreignRoot.rootPem, trustDomains: [FOREIGN] }];

for (const [name, given] of [
  ['federation', { federated }],
  ['caCertificates', { extraRoots }],
] as const) {
  t.test(`${name}: a root vouches for its own trust domain and for no other`, async t => {
    const believed = trust(given);
    t.strictSame([...believed.trustDomains].sort(), [OWN, 'old.local', FOREIGN].sort());
    const cases: [who: string, pems: IdentityPems, reason: string | null][] = [
      ['own of own', await testIdentity(root, 'foo/a'), null],
      ['foreign of foreign', await testIdentity(foreignRoot, 'foo/a'), null],
      ['own by foreign', await testIdentity(foreignRoot, 'x', { mutate: ownId('a') }), 'wrong_trust_root'],
      ['foreign by own', await testIdentity(root, 'x', { mutate: foreignId('a') }), 'wrong_trust_root'],
      [
        'own by an intermediate of foreign',
        await testIdentity(await testIntermediate(foreignRoot), 'x', { mutate: ownId('a') }),
        'wrong_trust_root',
      ],
      ['nobody of own', await testIdentity(await testAuthority(), 'foo/a'), 'untrusted'],
      [
        'own by own that sends a foreign root too',
        await testIdentity({ ...root, chainPem: foreignRoot.rootPem }, 'foo/a'),
        null,
      ],
    ];
    for (const [who, pems, reason] of cases) {
      t.equal(reasonOf(judge(believed, pems)), reason, who);
      t.equal(reasonOf(judge(believed, pems)), reason, `${who}, again`);
    }
    t.equal(reasonOf(judge(trust(), await testIdentity(foreignRoot, 'foo/a'))), 'foreign_trust_domain');
    t.equal(new Set(readBlocks(believed.rootPem)).size, 2, 'OpenSSL has both roots');
  });
}

function readBlocks(pem: string): string[] {
  const read = readPem(pem);
  return read.ok ? read.blocks.map(({ der }) => der.toString('base64')) : [];
}

t.test('a trust domain with a bundle of its own is not vouched for by the own bundle', async t => {
  const aliased = rawUris('spiffe://old.local/ns/foo/sa/a');
  const byOwn = await testIdentity(root, 'x', { mutate: aliased });
  const byOther = await testIdentity(foreignRoot, 'x', { mutate: aliased });
  t.equal(reasonOf(judge(trust(), byOwn)), null);
  const believed = trust({ federated: { 'old.local': foreignRoot.rootPem } });
  t.equal(reasonOf(judge(believed, byOwn)), 'wrong_trust_root');
  t.equal(reasonOf(judge(believed, byOther)), null);
  const broken = trust({ federated: { 'old.local': '' } });
  t.equal(
    reasonOf(judge(broken, byOwn)),
    'wrong_trust_root',
    'nothing stands in for a bundle that is broken',
  );
});

t.test('extra roots without trust domains vouch for the mesh and its aliases', async t => {
  const believed = trust({ extraRoots: [{ pem: foreignRoot.rootPem, trustDomains: null }] });
  t.equal(reasonOf(judge(believed, await testIdentity(foreignRoot, 'x', { mutate: ownId('a') }))), null);
  t.equal(
    reasonOf(
      judge(believed, await testIdentity(foreignRoot, 'x', { mutate: rawUris('spiffe://old.local/a') })),
    ),
    null,
  );
  t.equal(reasonOf(judge(believed, await testIdentity(foreignRoot, 'foo/a'))), 'foreign_trust_domain');
});

t.test('a CA that two trust domains sign is believed in neither', async t => {
  const intermediate = await testIntermediate(root);
  const cross = await crossSigned(intermediate, foreignRoot);
  const both = { ...intermediate, chainPem: `${intermediate.certPem}${cross}` };
  const pems = await testIdentity(both, 'foo/a');
  t.equal(reasonOf(judge(trust({ federated }), pems)), 'wrong_trust_root');
  t.equal(
    reasonOf(judge(trust(), await testIdentity(both, 'foo/a'))),
    null,
    'with one bundle it is one path of two',
  );
});

/** A certificate of `parent` for the same name and key. */
async function crossSigned(child: Authority, parent: Authority): Promise<string> {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const own = new x509.X509Certificate(child.certPem);
  const pkcs8 = createPrivateKey(parent.keyPem).export({ type: 'pkcs8', format: 'der' });
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const made = await x509.X509CertificateGenerator.create({
    subject: own.subject,
    issuer: new x509.X509Certificate(parent.certPem).subject,
    notBefore: own.notBefore,
    notAfter: own.notAfter,
    publicKey: own.publicKey,
    signingKey: await crypto.subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']),
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: own.extensions.filter(({ type }) => type !== '2.5.29.35'),
  });
  return `${made.toString('pem')}\n`;
}

t.test(
  'while the root is replaced both are believed; after that the new one only, open connections included',
  async t => {
    const next = await testAuthority();
    const [old, young] = [await testIdentity(root, 'foo/a'), await testIdentity(next, 'foo/a')];
    const overlap = trust({ roots: root.rootPem + next.rootPem });
    const peers = [believedPeer(overlap, old), believedPeer(overlap, young)];
    const after = trust({ roots: next.rootPem });
    t.strictSame(
      peers.map(peer => after.refusal(peer, Date.now())),
      ['untrusted', null],
    );
    t.equal(reasonOf(judge(after, old)), 'untrusted');
    t.equal(reasonOf(judge(overlap, old)), null);
  },
);

t.test(
  'a peer is believed until the first certificate of its path ends, not of all that it sent',
  async t => {
    const now = Math.floor(Date.now() / 1_000) * 1_000;
    const short = await testIntermediate(root, { now: now - 24 * HOUR_MS + 60_000, days: 1 });
    const below = believedPeer(trust(), await testIdentity(short, 'foo/a'));
    t.equal(below.validUntil, now + 60_000);
    t.equal(trust().refusal(below, now + 60_000), null);
    t.equal(trust().refusal(below, now + 60_001), 'expired');
    const old = await testAuthority({ now: now - 48 * HOUR_MS, days: 1, name: 'a root of yesterday' });
    const sends = await testIdentity({ ...root, chainPem: old.rootPem }, 'foo/a');
    const peer = believedPeer(trust(), sends);
    t.equal(peer.validUntil, peer.notAfter);
  },
);

t.test('a leaf whose intermediate was renewed is judged by what it comes with now', async t => {
  const now = Date.now();
  const old = await testIntermediate(root, { now: now - 24 * HOUR_MS + 60_000, days: 1 });
  const pems = await testIdentity(old, 'foo/a');
  const believed = trust();
  const before = believedPeer(believed, pems);
  const renewed = await crossSigned({ ...old, certPem: await renewedPem(old) }, root);
  const [leaf] = pems.certChainPem.split(/(?<=-----END CERTIFICATE-----\n)/);
  const later = now + 120_000;
  t.equal(believed.refusal(before, later), 'expired');
  t.equal(reasonOf(judge(believed, pems, later)), 'expired');
  const verdict = judge(believed, { certChainPem: `${leaf}${renewed}` }, later);
  t.equal(reasonOf(verdict), null);
  t.equal(verdict.ok && believed.refusal(verdict.peer, later), null);
});

/** The same name and key, valid for longer. */
async function renewedPem(authority: Authority): Promise<string> {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const own = new x509.X509Certificate(authority.certPem);
  const pkcs8 = createPrivateKey(root.keyPem).export({ type: 'pkcs8', format: 'der' });
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const made = await x509.X509CertificateGenerator.create({
    subject: own.subject,
    issuer: own.issuer,
    notBefore: own.notBefore,
    notAfter: new Date(Date.now() + 24 * HOUR_MS),
    publicKey: own.publicKey,
    signingKey: await crypto.subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']),
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: own.extensions,
  });
  return made.toString('pem');
}

const serialOf = (pem: string) => {
  const { serialNumber } = new X509Certificate(pem);
  return serialNumber.length % 2 ? `0${serialNumber}` : serialNumber;
};

t.test(
  'a revoked leaf, and every leaf of a revoked intermediate, is refused, open connections included',
  async t => {
    const intermediate = await testIntermediate(root);
    const [good, bad] = [
      await testIdentity(intermediate, 'foo/a'),
      await testIdentity(intermediate, 'foo/b'),
    ];
    const lists = async (ofRoot: string[], ofIntermediate: string[]) =>
      (await testCrl(root, ofRoot)) + (await testCrl(intermediate, ofIntermediate));
    const before = trust({ crl: await lists([], []) });
    const peers = [believedPeer(before, good), believedPeer(before, bad)];
    const leafGone = trust({ crl: await lists([], [serialOf(bad.certChainPem)]) });
    t.strictSame(
      peers.map(peer => leafGone.refusal(peer, Date.now())),
      [null, 'revoked'],
    );
    t.equal(reasonOf(judge(leafGone, bad)), 'revoked');
    const signerGone = trust({ crl: await lists([serialOf(intermediate.certPem)], []) });
    t.strictSame(
      peers.map(peer => signerGone.refusal(peer, Date.now())),
      ['revoked', 'revoked'],
    );
    t.equal(reasonOf(judge(signerGone, good)), 'revoked');
    t.equal(new Set([before, leafGone, signerGone].map(({ epoch }) => epoch)).size, 3);
  },
);

t.test(
  'with lists, every CA of the own bundle needs one; other trust domains need none until one of their CAs has',
  async t => {
    const intermediate = await testIntermediate(root);
    const foreign = await testIdentity(foreignRoot, 'foo/a');
    const foreignBelow = await testIdentity(await testIntermediate(foreignRoot), 'foo/a');
    const rootOnly = trust({ federated, crl: await testCrl(root, []) });
    t.equal(reasonOf(judge(rootOnly, await testIdentity(root, 'foo/a'))), null);
    t.equal(reasonOf(judge(rootOnly, await testIdentity(intermediate, 'foo/a'))), 'no_crl');
    t.equal(reasonOf(judge(rootOnly, foreign)), null);
    t.equal(reasonOf(judge(rootOnly, foreignBelow)), null);
    const both = trust({ federated, crl: (await testCrl(root, [])) + (await testCrl(foreignRoot, [])) });
    t.equal(reasonOf(judge(both, foreign)), null);
    t.equal(reasonOf(judge(both, foreignBelow)), 'no_crl');
    const revoked = await testCrl(foreignRoot, [serialOf(foreign.certChainPem)]);
    t.equal(
      reasonOf(judge(trust({ federated, crl: (await testCrl(root, [])) + revoked }), foreign)),
      'revoked',
    );
  },
);

t.test(
  'a list of a CA with the same name and another key revokes nothing and counts for nothing',
  async t => {
    const namesake = await testAuthority();
    const pems = await testIdentity(root, 'foo/a');
    const lists = await testCrl(namesake, [serialOf(pems.certChainPem)]);
    const roots = root.rootPem + namesake.rootPem;
    t.equal(reasonOf(judge(trust({ roots, crl: (await testCrl(root, [])) + lists }), pems)), null);
    t.equal(reasonOf(judge(trust({ roots, crl: lists }), pems)), 'no_crl');
  },
);

t.test('a list that goes out of date is gone by, or refuses all of its CA, as was asked', async t => {
  const now = Math.floor(Date.now() / 1_000) * 1_000;
  const [good, bad] = [await testIdentity(root, 'foo/a'), await testIdentity(root, 'foo/b')];
  const crl = await testCrl(root, [serialOf(bad.certChainPem)], { nextUpdate: now + 60_000 });
  const keeps = trust({ crl });
  const refuses = trust({ crl, expiredCrl: 'refuse' });
  t.not(keeps.epoch, refuses.epoch);
  const peer = believedPeer(refuses, good);
  for (const [at, kept, refused] of [
    [now + 60_000, null, null],
    [now + 60_001, null, 'crl_expired'],
  ] as const) {
    t.equal(keeps.refusal(peer, at), kept);
    t.equal(refuses.refusal(peer, at), refused);
    t.equal(reasonOf(judge(refuses, good, at)), refused);
    t.equal(reasonOf(judge(keeps, bad, at)), 'revoked');
    t.equal(reasonOf(judge(refuses, bad, at)), 'revoked');
  }
  const old = { thisUpdate: utcTime(now - HOUR_MS), nextUpdate: utcTime(now - 60_000) };
  const renewed = crlPem(crlOf({ ...issuerOf(root), ...old }), crlOf(issuerOf(root)));
  t.equal(trust({ crl: renewed, expiredCrl: 'refuse' }).refusal(peer, now), null, 'one in date is enough');
});

t.test('what peers bring makes no walk long: loops, many of one name, all cross-signed', async t => {
  const many = await Promise.all(
    Array.from({ length: 8 }, async () => crossSigned({ ...root, certPem: root.certPem }, root)),
  );
  const pems = await testIdentity({ ...root, chainPem: many.join('') }, 'foo/a');
  const before = performance.now();
  t.equal(reasonOf(judge(trust(), pems)), null);
  t.ok(performance.now() - before < 1_000, 'eight copies of one CA that all sign each other');
});

t.test('an epoch names all that the judgement depends on', async t => {
  const crl = await testCrl(root, []);
  const all = [
    trust(),
    trust({ federated }),
    trust({ extraRoots: [{ pem: foreignRoot.rootPem, trustDomains: null }] }),
    trust({ crl }),
    trust({ crl, expiredCrl: 'refuse' }),
    trust({ roots: root.rootPem + foreignRoot.rootPem }),
    trust({ trustDomains: [OWN] }),
    trust({ federated: { [FOREIGN]: root.rootPem } }),
    trust({ federated: { [FOREIGN]: '' } }),
  ];
  t.equal(new Set(all.map(({ epoch }) => epoch)).size, all.length);
  t.equal(trust({ crl }).epoch, trust({ crl }).epoch);
});
