import { readRule } from './authorization-rule.ts';
import type { ResourceDocument } from './document.ts';
import { quote } from './quote.ts';
import type { AuthorizationPolicy, Rule } from './resources.ts';
import type { Section } from './section.ts';
import { readSelector } from './selector.ts';
import { readTargetRefs } from './target-refs.ts';
import type { Unsupported } from './unsupported.ts';

const ACTIONS = ['ALLOW', 'DENY', 'AUDIT', 'CUSTOM'] as const;
type Action = (typeof ACTIONS)[number];

const MAX_RULES = 512; // Istio's custom resource definition
const GO_TRUE = new Set(['1', 't', 'T', 'TRUE', 'true', 'True']);
const GO_FALSE = new Set(['0', 'f', 'F', 'FALSE', 'false', 'False']);

/** Reads an AuthorizationPolicy (security.istio.io); null when the report has an error or the policy cannot apply. */
export function readAuthorizationPolicy(document: ResourceDocument): AuthorizationPolicy | null {
  const { spec, metadata, origin, report } = document;
  const bound = readTargetRefs(spec);
  let whole = true;
  const unsupported: Unsupported = (place, what) => {
    whole = false;
    if (!bound) report.error(place, `${what}: not supported yet; the policy is refused`);
  };
  if (bound) report.warning(spec.keyOf(spec.has('targetRef') ? 'targetRef' : 'targetRefs'), BOUND_WARNING);
  const selector = readSelector(spec, 'selector');
  const action = readAction(spec, unsupported);
  checkDryRun(document, action, unsupported);
  const rules = readRules(spec, action, unsupported);
  spec.close();
  if (report.failed || !whole || action === 'AUDIT' || action === 'CUSTOM') return null;
  return {
    kind: 'AuthorizationPolicy',
    metadata,
    origin,
    selector,
    bound,
    action,
    provider: null,
    dryRun: false,
    rules,
  };
}

const BOUND_WARNING =
  'spec: a policy with targetRefs belongs to a gateway or waypoint; a sidecar passes it over';

function readAction(spec: Section, unsupported: Unsupported): Action {
  const action = spec.choice('action', ACTIONS) ?? 'ALLOW';
  if (action === 'AUDIT' || action === 'CUSTOM') unsupported(spec.at('action'), `spec.action: ${action}`);
  const provider = spec.section('provider');
  const name = provider?.text('name');
  provider?.close();
  if (action !== 'CUSTOM' && provider)
    spec.error('provider', `goes with action CUSTOM only, not with ${action}`);
  if (action === 'CUSTOM' && !name) spec.error('provider', 'action CUSTOM needs a provider.name');
  return action;
}

/** The annotation takes Go's booleans, on ALLOW and DENY; false is the same as none. */
function checkDryRun(
  { metadata, root, report }: ResourceDocument,
  action: Action,
  unsupported: Unsupported,
): void {
  const value = metadata.annotations['istio.io/dry-run'];
  if (value === undefined) return;
  const place = root.at('metadata');
  const path = 'metadata.annotations: istio.io/dry-run';
  if (action === 'AUDIT' || action === 'CUSTOM') report.error(place, `${path} goes with ALLOW and DENY only`);
  else if (GO_TRUE.has(value)) unsupported(place, path);
  else if (!GO_FALSE.has(value))
    report.error(place, `${path} must be "true" or "false", not ${quote(value)}`);
}

function readRules(spec: Section, action: Action, unsupported: Unsupported): readonly Rule[] {
  const sections = spec.sections('rules') ?? [];
  if (sections.length === 0 && (action === 'DENY' || action === 'CUSTOM')) {
    spec.error('rules', `${action} without rules never matches; add an empty rule {} to match every request`);
  }
  if (sections.length > MAX_RULES) spec.error('rules', `has more than ${MAX_RULES} rules`);
  return sections.map(section => {
    const rule = readRule(section, unsupported);
    if (action === 'DENY' && onlyHttp(rule))
      section.report.warning(section.place, `${section.path}: ${TCP_WARNING}`);
    return rule;
  });
}

const TCP_WARNING =
  'denies every connection to TCP ports too, because they have no HTTP attributes; add to.operation.ports';

/** Istio's own condition for its warning (validation.go): no TCP attribute where the rule has HTTP ones. */
function onlyHttp({ from, to }: Rule): boolean {
  const tcpFrom = from?.some(source => Object.keys(source).length > 0) ?? false;
  const tcpTo = to?.some(({ ports, notPorts }) => ports !== undefined || notPorts !== undefined) ?? false;
  return to ? !tcpTo : from !== null && !tcpFrom;
}
