import { createHash, X509Certificate } from 'node:crypto';
import t from 'tap';
import { judgePeer } from '../../src/identity/peer.ts';
import {
  type CertificatePlan,
  der,
  type IdentityPems,
  KEY_USAGE,
  rawUris,
  testAuthority,
  testIdentity,
  testIntermediate,
  withCa,
  withExtension,
  withKeyUsage,
  withPurposes,
} from '../certificates.ts';
import { WRONG_LEAVES } from '../wrong-certificates.ts';
import { WRONG_EXTENSIONS } from '../wrong-extensions.ts';

const authority = await testAuthority();
function trusting(...trustDomains: string[]) {
  return { trustDomains, refusal: () => null };
}

const evidence = {
  authorizationError: null,
  trust: trusting('cluster.local', 'old.local'),
  role: 'client',
} as const;

function derOf(pems: IdentityPems): Buffer {
  return new X509Certificate(pems.certChainPem).raw;
}

t.test('a good certificate names its peer', async t => {
  const now = Date.now();
  const leaf = derOf(
    await testIdentity(authority, 'foo/sleep', { subject: 'CN=sleep, O=Ünï', now, ttlMs: 60_000 }),
  );
  const verdict = judgePeer({ ...evidence, der: leaf, now });
  t.match(verdict, {
    ok: true,
    peer: {
      id: { uri: 'spiffe://cluster.local/ns/foo/sa/sleep', namespace: 'foo', serviceAccount: 'sleep' },
      notAfter: Math.floor((now + 60_000) / 1000) * 1000,
      hash: createHash('sha256').update(leaf).digest('hex'),
      subject: 'O=\\C3\\9Cn\\C3\\AF,CN=sleep',
      serial: new X509Certificate(leaf).serialNumber,
    },
  });
});

t.test('an alias of the trust domain is as good as the domain', async t => {
  const leaf = derOf(
    await testIdentity(authority, 'x', { mutate: rawUris('spiffe://old.local/ns/foo/sa/sleep') }),
  );
  t.equal(judgePeer({ ...evidence, der: leaf, now: Date.now() }).ok, true);
});

t.test('no certificate and no certificate at all are told apart from garbage', async t => {
  const now = Date.now();
  t.strictSame(judgePeer({ ...evidence, der: null, now }), { ok: false, reason: 'no_certificate' });
  t.strictSame(judgePeer({ ...evidence, der: Buffer.alloc(0), now }), {
    ok: false,
    reason: 'no_certificate',
  });
  t.strictSame(judgePeer({ ...evidence, der: Buffer.from('x'), now }), {
    ok: false,
    reason: 'malformed_certificate',
  });
});

t.test('the dates hold to the second, whatever OpenSSL said', async t => {
  const now = Date.UTC(2030, 5, 1);
  const leaf = derOf(await testIdentity(authority, 'foo/sleep', { now, notBefore: now, ttlMs: 10_000 }));
  const at = (ms: number) => judgePeer({ ...evidence, der: leaf, now: now + ms });
  t.strictSame(at(-1), { ok: false, reason: 'not_yet_valid' });
  t.equal(at(0).ok, true);
  t.equal(at(10_000).ok, true);
  t.strictSame(at(10_001), { ok: false, reason: 'expired' });
});

t.test('absent key usages pass; a purpose must fit the side that the peer is on', async t => {
  const now = Date.now();
  const bare = derOf(
    await testIdentity(authority, 'foo/sleep', { mutate: withExtension('2.5.29.15', null) }),
  );
  t.equal(judgePeer({ ...evidence, der: bare, now }).ok, true);
  const noPurpose = derOf(
    await testIdentity(authority, 'foo/sleep', { mutate: withExtension('2.5.29.37', null) }),
  );
  t.equal(judgePeer({ ...evidence, der: noPurpose, now }).ok, true);
  const server = derOf(await testIdentity(authority, 'foo/sleep', { mutate: withPurposes(1) }));
  t.equal(judgePeer({ ...evidence, der: server, role: 'server', now }).ok, true);
  t.strictSame(judgePeer({ ...evidence, der: server, now }), { ok: false, reason: 'bad_extended_key_usage' });
});

for (const role of ['client', 'server'] as const) {
  const ofChain = new Set(['untrusted', 'bad_chain']); // what OpenSSL finds, which is not asked here
  for (const wrong of [...WRONG_LEAVES, ...WRONG_EXTENSIONS]) {
    const reason = wrong[role];
    if (reason !== null && ofChain.has(reason)) continue;
    t.test(`a ${role} with a certificate ${wrong.name} is ${reason ?? 'believed'}`, async t => {
      const verdict = judgePeer({
        ...evidence,
        role,
        der: derOf(await wrong.make(authority)),
        now: Date.now(),
      });
      t.equal(verdict.ok ? null : verdict.reason, reason);
    });
  }
}

