import type { Fault, PeerAuthentication, Resources } from './resources.ts';

/**
 * Warnings about resources that are each in order and yet do nothing: a PeerAuthentication with a selector in the root
 * namespace, and all but the oldest (then the first by name) of several at one level. Istio passes them over in silence.
 */
export function overlapWarnings({ mesh, peerAuthentications }: Resources): readonly Fault[] {
  const warnings: Fault[] = [];
  const winners = new Map<string, PeerAuthentication>();
  for (const policy of [...peerAuthentications].sort(byAge)) {
    const { namespace } = policy.metadata;
    if (namespace === mesh.rootNamespace && policy.selector) {
      warnings.push(
        warning(policy, `has no effect: one with a selector in the root namespace (${namespace}) is ignored`),
      );
      continue;
    }
    const level = JSON.stringify([namespace, Object.entries(policy.selector ?? {}).sort()]);
    const winner = winners.get(level);
    if (!winner) winners.set(level, policy);
    else {
      const reason =
        winner.metadata.createdAt < policy.metadata.createdAt ? 'is older' : 'comes first by name';
      warnings.push(
        warning(policy, `has no effect: ${winner.metadata.name} selects the same workloads and ${reason}`),
      );
    }
  }
  return warnings;
}

function byAge(a: PeerAuthentication, b: PeerAuthentication): number {
  if (a.metadata.createdAt !== b.metadata.createdAt) return a.metadata.createdAt - b.metadata.createdAt;
  return a.metadata.name < b.metadata.name ? -1 : 1;
}

function warning({ kind, metadata, origin }: PeerAuthentication, message: string): Fault {
  const name = `${metadata.namespace}/${metadata.name}`;
  return { ...origin, severity: 'warning', kind, name, message };
}
