import { readDryRun } from './annotations.ts';
import { readRule } from './authorization-rule.ts';
import type { ResourceDocument } from './document.ts';
import { nearest } from './nearest.ts';
import type { AuthorizationPolicy, PolicyAction, Rule } from './resources.ts';
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
  const name = provider ? provider.text('name') : '';
  const absent = name === '' || !provider?.has('name');
  provider?.close();
  if (action !== 'CUSTOM' && provider)
    spec.error('provider', `goes with action CUSTOM only, not with ${action}`);
  if (action === 'CUSTOM' && absent) spec.error('provider', 'action CUSTOM needs a provider.name');
  return action === 'CUSTOM' ? name : null;
}

function readRules({ spec, sections }: ResourceDocument, action: PolicyAction): readonly Rule[] {
  const entries = spec.sections('rules') ?? [];
  // A misspelt `rules` is reported where it stands; to be told to add an empty rule besides would mislead.
  const misspelt = !spec.has('rules') && spec.names().some(name => nearest(name, ['rules']) !== null);
  if (entries.length === 0 && (action === 'DENY' || action === 'CUSTOM') && !misspelt) {
    spec.error('rules', `${action} without rules never matches; add an empty rule {} to match every request`);
  }
  if (entries.length > MAX_RULES) spec.error('rules', `has more than ${MAX_RULES} rules`);
  return entries.map(section => readRule(section, action, sections));
}
