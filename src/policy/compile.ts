/**
 * AuthorizationPolicy, compiled at load (Istio's authz model and builder): the policies that concern one workload, sorted
 * by what they do, with every decision that can come out made beforehand.
 */
import type { AuthorizationPolicy, PolicyAction } from '../config/resources.ts';
import { type CustomRules, customRules } from './custom.ts';
import { ALLOWED, type Decision, nothingMatched } from './decision.ts';
import { HeaderSlots, Reading } from './reading.ts';
import { byId, type CompiledPolicy, type CompiledRule, compilePolicy, type RuleContext } from './rule.ts';
import { type Selected, selectAuthorization } from './select.ts';
import { FEW, Sieve } from './sieve.ts';

export interface AuthorizationSource {
  readonly policies: readonly AuthorizationPolicy[];
  readonly workload: Selected;
  readonly mesh: PolicyMesh;
}

/** What MeshConfig says that policy depends on. */
export interface PolicyMesh {
  readonly rootNamespace: string;
  readonly trustDomain: string;
  readonly trustDomainAliases: readonly string[];
  /** The external authorizers that CUSTOM policies may name. */
  readonly providers: readonly { readonly name: string; readonly kind: 'http' | 'grpc' }[];
  /** Istio's PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS: CUSTOM policies of one workload may name several. */
  readonly multipleProviders: boolean;
}

/** All rules that count for one kind of traffic, each list in the order in which a match is named. */
export interface RuleSet {
  /** By provider, in the order in which they are asked. */
  readonly custom: readonly CustomRules[];
  readonly audit: readonly PolicyRules[];
  readonly deny: readonly CompiledRule[];
  readonly allow: readonly CompiledRule[];
  /** Policies under dry-run, DENY before ALLOW: evaluated, never enforced. */
  readonly dryRun: readonly PolicyRules[];
  /** The decision when no rule matches. */
  readonly otherwise: Decision;
  /** The request that is being decided. */
  readonly reading: Reading;
  readonly sieves: Sieves;
}

/** For finding the rules that are worth asking; null where there are few of them, or no requests. */
export interface Sieves {
  readonly custom: Sieve | null;
  readonly findings: Sieve | null;
  readonly decision: Sieve | null;
}

/** The rules of one policy. */
export interface PolicyRules {
  readonly policy: string;
  readonly action: PolicyAction;
  readonly rules: readonly CompiledRule[];
}

export interface Authorization {
  readonly http: RuleSet;
  /** The same policies where there are no requests. */
  readonly tcp: RuleSet;
}

/** Selects and compiles what holds for one workload. */
export function compileAuthorization({ policies, workload, mesh }: AuthorizationSource): Authorization {
  const context: RuleContext = {
    trustDomains: [mesh.trustDomain, ...mesh.trustDomainAliases],
    slots: new HeaderSlots(),
    seats: 0,
  };
  const selected = selectAuthorization(policies, workload, mesh.rootNamespace);
  const compiled = selected.map(policy => compilePolicy(policy, context));
  return { http: ruleSet(compiled, 'http', mesh, context), tcp: ruleSet(compiled, 'tcp', mesh, context) };
}

function ruleSet(
  policies: readonly CompiledPolicy[],
  traffic: 'http' | 'tcp',
  mesh: PolicyMesh,
  context: RuleContext,
): RuleSet {
  const of = (action: PolicyAction, dryRun: boolean) =>
    policies.filter(policy => policy.action === action && policy.dryRun === dryRun);
  const rulesOf = (action: PolicyAction) =>
    of(action, false)
      .flatMap(policy => policy[traffic])
      .sort(byId);
  const each = (action: PolicyAction, dryRun: boolean) =>
    of(action, dryRun)
      .map(policy => ({ policy: policy.policy, action, rules: policy[traffic] }))
      .sort((a, b) => byId(a.rules[0] as CompiledRule, b.rules[0] as CompiledRule));
  const sieveOf = (rules: readonly CompiledRule[]) =>
    traffic === 'tcp' || rules.length <= FEW ? null : new Sieve(rules, context.seats);
  const custom = customRules(of('CUSTOM', false), traffic, mesh);
  const audit = each('AUDIT', false);
  const deny = rulesOf('DENY');
  const allow = rulesOf('ALLOW');
  const dryRun = [...each('DENY', true), ...each('ALLOW', true)];
  // One ALLOW policy, even one that can never match, turns on default deny; one under dry-run does not.
  const names = [...new Set(allow.map(rule => rule.policy))];
  return {
    custom,
    audit,
    deny,
    allow,
    dryRun,
    otherwise: names.length > 0 ? nothingMatched(names) : ALLOWED,
    reading: new Reading(context.slots),
    sieves: {
      custom: sieveOf(custom.flatMap(({ rules }) => rules)),
      findings: sieveOf([...audit, ...dryRun].flatMap(({ rules }) => rules)),
      decision: sieveOf([...deny, ...allow]),
    },
  };
}
