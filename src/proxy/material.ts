/** An identity as the TLS layer takes it. */
import type { IdentityGeneration } from '../identity/svid.ts';
import type { TlsMaterial } from '../net/tls.ts';

export function materialOf(identity: IdentityGeneration): TlsMaterial {
  const { certChainPem, keyPem, rootPem, crlPem, generation, trustEpoch } = identity;
  return { certChainPem, keyPem, rootPem, crlPem, epoch: `${generation}-${trustEpoch.slice(0, 8)}` };
}
