/**
 * Whom this workload believes, as one immutable object: roots, each for the trust domains that it vouches for, and
 * revocation lists. It changes when the identity's bundles change and when the mesh config does.
 */
import { createHash } from 'node:crypto';
import { type Link, linkOf } from './chain.ts';
import type { PeerIdentity, PeerRefusal, PeerTrust } from './peer.ts';
import { readPem } from './pem.ts';
import { isOutOfDate, type RevocationLists, readLists } from './revocation.ts';
import type { IdentityGeneration } from './svid.ts';
import { longestPath, type PathAnswer, reachOf } from './trust-path.ts';

/** Roots of the mesh config's caCertificates. */
export interface ExtraRoots {
  readonly pem: string;
  /** Those that they vouch for; null = the mesh's own and its aliases. */
  readonly trustDomains: readonly string[] | null;
}

export interface TrustParts {
  readonly identity: Pick<IdentityGeneration, 'rootPem' | 'crlPem' | 'trustDomain' | 'federated'>;
  /** The mesh's trust domain and its aliases. */
  readonly trustDomains: readonly string[];
  readonly extraRoots?: readonly ExtraRoots[];
  /** What holds when all lists of a CA are out of date; by default they are gone by. */
  readonly expiredCrl?: 'keep' | 'refuse';
}

/** What was found out about a peer's certificates. Unix milliseconds. */
interface Standing {
  readonly reason: PeerRefusal | null;
  /** When the path ends; 0 without one. */
  readonly until: number;
  /** When to find out again. */
  readonly holds: number;
}

/** Refusals that nothing but another epoch lifts. */
const LASTING: ReadonlySet<PeerRefusal> = new Set(['revoked', 'no_crl', 'wrong_trust_root']);

export class Trust implements PeerTrust {
  /** Hex hash of everything that the judgement depends on; another epoch may judge otherwise. */
  readonly epoch: string;
  /** All roots, for OpenSSL, which knows nothing of trust domains. */
  readonly rootPem: string;
  readonly crlPem: string | null;
  readonly expiredCrl: 'keep' | 'refuse';
  /** Those whose SPIFFE IDs are accepted. */
  readonly trustDomains: readonly string[];
  /** Certificates of all bundles, each once. */
  readonly #pool: readonly Link[];
  /** Those that vouch for a trust domain. */
  readonly #bundles: ReadonlyMap<string, ReadonlySet<Link>>;
  /** Trust domains that the identity's own bundle vouches for. */
  readonly #own: ReadonlySet<string>;
  readonly #lists: RevocationLists | null;
  /** By PeerIdentity.chain, which the connections of one certificate share. */
  readonly #standings = new WeakMap<readonly Uint8Array[], Standing>();

  /** @throws Error when a bundle or a list cannot be read, which their readers have made sure of before */
  constructor({ identity, trustDomains, extraRoots = [], expiredCrl = 'keep' }: TrustParts) {
    const { rootPem, crlPem, federated } = identity;
    const own = [...trustDomains, identity.trustDomain].filter(domain => !Object.hasOwn(federated, domain));
    const bundles: readonly (readonly [pem: string, trustDomains: readonly string[]])[] = [
      [rootPem, own],
      ...Object.entries(federated).map(([domain, pem]) => [pem, [domain]] as const),
      ...extraRoots.map(extra => [extra.pem, extra.trustDomains ?? trustDomains] as const),
    ];
    const pool = new Map<string, Link>();
    const byDomain = new Map<string, Set<Link>>();
    for (const [pem, domains] of bundles) {
      const links = linksOf(pem, pool);
      for (const domain of domains)
        byDomain.set(domain, new Set([...(byDomain.get(domain) ?? []), ...links]));
    }
    const accepted = [...trustDomains, ...Object.keys(federated), ...extraRoots.flatMap(listed)];
    this.rootPem =
      bundles.length === 1 ? rootPem : [...pool.values()].map(({ x509 }) => x509.toString()).join('');
    this.crlPem = crlPem;
    this.trustDomains = [...new Set(accepted)];
    this.#pool = [...pool.values()];
    this.#bundles = byDomain;
    this.#own = new Set(own);
    this.#lists = crlPem === null ? null : listsOf(crlPem);
    this.expiredCrl = expiredCrl;
    const parts = [bundles, crlPem, this.trustDomains, expiredCrl];
    this.epoch = createHash('sha256').update(JSON.stringify(parts)).digest('hex');
  }

  refusal(peer: PeerIdentity, now: number): PeerRefusal | null {
    return now > peer.validUntil ? 'expired' : this.#standing(peer, now).reason;
  }

