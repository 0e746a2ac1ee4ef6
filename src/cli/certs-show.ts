/** `outrider certs show`: every certificate of a folder, and whether `run` would take it. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readCertificate, readIssuer } from '../identity/certificate.ts';
import { CERT_CHAIN, ROOT_CERT } from '../identity/folder.ts';
import { readSettled } from '../identity/identity-files.ts';
import { readPem } from '../identity/pem.ts';
import { checkIdentity, type IdentityFault } from '../identity/svid.ts';

/** One certificate, as `--json` prints it. */
interface Shown {
  readonly file: string;
  readonly uris: readonly string[];
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  /** ISO 8601. */
  readonly notBefore: string;
  readonly notAfter: string;
  /** Days from now, one decimal; negative when expired. */
  readonly daysLeft: number;
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
  const reading = await readSettled(dir);
  const check = reading.ok ? checkIdentity(reading.files, now, 1) : reading;
  const fault = check.ok ? null : check.fault;
  const certificates = [...(await shownIn(dir, CERT_CHAIN, now)), ...(await shownIn(dir, ROOT_CERT, now))];
  if (json) {
    const id = check.ok && 'value' in check ? check.value.id : null;
    io.stdout.write(`${JSON.stringify({ dir, ok: fault === null, id, fault, certificates })}\n`);
  } else {
    for (const certificate of certificates) io.stdout.write(`${asText(certificate)}\n`);
    io.stdout.write(`${verdict(dir, fault)}\n`);
  }
  return fault === null ? 0 : 1;
}

async function shownIn(dir: string, file: string, now: number): Promise<Shown[]> {
  const text = await readFile(join(dir, file), 'latin1').catch(() => '');
  const read = readPem(text);
  return (read.ok ? read.blocks : []).flatMap(({ label, der }) => {
    const fields = label === 'CERTIFICATE' ? readCertificate(der) : null;
    if (!fields) return [];
    const { uris, subject, serial, notBefore, notAfter } = fields;
    return {
      file,
      uris,
      subject,
      issuer: readIssuer(der) ?? '',
      serial,
      notBefore: iso(notBefore),
      notAfter: iso(notAfter),
      daysLeft: Math.round(((notAfter - now) / DAY_MS) * 10) / 10,
    };
  });
}

function asText({ file, uris, subject, issuer, serial, notBefore, notAfter, daysLeft }: Shown): string {
  const left = daysLeft < 0 ? `expired ${-daysLeft} days ago` : `${daysLeft} days left`;
  return [
    `${file}: ${quoted(uris.join(', ') || subject || '(no name)')}`,
    `  serial ${serial}`,
    `  valid ${notBefore} to ${notAfter} (${left})`,
    `  issued by ${quoted(issuer)}`,
  ].join('\n');
}

function verdict(dir: string, fault: IdentityFault | null): string {
  return fault ? `not usable: ${quoted(fault.message)}` : `usable: the files of ${dir} fit together`;
}

/** What stands in a certificate cannot move the cursor. */
function quoted(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}

function iso(ms: number): string {
  return new Date(ms).toISOString().replace('.000Z', 'Z');
}
