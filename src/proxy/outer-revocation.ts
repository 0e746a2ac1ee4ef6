/** Revocation lists for servers that a DestinationRule describes by its own files (tls.mode SIMPLE and MUTUAL). */
import { readFileSync } from 'node:fs';
import { ServerRevocation } from '../identity/server-revocation.ts';
import type { Trust } from '../identity/trust.ts';
import { systemRoots } from '../net/tls-context.ts';
import type { UpstreamTls } from './route.ts';

/**
 * The lists of `caCrl`. A server that the workload's own bundle vouches for (MUTUAL without caCertificates) goes by the
 * workload's own lists unless the rule names others.
 *
 * @param roots PEM of caCertificates; null = the mode's own
 * @returns null when there are none to go by
 * @throws Error of node:fs, or one that says what is wrong with the file
 */
export function outerRevocation(
  { mode, caCrl }: Pick<UpstreamTls & { tls: true }, 'mode' | 'caCrl'>,
  roots: string | null,
  trust: Pick<Trust, 'rootPem' | 'crlPem' | 'expiredCrl'>,
): ServerRevocation | null {
  const byMesh = mode === 'MUTUAL' && roots === null;
  const crlPem = caCrl === null ? (byMesh ? trust.crlPem : null) : readFileSync(caCrl, 'latin1');
  if (crlPem === null) return null;
  const believed = byMesh ? [trust.rootPem] : roots === null ? systemRoots() : [roots];
  return new ServerRevocation({ roots: believed, crlPem, expiredCrl: trust.expiredCrl });
}
