/** What the admin ports say of the sidecar: whether it is ready, and whose certificates are in force. Never a key. */
import type { Fault } from './config/resources.ts';
import type { IdentityFault } from './identity/identity-fault.ts';
import type { CertificateSummary, IdentityGeneration } from './identity/svid.ts';

/** The main thread's state as the admin ports see it. */
export interface SidecarStatus {
  readonly identity: IdentityGeneration | null;
  /** Why what stands in the identity folder is not in force; null when it is. */
  readonly lastFailure: IdentityFault | null;
  /** Every listener is bound. */
  readonly ready: boolean;
  readonly draining: boolean;
  readonly config: {
    readonly generation: number;
    readonly reloads: number;
    readonly failures: number;
    readonly lastReloadSuccessful: boolean;
    /** Unix milliseconds. */
    readonly loadedAt: number;
  };
  /** Of the last reload that was refused; empty after a good one. */
  readonly faults: readonly Fault[];
  readonly workers: number;
}

/**
 * `/healthz/ready`: `LIVE`, or why not; `detail` is for `?verbose`.
 *
 * @param now Unix milliseconds
 */
export function readiness(
  status: SidecarStatus,
  now: number = Date.now(),
): {
  ok: boolean;
  reason: string;
  detail: Readonly<Record<string, unknown>>;
} {
  const { identity, lastFailure, config } = status;
  const reason = reasonOf(status, now);
  return {
    ok: reason === 'LIVE',
    reason,
    detail: {
      id: identity?.id ?? null,
      notAfter: identity === null ? null : iso(identity.notAfter),
      certificates: { generation: identity?.generation ?? 0, lastError: lastFailure },
      config: { ...config, loadedAt: iso(config.loadedAt), faults: status.faults },
      workers: status.workers,
    },
  };
}

function reasonOf({ identity, lastFailure, ready, draining }: SidecarStatus, now: number): string {
  if (draining) return 'draining';
  if (identity === null) return lastFailure?.message ?? 'no identity loaded yet';
  if (!ready) return 'listeners not bound yet';
  return identity.notAfter <= now ? `certificate expired ${iso(identity.notAfter)}` : 'LIVE';
}

/** `/certs`: own chain, trust bundle, and the revocation lists in force. */
export function certificates({ identity, lastFailure }: SidecarStatus): unknown {
  if (identity === null) return { generation: 0, lastError: lastFailure };
  const { generation, id, chain, roots, trustEpoch } = identity;
  return {
    generation,
    id,
    notBefore: iso(identity.notBefore),
    notAfter: iso(identity.notAfter),
    loadedAt: iso(identity.loadedAt),
    trustEpoch,
    chain: chain.map(dated),
    roots: roots.map(dated),
    crls: identity.crls.map(list => ({
      ...list,
      thisUpdate: iso(list.thisUpdate),
      nextUpdate: list.nextUpdate === null ? null : iso(list.nextUpdate),
    })),
    lastError: lastFailure,
  };
}

function dated(summary: CertificateSummary): unknown {
  return { ...summary, notBefore: iso(summary.notBefore), notAfter: iso(summary.notAfter) };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
