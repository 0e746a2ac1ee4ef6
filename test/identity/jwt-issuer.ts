/** Issuers of tokens for tests: keys made here, tokens signed over exactly the bytes that a test wants. */
import {
  createHmac,
  createPrivateKey,
  generateKeyPairSync,
  randomBytes,
  constants as rsa,
  sign,
  type webcrypto,
} from 'node:crypto';
import type { JwtRule } from '../../src/config/resources.ts';
import { type AuthenticatorParts, createAuthenticator, type JwtRequest } from '../../src/identity/jwt.ts';

type Jwk = webcrypto.JsonWebKey;

/** Seconds since 1970 at which all tests happen. */
export const NOW = 1_800_000_000;

export const KEYS = {
  rsa: privateKey('rsa', { modulusLength: 2_048 }),
  otherRsa: privateKey('rsa', { modulusLength: 2_048 }),
  smallRsa: privateKey('rsa', { modulusLength: 1_024 }),
  p256: privateKey('ec', { namedCurve: 'P-256' }),
  p384: privateKey('ec', { namedCurve: 'P-384' }),
  p521: privateKey('ec', { namedCurve: 'P-521' }),
  ed25519: privateKey('ed25519'),
  secret: { kty: 'oct', k: randomBytes(32).toString('base64url') },
} satisfies Record<string, Jwk>;

function privateKey(type: 'rsa' | 'ec' | 'ed25519', options: object = {}): Jwk {
  const { privateKey } = generateKeyPairSync(type as 'rsa', options as { modulusLength: number });
  return privateKey.export({ format: 'jwk' });
}

/** What of a key may be told: all of a secret, since an issuer of HMACs tells it to those who verify. */
export function publicJwk(key: Jwk, more: object = {}): object {
  const { kty, n, e, crv, x, y, k } = key;
  return { kty, n, e, crv, x, y, k, ...more };
}

export function jwks(...keys: readonly object[]): string {
  return JSON.stringify({ keys });
}

export function base64url(value: unknown): string {
  const bytes = typeof value === 'string' || Buffer.isBuffer(value) ? value : JSON.stringify(value);
  return Buffer.from(bytes).toString('base64url');
}

/** The signature of an algorithm, whatever the key's type would say to it. */
export function signature(alg: string, key: Jwk, input: string): Buffer {
  const data = Buffer.from(input, 'latin1');
  const hash = `sha${/\d+$/.exec(alg)?.[0] ?? '256'}`;
  if (key.kty === 'oct')
    return createHmac(hash, Buffer.from(key.k ?? '', 'base64url'))
      .update(data)
      .digest();
  const privateKey = createPrivateKey({ key, format: 'jwk' });
  if (key.kty === 'OKP') return sign(null, data, privateKey);
  if (key.kty === 'EC') return sign(hash, data, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  if (!alg.startsWith('PS')) return sign(hash, data, privateKey);
  const padding = { padding: rsa.RSA_PKCS1_PSS_PADDING, saltLength: rsa.RSA_PSS_SALTLEN_DIGEST };
  return sign(hash, data, { key: privateKey, ...padding });
}

/**
 * A token of a header and a payload, which may be values or JSON as text or bytes.
 * @param alg how it is signed when the header does not tell the truth
 */
export function token(
  payload: unknown,
  { header = { alg: 'RS256' }, key = KEYS.rsa, alg }: { header?: unknown; key?: Jwk; alg?: string } = {},
): string {
  const said = typeof header === 'object' && header !== null && 'alg' in header ? header.alg : null;
  const named = typeof said === 'string' ? said : 'RS256'; // a value of another kind may not even become text
  return signed(`${base64url(header)}.${base64url(payload)}`, alg ?? named, key);
}

/** Two sections, whatever they are, with a signature over them. */
export function signed(input: string, alg = 'RS256', key: Jwk = KEYS.rsa): string {
  return `${input}.${signature(alg, key, input).toString('base64url')}`;
}

/** Claims of issuer `a` that hold now. */
export function claims(more: object = {}): object {
  return { iss: 'a', sub: 'someone', exp: NOW + 3_600, ...more };
}

/** A rule of issuer `a` with the key `KEYS.rsa`, as the manifest reader would hand it over. */
export function rule(more: Partial<JwtRule> = {}): JwtRule {
  return {
    issuer: 'a',
    audiences: [],
    jwks: jwks(publicJwk(KEYS.rsa)),
    jwksUri: null,
    timeoutMs: 5_000,
    fromHeaders: [],
    fromParams: [],
    fromCookies: [],
    forwardOriginalToken: true,
    outputPayloadToHeader: null,
    outputClaimToHeaders: [],
    spaceDelimitedClaims: [],
    ...more,
  };
}

export function authenticator(rules: readonly JwtRule[], parts: Partial<AuthenticatorParts> = {}) {
  return createAuthenticator({ rules, keySets: {}, now: () => NOW * 1_000, ...parts });
}

/** GET with these header lines; what is a string is one line. */
export function request(
  headers: Readonly<Record<string, string | readonly string[]>> = {},
  more: Partial<JwtRequest> = {},
): JwtRequest {
  return {
    method: 'GET',
    host: 'shop.example:8080',
    scheme: 'https',
    target: '/cart',
    headerValues: name => [headers[name] ?? []].flat(),
    ...more,
  };
}

export function bearer(text: string): JwtRequest {
  return request({ authorization: `Bearer ${text}` });
}
