import { quote } from './quote.ts';
import type { Section } from './section.ts';

const MAX_REFERENCES = 16; // Istio's custom resource definition
const MAX_NAME = 253;
const TARGETS = new Set([
  'core/Service',
  'networking.istio.io/ServiceEntry',
  'gateway.networking.k8s.io/Gateway',
  'gateway.networking.k8s.io/GatewayClass',
]);

/** Checks `targetRef` and `targetRefs`; true when the policy is bound to something, which a sidecar passes over. */
export function readTargetRefs(spec: Section): boolean {
  const single = spec.section('targetRef');
  const several = spec.sections('targetRefs');
  const ways = [spec.has('selector'), single !== null, several !== null].filter(Boolean).length;
  if (ways > 1) spec.fault('only one of selector, targetRef and targetRefs can be set');
  if (several && several.length > MAX_REFERENCES) {
    spec.error('targetRefs', `has more than ${MAX_REFERENCES} entries`);
  }
  const references = [...(single ? [single] : []), ...(several ?? [])];
  for (const reference of references) checkReference(reference);
  return references.length > 0;
}

/** Says that a sidecar passes over a policy that is bound to something. */
export function warnOfTargets(spec: Section): void {
  const field = spec.has('targetRef') ? 'targetRef' : 'targetRefs';
  spec.report.warning(
    spec.keyOf(field),
    'spec: a policy with targetRefs belongs to a gateway or waypoint; a sidecar passes it over',
  );
}

function checkReference(reference: Section): void {
  const group = reference.text('group') || 'core';
  const kind = reference.required('kind');
  const name = reference.required('name') ?? '';
  if ([...name].length > MAX_NAME) reference.error('name', `has more than ${MAX_NAME} characters`);
  if (reference.text('namespace'))
    reference.error('namespace', 'must not be set: a policy binds to its own namespace');
  reference.close();
  if (kind === null || TARGETS.has(`${group}/${kind}`)) return;
  reference.fault(`${quote(`${group}/${kind}`)} cannot be a target; one of ${[...TARGETS].join(', ')} can`);
}
