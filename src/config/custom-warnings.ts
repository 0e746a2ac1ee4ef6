/** CUSTOM policies that deny because of their provider. */

import type { SectionsOf } from './document.ts';
import { nearest } from './nearest.ts';
import { applies, appliesWherever, type GivenWorkload } from './policy-scope.ts';
import { quote } from './quote.ts';
import type { AuthorizationPolicy, Resources } from './resources.ts';

interface Known {
  readonly resources: Resources;
  readonly sections: SectionsOf;
  readonly workloads: readonly GivenWorkload[];
}

/** Warns of providers that the mesh config does not define, and of several on one workload. */
export function warnOfProviders({ resources, sections, workloads }: Known): void {
  const { mesh, authorizationPolicies } = resources;
  const custom = authorizationPolicies.filter(({ action, bound }) => action === 'CUSTOM' && !bound);
  for (const [i, policy] of custom.entries()) {
    const section = sections.get(policy)?.section('provider');
    const name = policy.provider ?? '';
    if (!mesh.extensionProviders.some(provider => provider.name === name)) {
      const meant = nearest(
        name,
        mesh.extensionProviders.map(provider => provider.name),
      );
      const remedy = meant === null ? 'define it under extensionProviders' : `did you mean ${quote(meant)}?`;
      section?.warning(
        'name',
        `${quote(name)} is no usable provider of ${config(resources)}: whatever the rules match is denied; ${remedy}`,
      );
      continue;
    }
    const other = custom.slice(0, i).find(earlier => earlier.provider !== name && meet(earlier, policy));
    if (other)
      section?.warning(
        'name',
        `${nameOf(other)} asks provider ${quote(other.provider ?? '')} about the same workload: with several providers whatever the rules of both match is denied, as in Istio; keep one`,
      );
  }

  function meet(a: AuthorizationPolicy, b: AuthorizationPolicy): boolean {
    const { rootNamespace } = mesh;
    if (appliesWherever(a, b, rootNamespace) || appliesWherever(b, a, rootNamespace)) return true;
    return workloads.some(one => applies(a, one, rootNamespace) && applies(b, one, rootNamespace));
  }
}

function config({ mesh }: Resources): string {
  return mesh.origin === null
    ? 'the mesh config, of which these files have none'
    : `the mesh config (${mesh.origin.file})`;
}

function nameOf({ metadata, origin }: AuthorizationPolicy): string {
  return `${metadata.namespace}/${metadata.name} (${origin.file}:${origin.line})`;
}
