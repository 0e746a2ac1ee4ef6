/** Who a client is: after a whole handshake, and after a resumed one, which shows the leaf of an earlier handshake. */
import { hash } from 'node:crypto';
import type { BelievedChains } from '../identity/believed-chains.ts';
import { judgePeer, type PeerIdentity, type PeerTrust } from '../identity/peer.ts';
import type { HandshakeFacts, Judgement } from '../net/tls.ts';

/**
 * Why a resumed client is refused whose chain nobody knows any more: it was believed, or it would hold no ticket, but more
 * clients came since than the ring has room for. It would be judged without its signers.
 */
export const UNKNOWN_SESSION = 'unknown_session';

export interface ClientJudge {
  readonly trust: PeerTrust;
  /** Of all threads. */
  readonly believed: BelievedChains;
  /** Unix milliseconds, by default the clock. */
  readonly now?: number;
}

/** The same questions in both cases, asked anew: dates, chain, revocation, trust domain. */
export function judgeClient(facts: HandshakeFacts, by: ClientJudge): Judgement<PeerIdentity> {
  const { trust, believed, now = Date.now() } = by;
  const { der, resumed, authorizationError } = facts;
  let { signers } = facts;
  if (resumed && der !== null) {
    const chain = believed.find(hash('sha256', der, 'hex'));
    if (chain === null) return { ok: false, reason: UNKNOWN_SESSION };
    signers = () => chain.slice(1);
  }
  const verdict = judgePeer({ der, signers, authorizationError, trust, role: 'client', now });
  if (!verdict.ok) return verdict;
  // Before this returns, and so before a ticket leaves.
  if (!resumed) believed.add(verdict.peer.hash, verdict.peer.chain);
  return { ok: true, value: verdict.peer };
}
