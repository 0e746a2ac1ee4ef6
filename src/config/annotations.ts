/** Annotations that Istio's validation looks at, whatever the kind. */
import type { ResourceDocument } from './document.ts';
import { quote } from './quote.ts';
import type { PolicyAction } from './resources.ts';

const DRY_RUN = 'istio.io/dry-run';
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

/** Istio refuses the annotation on every kind but AuthorizationPolicy. */
export function refuseDryRun(document: ResourceDocument): void {
  if (document.metadata.annotations[DRY_RUN] === undefined) return;
  refuse(document, `has no meaning on a ${document.kind}; remove it`);
}

function refuse({ root, report }: ResourceDocument, problem: string): void {
  report.error(root.at('metadata'), `metadata.annotations: ${DRY_RUN} ${problem}`);
}
