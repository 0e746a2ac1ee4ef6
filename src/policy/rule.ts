/**
 * One rule, compiled: what it asks is sorted into what the connection answers and what each request answers.
 *
 * A rule holds when all its groups do: `from`, `to` and `when`. A group holds when one of its alternatives does (one
 * source, one operation); an alternative when all its clauses do.
 */
import type { AuthorizationPolicy, Operation, PolicyAction, Rule, Source } from '../config/resources.ts';
import { compileClause, type FieldValues, type Traffic } from './clauses.ts';
import { ALLOWED, type Decision, nothingMatched, ruleDecision } from './decision.ts';
import type { ConnectionClause, RequestClause } from './match.ts';
import { type Question, questionOf } from './question.ts';
import { OPERATION_FIELDS, SOURCE_FIELDS, type Subject, subjectOf } from './subject.ts';

/** Clauses in the order in which the manifest's reader finds them. */
export interface Alternative {
  readonly connection: readonly ConnectionClause[];
  readonly request: readonly RequestClause[];
}

export type Group = readonly Alternative[];

export interface CompiledRule {
  readonly action: PolicyAction;
  /** The annotation istio.io/dry-run. */
  readonly dryRun: boolean;
  /** `namespace/name` of the policy. */
  readonly policy: string;
  /** Index in spec.rules; null stands for a policy without rules. */
  readonly index: number | null;
  /** `ns[…]-policy[…]-rule[…]`: what Istio calls the rule, and what rules are sorted by. */
  readonly id: string;
  /** What comes of it when an enforced ALLOW or DENY rule matches. */
  readonly decision: Decision;
  readonly groups: readonly Group[];
  /** The groups that a connection settles. */
  readonly gates: readonly Group[];
  /** The groups of which a connection settles a part. */
  readonly mixed: readonly Group[];
  /** The groups that only requests answer. */
  readonly question: Question;
  /** Its number among all rules of its set. */
  readonly seat: number;
  /** Why this rule can never match; null when it can. */
  readonly never: string | null;
  /** What was left out of the rule, which makes it wider; ALLOW rules never are. */
  readonly dropped: readonly string[];
}

/** Compiles a policy's rules; one that can never match stands for a policy without any. */
export function compilePolicy(policy: AuthorizationPolicy, traffic: Traffic): CompiledRule[] {
  if (policy.rules.length === 0) return [emptyPolicy(policy, traffic)];
  return policy.rules.map((rule, index) => new RuleCompiler(policy, index, traffic).compile(rule));
}

/** Envoy keeps rules in a map sorted by their name as text and names the first that matches. */
export function byId(a: { readonly id: string }, b: { readonly id: string }): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

function nameOf({ action, metadata, dryRun }: AuthorizationPolicy, index: number) {
  const { namespace, name } = metadata;
  const id = `ns[${namespace}]-policy[${name}]-rule[${index}]`;
  return { action, dryRun, policy: `${namespace}/${name}`, id };
}

function emptyPolicy(policy: AuthorizationPolicy, traffic: Traffic): CompiledRule {
  const name = nameOf(policy, 0);
  const decision = policy.action === 'ALLOW' ? nothingMatched([name.policy]) : ALLOWED;
  const never = 'has no rules, so it matches nothing';
  return { ...name, index: null, decision, ...sorted([], traffic), never, dropped: [] };
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
    const groups: Group[] = [];
    if (rule.from !== null && rule.from.length > 0) groups.push(this.#group(rule.from.map(sourceFields)));
    if (rule.to !== null && rule.to.length > 0) groups.push(this.#group(rule.to.map(operationFields)));
    if (rule.when.length > 0) groups.push(this.#group([this.#whenFields(rule)]));
    const name = nameOf(this.#policy, this.#index);
    const allow = name.action === 'ALLOW';
    const decision = ruleDecision({ allow, id: name.id, policy: name.policy, rule: this.#index });
    const found = { never: this.#never, dropped: this.#dropped };
    return { ...name, index: this.#index, decision, ...sorted(groups, this.#traffic), ...found };
  }

  #group(alternatives: readonly (readonly FieldValues[])[]): Group {
    return alternatives.map(fields => this.#alternative(fields));
  }

  #alternative(fields: readonly FieldValues[]): Alternative {
    const connection: ConnectionClause[] = [];
    const request: RequestClause[] = [];
    for (const field of fields) {
      if (this.#traffic.tcp && needsHttp(field.subject)) {
        this.#refuse(`${field.field} needs HTTP`);
        continue;
      }
      const { compiled, bad } = compileClause(field, this.#traffic, this.#policy.metadata.namespace);
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

  /** Fail closed: an ALLOW rule that cannot be asked whole is lost, any other is asked without the part. */
  #refuse(why: string): void {
    if (this.#policy.action === 'ALLOW') this.#never ??= `can never match: ${why}`;
    else this.#dropped.push(why);
  }
}

/** Who answers which group. */
function sorted(groups: readonly Group[], traffic: Traffic) {
  const gates = groups.filter(group => group.every(({ request }) => request.length === 0));
  const open = groups.filter(group => group.every(({ connection }) => connection.length === 0));
  const mixed = groups.filter(group => !gates.includes(group) && !open.includes(group));
  const question = questionOf(open.map(group => group.map(({ request }) => request)));
  return { groups, gates, mixed, question, seat: traffic.seats++ };
}

function needsHttp({ on }: Subject): boolean {
  return on !== 'connection' && on !== 'remoteIp';
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
