/** Whom this workload believes: its identity's bundles, under the mesh config in force. */
import type { MeshConfig } from '../config/resources.ts';
import type { RunSettings } from '../config/settings.ts';
import { readLists } from '../identity/revocation.ts';
import type { IdentityGeneration } from '../identity/svid.ts';
import { bundleProblem, Trust } from '../identity/trust.ts';
import type { Snapshot } from './snapshot.ts';

/** @throws Error when a bundle or a revocation list cannot be read, which their readers have made sure of before */
export function trustOf(
  identity: IdentityGeneration,
  { resources }: Pick<Snapshot, 'resources'>,
  { expiredCrl }: Pick<RunSettings, 'expiredCrl'>,
): Trust {
  const { trustDomain, trustDomainAliases, caCertificates } = resources.mesh;
  return new Trust({
    identity,
    trustDomains: [trustDomain, ...trustDomainAliases],
    extraRoots: caCertificates,
    expiredCrl,
  });
}

/**
 * Reads what the mesh config says of whom to believe, strictly.
 *
 * @throws Error that names the field
 */
export function checkTrust({ caCertificates, caCrl }: MeshConfig): void {
  for (const [at, { pem }] of caCertificates.entries()) {
    const problem = bundleProblem(pem);
    if (problem !== null) throw new Error(`caCertificates[${at}].pem ${problem}`);
  }
  if (caCrl === null || 'path' in caCrl) return;
  const read = readLists(caCrl.pem);
  if (!read.ok) throw new Error(`caCrl: ${read.problem}`);
}
