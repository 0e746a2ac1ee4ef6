/**
 * AuthorizationPolicy, compiled at load (Istio's authz model and builder): what a rule asks is sorted into what the
 * connection answers and what each request answers, and every decision that can come out is made beforehand.
 *
 * A rule holds when all its groups do: `from`, `to` and `when`. A group holds when one of its alternatives does (one
 * source, one operation); an alternative when all its clauses do.
 */
import type { AuthorizationPolicy, Operation, Rule, Source } from '../config/resources.ts';
import { compileClause, type FieldValues, OPERATION_FIELDS, SOURCE_FIELDS, subjectOf } from './clauses.ts';
import { ALLOWED, type Decision, nothingMatched, ruleDecision } from './decision.ts';
import type { ConnectionClause, RequestClause } from './match.ts';
import { type Selected, selectAuthorization } from './select.ts';

export interface AuthorizationSource {
  readonly policies: readonly AuthorizationPolicy[];
  readonly workload: Selected;
  readonly mesh: MeshNames;
}

/** What MeshConfig says about names. */
export interface MeshNames {
  readonly rootNamespace: string;
  readonly trustDomain: string;
  readonly trustDomainAliases: readonly string[];
}

export interface Alternative {
  readonly connection: readonly ConnectionClause[];
  readonly request: readonly RequestClause[];
}

export interface Group {
  readonly alternatives: readonly Alternative[];
  /** The alternatives when only requests are asked about, to be used as they are; else null. */
  readonly requestOnly: readonly (readonly RequestClause[])[] | null;
}

export interface CompiledRule {
  readonly action: 'ALLOW' | 'DENY';
  /** `namespace/name` of the policy. */
  readonly policy: string;
  /** Index in spec.rules; null stands for a policy without rules. */
  readonly index: number | null;
  readonly decision: Decision;
  readonly groups: readonly Group[];
  /** Why this rule can never match; null when it can. */
  readonly never: string | null;
  /** What was left out of a DENY rule, which makes it wider. */
  readonly dropped: readonly string[];
}

/** All rules that count for one kind of traffic, each list in the order in which a match is named. */
export interface RuleSet {
  readonly deny: readonly CompiledRule[];
  readonly allow: readonly CompiledRule[];
  /** The decision when no rule matches. */
  readonly otherwise: Decision;
}

export interface Authorization {
  readonly http: RuleSet;
  /** The same policies where there are no requests: ALLOW rules lose, DENY rules widen (Istio's TCP translation). */
  readonly tcp: RuleSet;
}

/** Selects and compiles what holds for one workload. */
export function compileAuthorization({ policies, workload, mesh }: AuthorizationSource): Authorization {
  const selected = selectAuthorization(policies, workload, mesh.rootNamespace);
  const trustDomains = [mesh.trustDomain, ...mesh.trustDomainAliases];
  return {
    http: compileRules(selected, { tcp: false, trustDomains }),
    tcp: compileRules(selected, { tcp: true, trustDomains }),
  };
}

interface Traffic {
  readonly tcp: boolean;
  readonly trustDomains: readonly string[];
}

function compileRules(policies: readonly AuthorizationPolicy[], traffic: Traffic): RuleSet {
  const deny: CompiledRule[] = [];
  const allow: CompiledRule[] = [];
  for (const policy of policies) {
    if (policy.action !== 'ALLOW' && policy.action !== 'DENY') continue;
    const list = policy.action === 'DENY' ? deny : allow;
    if (policy.rules.length === 0) list.push(emptyPolicy(policy));
    for (const [index, rule] of policy.rules.entries()) {
      list.push(new RuleCompiler(policy, index, traffic).compile(rule));
    }
  }
  deny.sort(byId);
  allow.sort(byId);
  // One ALLOW policy, even one that can never match, turns on default deny.
  const names = [...new Set(allow.map(rule => rule.policy))];
  return { deny, allow, otherwise: names.length > 0 ? nothingMatched(names) : ALLOWED };
}

/** Envoy keeps rules in a map sorted by `ns[…]-policy[…]-rule[…]` as text and names the first that matches. */
function byId(a: CompiledRule, b: CompiledRule): number {
  const x = idOf(a);
  const y = idOf(b);
  return x < y ? -1 : x > y ? 1 : 0;
}

function idOf({ policy, index }: CompiledRule): string {
  const [namespace, name] = policy.split('/');
  return ruleId(namespace as string, name as string, index ?? 0);
}

function ruleId(namespace: string, name: string, index: number): string {
  return `ns[${namespace}]-policy[${name}]-rule[${index}]`;
}

