import { createPublicKey, webcrypto } from 'node:crypto';
import t from 'tap';
import { isJwks, parseJwks } from '../../src/identity/jwks.ts';
import { testAuthority } from '../certificates.ts';
import {
  authenticator,
  base64url,
  bearer,
  claims,
  jwks,
  KEYS,
  publicJwk,
  rule,
  signature,
  signed,
  token,
} from './jwt-issuer.ts';

type Name = keyof typeof KEYS;
const NOT_VERIFIED = 'Jwt verification fails';
const NO_MATCH = "Jwks doesn't have key to match kid or alg from Jwt";
const NO_KEYS = "Jwks doesn't have any valid public key";

async function reasonFor(set: string, text: string): Promise<string | null> {
  const verdict = await authenticator([rule({ jwks: set })]).authenticate(bearer(text));
  return verdict.ok ? null : verdict.body;
}

const ALGORITHMS: readonly (readonly [alg: string, key: Name])[] = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'].map(alg => [alg, 'rsa'] as const),
  ...[
    ['ES256', 'p256'] as const,
    ['ES384', 'p384'] as const,
    ['ES512', 'p521'] as const,
    ['EdDSA', 'ed25519'] as const,
  ],
  ...['HS256', 'HS384', 'HS512'].map(alg => [alg, 'secret'] as const),
];

t.test('every algorithm of Envoy verifies, with its key bound to it or free', async t => {
  for (const [alg, name] of ALGORITHMS) {
    const text = token(claims(), { header: { alg, kid: 'k' }, key: KEYS[name] });
    const keys = [publicJwk(KEYS[name], { kid: 'k', alg }), publicJwk(KEYS[name])];
    for (const key of keys) t.equal(await reasonFor(jwks(key), text), null, `${alg} ${JSON.stringify(key)}`);
    const spoilt = text.replace(/\.[^.]*\./, `.${base64url(claims({ sub: 'evil' }))}.`);
    t.equal(await reasonFor(jwks(keys[1] as object), spoilt), NOT_VERIFIED, `${alg}, another payload`);
  }
});

t.test(
  'a key of another type, or a signature under another name, never verifies (stricter than Envoy)',
  async t => {
    for (const [alg] of ALGORITHMS) {
      for (const [made, name] of ALGORITHMS) {
        if (alg === made) continue;
        const text = token(claims(), { header: { alg }, key: KEYS[name], alg: made });
        t.not(await reasonFor(jwks(publicJwk(KEYS[name])), text), null, `${made} called ${alg}`);
      }
    }
  },
);

t.test('a public key is no secret', async t => {
  const rsa = publicJwk(KEYS.rsa);
  const pem = createPublicKey({ key: KEYS.rsa, format: 'jwk' })
    .export({ type: 'spki', format: 'pem' })
    .toString();
  const secrets = [
    pem,
    pem.trim(),
    JSON.stringify(rsa),
    KEYS.rsa.n ?? '',
    Buffer.from(KEYS.rsa.n ?? '', 'base64url'),
  ];
  for (const secret of secrets) {
    const key = { kty: 'oct', k: base64url(secret) };
    for (const alg of ['HS256', 'HS384', 'HS512']) {
      const text = token(claims(), { header: { alg }, key });
      t.equal(await reasonFor(jwks(rsa), text), NOT_VERIFIED);
      t.equal(await reasonFor(jwks(publicJwk(KEYS.rsa, { alg: 'RS256' })), text), NO_MATCH);
    }
  }
});

t.test('keys are chosen by kid and alg where both sides name them', async t => {
  const [first, second] = [publicJwk(KEYS.otherRsa, { kid: 'x' }), publicJwk(KEYS.rsa, { kid: 'y' })];
  const with_ = (header: object) => token(claims(), { header: { alg: 'RS256', ...header } });
  const table: readonly (readonly [says: string, set: string, text: string, reason: string | null])[] = [
    ['the kid', jwks(first, second), with_({ kid: 'y' }), null],
    ['another kid of the set', jwks(first, second), with_({ kid: 'x' }), NOT_VERIFIED],
    ['a kid that is not there', jwks(first, second), with_({ kid: 'z' }), NO_MATCH],
    ['no kid in the token', jwks(first, second), with_({}), null],
    ['an empty one', jwks(first, second), with_({ kid: '' }), null],
    ['no kid in the set', jwks(publicJwk(KEYS.rsa)), with_({ kid: 'z' }), null],
    ['one kid twice', jwks(first, publicJwk(KEYS.rsa, { kid: 'x' })), with_({ kid: 'x' }), null],
    ['another alg', jwks(publicJwk(KEYS.rsa, { alg: 'RS512' })), with_({}), NO_MATCH],
    [
      'a kid that is no string counts as none',
      jwks(publicJwk(KEYS.rsa, { kid: 5 })),
      with_({ kid: 'z' }),
      null,
    ],
    [
      'use and key_ops do not count',
      jwks(publicJwk(KEYS.rsa, { use: 'enc', key_ops: ['sign'] })),
      with_({}),
      null,
    ],
    ['a private key is as good as its public part', jwks(KEYS.rsa), with_({}), null],
    [
      'an Ed25519 key ends the search at a signature of another length',
      jwks(publicJwk(KEYS.ed25519), publicJwk(KEYS.rsa)),
      with_({}),
      'Jwt ED25519 signature is wrong length',
    ],
    [
      'broken keys are passed over',
      jwks({}, { kty: 'RSA', n: 'AQ' }, { kty: 'x' }, publicJwk(KEYS.rsa)),
      with_({}),
      null,
    ],
    ['only broken keys', jwks({}, { kty: 'RSA' }), with_({}), NO_KEYS],
    ['no keys', jwks(), with_({}), NO_KEYS],
    ['no key set', 'nope', with_({}), NO_KEYS],
    [
      'RSA of 1024 bits: stricter',
      jwks(publicJwk(KEYS.smallRsa)),
      token(claims(), { key: KEYS.smallRsa }),
      NOT_VERIFIED,
    ],
  ];
  for (const [says, set, text, reason] of table) t.equal(await reasonFor(set, text), reason, says);
});

