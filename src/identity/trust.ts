/**
 * Whom this workload believes, as one immutable object: roots and the trust domains that they vouch for, revocation
 * lists. It changes when the identity's bundle changes and when the mesh config does.
 */
import { createHash } from 'node:crypto';
import type { PeerIdentity, PeerRefusal, PeerTrust } from './peer.ts';
import type { IdentityGeneration } from './svid.ts';

export interface TrustParts {
  readonly identity: Pick<IdentityGeneration, 'rootPem' | 'crlPem'>;
  /** The mesh's trust domain and its aliases, for which the identity's own bundle vouches. */
  readonly trustDomains: readonly string[];
}

export class Trust implements PeerTrust {
  /** Hex hash of everything that the judgement depends on; another epoch may judge otherwise. */
  readonly epoch: string;
  /** All roots, for OpenSSL, which knows nothing of trust domains. */
  readonly rootPem: string;
  readonly crlPem: string | null;
  readonly trustDomains: readonly string[];

  constructor({ identity, trustDomains }: TrustParts) {
    this.rootPem = identity.rootPem;
    this.crlPem = identity.crlPem;
    this.trustDomains = trustDomains;
    const parts = [identity.rootPem, identity.crlPem, trustDomains];
    this.epoch = createHash('sha256').update(JSON.stringify(parts)).digest('hex');
  }

  refusal(peer: PeerIdentity, now: number): PeerRefusal | null {
    if (now > peer.validUntil) return 'expired';
    return this.trustDomains.includes(peer.id.trustDomain) ? null : 'foreign_trust_domain';
  }
}
