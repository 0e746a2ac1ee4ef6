import { readDryRun } from './annotations.ts';
import { readRule } from './authorization-rule.ts';
import type { ResourceDocument } from './document.ts';
import type { AuthorizationPolicy, PolicyAction, Rule, Source } from './resources.ts';
import type { Section } from './section.ts';
import { readSelector } from './selector.ts';
import { readTargetRefs, warnOfTargets } from './target-refs.ts';

const ACTIONS = ['ALLOW', 'DENY', 'AUDIT', 'CUSTOM'] as const;
const MAX_RULES = 512; // Istio's custom resource definition

/** Reads an AuthorizationPolicy (security.istio.io); null when the report has an error. */
export function readAuthorizationPolicy(document: ResourceDocument): AuthorizationPolicy | null {
  const { spec, metadata, origin, report, sections } = document;
  const bound = readTargetRefs(spec);
  if (bound) warnOfTargets(spec);
  const selector = readSelector(spec, 'selector');
  const action = spec.choice('action', ACTIONS) ?? 'ALLOW';
  const provider = readProvider(spec, action);
  const dryRun = readDryRun(document, action);
  const rules = readRules(document, action);
  spec.close();
  if (report.failed) return null;
  const policy: AuthorizationPolicy = {
    kind: 'AuthorizationPolicy',
    metadata,
    origin,
    selector,
    bound,
    action,
    provider,
    dryRun,
    rules,
  };
  sections.set(policy, spec);
  return policy;
}

function readProvider(spec: Section, action: PolicyAction): string | null {
  const provider = spec.section('provider');
  const name = provider?.text('name') ?? '';
  provider?.close();
  if (action !== 'CUSTOM' && provider)
    spec.error('provider', `goes with action CUSTOM only, not with ${action}`);
  if (action === 'CUSTOM' && name === '') spec.error('provider', 'action CUSTOM needs a provider.name');
  return action === 'CUSTOM' ? name : null;
}

function readRules({ spec, sections }: ResourceDocument, action: PolicyAction): readonly Rule[] {
  const entries = spec.sections('rules') ?? [];
  if (entries.length === 0 && (action === 'DENY' || action === 'CUSTOM')) {
    spec.error('rules', `${action} without rules never matches; add an empty rule {} to match every request`);
  }
  if (entries.length > MAX_RULES) spec.error('rules', `has more than ${MAX_RULES} rules`);
  return entries.map(section => {
    const rule = readRule(section, action, sections);
    if (action === 'DENY' && onlyHttp(rule))
      section.report.warning(section.place, `${section.path}: ${TCP_WARNING}`);
    return rule;
  });
}

const TCP_WARNING =
  'denies every connection to TCP ports too, because they have no HTTP attributes; add to.operation.ports';

/** What Istio counts as holding on TCP; trustDomains do as well, but Istio's validation does not know. */
const TCP_FIELDS = [
  'principals',
  'notPrincipals',
  'namespaces',
  'notNamespaces',
  'serviceAccounts',
  'notServiceAccounts',
  'ipBlocks',
  'notIpBlocks',
  'remoteIpBlocks',
  'notRemoteIpBlocks',
] as const satisfies readonly (keyof Source)[];

/** Istio's own condition for its warning (validation.go): no TCP attribute where the rule has HTTP ones. */
function onlyHttp({ from, to }: Rule): boolean {
  const tcpFrom = from?.some(source => TCP_FIELDS.some(field => source[field] !== undefined)) ?? false;
  const tcpTo = to?.some(({ ports, notPorts }) => ports !== undefined || notPorts !== undefined) ?? false;
  return to ? !tcpTo : from !== null && !tcpFrom;
}