t.test(
  'what signed it must be able to, and is no workload; asked once, of a leaf that is not known',
  async t => {
    const now = Date.now();
    const signers = async (mutate?: (plan: CertificatePlan) => CertificatePlan) => {
      const { certPem } = await testIntermediate(authority, mutate === undefined ? {} : { mutate });
      return () => [new X509Certificate(certPem).raw];
    };
    const judge = (der: Buffer, more: object) => judgePeer({ ...evidence, der, now, ...more });
    const leaf = derOf(await testIdentity(authority, 'foo/sleep'));
    const refused = { ok: false, reason: 'bad_chain' };
    const workload = withExtension('2.5.29.17', der(0x30, der(0x86, 'spiffe://cluster.local/ns/foo/sa/ca')));
    t.strictSame(judge(leaf, { signers: await signers(workload) }), refused);
    t.strictSame(judge(leaf, { signers: await signers(withCa(false)) }), refused);
    t.strictSame(judge(leaf, { signers: await signers(withKeyUsage(KEY_USAGE.cRLSign)) }), refused);
    t.strictSame(judge(leaf, { signers: () => [Buffer.from('x')] }), refused);
    t.equal(judge(leaf, { signers: await signers() }).ok, true);
    const never = () => t.fail('it is known by now');
    t.equal(judge(leaf, { signers: never }).ok, true);
    t.strictSame(judge(leaf, { signers: never, trust: trusting() }), {
      ok: false,
      reason: 'foreign_trust_domain',
    });
  },
);

t.test('every error of OpenSSL refuses, known or not', async t => {
  const der = derOf(await testIdentity(authority, 'foo/sleep'));
  const cases: [error: string, reason: string][] = [
    ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'untrusted'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'untrusted'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'untrusted'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'untrusted'],
    ['CERT_SIGNATURE_FAILURE', 'untrusted'],
    ['CERT_HAS_EXPIRED', 'expired'],
    ['CERT_NOT_YET_VALID', 'not_yet_valid'],
    ['CERT_REVOKED', 'revoked'],
    ['UNABLE_TO_GET_CRL', 'no_crl'],
    ['CRL_HAS_EXPIRED', 'crl_expired'],
    ['INVALID_PURPOSE', 'bad_chain'],
    ['INVALID_CA', 'bad_chain'],
    ['PATH_LENGTH_EXCEEDED', 'bad_chain'],
    ['SOMETHING_NEW', 'untrusted'],
    ['constructor', 'untrusted'],
    ['', 'untrusted'],
  ];
  for (const [authorizationError, reason] of cases) {
    t.strictSame(judgePeer({ ...evidence, der, authorizationError, now: Date.now() }), { ok: false, reason });
  }
});

t.test('a certificate that was believed once is judged anew each time', async t => {
  const now = Date.UTC(2030, 5, 1);
  const der = derOf(await testIdentity(authority, 'foo/sleep', { now, notBefore: now, ttlMs: 10_000 }));
  const judge = (more: object) => judgePeer({ ...evidence, der, now, ...more });
  const first = judge({});
  const second = judge({});
  t.equal(first.ok && second.ok && first.peer === second.peer, true, 'its connections share one identity');
  t.strictSame(judge({ now: now + 10_001 }), { ok: false, reason: 'expired' });
  t.strictSame(judge({ authorizationError: 'CERT_REVOKED' }), { ok: false, reason: 'revoked' });
  t.strictSame(judge({ trust: trusting('old.local') }), { ok: false, reason: 'foreign_trust_domain' });
  t.throws(() => Object.assign((first as { peer: object }).peer, { hash: '' }), 'and none can change it');
});

t.test('what is kept of a certificate is its own bytes, not the memory around them', async t => {
  const { certPem } = await testIntermediate(authority);
  const [leaf, signer] = [
    derOf(await testIdentity(authority, 'foo/sleep')),
    new X509Certificate(certPem).raw,
  ];
  const pooled = Buffer.from(leaf); // as Node makes small ones: a view of a slab
  t.ok(pooled.buffer.byteLength > leaf.length);
  const verdict = judgePeer({
    ...evidence,
    der: pooled,
    signers: () => [Buffer.from(signer)],
    now: Date.now(),
  });
  const chain = verdict.ok ? verdict.peer.chain : [];
  t.strictSame(
    chain.map(der => Buffer.compare(der, der === chain[0] ? leaf : signer)),
    [0, 0],
  );
  for (const der of chain) t.equal(der.buffer.byteLength, der.byteLength);
});