function emptyPolicy({ action: given, metadata }: AuthorizationPolicy): CompiledRule {
  const action = given === 'DENY' ? 'DENY' : 'ALLOW';
  const { namespace, name } = metadata;
  const policyName = `${namespace}/${name}`;
  const decision = action === 'DENY' ? ALLOWED : nothingMatched([policyName]);
  const never = 'has no rules, so it matches nothing';
  return { action, policy: policyName, index: null, decision, groups: [], never, dropped: [] };
}

/** Compiles one rule; holds what was found wrong with it on the way. */
class RuleCompiler {
  readonly #policy: AuthorizationPolicy;
  readonly #index: number;
  readonly #traffic: Traffic;
  readonly #dropped: string[] = [];
  #never: string | null = null;

  constructor(policy: AuthorizationPolicy, index: number, traffic: Traffic) {
    this.#policy = policy;
    this.#index = index;
    this.#traffic = traffic;
  }

  compile(rule: Rule): CompiledRule {
    const { metadata } = this.#policy;
    const action = this.#policy.action === 'DENY' ? 'DENY' : 'ALLOW';
    const groups: Group[] = [];
    if (rule.from !== null && rule.from.length > 0) groups.push(this.#group(rule.from.map(sourceFields)));
    if (rule.to !== null && rule.to.length > 0) groups.push(this.#group(rule.to.map(operationFields)));
    if (rule.when.length > 0) groups.push(this.#group([this.#whenFields(rule)]));
    const policy = `${metadata.namespace}/${metadata.name}`;
    const id = ruleId(metadata.namespace, metadata.name, this.#index);
    const decision = ruleDecision({ action, id, policy, rule: this.#index });
    return {
      action,
      policy,
      index: this.#index,
      decision,
      groups,
      never: this.#never,
      dropped: this.#dropped,
    };
  }

  #group(alternatives: readonly (readonly FieldValues[])[]): Group {
    const compiled = alternatives.map(fields => this.#alternative(fields));
    const mixed = compiled.some(alternative => alternative.connection.length > 0);
    return {
      alternatives: compiled,
      requestOnly: mixed ? null : compiled.map(alternative => alternative.request),
    };
  }

  #alternative(fields: readonly FieldValues[]): Alternative {
    const connection: ConnectionClause[] = [];
    const request: RequestClause[] = [];
    for (const field of fields) {
      if (this.#traffic.tcp && field.subject.on === 'request') {
        this.#refuse(`${field.field} needs HTTP`);
        continue;
      }
      const { compiled, bad } = compileClause(field, this.#traffic.trustDomains);
      for (const value of bad) this.#refuse(`${field.field} cannot read ${JSON.stringify(value)}`);
      if (compiled === null) continue;
      if (compiled.on === 'connection') connection.push(compiled.clause);
      else request.push(compiled.clause);
    }
    return { connection, request };
  }

  #whenFields(rule: Rule): FieldValues[] {
    const fields: FieldValues[] = [];
    for (const { key, values, notValues } of rule.when) {
      const subject = subjectOf(key);
      if (subject === null) {
        this.#refuse(`when ${key} is not supported`);
        continue;
      }
      const both = notValues.length > 0 && values.length > 0;
      const field = `when ${key}`;
      if (values.length > 0) fields.push({ subject, field, values, negated: false });
      if (notValues.length > 0) {
        fields.push({
          subject,
          field: both ? `${field} notValues` : field,
          values: notValues,
          negated: true,
        });
      }
    }
    return fields;
  }

  /** Fail closed: an ALLOW rule that cannot be asked whole is lost, a DENY rule is asked without the part. */
  #refuse(why: string): void {
    if (this.#policy.action === 'ALLOW') this.#never ??= `can never match: ${why}`;
    else this.#dropped.push(why);
  }
}

function sourceFields(source: Source, at: number, all: readonly Source[]): FieldValues[] {
  const prefix = all.length > 1 ? `from[${at}]` : 'from';
  return SOURCE_FIELDS.flatMap(([name, not, subject]) => [
    ...fieldValues(source[name], { subject, field: `${prefix}.${name}`, negated: false }),
    ...fieldValues(source[not], { subject, field: `${prefix}.${not}`, negated: true }),
  ]);
}

function operationFields(operation: Operation, at: number, all: readonly Operation[]): FieldValues[] {
  const prefix = all.length > 1 ? `to[${at}]` : 'to';
  return OPERATION_FIELDS.flatMap(([name, not, subject]) => [
    ...fieldValues(operation[name], { subject, field: `${prefix}.${name}`, negated: false }),
    ...fieldValues(operation[not], { subject, field: `${prefix}.${not}`, negated: true }),
  ]);
}

function fieldValues(
  values: readonly string[] | undefined,
  field: Omit<FieldValues, 'values'>,
): FieldValues[] {
  return values === undefined || values.length === 0 ? [] : [{ ...field, values }];
}
