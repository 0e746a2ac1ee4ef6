import { createPrivateKey, X509Certificate } from 'node:crypto';
import t from 'tap';
import { testAuthority, testIdentity, testIntermediate } from '../certificates.ts';

t.test('an issued certificate is an X509-SVID that its root signed', async t => {
  const authority = await testAuthority({ trustDomain: 'example.org' });
  const pems = await testIdentity(authority, 'foo/sleep', { dnsNames: ['sleep.foo'] });
  const leaf = new X509Certificate(pems.certChainPem);
  const root = new X509Certificate(pems.rootPem);
  t.equal(leaf.subjectAltName, 'URI:spiffe://example.org/ns/foo/sa/sleep, DNS:sleep.foo');
  t.equal(leaf.subject ?? '', '', 'the subject is empty, as in Istio');
  t.ok(leaf.verify(root.publicKey), 'the root signed it');
  t.ok(leaf.checkIssued(root), 'issuer and key identifiers agree');
  t.ok(leaf.checkPrivateKey(createPrivateKey(pems.keyPem)), 'the key is its own');
  t.equal(leaf.ca, false);
  t.equal(root.ca, true);
  t.strictSame(leaf.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'], 'serverAuth and clientAuth');
});

t.test('dates follow the clock that was given', async t => {
  const now = Date.UTC(2031, 0, 1);
  const authority = await testAuthority({ now });
  const pems = await testIdentity(authority, 'foo/sleep', { now, ttlMs: 5_000, notBefore: now - 1_000 });
  const leaf = new X509Certificate(pems.certChainPem);
  t.equal(leaf.validFromDate.getTime(), now - 1_000);
  t.equal(leaf.validToDate.getTime(), now + 5_000);
});

t.test('a leaf of an intermediate carries the intermediate after itself', async t => {
  const root = await testAuthority();
  const intermediate = await testIntermediate(await testIntermediate(root, { name: 'upper' }), {
    name: 'lower',
  });
  const pems = await testIdentity(intermediate, 'foo/sleep');
  const chain = (pems.certChainPem.match(/-----BEGIN[\s\S]+?END CERTIFICATE-----/g) ?? []).map(
    pem => new X509Certificate(pem),
  );
  t.equal(chain.length, 3);
  t.ok(chain[0]!.checkIssued(chain[1]!));
  t.ok(chain[1]!.checkIssued(chain[2]!));
  t.ok(chain[2]!.checkIssued(new X509Certificate(pems.rootPem)));
  t.match(chain[1]!.subject, /CN=lower/);
});
