/** The signature algorithms of X.509 (RFC 4055, 5758, 8410) that are strong enough to be believed. */
import { constants, type KeyObject, type VerifyKeyObjectInput, verify } from 'node:crypto';
import { type Element, elementAt, elements, INTEGER, NULL, OID, SEQUENCE } from './der.ts';

/** Says whether `key` signed `data`; false too when the key is of another kind. */
export type VerifySignature = (key: KeyObject, data: Buffer, signature: Buffer) => boolean;

const HASH_ALGORITHM = 0xa0; // RSASSA-PSS-params [0]
const SALT_LENGTH = 0xa2;
const PSS = '2a864886f70d01010a';

interface Algorithm {
  readonly key: 'ec' | 'rsa' | 'ed25519' | 'ed448';
  /** Null where the scheme brings its own. */
  readonly hash: string | null;
}

const ALGORITHMS: ReadonlyMap<string, Algorithm> = new Map([
  ['2a8648ce3d040302', { key: 'ec', hash: 'sha256' }],
  ['2a8648ce3d040303', { key: 'ec', hash: 'sha384' }],
  ['2a8648ce3d040304', { key: 'ec', hash: 'sha512' }],
  ['2a864886f70d01010b', { key: 'rsa', hash: 'sha256' }],
  ['2a864886f70d01010c', { key: 'rsa', hash: 'sha384' }],
  ['2a864886f70d01010d', { key: 'rsa', hash: 'sha512' }],
  ['2b6570', { key: 'ed25519', hash: null }],
  ['2b6571', { key: 'ed448', hash: null }],
]);
const HASHES: ReadonlyMap<string, string> = new Map([
  ['608648016503040201', 'sha256'],
  ['608648016503040202', 'sha384'],
  ['608648016503040203', 'sha512'],
]);

/** Reads an AlgorithmIdentifier; null when it is malformed or of a kind that is not believed (SHA-1, MD5). */
export function readSignatureAlgorithm(bytes: Buffer, element: Element): VerifySignature | null {
  const parts = element.tag === SEQUENCE ? elements(bytes, element) : null;
  const [oid, parameters] = parts ?? [];
  if (oid?.tag !== OID || !parts || parts.length > 2) return null;
  const name = bytes.toString('hex', oid.start, oid.end);
  if (name === PSS) return parameters ? readPss(bytes, parameters) : null;
  const found = ALGORITHMS.get(name);
  if (!found) return null;
  // RFC 4055 section 5: RSA's parameters are NULL; the others have none (RFC 5758 3.2, 8410 3).
  const none = parameters === undefined || (found.key === 'rsa' && isNull(parameters));
  return none ? verifier(found) : null;
}

function isNull({ tag, start, end }: Element): boolean {
  return tag === NULL && start === end;
}

function verifier({ key: kind, hash }: Algorithm): VerifySignature {
  return (key, data, signature) => key.asymmetricKeyType === kind && verified(hash, data, { key }, signature);
}

/** RSASSA-PSS-params: the defaults are SHA-1's, so hash and salt length must be written; MGF1 uses the same hash. */
function readPss(bytes: Buffer, parameters: Element): VerifySignature | null {
  const parts = parameters.tag === SEQUENCE ? elements(bytes, parameters) : null;
  const hash = hashOf(bytes, inside(bytes, parts, HASH_ALGORITHM));
  const maskGeneration = inside(bytes, parts, 0xa1);
  const maskParts = maskGeneration && elements(bytes, maskGeneration);
  const salt = inside(bytes, parts, SALT_LENGTH);
  if (!hash || !salt || salt.tag !== INTEGER || salt.end - salt.start !== 1) return null;
  if (hashOf(bytes, maskParts?.[1]) !== hash) return null;
  const saltLength = bytes[salt.start] ?? 0;
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  return (key, data, signature) =>
    (key.asymmetricKeyType === 'rsa' || key.asymmetricKeyType === 'rsa-pss') &&
    verified(hash, data, { key, padding, saltLength }, signature);
}

function inside(bytes: Buffer, parts: readonly Element[] | null, tag: number): Element | null {
  const holder = parts?.find(part => part.tag === tag);
  const inner = holder && elementAt(bytes, holder.start, holder.end);
  return inner?.end === holder?.end ? (inner ?? null) : null;
}

function hashOf(bytes: Buffer, algorithm: Element | null | undefined): string | null {
  const oid = algorithm?.tag === SEQUENCE ? elementAt(bytes, algorithm.start, algorithm.end, OID) : null;
  return oid ? (HASHES.get(bytes.toString('hex', oid.start, oid.end)) ?? null) : null;
}

function verified(hash: string | null, data: Buffer, how: VerifyKeyObjectInput, signature: Buffer): boolean {
  try {
    return verify(hash, data, how, signature);
  } catch {
    return false; // a key that cannot do it: a curve or size that OpenSSL refuses, parameters that bind a PSS key
  }
}
