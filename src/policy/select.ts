/** Which policies concern a workload (Istio's authorization and peer-authentication selection). */
import type {
  AuthorizationPolicy,
  JwtRule,
  RequestAuthentication,
  Selector,
  Workload,
} from '../config/resources.ts';

/** Where a workload lives and what its labels are. */
export type Selected = Pick<Workload, 'namespace' | 'labels'>;

/** Whether every pair of matchLabels is on the workload; no selector selects everything. */
export function selects(selector: Selector, labels: Readonly<Record<string, string>>): boolean {
  if (selector === null) return true;
  for (const [name, value] of Object.entries(selector)) {
    if (!Object.hasOwn(labels, name) || labels[name] !== value) return false;
  }
  return true;
}

/**
 * Policies of the root namespace (their selectors reach into every namespace) and of the workload's own.
 * One with targetRefs is for gateways and waypoints: a sidecar passes over it.
 */
export function selectAuthorization(
  policies: readonly AuthorizationPolicy[],
  workload: Selected,
  rootNamespace: string,
): AuthorizationPolicy[] {
  return policies.filter(
    ({ bound, metadata, selector }) =>
      !bound &&
      (metadata.namespace === rootNamespace || metadata.namespace === workload.namespace) &&
      selects(selector, workload.labels),
  );
}

/**
 * The JWT rules that hold for a workload, selected as AuthorizationPolicies are and pooled in Istio's order: the
 * workload's namespace before the root namespace, in each the oldest policy first, then by name.
 */
export function selectAuthentication(
  policies: readonly RequestAuthentication[],
  workload: Selected,
  rootNamespace: string,
): JwtRule[] {
  const selected = policies.filter(
    ({ bound, metadata, selector }) =>
      !bound &&
      (metadata.namespace === rootNamespace || metadata.namespace === workload.namespace) &&
      selects(selector, workload.labels),
  );
  const isForeign = ({ metadata }: RequestAuthentication) =>
    Number(metadata.namespace !== workload.namespace);
  selected.sort(
    (a, b) =>
      isForeign(a) - isForeign(b) ||
      a.metadata.createdAt - b.metadata.createdAt ||
      (a.metadata.name < b.metadata.name ? -1 : 1),
  );
  return selected.flatMap(({ jwtRules }) => jwtRules);
}
