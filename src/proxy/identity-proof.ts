/**
 * The last try before an identity is in force: a handshake with itself in memory, both ways, through the code that will
 * carry traffic. What only OpenSSL or the judge of peers refuses must not reach a worker.
 */
import { judgePeer, type PeerIdentity, type PeerTrust } from '../identity/peer.ts';
import type { IdentityGeneration } from '../identity/svid.ts';
import type { Judge } from '../net/tls.ts';
import { handshakeInMemory } from '../net/tls-memory.ts';
import { DEFAULT_TLS, type TlsVersion } from '../net/tls-settings.ts';
import { ownMaterialOf } from './material.ts';

const VERSIONS: readonly TlsVersion[] = ['TLSv1.3', 'TLSv1.2'];
/** TLS 1.2 binds the key's curve to the groups of the key exchange: P-384 is for TLS 1.3 only, and no worse for that. */
const KIND_OF_KEY = 'no_shared_cipher';
/** OpenSSL knows the machine's clock only. */
const DATES = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']);
const TIMEOUT_MS = 5_000; // takes 10 ms; a machine that is slower than this is asked again

/**
 * Proves that peers which trust the same bundle believe this identity, as a client and as a server. Revocation lists are
 * left out: one that names the own certificate must come into force all the same.
 *
 * @param now Unix milliseconds, when another time than the present is asked about; the dates of the signers are the
 *   caller's affair then
 * @throws Error that says in which role and version it fails, and the reason as peers would see it
 */
export async function proveIdentity(identity: IdentityGeneration, now?: number): Promise<void> {
  const material = ownMaterialOf({ ...identity, crlPem: null });
  const trust: PeerTrust = { trustDomains: [identity.trustDomain], refusal: () => null };
  for (const version of VERSIONS) {
    const outcome = await handshakeInMemory({
      material,
      tls: { ...DEFAULT_TLS, minVersion: version, maxVersion: version },
      judgeClient: judgeOf(trust, 'client', now),
      judgeServer: judgeOf(trust, 'server', now),
      timeoutMs: TIMEOUT_MS,
    });
    if (!outcome.ok && version === 'TLSv1.2' && outcome.reason === KIND_OF_KEY) continue;
    if (!outcome.ok)
      throw new Error(`a ${outcome.side} that meets it over ${version} says ${outcome.reason}`);
    for (const { id } of [outcome.client, outcome.server]) {
      if (id.uri !== identity.id) throw new Error(`it shows ${JSON.stringify(id.uri)} over ${version}`);
    }
  }
}

function judgeOf(trust: PeerTrust, role: 'client' | 'server', asked?: number): Judge<PeerIdentity> {
  return ({ der, signers, authorizationError: error }) => {
    const authorizationError = asked !== undefined && error !== null && DATES.has(error) ? null : error;
    const now = asked ?? Date.now();
    const verdict = judgePeer({ der, signers, authorizationError, trust, role, now });
    return verdict.ok ? { ok: true, value: verdict.peer } : verdict;
  };
}
