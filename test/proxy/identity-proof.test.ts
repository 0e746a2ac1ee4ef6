import { createPrivateKey, generateKeyPairSync, type KeyObject, webcrypto } from 'node:crypto';
import t from 'tap';
import { checkIdentity, type IdentityGeneration } from '../../src/identity/svid.ts';
import { proveIdentity } from '../../src/proxy/identity-proof.ts';
import {
  type IdentityPems,
  testAuthority,
  testCrl,
  testIdentity,
  testIntermediate,
  withPurposes,
} from '../certificates.ts';

const authority = await testAuthority();

function generationOf(pems: IdentityPems, crlPem?: string): IdentityGeneration {
  const { certChainPem, keyPem, rootPem } = pems;
  const files = {
    certChain: Buffer.from(certChainPem),
    key: Buffer.from(keyPem),
    root: Buffer.from(rootPem),
  };
  const check = checkIdentity(
    crlPem === undefined ? files : { ...files, crl: Buffer.from(crlPem) },
    Date.now(),
    1,
  );
  if (!check.ok) throw new Error(check.fault.message);
  return check.value;
}

/** A certificate over any key that node:crypto makes. */
async function identityOver(keys: { publicKey: KeyObject; privateKey: KeyObject }): Promise<IdentityPems> {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const pkcs8 = createPrivateKey(authority.keyPem).export({ type: 'pkcs8', format: 'der' });
  const certificate = await x509.X509CertificateGenerator.create({
    issuer: new x509.X509Certificate(authority.certPem).subject,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    publicKey: new x509.PublicKey(keys.publicKey.export({ type: 'spki', format: 'der' })),
    signingKey: await webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']),
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.SubjectAlternativeNameExtension(
        [{ type: 'url', value: 'spiffe://cluster.local/ns/foo/sa/sleep' }],
        true,
      ),
    ],
  });
  return {
    certChainPem: `${certificate.toString('pem')}\n`,
    keyPem: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    rootPem: authority.rootPem,
  };
}

t.test('identities that peers believe are proved', async t => {
  const deep = await testIntermediate(await testIntermediate(authority, { name: 'upper' }), {
    name: 'lower',
  });
  await proveIdentity(generationOf(await testIdentity(authority, 'foo/sleep')));
  await proveIdentity(generationOf(await testIdentity(deep, 'foo/sleep')));
  await proveIdentity(generationOf(await identityOver(generateKeyPairSync('rsa', { modulusLength: 2048 }))));
  await proveIdentity(generationOf(await identityOver(generateKeyPairSync('ec', { namedCurve: 'P-384' }))));
  t.pass('each of them');
});

t.test('an identity that may be a server only, or a client only, is not proved', async t => {
  const [server, client] = [withPurposes(1), withPurposes(2)];
  await t.rejects(
    proveIdentity(generationOf(await testIdentity(authority, 'foo/sleep', { mutate: server }))),
    {
      message: 'a server that meets it over TLSv1.3 says bad_extended_key_usage',
    },
  );
  await t.rejects(
    proveIdentity(generationOf(await testIdentity(authority, 'foo/sleep', { mutate: client }))),
    {
      message: 'a client that meets it over TLSv1.3 says bad_extended_key_usage',
    },
  );
});

t.test('a key that OpenSSL takes and no handshake can use is not proved', async t => {
  const pems = await identityOver(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }));
  await t.rejects(proveIdentity(generationOf(pems)), { message: /over TLSv1\.3 says / });
});

t.test('a key that OpenSSL finds too weak is not proved', async t => {
  const pems = await identityOver(generateKeyPairSync('rsa', { modulusLength: 1024 }));
  await t.rejects(proveIdentity(generationOf(pems)), { message: /key too small/ });
});

t.test('a revocation list that names the own certificate does not keep itself out', async t => {
  const pems = await testIdentity(authority, 'foo/sleep');
  const { chain } = generationOf(pems);
  await proveIdentity(generationOf(pems, await testCrl(authority, [chain[0]!.serial])));
  t.pass('or nobody would be revoked by it');
});

t.test('many proofs at once do not disturb each other', async t => {
  const good = generationOf(await testIdentity(authority, 'foo/sleep'));
  const bad = generationOf(await testIdentity(authority, 'foo/sleep', { mutate: withPurposes(1) }));
  const list = Array.from({ length: 20 }, (_, at) => proveIdentity(at % 2 === 0 ? good : bad));
  const outcomes = await Promise.allSettled(list);
  t.same(
    outcomes.map(({ status }) => status),
    outcomes.map((_, at) => (at % 2 === 0 ? 'fulfilled' : 'rejected')),
  );
});
