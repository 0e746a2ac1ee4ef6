/** CUSTOM policies: which external authorizer is to be asked, and what becomes of rules that name none that can be. */
import { type CustomMatch, ruleDecision } from './decision.ts';
import { byId, type CompiledPolicy, type CompiledRule } from './rule.ts';

/** The rules that ask one provider. */
export interface CustomRules {
  readonly provider: string;
  readonly rules: readonly CustomRule[];
}

export interface CustomRule extends CompiledRule {
  readonly match: CustomMatch;
}

interface Providers {
  readonly providers: readonly { readonly name: string; readonly kind: 'http' | 'grpc' }[];
  readonly multipleProviders: boolean;
}

/** Sorts the CUSTOM policies of one workload by provider, in the order in which Envoy asks them. */
export function customRules(
  policies: readonly CompiledPolicy[],
  traffic: 'http' | 'tcp',
  mesh: Providers,
): CustomRules[] {
  const names = [...new Set(policies.map(policy => policy.provider ?? ''))].sort();
  const several = names.length > 1 && !mesh.multipleProviders;
  return names.map(provider => {
    const found = mesh.providers.find(({ name }) => name === provider);
    const bad = several
      ? `CUSTOM policies of one workload name several providers: ${names.join(', ')}`
      : found === undefined
        ? `no provider ${JSON.stringify(provider)} in extensionProviders`
        : null;
    // Envoy's HTTP authorizer has no filter for bytes: Istio leaves such policies out there.
    const silent = traffic === 'tcp' && bad === null && found?.kind === 'http';
    const never = silent ? `passed over: provider ${provider} is asked about HTTP only` : null;
    const rules = policies
      .filter(policy => (policy.provider ?? '') === provider)
      .flatMap(policy => policy[traffic])
      .map(rule => named(rule, { provider, bad, never }))
      .sort(byId);
    return { provider, rules };
  });
}

interface Fate {
  readonly provider: string;
  readonly bad: string | null;
  readonly never: string | null;
}

function named(rule: CompiledRule, { provider, bad, never }: Fate): CustomRule {
  const at = { provider, policy: rule.policy, rule: rule.index ?? 0 };
  const match: CustomMatch =
    bad === null ? { ...at, bad, decision: null } : { ...at, bad, decision: refusal(rule, provider) };
  return { ...rule, never: rule.never ?? never, match: Object.freeze(match) };
}

/** Istio's name for it: the rules become a DENY of their own. */
function refusal({ id, policy, index }: CompiledRule, provider: string) {
  const prefix = provider === '' ? 'istio-ext-authz-' : `istio-ext-authz-${provider}-`;
  const name = `${prefix}${id}-deny-due-to-bad-CUSTOM-action`;
  return ruleDecision({ allow: false, id: name, policy, rule: index ?? 0 });
}
