/**
 * From a leaf over its signers to a root, signatures checked. OpenSSL does the same in every handshake, but knows nothing
 * of trust domains, does not tell which root it ended at, and says nothing of connections that are open.
 */
import { type Link, maySign } from './chain.ts';
import type { PeerRefusal } from './peer.ts';

/** Certificates that the leaf's signatures lead to, the leaf among them, each with those that signed it. */
export type Reach = ReadonlyMap<Link, readonly Link[]>;

/**
 * Every certificate of `candidates` that signed the leaf, or one that did, and so on, whatever its dates: all that
 * OpenSSL could have gone by.
 */
export function reachOf(leaf: Link, candidates: readonly Link[]): Reach {
  const reach = new Map<Link, readonly Link[]>();
  const next = [leaf];
  for (let link = next.pop(); link !== undefined; link = next.pop()) {
    if (reach.has(link)) continue;
    const subject = link;
    const issuers = candidates.filter(candidate => signed(candidate, subject));
    reach.set(link, issuers);
    next.push(...issuers);
  }
  return reach;
}

/** Whether the certificate signed itself, as a root does; only there a path may end. */
export function isSelfSigned(link: Link): boolean {
  return signed(link, link);
}

/** X509_check_issued, by which OpenSSL builds its paths (names, key identifiers, keyUsage), and the signature. */
export function signed(issuer: Link, subject: Link): boolean {
  return subject.x509.checkIssued(issuer.x509) && subject.x509.verify(issuer.x509.publicKey);
}

export interface PathQuestion {
  readonly leaf: Link;
  readonly reach: Reach;
  /** Where a path may end. */
  isRoot(link: Link): boolean;
  /** What speaks against a certificate by the word of the CA that signed it; null = nothing. */
  refusedBy(issuer: Link, subject: Link): PeerRefusal | null;
  /** Unix milliseconds. */
  readonly now: number;
}

/** A path that is good until then (Unix milliseconds), or why there is none. */
export type PathAnswer =
  | { readonly ok: true; readonly until: number }
  | { readonly ok: false; readonly reason: PeerRefusal };

/** Of several faults the one that tells most is the reason. */
const RANKS: readonly PeerRefusal[] = [
  'revoked',
  'no_crl',
  'crl_expired',
  'expired',
  'not_yet_valid',
  'bad_chain',
];

/**
 * The path to a root that lasts longest. Cross-signed CAs make many paths, some of them loops: each certificate is looked
 * at once, the one that lasts longest first.
 */
export function longestPath(question: PathQuestion): PathAnswer {
  const { leaf, reach, now } = question;
  const until = new Map([[leaf, leaf.fields.notAfter]]);
  const faults = new Set<PeerRefusal>();
  const done = new Set<Link>();
  for (let at = latest(until, done); at !== null; at = latest(until, done)) {
    const [subject, lasts] = at;
    done.add(subject);
    for (const issuer of reach.get(subject) ?? []) {
      const fault = signerFault(issuer, now) ?? question.refusedBy(issuer, subject);
      if (fault) faults.add(fault);
      else if (issuer === subject && question.isRoot(subject)) return { ok: true, until: lasts };
      else until.set(issuer, Math.max(until.get(issuer) ?? 0, Math.min(lasts, issuer.fields.notAfter)));
    }
  }
  return { ok: false, reason: RANKS.find(reason => faults.has(reason)) ?? 'untrusted' };
}

function latest(until: ReadonlyMap<Link, number>, done: ReadonlySet<Link>): [Link, number] | null {
  let found: [Link, number] | null = null;
  for (const entry of until) if (!done.has(entry[0]) && entry[1] > (found?.[1] ?? -1)) found = entry;
  return found;
}

function signerFault({ fields }: Link, now: number): PeerRefusal | null {
  if (!maySign(fields)) return 'bad_chain';
  if (now > fields.notAfter) return 'expired';
  return now < fields.notBefore ? 'not_yet_valid' : null;
}
