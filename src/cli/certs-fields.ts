/** What only a person wants to know of a certificate: its key, and what it is for, in RFC 5280's words. */
import { X509Certificate } from 'node:crypto';

/** The first octet of keyUsage, highest bit first (RFC 5280 section 4.2.1.3). */
const KEY_USAGES = [
  'digitalSignature',
  'contentCommitment',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
] as const;

const PURPOSES: ReadonlyMap<string, string> = new Map([
  ['2.5.29.37.0', 'anyExtendedKeyUsage'],
  ['1.3.6.1.5.5.7.3.1', 'serverAuth'],
  ['1.3.6.1.5.5.7.3.2', 'clientAuth'],
  ['1.3.6.1.5.5.7.3.3', 'codeSigning'],
  ['1.3.6.1.5.5.7.3.4', 'emailProtection'],
  ['1.3.6.1.5.5.7.3.8', 'timeStamping'],
  ['1.3.6.1.5.5.7.3.9', 'OCSPSigning'],
]);

const CURVES: ReadonlyMap<string, string> = new Map([
  ['prime256v1', 'P-256'],
  ['secp384r1', 'P-384'],
  ['secp521r1', 'P-521'],
]);

/** `EC P-256`, `RSA 2048`, `ED25519`; `unknown` for what OpenSSL cannot read. */
export function keyTypeOf(der: Buffer): string {
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = new X509Certificate(der).publicKey;
    const curve = asymmetricKeyDetails?.namedCurve;
    if (curve !== undefined) return `EC ${CURVES.get(curve) ?? curve}`;
    const type = (asymmetricKeyType ?? 'unknown').toUpperCase();
    const bits = asymmetricKeyDetails?.modulusLength;
    return bits === undefined ? type : `${type} ${bits}`;
  } catch {
    return 'unknown';
  }
}

/** Both extensions in words; null where one is absent. `bits` is the first octet of keyUsage. */
export function usagesOf(
  der: Buffer,
  bits: number | null,
): { keyUsage: readonly string[] | null; extendedKeyUsage: readonly string[] | null } {
  const keyUsage = bits === null ? null : KEY_USAGES.filter((_, at) => (bits & (0x80 >> at)) !== 0);
  return { keyUsage, extendedKeyUsage: purposesOf(der) };
}

/** Node calls the extended ones keyUsage. */
function purposesOf(der: Buffer): readonly string[] | null {
  try {
    const oids = new X509Certificate(der).keyUsage as readonly string[] | undefined;
    return oids === undefined ? null : oids.map(oid => PURPOSES.get(oid) ?? oid);
  } catch {
    return null;
  }
}
