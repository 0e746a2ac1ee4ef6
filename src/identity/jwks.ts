/** A JSON Web Key Set, read as Envoy reads it; jose verifies with its keys. */
import { X509Certificate } from 'node:crypto';
import { claim, isObject, type JsonObject, parseJsonObject } from './jwt-json.ts';
import { REFUSALS, type Refusal } from './jwt-refusal.ts';
import { type Algorithm, decodeBase64url, type Token } from './jwt-token.ts';

/** One key that can verify. */
export interface VerificationKey {
  /** '' = none, which fits every token. */
  readonly kid: string;
  /** '' = every algorithm that the type of key can do. */
  readonly alg: string;
  /** Only what makes the public key (or the secret): `use`, `key_ops` and the private part are not looked at. */
  readonly jwk: Readonly<Record<string, string>> & { readonly kty: KeyType };
}

type KeyType = 'RSA' | 'EC' | 'oct' | 'OKP';

const ED25519_BYTES = 64;

/** Bytes of a coordinate, by the curve's name. */
const CURVES: Readonly<Record<string, { readonly alg: Algorithm; readonly bytes: number }>> = {
  'P-256': { alg: 'ES256', bytes: 32 },
  'P-384': { alg: 'ES384', bytes: 48 },
  'P-521': { alg: 'ES512', bytes: 66 },
};

/**
 * The keys of a set that can be used; others are passed over. Certificates by kid, Google's old form, are RSA keys too.
 * @returns none when the text is no key set
 */
export function parseJwks(text: string): readonly VerificationKey[] {
  const set = parseJsonObject(Buffer.from(text, 'utf8'));
  if (set === null) return [];
  const keys = claim(set, 'keys');
  if (keys === undefined) return certificateKeys(set);
  if (!Array.isArray(keys)) return [];
  return keys.flatMap(key => (isObject(key) ? (readKey(key) ?? []) : []));
}

/** Whether a text is a key set at all, be it one without a key that can be used. */
export function isJwks(text: string): boolean {
  const set = parseJsonObject(Buffer.from(text, 'utf8'));
  return set !== null && (Array.isArray(claim(set, 'keys')) || certificateKeys(set).length > 0);
}

/**
 * Checks the signature with every key that may have made it, as Envoy chooses them: kid and alg must not differ where
 * both name one. Stricter than Envoy: the token's alg must be one of the key's type and curve, RSA keys have 2048 bits or
 * more, and a token with `crit` is refused.
 * @returns null when a key verifies; never rejects
 */
export async function signatureFault(
  token: Token,
  keys: readonly VerificationKey[],
): Promise<Refusal | null> {
  if (keys.length === 0) return REFUSALS.noKeys;
  let matched = false;
  for (const key of keys) {
    if (token.kid !== '' && key.kid !== '' && key.kid !== token.kid) continue;
    if (key.alg !== '' && key.alg !== token.alg) continue;
    matched = true;
    // Envoy ends here whatever alg the token names.
    if (key.jwk.kty === 'OKP' && token.signature.length !== ED25519_BYTES) return REFUSALS.ed25519Length;
    if (canVerify(key, token.alg) && (await verifies(token, key))) return null;
  }
  return matched ? REFUSALS.verification : REFUSALS.noMatchingKey;
}

/** Loaded at the first token; asking for a module that is there costs some 10 µs each time. */
let jose: typeof import('jose') | undefined;

async function verifies(token: Token, { jwk }: VerificationKey): Promise<boolean> {
  if (token.critical) return false;
  const signature = token.signature.toString('base64url');
  const jws = { protected: token.header, payload: token.payload, signature };
  try {
    jose ??= await import('jose');
    await jose.flattenedVerify(jws, jwk, { algorithms: [token.alg] });
    return true;
  } catch {
    return false; // a wrong signature, a key that is none, a section that only Envoy can decode
  }
}

