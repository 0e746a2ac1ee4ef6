/** Policies whose selector fits none of the workloads that the files or the flags name. */
import type { SectionsOf } from './document.ts';
import { applies, type GivenWorkload, type Selecting } from './policy-scope.ts';
import type { Resources, ServiceEntry } from './resources.ts';

interface Known {
  readonly resources: Resources;
  readonly sections: SectionsOf;
  readonly workloads: readonly GivenWorkload[];
}

/** Warns where workloads are known around a policy and its selector fits none of them. */
export function warnOfSelectors({ resources, sections, workloads }: Known): void {
  const { mesh, peerAuthentications, authorizationPolicies, requestAuthentications } = resources;
  const own = peerAuthentications.filter(({ metadata }) => metadata.namespace !== mesh.rootNamespace);
  const attached = [...authorizationPolicies, ...requestAuthentications].filter(({ bound }) => !bound);
  for (const policy of [...own, ...attached]) {
    if (policy.selector === null) continue;
    const near = workloads.filter(workload => applies(everywhere(policy), workload, mesh.rootNamespace));
    if (near.length === 0 || near.some(workload => applies(policy, workload, mesh.rootNamespace))) continue;
    sections
      .get(policy)
      ?.warning('selector', `${misses(near.length)}, so that the policy has no effect; compare the labels`);
  }
}

function everywhere({ metadata }: Selecting): Selecting {
  return { metadata, selector: null };
}

function misses(workloads: number): string {
  return workloads === 1
    ? 'does not fit the workload that is given'
    : `fits none of the ${workloads} workloads that are given`;
}

/** The workloads that ServiceEntries name: endpoints with labels. */
export function endpointWorkloads(entries: readonly ServiceEntry[]): readonly GivenWorkload[] {
  return entries.flatMap(({ metadata, location, endpoints }) =>
    location === 'MESH_INTERNAL'
      ? endpoints
          .filter(({ labels }) => Object.keys(labels).length > 0)
          .map(({ labels }) => ({ namespace: metadata.namespace, labels }))
      : [],
  );
}