  /** Until when the answer of `refusal` stands for a peer that is not refused now; Unix milliseconds. */
  holds(peer: PeerIdentity, now: number): number {
    return Math.min(peer.validUntil, this.#standing(peer, now).holds);
  }

  validUntil(peer: PeerIdentity, now: number): number {
    return this.#standing(peer, now).until;
  }

  #standing(peer: PeerIdentity, now: number): Standing {
    const known = this.#standings.get(peer.chain);
    if (known && now <= known.holds) return known;
    const answer = this.#judge(peer, now);
    const standing = answer.ok
      ? { reason: null, until: answer.until, holds: Math.min(answer.until, this.#nextListEnds(now)) }
      : {
          reason: answer.reason,
          until: 0,
          holds: LASTING.has(answer.reason) ? Number.POSITIVE_INFINITY : now,
        };
    this.#standings.set(peer.chain, standing);
    return standing;
  }

  #nextListEnds(now: number): number {
    if (this.expiredCrl === 'keep' || this.#lists === null) return Number.POSITIVE_INFINITY;
    const ends = this.#lists.all.filter(list => !isOutOfDate(list, now)).map(({ nextUpdate }) => nextUpdate);
    return Math.min(...ends.filter(end => end !== null));
  }

  /**
   * Every root that the leaf's signatures lead to must vouch for the peer's trust domain, so that the one that OpenSSL
   * ended at did; CAs that sign across trust domains are refused with it. And one path must be good in every other way.
   */
  #judge({ id, chain }: PeerIdentity, now: number): PathAnswer {
    const bundle = this.#bundles.get(id.trustDomain);
    if (!bundle || !this.trustDomains.includes(id.trustDomain)) {
      return { ok: false, reason: 'foreign_trust_domain' };
    }
    const [leaf, ...signers] = chain.map(der => this.#linkOf(der));
    if (!leaf || signers.includes(null)) return { ok: false, reason: 'bad_chain' };
    const candidates = new Set([...signers.filter(signer => signer !== null), ...this.#pool]);
    const reach = reachOf(leaf, [...candidates]);
    const trusted = this.#pool.filter(link => reach.has(link));
    if (trusted.some(link => !bundle.has(link))) return { ok: false, reason: 'wrong_trust_root' };
    return longestPath({
      leaf,
      reach,
      isRoot: link => bundle.has(link),
      refusedBy: this.#revocation(id.trustDomain, [...bundle, ...reach.keys()], now),
      now,
    });
  }

  /** What the lists say of a certificate of this trust domain, whose CAs are `authorities`. */
  #revocation(trustDomain: string, authorities: readonly Link[], now: number) {
    const lists = this.#lists;
    if (lists === null) return () => null;
    const complete = this.#own.has(trustDomain) || authorities.some(link => lists.of(link).length > 0);
    return (issuer: Link, subject: Link): PeerRefusal | null => {
      const status = lists.status(subject, issuer, now);
      if (status === 'no_crl') return complete ? status : null;
      if (status === 'crl_expired') return this.expiredCrl === 'refuse' ? status : null;
      return status === 'revoked' ? status : null;
    };
  }

  #linkOf(der: Uint8Array): Link | null {
    const known = this.#pool.find(({ x509 }) => x509.raw.equals(der));
    return known ?? linkOf(der);
  }
}

/** What is wrong with a bundle, to finish a sentence that begins with its name; null when nothing is. */
export function bundleProblem(pem: string): string | null {
  try {
    return linksOf(pem, new Map()).length > 0 ? null : 'is empty';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function listed({ trustDomains }: ExtraRoots): readonly string[] {
  return trustDomains ?? [];
}

/** The certificates of a bundle; one that another bundle holds as well is the same object. */
function linksOf(pem: string, pool: Map<string, Link>): Link[] {
  if (pem === '') return [];
  const read = readPem(pem);
  if (!read.ok) throw new Error(`cannot be read as a trust bundle (${read.fault})`);
  return read.blocks.map(({ der }) => {
    const key = createHash('sha256').update(der).digest('hex');
    const link = pool.get(key) ?? linkOf(der);
    if (!link) throw new Error('holds what is no certificate of a trust bundle');
    pool.set(key, link);
    return link;
  });
}

/** Of the last text: a new configuration seldom brings new lists, and 100,000 entries take 50 ms to read. */
let last: { readonly pem: string; readonly lists: RevocationLists } | null = null;

function listsOf(pem: string): RevocationLists {
  if (last?.pem === pem) return last.lists;
  const read = readLists(pem);
  if (!read.ok) throw new Error(`the revocation lists: ${read.problem}`);
  last = { pem, lists: read.lists };
  return read.lists;
}
