/** The sidecar's own identity on the main thread: where it comes from, its lists, its age, and what the log says of them. */
import { CERTS_DIRS } from './config/pod-files.ts';
import type { RunSettings } from './config/settings.ts';
import { type ExpiryStage, ExpiryWatch } from './identity/expiry-watch.ts';
import { IDENTITY_FAULT_REASONS, type IdentityFault } from './identity/identity-fault.ts';
import { type MeshCrl, MeshLists } from './identity/mesh-lists.ts';
import type { IdentityEvents, IdentitySource } from './identity/source.ts';
import { IdentityStore } from './identity/store.ts';
import type { IdentityGeneration } from './identity/svid.ts';
import { WorkloadApiSource } from './identity/workload-api.ts';
import { proveIdentity } from './proxy/identity-proof.ts';
import { OWN_EXPIRED } from './proxy/material.ts';
import { log } from './telemetry/log.ts';

export class OwnIdentity {
  /** Every reason from the start: a rate sees the first failure only where there was a zero before. */
  readonly counts = {
    reloads: 0,
    failures: Object.fromEntries(IDENTITY_FAULT_REASONS.map(reason => [reason, 0])),
  };
  /** Resolves when an identity is in force. */
  readonly first: Promise<void>;
  readonly #source: IdentitySource;
  readonly #meshLists: MeshLists;
  readonly #expiry = new ExpiryWatch<IdentityGeneration>({ onStage: sayExpiry });
  readonly #onReplaced: (identity: IdentityGeneration) => void;
  readonly #isThere = Promise.withResolvers<void>();
  #current: IdentityGeneration | null = null;
  #closed = false;

  /** @param onReplaced takes each identity after the first */
  constructor(settings: RunSettings, onReplaced: (identity: IdentityGeneration) => void) {
    this.first = this.#isThere.promise;
    this.#onReplaced = onReplaced;
    this.#source = identitySource(settings, {
      dryRun: generation => proveIdentity(generation),
      onGeneration: generation => this.#take(generation),
      onFailure: fault => this.#miss(fault),
      onRecovery: ({ file, reason }) =>
        log.info('the certificates in force are good again', { file, was: reason }),
    });
    this.#meshLists = new MeshLists({ use: (source, said) => this.#source.useLists(source, said) });
  }

  /** The identity in force; null until the first good one. */
  get current(): IdentityGeneration | null {
    return this.#current;
  }

  /** Why what the source says now is not in force; null when it is. */
  get lastFailure(): IdentityFault | null {
    return this.#source.lastFailure;
  }

  /** Lists first: an identity under lists that cannot be read must not be in force for a moment. */
  async start(crl: MeshCrl): Promise<void> {
    await this.#meshLists.start(crl);
    if (!this.#closed) await this.#source.start();
  }

  /** The lists that the mesh config names from now on. */
  useMeshLists(crl: MeshCrl): void {
    void this.#meshLists.replace(crl);
  }

  /** Asks the source now. */
  reload(): void {
    void this.#source.reload();
  }

  close(): void {
    this.#closed = true;
    this.#meshLists.close();
    this.#source.close();
    this.#expiry.close();
  }

  #take(identity: IdentityGeneration): void {
    const first = this.#current === null;
    this.#current = identity;
    this.#expiry.watch(identity);
    if (first) {
      this.#isThere.resolve();
      return;
    }
    this.counts.reloads++;
    log.info('certificates replaced', {
      generation: identity.generation,
      id: identity.id,
      serial: identity.chain[0]?.serial,
      notAfter: new Date(identity.notAfter).toISOString(),
    });
    this.#onReplaced(identity);
  }

  #miss({ file, reason, message: detail }: IdentityFault): void {
    const { failures } = this.counts;
    failures[reason] = (failures[reason] ?? 0) + 1;
    log.warn(this.#current === null ? 'no identity yet' : keptBecause(reason), { file, reason, detail });
  }
}

/** The Workload API that the settings name, else a folder. */
function identitySource(settings: RunSettings, events: IdentityEvents): IdentitySource {
  const { workloadApi: endpoint, spiffeId } = settings;
  if (endpoint !== null) return new WorkloadApiSource({ endpoint, spiffeId, warn: log.warn, ...events });
  const dir = settings.certsDir ?? CERTS_DIRS[0] ?? './certs';
  if (settings.certsDir === null) {
    log.warn('no certificates found: waiting for them', { searched: CERTS_DIRS, watching: dir });
  }
  return new IdentityStore({ dir, ...events });
}

/** Nothing was refused where nothing came. */
function keptBecause(reason: IdentityFault['reason']): string {
  if (reason.startsWith('workload_api_')) return 'no new certificates, the last good ones stay in force';
  const what = reason.includes('crl') ? 'revocation lists' : 'certificates';
  return `${what} refused, the last good ones stay in force`;
}

/** What the log says when the own certificate grows old; in the same words for whoever searches it. */
function sayExpiry(stage: ExpiryStage, { id, generation, chain, notAfter }: IdentityGeneration): void {
  // The leaf, or an intermediate that ends before it.
  const ending = chain.find(certificate => certificate.notAfter === notAfter) ?? chain[0];
  const until = new Date(notAfter).toISOString();
  const fields = { id, serial: ending?.serial, subject: ending?.subject, generation, notAfter: until };
  if (stage === 'expired') {
    log.error('own certificate expired: open connections stay, new mutual TLS is refused', {
      ...fields,
      reason: OWN_EXPIRED,
    });
  } else {
    const left = `a ${stage} of its life`;
    const seconds = Math.max(0, Math.round((notAfter - Date.now()) / 1000));
    log.warn('own certificate nears its end and no new one came', { ...fields, left, secondsLeft: seconds });
  }
}
