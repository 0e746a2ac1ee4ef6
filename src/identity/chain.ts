/** Does a leaf's chain lead to the bundle? RFC 5280 section 6 as far as an own identity needs it before use. */
import { X509Certificate } from 'node:crypto';
import { type CertificateFields, KEY_USAGE, readCertificate } from './certificate.ts';
import { parseSpiffeId } from './spiffe.ts';

/** A certificate as node:crypto and as Outrider reads it. */
export interface Link {
  readonly x509: X509Certificate;
  readonly fields: CertificateFields;
}

/** Reads one certificate, PEM or DER, both ways; null when one of them cannot. */
export function linkOf(certificate: string | Uint8Array): Link | null {
  try {
    const x509 = new X509Certificate(certificate);
    const fields = readCertificate(x509.raw);
    return fields && { x509, fields };
  } catch {
    return null;
  }
}

const MAX_DEPTH = 16; // more than any mesh has; a loop of cross-signed intermediates ends here

/**
 * Walks from `leaf` over `intermediates` to one of `roots`; every signer is a CA that may sign, in date, and really
 * signed. Null when it gets there, else what stopped it in words for a person.
 */
export function chainFault(
  leaf: Link,
  intermediates: readonly Link[],
  roots: readonly Link[],
  now: number,
): string | null {
  let current = leaf;
  for (let depth = 0; depth < MAX_DEPTH; depth += 1) {
    const root = roots.find(candidate => signed(candidate, current));
    if (root) return signerFault(root, 'the root', now);
    const next = intermediates.find(candidate => candidate !== current && signed(candidate, current));
    if (!next) return `no certificate of the bundle signed ${nameOf(current)}`;
    const fault = signerFault(next, 'the intermediate', now);
    if (fault) return fault;
    current = next;
  }
  return `the chain is longer than ${MAX_DEPTH} certificates`;
}

/**
 * Whether a certificate may sign others: cA, keyCertSign where keyUsage is present, and no workload's SPIFFE ID, which
 * has a path (X509-SVID 3.2, 4.1, 4.3).
 */
export function maySign({ ca, keyUsage, uris }: CertificateFields): boolean {
  const signs = ca && (keyUsage === null || (keyUsage & KEY_USAGE.keyCertSign) !== 0);
  return signs && !uris.some(uri => parseSpiffeId(uri).ok);
}

function signed(issuer: Link, subject: Link): boolean {
  return subject.x509.issuer === issuer.x509.subject && subject.x509.verify(issuer.x509.publicKey);
}

function signerFault({ fields }: Link, what: string, now: number): string | null {
  if (!maySign(fields)) return `${what} "${fields.subject}" is not a CA that may sign certificates`;
  if (now > fields.notAfter) return `${what} "${fields.subject}" expired ${date(fields.notAfter)}`;
  if (now < fields.notBefore)
    return `${what} "${fields.subject}" is valid only from ${date(fields.notBefore)}`;
  return null;
}

function nameOf({ fields }: Link): string {
  return fields.uris[0] ?? `"${fields.subject}"`;
}

/** Unix milliseconds as ISO 8601 to the second. */
export function date(ms: number): string {
  return new Date(ms).toISOString().replace('.000Z', 'Z');
}
