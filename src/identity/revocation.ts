/**
 * Which certificates were revoked: every list that is in force, looked up by the CA that really signed it. Roots with one
 * name and two keys are common, so a list counts for a CA only when that CA's key verifies it.
 */

import { KEY_USAGE } from './certificate.ts';
import type { Link } from './chain.ts';
import { type Crl, readCrl } from './crl.ts';
import { readPem } from './pem.ts';

/** What the lists say of one certificate; `no_crl` = its CA has none. */
export type RevocationStatus = 'good' | 'revoked' | 'no_crl' | 'crl_expired';

/** `problem` finishes a sentence that begins with the file's name. */
export type ListsReading =
  | { readonly ok: true; readonly lists: RevocationLists }
  | { readonly ok: false; readonly problem: string };

const MAX_ISSUERS = 1_000; // CAs whose lists are remembered; peers bring intermediates of their own

export class RevocationLists {
  readonly all: readonly Crl[];
  /** By the CA certificate's SHA-256. */
  readonly #ofIssuer = new Map<string, readonly Crl[]>();

  constructor(all: readonly Crl[]) {
    this.all = all;
  }

  /**
   * The lists that this CA signed, whatever their dates. A CA whose keyUsage lacks cRLSign has none (RFC 5280 6.3.3 f).
   * Signatures are verified once a CA.
   */
  of(issuer: Link): readonly Crl[] {
    const key = issuer.x509.fingerprint256;
    const known = this.#ofIssuer.get(key);
    if (known) return known;
    const { keyUsage, subject } = issuer.fields;
    const maySign = keyUsage === null || (keyUsage & KEY_USAGE.cRLSign) !== 0;
    const found = maySign
      ? this.all.filter(list => list.issuer === subject && list.isSignedBy(issuer.x509.publicKey))
      : [];
    if (this.#ofIssuer.size >= MAX_ISSUERS) this.#ofIssuer.clear();
    this.#ofIssuer.set(key, found);
    return found;
  }

  /**
   * What is known of a certificate that `issuer` signed. A serial number on any list of the CA is revoked, on one that is
   * out of date or not yet in force too. `crl_expired`: not revoked, and no list of the CA is in date.
   *
   * @param now Unix milliseconds
   */
  status(subject: Link, issuer: Link, now: number): RevocationStatus {
    const lists = this.of(issuer);
    if (lists.length === 0) return 'no_crl';
    if (lists.some(list => list.revoked.has(subject.fields.serial))) return 'revoked';
    return lists.every(list => isOutOfDate(list, now)) ? 'crl_expired' : 'good';
  }
}

/** Whether a newer list is overdue. `now` in Unix milliseconds. */
export function isOutOfDate({ nextUpdate }: Crl, now: number): boolean {
  return nextUpdate !== null && now > nextUpdate;
}

/** Reads every list of a PEM text, strictly; one that cannot be read spoils all. Signatures are not verified here. */
export function readLists(pem: string): ListsReading {
  const read = readPem(pem);
  if (!read.ok) return { ok: false, problem: `is no PEM file (${read.fault})` };
  const lists: Crl[] = [];
  for (const [at, { label, der }] of read.blocks.entries()) {
    if (label !== 'X509 CRL') {
      return { ok: false, problem: `block ${at + 1} is a ${label}; write X509 CRL blocks only` };
    }
    const list = readCrl(der);
    if (!list.ok) return { ok: false, problem: `block ${at + 1} is no list to go by: it ${list.problem}` };
    lists.push(list.crl);
  }
  return { ok: true, lists: new RevocationLists(lists) };
}
