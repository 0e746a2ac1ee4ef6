/** Annotations that Istio's validation looks at, whatever the kind. */
import type { ResourceDocument } from './document.ts';
import { quote } from './quote.ts';
import type { Metadata, PolicyAction } from './resources.ts';
import type { Section } from './section.ts';

const DRY_RUN = 'istio.io/dry-run';
/** Istio's webhook refuses them on whatever they stand. */
const RESERVED = [
  'internal.istio.io/webhook-always-reject',
  'internal.istio.io/parents',
  'internal.istio.io/parent-namespace',
];
const GO_TRUE = new Set(['1', 't', 'T', 'TRUE', 'true', 'True']); // strconv.ParseBool
const GO_FALSE = new Set(['0', 'f', 'F', 'FALSE', 'false', 'False']);

/** True when an AuthorizationPolicy is under dry-run; the annotation goes with ALLOW and DENY, and false is none. */
export function readDryRun(document: ResourceDocument, action: PolicyAction): boolean {
  const value = document.metadata.annotations[DRY_RUN];
  if (value === undefined) return false;
  if (action === 'AUDIT' || action === 'CUSTOM') {
    refuse(document, `goes with ALLOW and DENY only, not with ${action}`);
  } else if (!GO_TRUE.has(value) && !GO_FALSE.has(value)) {
    refuse(document, `must be "true" or "false", not ${quote(value)}`);
  }
  return GO_TRUE.has(value);
}

/** Reports annotations that only Istio itself may set. */
export function refuseReserved(metadata: Section, annotations: Metadata['annotations']): void {
  const found = RESERVED.find(name => annotations[name] !== undefined);
  if (found !== undefined) metadata.error('annotations', `${found} may not be set; remove it`);
}

/** Istio refuses the annotation on every kind but AuthorizationPolicy. */
export function refuseDryRun(document: ResourceDocument): void {
  if (document.metadata.annotations[DRY_RUN] === undefined) return;
  refuse(document, `has no meaning on a ${document.kind}; remove it`);
}

function refuse({ root, report }: ResourceDocument, problem: string): void {
  report.error(root.at('metadata'), `metadata.annotations: ${DRY_RUN} ${problem}`);
}