function canVerify({ jwk }: VerificationKey, alg: Algorithm): boolean {
  switch (jwk.kty) {
    case 'RSA':
      return alg.startsWith('RS') || alg.startsWith('PS');
    case 'EC':
      return CURVES[jwk.crv ?? '']?.alg === alg;
    case 'oct':
      return alg.startsWith('HS');
    case 'OKP':
      return alg === 'EdDSA';
  }
}

/** @returns null when the key lacks something or contradicts itself */
function readKey(key: JsonObject): VerificationKey | null {
  const [kid, alg] = [text(key, 'kid') ?? '', text(key, 'alg') ?? ''];
  const jwk = publicPart(key, alg);
  return jwk === null ? null : { kid, alg, jwk };
}

function publicPart(key: JsonObject, alg: string): VerificationKey['jwk'] | null {
  switch (text(key, 'kty')) {
    case 'RSA':
      return alg === '' || /^[RP]S/.test(alg) ? rsaPart(key) : null;
    case 'EC':
      return alg === '' || alg.startsWith('ES') ? ecPart(key, alg) : null;
    case 'oct': {
      const k = bytes(key, 'k');
      const fits = alg === '' || /^HS(?:256|384|512)$/.test(alg);
      return fits && k !== null && k.length > 0 ? { kty: 'oct', k: k.toString('base64url') } : null;
    }
    case 'OKP': {
      const x = bytes(key, 'x');
      const fits = (alg === '' || alg === 'EdDSA') && text(key, 'crv') === 'Ed25519';
      return fits && x?.length === 32 ? { kty: 'OKP', crv: 'Ed25519', x: x.toString('base64url') } : null;
    }
    default:
      return null;
  }
}

function rsaPart(key: JsonObject): VerificationKey['jwk'] | null {
  const [n, e] = [bytes(key, 'n'), bytes(key, 'e')];
  if (n === null || e === null || e.length > 8) return null;
  // Other exponents are refused by Envoy too: a large one makes every check slow.
  if (![3, 65_537].includes(Number.parseInt(e.toString('hex'), 16))) return null;
  return { kty: 'RSA', n: n.toString('base64url'), e: e.toString('base64url') };
}

function ecPart(key: JsonObject, alg: string): VerificationKey['jwk'] | null {
  const named = claim(key, 'crv') ?? '';
  const ofAlg = Object.keys(CURVES).find(curve => CURVES[curve]?.alg === alg);
  const crv = named === '' ? (ofAlg ?? (alg === '' ? 'P-256' : '')) : named;
  if (typeof crv !== 'string' || !Object.hasOwn(CURVES, crv)) return null;
  const curve = CURVES[crv];
  if (curve === undefined || (alg !== '' && curve.alg !== alg)) return null;
  const [x, y] = [coordinate(key, 'x', curve.bytes), coordinate(key, 'y', curve.bytes)];
  return x === null || y === null ? null : { kty: 'EC', crv, x, y };
}

/** Some issuers leave out leading zeros; WebCrypto wants the full width. */
function coordinate(key: JsonObject, name: string, width: number): string | null {
  const value = bytes(key, name);
  if (value === null || value.length > width) return null;
  return Buffer.concat([Buffer.alloc(width - value.length), value]).toString('base64url');
}

function certificateKeys(set: JsonObject): VerificationKey[] {
  const keys: VerificationKey[] = [];
  for (const [kid, pem] of Object.entries(set)) {
    const jwk = typeof pem === 'string' ? certificatePart(pem) : null;
    if (jwk === null) return [];
    keys.push({ kid, alg: '', jwk });
  }
  return keys;
}

function certificatePart(pem: string): VerificationKey['jwk'] | null {
  try {
    return rsaPart({ ...new X509Certificate(pem).publicKey.export({ format: 'jwk' }) });
  } catch {
    return null; // no certificate
  }
}

function text(key: JsonObject, name: string): string | null {
  const value = claim(key, name);
  return typeof value === 'string' ? value : null;
}

function bytes(key: JsonObject, name: string): Buffer | null {
  const value = text(key, name);
  return value === null ? null : decodeBase64url(value);
}
