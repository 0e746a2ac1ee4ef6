/** An identity as the TLS layer takes it. */
import type { IdentityGeneration } from '../identity/svid.ts';
import type { Trust } from '../identity/trust.ts';
import type { TlsMaterial } from '../net/tls.ts';

/** Why a connection that needs the own certificate is refused while that is out of date. */
export const OWN_EXPIRED = 'own_certificate_expired';

/** Peers would refuse it with an alert that tells nobody why. `now` in Unix milliseconds. */
export function isExpired({ notAfter }: IdentityGeneration, now: number = Date.now()): boolean {
  return now >= notAfter;
}

/** What the own certificate is presented with, and whose peers are verified against. */
export function materialOf(
  { certChainPem, keyPem, generation }: IdentityGeneration,
  { rootPem, epoch }: Pick<Trust, 'rootPem' | 'epoch'>,
): TlsMaterial {
  return { certChainPem, keyPem, rootPem, epoch: `${generation}-${epoch}` };
}

/** Before it is in force, and whatever the mesh config says: against its own bundle. */
export function ownMaterialOf(identity: IdentityGeneration): TlsMaterial {
  return materialOf(identity, { ...identity, epoch: identity.trustEpoch });
}
