/**
 * The few fields of an X.509 certificate that identity is judged by, read from its DER. About a microsecond; the
 * general libraries take tens to hundreds. Never throws: what is not strict DER is `null`.
 */
import {
  BIT_STRING,
  BOOLEAN,
  type Element,
  elementAt,
  elements,
  GENERALIZED_TIME,
  INTEGER,
  OCTET_STRING,
  OID,
  SEQUENCE,
  UTC_TIME,
} from './der.ts';
import { distinguishedName } from './distinguished-name.ts';

/** What Outrider reads from a certificate (RFC 5280 section 4.1). */
export interface CertificateFields {
  /** Upper-case hex, as OpenSSL prints it. */
  readonly serial: string;
  /** Unix milliseconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** RFC 2253, '' for an empty name. */
  readonly subject: string;
  /** Every URI of the subject alternative name, in order. */
  readonly uris: readonly string[];
  /** Some URI holds a byte that is not printable ASCII: a NUL, a control, a letter beyond ASCII. */
  readonly unprintableUri: boolean;
  /** basicConstraints cA. Node's `X509Certificate.ca` also looks at keyUsage, so it cannot tell. */
  readonly ca: boolean;
  /** keyUsage bits of RFC 5280 4.2.1.3's first octet (KEY_USAGE), null without the extension. */
  readonly keyUsage: number | null;
  /** extKeyUsage, null without the extension. */
  readonly purposes: Purposes | null;
}

/** anyExtendedKeyUsage is neither, as OpenSSL reads it. */
export interface Purposes {
  readonly serverAuth: boolean;
  readonly clientAuth: boolean;
}

/** Bits of the first octet of keyUsage. */
export const KEY_USAGE = { digitalSignature: 0x80, keyCertSign: 0x04, cRLSign: 0x02 } as const;

const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
const URI_NAME = 0x86;
const CONSTRUCTED_URI_NAME = 0xa6;
const LETTER_Z = 0x5a;
// Last arcs of id-ce, 2.5.29
const KEY_USAGE_KIND = 15;
const ALTERNATIVE_NAME = 17;
const BASIC_CONSTRAINTS = 19;
const EXTENDED_KEY_USAGE = 37;
const MAX_EXTENSIONS = 64; // more than any has: each is compared with those before it
const SERVER_AUTH = Buffer.from('2b06010505070301', 'hex'); // id-kp 1.3.6.1.5.5.7.3.1
const CLIENT_AUTH = Buffer.from('2b06010505070302', 'hex');

/** Reads one certificate; null when it is not exactly one certificate in DER. */
export function readCertificate(der: Uint8Array): CertificateFields | null {
  const bytes = Buffer.from(der.buffer, der.byteOffset, der.byteLength);
  const parts = bodyOf(bytes);
  if (!parts) return null;
  const [serial, , issuer, validity, subject] = parts;
  if (serial?.tag !== INTEGER || serial.end === serial.start) return null;
  if (issuer?.tag !== SEQUENCE || validity?.tag !== SEQUENCE || subject?.tag !== SEQUENCE) return null;
  const dates = elements(bytes, validity);
  const notBefore = dates?.length === 2 ? readTime(bytes, dates[0]) : null;
  const notAfter = dates?.length === 2 ? readTime(bytes, dates[1]) : null;
  const name = distinguishedName(bytes, subject);
  const extensions = extensionsOf(bytes, parts.slice(6));
  if (notBefore === null || notAfter === null || name === null || !extensions) return null;
  const { uris, unprintableUri, ca, keyUsage, purposes } = extensions;
  return {
    serial: serialText(bytes, serial),
    notBefore,
    notAfter,
    subject: name,
    uris,
    unprintableUri,
    ca,
    keyUsage,
    purposes,
  };
}

/** The issuer's name in RFC 2253; apart, because no handshake needs it. Null when there is none to read. */
export function readIssuer(der: Uint8Array): string | null {
  const bytes = Buffer.from(der.buffer, der.byteOffset, der.byteLength);
  const issuer = bodyOf(bytes)?.[2];
  return issuer?.tag === SEQUENCE ? distinguishedName(bytes, issuer) : null;
}

/** The parts of the TBSCertificate from the serial number on. */
function bodyOf(bytes: Buffer): Element[] | null {
  const certificate = elementAt(bytes, 0, bytes.length, SEQUENCE);
  if (!certificate || certificate.end !== bytes.length) return null;
  const body = elementAt(bytes, certificate.start, certificate.end, SEQUENCE);
  const parts = body && elements(bytes, body);
  if (parts?.[0]?.tag === VERSION) parts.shift();
  return parts;
}

interface Extensions {
  uris: readonly string[];
  unprintableUri: boolean;
  ca: boolean;
  keyUsage: number | null;
  purposes: Purposes | null;
}

/** From what follows the public key: two unique identifiers and the extensions, each optional. */
function extensionsOf(bytes: Buffer, rest: Element[]): Extensions | null {
  const last = rest.pop();
  if (rest.length > 2 || rest.some(part => part.tag === EXTENSIONS)) return null;
  return last?.tag === EXTENSIONS ? readExtensions(bytes, last) : noExtensions();
}

function noExtensions(): Extensions {
  return { uris: [], unprintableUri: false, ca: false, keyUsage: null, purposes: null };
}

