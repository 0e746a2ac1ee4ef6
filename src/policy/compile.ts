/**
 * AuthorizationPolicy, compiled at load (Istio's authz model and builder): the policies that concern one workload, sorted
 * by what they do, with every decision that can come out made beforehand.
 */
import type { AuthorizationPolicy } from '../config/resources.ts';
import type { Traffic } from './clauses.ts';
import { type CustomRules, compileCustom } from './custom.ts';
import { ALLOWED, type Decision, nothingMatched } from './decision.ts';
import { HeaderSlots, Reading } from './reading.ts';
import { byId, type CompiledRule, compilePolicy } from './rule.ts';
import { type Selected, selectAuthorization } from './select.ts';
import { Sieve } from './sieve.ts';

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
  /** For DENY and ALLOW rules; null where there are no requests. */
  readonly sieve: Sieve | null;
}

/** The rules of one policy. */
export interface PolicyRules {
  readonly policy: string;
  readonly action: AuthorizationPolicy['action'];
  readonly rules: readonly CompiledRule[];
}

export interface Authorization {
  readonly http: RuleSet;
  /** The same policies where there are no requests: ALLOW rules lose, the others widen (Istio's TCP translation). */
  readonly tcp: RuleSet;
}

/** Selects and compiles what holds for one workload. */
export function compileAuthorization({ policies, workload, mesh }: AuthorizationSource): Authorization {
  const selected = selectAuthorization(policies, workload, mesh.rootNamespace);
  const trustDomains = [mesh.trustDomain, ...mesh.trustDomainAliases];
  return {
    http: compileRules(selected, mesh, { tcp: false, trustDomains, slots: new HeaderSlots(), seats: 0 }),
    tcp: compileRules(selected, mesh, { tcp: true, trustDomains, slots: new HeaderSlots(), seats: 0 }),
  };
}

function compileRules(policies: readonly AuthorizationPolicy[], mesh: PolicyMesh, traffic: Traffic): RuleSet {
  const tried = policies.filter(onTrial);
  const enforced = policies.filter(policy => !onTrial(policy));
  const of = (action: AuthorizationPolicy['action'], all: readonly AuthorizationPolicy[]) =>
    all.filter(policy => policy.action === action);
  const deny = compileList(of('DENY', enforced), traffic);
  const allow = compileList(of('ALLOW', enforced), traffic);
  const sieve = traffic.tcp ? null : new Sieve([...deny, ...allow], traffic.seats);
  // One ALLOW policy, even one that can never match, turns on default deny; one under dry-run does not.
  const names = [...new Set(allow.map(rule => rule.policy))];
  return {
    custom: compileCustom(of('CUSTOM', enforced), mesh, traffic),
    audit: compileEach(of('AUDIT', enforced), traffic),
    deny,
    allow,
    dryRun: [...compileEach(of('DENY', tried), traffic), ...compileEach(of('ALLOW', tried), traffic)],
    otherwise: names.length > 0 ? nothingMatched(names) : ALLOWED,
    reading: new Reading(traffic.slots),
    sieve,
  };
}

/** The annotation has a meaning with ALLOW and DENY only; elsewhere it must not switch a policy off. */
function onTrial({ action, dryRun }: AuthorizationPolicy): boolean {
  return dryRun && (action === 'ALLOW' || action === 'DENY');
}

function compileList(policies: readonly AuthorizationPolicy[], traffic: Traffic): CompiledRule[] {
  return policies.flatMap(policy => compilePolicy(policy, traffic)).sort(byId);
}

function compileEach(policies: readonly AuthorizationPolicy[], traffic: Traffic): PolicyRules[] {
  const all = policies.map(policy => {
    const { namespace, name } = policy.metadata;
    const rules = compilePolicy(policy, traffic).sort(byId);
    return { policy: `${namespace}/${name}`, action: policy.action, rules };
  });
  return all.sort((a, b) => byId(a.rules[0] as CompiledRule, b.rules[0] as CompiledRule));
}
