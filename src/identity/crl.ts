/** What a certificate revocation list says of itself (RFC 5280 section 5.1); OpenSSL reads the revoked serials. */
import { readTime } from './certificate.ts';
import { elementAt, elements } from './der.ts';
import { distinguishedName } from './distinguished-name.ts';

export interface CrlFields {
  /** RFC 2253. */
  readonly issuer: string;
  /** Unix milliseconds. */
  readonly thisUpdate: number;
  /** Unix milliseconds; null when the list does not say. */
  readonly nextUpdate: number | null;
}

const SEQUENCE = 0x30;
const INTEGER = 0x02;

/** Reads one list; null when it is not exactly one in DER. */
export function readCrl(der: Uint8Array): CrlFields | null {
  const bytes = Buffer.from(der.buffer, der.byteOffset, der.byteLength);
  const whole = elementAt(bytes, 0, bytes.length, SEQUENCE);
  if (whole?.end !== bytes.length) return null;
  const body = elementAt(bytes, whole.start, whole.end, SEQUENCE);
  const parts = body && elements(bytes, body);
  if (!parts) return null;
  if (parts[0]?.tag === INTEGER) parts.shift();
  const [, issuer, thisUpdate, nextUpdate] = parts;
  const name = issuer?.tag === SEQUENCE ? distinguishedName(bytes, issuer) : null;
  const from = readTime(bytes, thisUpdate);
  if (name === null || from === null) return null;
  return { issuer: name, thisUpdate: from, nextUpdate: readTime(bytes, nextUpdate) };
}