function readExtensions(bytes: Buffer, holder: Element): Extensions | null {
  const list = elementAt(bytes, holder.start, holder.end, SEQUENCE);
  const all = list?.end === holder.end ? elements(bytes, list) : null;
  if (!all || all.length > MAX_EXTENSIONS) return null;
  const into = noExtensions();
  const seen: Element[] = [];
  for (const extension of all) {
    const parts = extension.tag === SEQUENCE ? elements(bytes, extension) : null;
    const oid = parts?.[0];
    const value = parts && parts.length < 4 ? parts.at(-1) : undefined;
    if (oid?.tag !== OID || value?.tag !== OCTET_STRING) return null;
    if (seen.some(other => same(bytes, other, oid))) return null; // RFC 5280 4.2: no certificate has two of a kind
    seen.push(oid);
    if (!readExtension(bytes, standardExtension(bytes, oid), value, into)) return null;
  }
  return into;
}

function same(bytes: Buffer, a: Element, b: Element): boolean {
  return bytes.compare(bytes, b.start, b.end, a.start, a.end) === 0;
}

/** The last arc of an id-ce extension (2.5.29.n), 55 1d n; -1 for any other. */
function standardExtension(bytes: Buffer, oid: Element): number {
  const at = oid.start;
  return oid.end - at === 3 && bytes[at] === 0x55 && bytes[at + 1] === 0x1d ? (bytes[at + 2] ?? -1) : -1;
}

/** Fills in what one extension says; false when it is malformed. */
function readExtension(bytes: Buffer, kind: number, value: Element, into: Extensions): boolean {
  switch (kind) {
    case ALTERNATIVE_NAME:
      return readAlternativeNames(bytes, value, into);
    case BASIC_CONSTRAINTS:
      return readBasicConstraints(bytes, value, into);
    case KEY_USAGE_KIND:
      return readKeyUsage(bytes, value, into);
    case EXTENDED_KEY_USAGE:
      return readPurposes(bytes, value, into);
    default:
      return true;
  }
}

function readAlternativeNames(bytes: Buffer, value: Element, into: Extensions): boolean {
  const names = contents(bytes, value);
  if (!names) return false;
  const uris: string[] = [];
  for (const name of names) {
    if (name.tag === CONSTRUCTED_URI_NAME) return false; // BER, which another reader may join to one URI
    if (name.tag !== URI_NAME) continue;
    const uri = bytes.toString('latin1', name.start, name.end);
    into.unprintableUri ||= /[^\x20-\x7e]/.test(uri);
    uris.push(uri);
  }
  into.uris = uris;
  return true;
}

function readBasicConstraints(bytes: Buffer, value: Element, into: Extensions): boolean {
  const parts = contents(bytes, value);
  const first = parts?.[0];
  into.ca = first?.tag === BOOLEAN && bytes[first.start] !== 0;
  return parts !== null;
}

function readKeyUsage(bytes: Buffer, value: Element, into: Extensions): boolean {
  const bits = elementAt(bytes, value.start, value.end, BIT_STRING);
  if (!bits || bits.end !== value.end || bits.end === bits.start) return false;
  into.keyUsage = bits.end - bits.start > 1 ? (bytes[bits.start + 1] ?? 0) : 0;
  return true;
}

function readPurposes(bytes: Buffer, value: Element, into: Extensions): boolean {
  const oids = contents(bytes, value);
  if (!oids) return false;
  const has = (oid: Buffer) =>
    oids.some(({ start, end }) => bytes.compare(oid, 0, oid.length, start, end) === 0);
  into.purposes = { serverAuth: has(SERVER_AUTH), clientAuth: has(CLIENT_AUTH) };
  return true;
}

/** What the one SEQUENCE inside an extension's OCTET STRING holds. */
function contents(bytes: Buffer, value: Element): Element[] | null {
  const sequence = elementAt(bytes, value.start, value.end, SEQUENCE);
  return sequence?.end === value.end ? elements(bytes, sequence) : null;
}

/** UTCTime or GeneralizedTime in the only forms RFC 5280 4.1.2.5 allows, as Unix milliseconds. */
export function readTime(bytes: Buffer, element: Element | undefined): number | null {
  if (element?.tag !== UTC_TIME && element?.tag !== GENERALIZED_TIME) return null;
  const full = element.tag === GENERALIZED_TIME;
  const at = element.start + (full ? 4 : 2);
  if (element.end - at !== 11 || bytes[at + 10] !== LETTER_Z) return null;
  const short = twoDigits(bytes, at - 2);
  const century = full ? twoDigits(bytes, at - 4) * 100 : short < 50 ? 2000 : 1900;
  const month = twoDigits(bytes, at) - 1;
  const hour = twoDigits(bytes, at + 4);
  const minute = twoDigits(bytes, at + 6);
  const second = twoDigits(bytes, at + 8);
  const ms = Date.UTC(century + short, month, twoDigits(bytes, at + 2), hour, minute, second);
  const same = new Date(ms).getUTCMonth() === month && hour < 24 && minute < 60 && second < 60;
  return same ? ms : null; // Date.UTC carries a 13th month or a 31st of February over, and NaN equals nothing
}

function twoDigits(bytes: Buffer, at: number): number {
  const tens = (bytes[at] ?? 0) - 0x30;
  const ones = (bytes[at + 1] ?? 0) - 0x30;
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : Number.NaN;
}

function serialText(bytes: Buffer, serial: Element): string {
  const first = bytes[serial.start] === 0 && serial.end - serial.start > 1 ? serial.start + 1 : serial.start;
  return bytes.toString('hex', first, serial.end).toUpperCase();
}
