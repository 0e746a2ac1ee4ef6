/** X-Forwarded-Client-Cert as Istio's sidecar writes it (Envoy "x-forwarded-client-cert"): who the peer is, to the app. */
import type { PeerIdentity } from '../identity/peer.ts';

/** One element `By=…;Hash=…;Subject="…";URI=…`. */
export function clientCertElement(ownId: string, peer: PeerIdentity): string {
  return `By=${ownId};Hash=${peer.hash};Subject="${quoted(peer.subject)}";URI=${peer.id.uri}`;
}

/** Inside double quotes; anything that could end the line or the quotes is escaped or replaced. */
function quoted(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').replace(/["\\]/g, '\\$&');
}
