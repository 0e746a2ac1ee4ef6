/** Revocation for servers outside the mesh (DestinationRule tls.caCrl), and for those that the mesh's roots vouch for. */
import { type Link, linkOf } from './chain.ts';
import type { PeerRefusal } from './peer.ts';
import { type RevocationLists, readLists } from './revocation.ts';
import { longestPath, reachOf } from './trust-path.ts';

export interface ServerRevocationParts {
  /** PEM of the roots that the server is verified against; what cannot be read among them vouches for nobody. */
  readonly roots: readonly string[];
  /** PEM; every CA on the way to the root needs a list, as in Envoy. */
  readonly crlPem: string;
  readonly expiredCrl: 'keep' | 'refuse';
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

export class ServerRevocation {
  readonly #roots: readonly Link[];
  readonly #lists: RevocationLists;
  readonly #expiredCrl: ServerRevocationParts['expiredCrl'];

  /** @throws Error that says what is wrong with the lists */
  constructor({ roots, crlPem, expiredCrl }: ServerRevocationParts) {
    const read = readLists(crlPem);
    if (!read.ok) throw new Error(`the revocation lists: ${read.problem}`);
    this.#lists = read.lists;
    this.#roots = roots.flatMap(pem => pem.match(CERTIFICATE) ?? []).flatMap(pem => linkOf(pem) ?? []);
    this.#expiredCrl = expiredCrl;
  }

  /**
   * What speaks against a server whose chain OpenSSL found good; null = nothing.
   *
   * @param der of its certificate
   * @param signers DER of what came with it
   * @param now Unix milliseconds
   */
  refusal(der: Uint8Array, signers: readonly Uint8Array[], now: number): PeerRefusal | null {
    const leaf = linkOf(der);
    if (!leaf) return 'malformed_certificate';
    const came = signers.flatMap(signer => linkOf(signer) ?? []);
    const roots = new Set(this.#roots);
    const path = longestPath({
      leaf,
      reach: reachOf(leaf, [...came, ...roots]),
      isRoot: link => roots.has(link),
      refusedBy: (issuer, subject) => this.#refusedBy(issuer, subject, now),
      now,
    });
    return path.ok ? null : path.reason;
  }

  #refusedBy(issuer: Link, subject: Link, now: number): PeerRefusal | null {
    const status = this.#lists.status(subject, issuer, now);
    if (status === 'good' || (status === 'crl_expired' && this.#expiredCrl === 'keep')) return null;
    return status;
  }
}