t.test('an ECDSA signature has one form only: stricter', async t => {
  const input = `${base64url({ alg: 'ES256' })}.${base64url(claims())}`;
  const raw = signature('ES256', KEYS.p256, input);
  const zero = Buffer.alloc(1);
  const longer = Buffer.concat([zero, raw.subarray(0, 32), zero, raw.subarray(32)]);
  t.equal(await reasonFor(jwks(publicJwk(KEYS.p256)), `${input}.${base64url(longer)}`), NOT_VERIFIED);
  t.equal(await reasonFor(jwks(publicJwk(KEYS.p256)), signed(input, 'ES256', KEYS.p256)), null);
});

t.test('keys that cannot be', t => {
  const rsa = publicJwk(KEYS.rsa);
  const table: readonly (readonly [says: string, key: object, isKey: boolean])[] = [
    ['RSA', rsa, true],
    ['RSA without e', { ...rsa, e: undefined }, false],
    ['RSA with a huge exponent', { ...rsa, e: base64url(Buffer.alloc(4, 255)) }, false],
    ['RSA with an exponent of 1', { ...rsa, e: 'AQ' }, false],
    ['RSA with an exponent of zeros and 3', { ...rsa, e: base64url(Buffer.from([0, 0, 3])) }, true],
    ['RSA for ES256', { ...rsa, alg: 'ES256' }, false],
    ['EC without a curve is P-256', publicJwk(KEYS.p256, { crv: undefined }), true],
    ['EC by alg', publicJwk(KEYS.p384, { crv: undefined, alg: 'ES384' }), true],
    ['EC of two minds', publicJwk(KEYS.p384, { alg: 'ES256' }), false],
    ['EC of an unknown curve', publicJwk(KEYS.p256, { crv: 'secp256k1' }), false],
    ['EC of an inherited curve', publicJwk(KEYS.p256, { crv: 'constructor' }), false],
    ['EC with a coordinate too long', publicJwk(KEYS.p256, { x: base64url(Buffer.alloc(33, 1)) }), false],
    ['EC with numbers', publicJwk(KEYS.p256, { x: 5 }), false],
    ['an empty secret', { kty: 'oct', k: '' }, false],
    ['a secret that is no base64url', { kty: 'oct', k: '!' }, false],
    ['a secret for RS256', publicJwk(KEYS.secret, { alg: 'RS256' }), false],
    ['Ed25519', publicJwk(KEYS.ed25519), true],
    ['Ed448', publicJwk(KEYS.ed25519, { crv: 'Ed448' }), false],
    ['Ed25519 too short', publicJwk(KEYS.ed25519, { x: 'AAAA' }), false],
    ['no kty', { n: 'x' }, false],
  ];
  for (const [says, key, isKey] of table) t.equal(parseJwks(jwks(key)).length, isKey ? 1 : 0, says);
  t.end();
});

t.test('a coordinate without its leading zeros is the same key', async t => {
  const zero = Buffer.from(KEYS.p521.x ?? '', 'base64url');
  t.equal(zero.length, 66);
  const shortened = {
    ...publicJwk(KEYS.p521),
    x: base64url(zero.subarray(zero.findIndex(byte => byte !== 0))),
  };
  t.equal(
    await reasonFor(jwks(shortened), token(claims(), { header: { alg: 'ES512' }, key: KEYS.p521 })),
    null,
  );
});

t.test('certificates by kid are keys when they hold RSA', async t => {
  t.same(parseJwks(JSON.stringify({ a: 'no certificate' })), []);
  t.same(parseJwks(JSON.stringify({ a: 5 })), []);
  const { certPem } = await testAuthority();
  t.same(parseJwks(JSON.stringify({ a: certPem })), [], 'an elliptic curve');
  const { pem, keys } = await rsaCertificate();
  const key = await webcrypto.subtle.exportKey('jwk', keys.privateKey);
  const set = JSON.stringify({ other: pem });
  t.ok(isJwks(set));
  t.equal(await reasonFor(set, token(claims(), { key })), null);
  t.equal(await reasonFor(set, token(claims(), { header: { alg: 'RS256', kid: 'x' }, key })), NO_MATCH);
});

async function rsaCertificate() {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const algorithm = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2_048 };
  const generate = { ...algorithm, publicExponent: new Uint8Array([1, 0, 1]) };
  const keys = await webcrypto.subtle.generateKey(generate, true, ['sign', 'verify']);
  const dates = { notBefore: new Date(0), notAfter: new Date(Date.now() + 86_400_000) };
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=issuer',
    keys,
    signingAlgorithm: algorithm,
    ...dates,
  });
  return { pem: certificate.toString('pem'), keys };
}

t.test('what is a key set', t => {
  const table: readonly (readonly [string, boolean])[] = [
    ['{"keys":[]}', true],
    [jwks(publicJwk(KEYS.rsa)), true],
    ['{"keys":{}}', false],
    ['{"keys":[],"keys":[]}', false],
    ['[]', false],
    ['{}', false],
    ['', false],
    ['<html>', false],
  ];
  for (const [text, is] of table) t.equal(isJwks(text), is, text.slice(0, 30));
  t.end();
});
