/** An identity as the TLS layer takes it. */
import type { IdentityGeneration } from '../identity/svid.ts';
import type { TlsMaterial } from '../net/tls.ts';

/** Why a connection that needs the own certificate is refused while that is out of date. */
export const OWN_EXPIRED = 'own_certificate_expired';

/** Peers would refuse it with an alert that tells nobody why. `now` in Unix milliseconds. */
export function isExpired({ notAfter }: IdentityGeneration, now: number = Date.now()): boolean {
  return now >= notAfter;
}

export function materialOf(identity: IdentityGeneration): TlsMaterial {
  const { certChainPem, keyPem, rootPem, crlPem, generation, trustEpoch } = identity;
  return { certChainPem, keyPem, rootPem, crlPem, epoch: `${generation}-${trustEpoch.slice(0, 8)}` };
}
