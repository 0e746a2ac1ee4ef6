/** `outrider certs show`: every certificate of a folder, from leaf to root, and whether `run` would take it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readCertificate, readIssuer } from '../identity/certificate.ts';
import { readCrl } from '../identity/crl.ts';
import { CERT_CHAIN, CRL, ROOT_CERT } from '../identity/folder.ts';
import { identityFault } from '../identity/identity-fault.ts';
import { readSettled } from '../identity/identity-files.ts';
import { readPem } from '../identity/pem.ts';
import { checkIdentity, type IdentityCheck } from '../identity/svid.ts';
import { proveIdentity } from '../proxy/identity-proof.ts';
import { keyTypeOf, usagesOf } from './certs-fields.ts';
import { certificateText, revocationText, verdictText } from './certs-text.ts';

/** One certificate, as `--json` prints it. */
export interface ShownCertificate {
  readonly file: string;
  readonly role: 'leaf' | 'intermediate' | 'root';
  readonly uris: readonly string[];
  /** RFC 2253, '' for none. */
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  /** `EC P-256`, `RSA 2048`. */
  readonly key: string;
  readonly ca: boolean;
  /** RFC 5280's words, null without the extension; others as OIDs. */
  readonly keyUsage: readonly string[] | null;
  readonly extendedKeyUsage: readonly string[] | null;
  /** ISO 8601. */
  readonly notBefore: string;
  readonly notAfter: string;
  readonly validity: 'in_date' | 'expired' | 'not_yet_valid';
  /** From now; negative when expired. Days with one decimal. */
  readonly secondsLeft: number;
  readonly daysLeft: number;
}

/** One revocation list. */
export interface ShownRevocations {
  readonly file: string;
  readonly issuer: string;
  readonly thisUpdate: string;
  /** null when the list does not say. */
  readonly nextUpdate: string | null;
}

export interface ShowOptions {
  readonly json: boolean;
  readonly io: { readonly stdout: { write(text: string): unknown } };
  /** Unix milliseconds; default the clock. */
  readonly now?: number;
}

const DAY_MS = 86_400_000;

/**
 * Prints what is in the folder, the certificates as far as they can be read.
 *
 * @returns 0 when `run` would take it, else 1
 */
export async function showCertificates(
  dir: string,
  { json, io, now = Date.now() }: ShowOptions,
): Promise<number> {
  const check = await judge(dir, now);
  const fault = check.ok ? null : check.fault;
  const chain = await shownIn(dir, CERT_CHAIN, now);
  const certificates = [...chain, ...(await shownIn(dir, ROOT_CERT, now))];
  const revocationLists = await listsIn(dir);
  if (json) {
    const id = check.ok ? check.value.id : null;
    const shown = { dir, ok: fault === null, id, fault, certificates, revocationLists };
    io.stdout.write(`${JSON.stringify(shown)}\n`);
  } else {
    const parts = certificates.map(certificate => certificateText(certificate, now));
    parts.push(...revocationLists.map(list => revocationText(list, now)), verdictText(dir, fault));
    io.stdout.write(`${parts.join('\n\n')}\n`);
  }
  return fault === null ? 0 : 1;
}

/** As `run` does: the files together, then a handshake with itself. */
async function judge(dir: string, now: number): Promise<IdentityCheck> {
  const reading = await readSettled(dir);
  if (!reading.ok) return reading;
  const check = checkIdentity(reading.files, now, 1);
  if (!check.ok) return check;
  try {
    await proveIdentity(check.value, now);
    return check;
  } catch (error) {
    const why = `cannot be used for TLS (${error instanceof Error ? error.message : error}); issue it anew`;
    return { ok: false, fault: identityFault(dir, 'unusable', why) };
  }
}

async function shownIn(dir: string, file: string, now: number): Promise<ShownCertificate[]> {
  return (await blocksIn(dir, file)).flatMap(({ label, der }, at) => {
    const fields = label === 'CERTIFICATE' ? readCertificate(der) : null;
    if (!fields) return [];
    const { uris, subject, serial, notBefore, notAfter, ca, keyUsage } = fields;
    const validity = now > notAfter ? 'expired' : now < notBefore ? 'not_yet_valid' : 'in_date';
    return {
      file,
      role: file === ROOT_CERT ? 'root' : at === 0 ? 'leaf' : 'intermediate',
      uris,
      subject,
      issuer: readIssuer(der) ?? '',
      serial,
      key: keyTypeOf(der),
      ca,
      ...usagesOf(der, keyUsage),
      notBefore: iso(notBefore),
      notAfter: iso(notAfter),
      validity,
      secondsLeft: Math.floor((notAfter - now) / 1_000),
      daysLeft: Math.round(((notAfter - now) / DAY_MS) * 10) / 10,
    };
  });
}

async function listsIn(dir: string): Promise<ShownRevocations[]> {
  return (await blocksIn(dir, CRL)).flatMap(({ label, der }) => {
    const read = label === 'X509 CRL' ? readCrl(der) : null;
    if (!read?.ok) return [];
    const { issuer, thisUpdate, nextUpdate } = read.crl;
    return {
      file: CRL,
      issuer,
      thisUpdate: iso(thisUpdate),
      nextUpdate: nextUpdate === null ? null : iso(nextUpdate),
    };
  });
}

async function blocksIn(dir: string, file: string) {
  const read = readPem(await readFile(join(dir, file), 'latin1').catch(() => ''));
  return read.ok ? read.blocks : [];
}

function iso(ms: number): string {
  return new Date(ms).toISOString().replace('.000Z', 'Z');
}
