/** Revocation lists for tests, byte by byte: right ones of every signature algorithm, and wrong ones. */
import {
  createPrivateKey,
  type KeyObject,
  type SignKeyObjectInput,
  sign,
  X509Certificate,
} from 'node:crypto';
import { elementAt, elements } from '../src/identity/der.ts';
import { type Authority, der } from './certificates.ts';

/** AlgorithmIdentifiers in DER. */
const NULL = der(0x05);
const oid = (hex: string): Buffer => der(0x06, Buffer.from(hex, 'hex'));
const SHA256 = der(0x30, oid('608648016503040201'), NULL);
const MGF1 = der(0x30, oid('2a864886f70d010108'), SHA256);

export interface CrlAlgorithm {
  readonly identifier: Buffer;
  sign(key: KeyObject, data: Buffer): Buffer;
}

const algorithm = (
  identifier: Buffer,
  hash: string | null,
  how: Partial<SignKeyObjectInput> = {},
): CrlAlgorithm => ({
  identifier,
  sign: (key, data) => sign(hash, data, { ...how, key }),
});

export const ECDSA_SHA256 = algorithm(der(0x30, oid('2a8648ce3d040302')), 'sha256');
export const ECDSA_SHA384 = algorithm(der(0x30, oid('2a8648ce3d040303')), 'sha384');
export const ECDSA_SHA1 = algorithm(der(0x30, oid('2a8648ce3d0401')), 'sha1');
export const RSA_SHA256 = algorithm(der(0x30, oid('2a864886f70d01010b'), NULL), 'sha256');
export const RSA_SHA1 = algorithm(der(0x30, oid('2a864886f70d010105'), NULL), 'sha1');
export const ED25519 = algorithm(der(0x30, oid('2b6570')), null);
export const RSA_PSS = algorithm(
  der(
    0x30,
    oid('2a864886f70d01010a'),
    der(0x30, der(0xa0, SHA256), der(0xa1, MGF1), der(0xa2, der(0x02, Uint8Array.of(32)))),
  ),
  'sha256',
  { padding: 6, saltLength: 32 },
);

export interface CrlExtension {
  readonly oid: string;
  readonly critical?: boolean;
  readonly value: Buffer;
}

export interface CrlEntry {
  /** The INTEGER's content in hex. */
  readonly serial: string;
  readonly extensions?: readonly CrlExtension[];
}

/** What a list is made of; every part may be replaced. */
export interface CrlParts {
  readonly issuer: Buffer;
  readonly key: KeyObject;
  readonly algorithm?: CrlAlgorithm;
  /** Of what is signed; by default the same as the outer one. */
  readonly inner?: Buffer;
  readonly version?: Buffer;
  readonly thisUpdate?: Buffer;
  /** Null leaves it out. */
  readonly nextUpdate?: Buffer | null;
  readonly entries?: readonly CrlEntry[];
  readonly extensions?: readonly CrlExtension[];
  /** Behind everything that is signed. */
  readonly more?: Buffer;
}

/** UTCTime. */
export function utcTime(ms: number): Buffer {
  const text = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '');
  return der(0x17, text.slice(2));
}

/** A list in DER. */
export function crlOf(parts: CrlParts): Buffer {
  const { algorithm: used = ECDSA_SHA256, entries = [], extensions = [] } = parts;
  const body = der(
    0x30,
    parts.version ?? der(0x02, Uint8Array.of(1)),
    parts.inner ?? used.identifier,
    parts.issuer,
    parts.thisUpdate ?? utcTime(Date.now() - 60_000),
    parts.nextUpdate === null ? '' : (parts.nextUpdate ?? utcTime(Date.now() + 3_600_000)),
    entries.length > 0 ? der(0x30, ...entries.map(entryOf)) : '',
    extensions.length > 0 ? der(0xa0, der(0x30, ...extensions.map(extensionOf))) : '',
    parts.more ?? '',
  );
  return der(0x30, body, used.identifier, der(0x03, Uint8Array.of(0), used.sign(parts.key, body)));
}

function entryOf({ serial, extensions = [] }: CrlEntry): Buffer {
  const more = extensions.length > 0 ? der(0x30, ...extensions.map(extensionOf)) : '';
  return der(0x30, der(0x02, Buffer.from(serial, 'hex')), utcTime(Date.now() - 60_000), more);
}

function extensionOf({ oid: name, critical = false, value }: CrlExtension): Buffer {
  return der(0x30, oid(name), critical ? der(0x01, Uint8Array.of(0xff)) : '', der(0x04, value));
}

/** Name and key of an authority, for `crlOf`. */
export function issuerOf({ certPem, keyPem }: Pick<Authority, 'certPem' | 'keyPem'>) {
  return { issuer: subjectOf(new X509Certificate(certPem).raw), key: createPrivateKey(keyPem) };
}

/** The subject's Name in DER. */
function subjectOf(certificate: Buffer): Buffer {
  const whole = elementAt(certificate, 0, certificate.length, 0x30);
  const body = whole && elementAt(certificate, whole.start, whole.end, 0x30);
  const subject = body && elements(certificate, body)?.[5];
  if (!subject) throw new Error('no certificate');
  return certificate.subarray(subject.at, subject.end);
}

/** PEM of lists in DER. */
export function crlPem(...lists: readonly Buffer[]): string {
  const blocks = lists.map(list => {
    const lines = list.toString('base64').match(/.{1,64}/g) ?? [];
    return `-----BEGIN X509 CRL-----\n${lines.join('\n')}\n-----END X509 CRL-----\n`;
  });
  return blocks.join('');
}
