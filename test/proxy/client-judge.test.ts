import { X509Certificate } from 'node:crypto';
import t from 'tap';
import { BelievedChains } from '../../src/identity/believed-chains.ts';
import type { PeerTrust } from '../../src/identity/peer.ts';
import type { HandshakeFacts } from '../../src/net/tls.ts';
import { judgeClient, UNKNOWN_SESSION } from '../../src/proxy/client-judge.ts';
import { type IdentityPems, testAuthority, testIdentity, testIntermediate, withCa } from '../certificates.ts';

const authority = await testAuthority();
const trust: PeerTrust = {
  trustDomains: ['cluster.local'],
  refusal: ({ validUntil }, now) => (now > validUntil ? 'expired' : null),
};

/** The handshake of a client with these certificates. */
function facts({ certChainPem }: IdentityPems, more: Partial<HandshakeFacts> = {}): HandshakeFacts {
  const blocks = certChainPem.match(/-----BEGIN [^-]+-----[\s\S]+?-----END [^-]+-----/g) ?? [];
  const [der = null, ...signers] = blocks.map(pem => new X509Certificate(pem).raw);
  return {
    der,
    signers: () => signers,
    resumed: false,
    authorizationError: null,
    tlsVersion: 'TLSv1.3',
    cipher: '',
    group: '',
    sni: null,
    alpn: null,
    offered: [],
    ...more,
  };
}

/** The same client later: the ticket has the leaf only. */
function later(pems: IdentityPems, more: Partial<HandshakeFacts> = {}): HandshakeFacts {
  return facts(pems, { signers: () => [], resumed: true, ...more });
}

function word(judgement: ReturnType<typeof judgeClient>): string {
  return judgement.ok ? judgement.value.id.uri : judgement.reason;
}

t.test('a resumed client is known with its signers on every thread', async t => {
  const memory = BelievedChains.memory();
  const [here, there] = [new BelievedChains(memory), new BelievedChains(memory)];
  const pems = await testIdentity(await testIntermediate(authority), 'foo/sleep');
  const first = judgeClient(facts(pems), { trust, believed: here });
  const again = judgeClient(later(pems), { trust, believed: there });
  t.ok(first.ok && again.ok);
  if (first.ok && again.ok) t.same(again.value.chain, first.value.chain);
  t.same(there.find(first.ok ? first.value.hash : ''), first.ok && first.value.chain);
});

t.test('a resumed client whose chain nobody knows is refused, whatever its ticket says', async t => {
  const pems = await testIdentity(authority, 'foo/stranger');
  t.equal(
    word(judgeClient(later(pems), { trust, believed: new BelievedChains(BelievedChains.memory()) })),
    UNKNOWN_SESSION,
  );
});

t.test('a client that was refused for its signers is not believed without them', async t => {
  const believed = new BelievedChains(BelievedChains.memory());
  const broken = await testIntermediate(authority, { mutate: withCa(false) });
  const pems = await testIdentity(broken, 'foo/sleep');
  t.equal(word(judgeClient(facts(pems), { trust, believed })), 'bad_chain');
  t.equal(word(judgeClient(later(pems), { trust, believed })), UNKNOWN_SESSION);
});

t.test('what is refused now is refused when it resumes', async t => {
  const believed = new BelievedChains(BelievedChains.memory());
  const pems = await testIdentity(authority, 'foo/sleep');
  t.match(word(judgeClient(facts(pems), { trust, believed })), /sleep/);
  const elsewhere = { ...trust, trustDomains: ['other.local'] };
  t.equal(word(judgeClient(later(pems), { trust: elsewhere, believed })), 'foreign_trust_domain');
  const revoking: PeerTrust = { ...trust, refusal: () => 'revoked' };
  t.equal(word(judgeClient(later(pems), { trust: revoking, believed })), 'revoked');
  const error = 'CERT_REVOKED';
  t.equal(word(judgeClient(later(pems, { authorizationError: error }), { trust, believed })), 'revoked');
  t.equal(word(judgeClient(later(pems, { der: null }), { trust, believed })), 'no_certificate');
  t.match(word(judgeClient(later(pems), { trust, believed })), /sleep/, 'and is believed when it is not');
});

t.test('a signer that expires before its leaf ends the session, also where it was never seen', async t => {
  const memory = BelievedChains.memory();
  const now = Date.now();
  const brief = await testIntermediate(authority, { now, days: 1 });
  const pems = await testIdentity(brief, 'foo/sleep', { now, ttlMs: 3 * 86_400_000 });
  t.match(word(judgeClient(facts(pems), { trust, believed: new BelievedChains(memory) })), /sleep/);
  const believed = new BelievedChains(memory);
  t.match(word(judgeClient(later(pems), { trust, believed, now: now + 86_000_000 })), /sleep/);
  t.equal(word(judgeClient(later(pems), { trust, believed, now: now + 87_000_000 })), 'expired');
});
