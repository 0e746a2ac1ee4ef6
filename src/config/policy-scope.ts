/** Which workloads policies are about, as far as their namespaces and selectors tell. */
import type { Metadata, Selector, Workload } from './resources.ts';

/** A policy that selects workloads. */
export interface Selecting {
  readonly metadata: Pick<Metadata, 'namespace'>;
  readonly selector: Selector;
}

/** A workload that the files or the flags name. */
export type GivenWorkload = Pick<Workload, 'namespace' | 'labels'>;

/** True when the wide policy certainly applies wherever the narrow one does. */
export function appliesWherever(wide: Selecting, narrow: Selecting, rootNamespace: string): boolean {
  const { namespace } = wide.metadata;
  if (namespace !== rootNamespace && namespace !== narrow.metadata.namespace) return false;
  return Object.entries(wide.selector ?? {}).every(([key, value]) => narrow.selector?.[key] === value);
}

/** False when no workload can have both. */
export function mayMeet(a: Selecting, b: Selecting, rootNamespace: string): boolean {
  const [one, other] = [a.metadata.namespace, b.metadata.namespace];
  if (one !== other && one !== rootNamespace && other !== rootNamespace) return false;
  return Object.entries(a.selector ?? {}).every(([key, value]) => (b.selector?.[key] ?? value) === value);
}

/** True when the policy applies to the workload. */
export function applies(policy: Selecting, workload: GivenWorkload, rootNamespace: string): boolean {
  const { namespace } = policy.metadata;
  if (namespace !== rootNamespace && namespace !== workload.namespace) return false;
  return Object.entries(policy.selector ?? {}).every(([key, value]) => workload.labels[key] === value);
}
