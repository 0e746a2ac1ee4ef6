/**
 * One rule, compiled: what it asks is sorted into what the connection answers and what each request answers.
 *
 * A rule holds when all its groups do: `from`, `to` and `when`. A group holds when one of its alternatives does (one
 * source, one operation); an alternative when all its clauses do.
 */
import type { AuthorizationPolicy, PolicyAction } from '../config/resources.ts';
import { type ClauseContext, compileClause } from './clauses.ts';
import { ALLOWED, type Decision, nothingMatched, ruleDecision } from './decision.ts';
import type { ConnectionClause, RequestClause } from './match.ts';
import { type Question, questionOf } from './question.ts';
import { type FieldGroup, type FieldValues, fieldsOf } from './rule-fields.ts';

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

/** A policy's rules, in the order in which Envoy tries them. */
export interface CompiledPolicy {
  readonly policy: string;
  readonly action: PolicyAction;
  readonly dryRun: boolean;
  readonly provider: string | null;
  readonly http: readonly CompiledRule[];
  /** The same where there are no requests: ALLOW rules lose, others widen (Istio's TCP translation). */
  readonly tcp: readonly CompiledRule[];
}

/** What rules are compiled with; each takes the next seat. */
export interface RuleContext extends ClauseContext {
  seats: number;
}

/** Compiles a policy's rules; one that can never match stands for a policy without any. */
export function compilePolicy(policy: AuthorizationPolicy, context: RuleContext): CompiledPolicy {
  const { action, metadata, provider } = policy;
  // The annotation has a meaning with ALLOW and DENY only; elsewhere it must not switch a policy off.
  const dryRun = policy.dryRun && (action === 'ALLOW' || action === 'DENY');
  const name = { policy: `${metadata.namespace}/${metadata.name}`, action, dryRun };
  const http: CompiledRule[] = [];
  const tcp: CompiledRule[] = [];
  for (const [index, rule] of policy.rules.entries()) {
    const fields = fieldsOf(rule);
    const place = { ...name, index, id: idOf(policy, index), seat: context.seats++ };
    const compiled = new RuleCompiler(policy, context, false).compile(place, fields);
    http.push(compiled);
    // A rule that asks for nothing but the connection is the same on both.
    if (fields.every(group => group.every(alternative => alternative.every(onConnection))))
      tcp.push(compiled);
    else tcp.push(new RuleCompiler(policy, context, true).compile(place, fields));
  }
  if (http.length === 0) {
    const place = { ...name, index: null, id: idOf(policy, 0), seat: context.seats++ };
    http.push(emptyPolicy(place));
    tcp.push(http[0] as CompiledRule);
  }
  return { ...name, provider, http: http.sort(byId), tcp: tcp.sort(byId) };
}

/** Envoy keeps rules in a map sorted by their name as text and names the first that matches. */
export function byId(a: { readonly id: string }, b: { readonly id: string }): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

function idOf({ metadata: { namespace, name } }: AuthorizationPolicy, index: number): string {
  return `ns[${namespace}]-policy[${name}]-rule[${index}]`;
}

type Place = Pick<CompiledRule, 'action' | 'dryRun' | 'policy' | 'index' | 'id' | 'seat'>;

function emptyPolicy(place: Place): CompiledRule {
  const decision = place.action === 'ALLOW' ? nothingMatched([place.policy]) : ALLOWED;
  return { ...place, decision, ...sorted([]), never: 'has no rules, so it matches nothing', dropped: [] };
}

/** Compiles one rule; holds what was found wrong with it on the way. */
class RuleCompiler {
  readonly #allow: boolean;
  readonly #namespace: string;
  readonly #context: ClauseContext;
  readonly #tcp: boolean;
  readonly #dropped: string[] = [];
  #never: string | null = null;

  constructor({ action, metadata }: AuthorizationPolicy, context: ClauseContext, tcp: boolean) {
    this.#allow = action === 'ALLOW';
    this.#namespace = metadata.namespace;
    this.#context = context;
    this.#tcp = tcp;
  }

  compile(place: Place, fields: readonly FieldGroup[]): CompiledRule {
    const groups = fields.map(group => group.map(alternative => this.#alternative(alternative)));
    const decision = ruleDecision({ ...place, allow: this.#allow, rule: place.index ?? 0 });
    // Nothing is asked of a rule that never matches.
    const asked = sorted(this.#never === null ? groups : []);
    return { ...place, decision, ...asked, never: this.#never, dropped: this.#dropped };
  }

  #alternative(fields: readonly FieldValues[]): Alternative {
    const connection: ConnectionClause[] = [];
    const request: RequestClause[] = [];
    for (const field of fields) {
      // One thing that cannot be asked is enough.
      if (this.#never !== null) break;
      const { compiled, bad } = this.#clause(field);
      for (const why of bad) this.#refuse(`${field.field} ${why}`);
      if (compiled === null) continue;
      if (compiled.on === 'connection') connection.push(compiled.clause);
      else request.push(compiled.clause);
    }
    return { connection, request };
  }

  #clause(field: FieldValues) {
    if (field.subject === null) return { compiled: null, bad: ['is not supported'] };
    if (this.#tcp && needsHttp(field)) return { compiled: null, bad: ['needs HTTP'] };
    const { subject } = field;
    return compileClause({ ...field, subject }, this.#context, {
      tcp: this.#tcp,
      namespace: this.#namespace,
    });
  }

  /** Fail closed: an ALLOW rule that cannot be asked whole is lost, any other is asked without the part. */
  #refuse(why: string): void {
    if (this.#allow) this.#never ??= `can never match: ${why}`;
    else this.#dropped.push(why);
  }
}

/** Who answers which group. */
function sorted(groups: readonly Group[]) {
  const gates = groups.filter(group => group.every(({ request }) => request.length === 0));
  const open = groups.filter(group => group.every(({ connection }) => connection.length === 0));
  const mixed = groups.filter(group => !gates.includes(group) && !open.includes(group));
  const question = questionOf(open.map(group => group.map(({ request }) => request)));
  return { groups, gates, mixed, question };
}

function onConnection({ subject }: FieldValues): boolean {
  return subject !== null && subject.on === 'connection';
}

function needsHttp({ subject }: FieldValues): boolean {
  return subject !== null && subject.on !== 'connection' && subject.on !== 'remoteIp';
}
