// Hot path: holds runs for every rule of every request and makes no object, closure or string.
/** A rule on one connection: what the connection answers is settled, what requests answer is left to ask. */
import type { RuleSet } from './compile.ts';
import type { CustomMatch, Decision, DryRun } from './decision.ts';
import { type ConnectionFacts, connectionHolds, type RequestClause, requestHolds } from './match.ts';
import type { Reading } from './reading.ts';
import type { CompiledRule, Group } from './rule.ts';

/** What is left of a rule: all clauses of `all`, and of each group of `any` one alternative, must hold. */
export interface Question {
  /** In the order of what they cost. */
  readonly all: readonly RequestClause[];
  readonly any: readonly (readonly (readonly RequestClause[])[])[];
}

/** A rule that can still match, with what follows when it does. */
export interface BoundRule<T> {
  readonly outcome: T;
  readonly question: Question;
}

/** The rules of one policy that can still match. */
export interface BoundPolicy {
  readonly policy: string;
  readonly rules: readonly BoundRule<null>[];
}

/** A policy under dry-run and what it comes to. */
export interface BoundTrial extends BoundPolicy {
  readonly matched: DryRun;
  /** null = DENY: nothing is refused that it does not match. */
  readonly unmatched: DryRun | null;
}

/** All rules on one connection. */
export interface BoundRules {
  /** The decision when no request can change it; else null. */
  readonly constant: Decision | null;
  readonly deny: readonly BoundRule<Decision>[];
  readonly allow: readonly BoundRule<Decision>[];
  readonly otherwise: Decision;
  /** By provider. */
  readonly custom: readonly (readonly BoundRule<CustomMatch>[])[];
  readonly audit: readonly BoundPolicy[];
  readonly trials: readonly BoundTrial[];
}

/** Settles what the connection answers. */
export function bindRules(rules: RuleSet, facts: ConnectionFacts): BoundRules {
  const deny = bindList(rules.deny, facts, rule => rule.decision);
  const allow = bindList(rules.allow, facts, rule => rule.decision);
  const { otherwise } = rules;
  return {
    constant: certain(deny) ?? (deny.length === 0 ? (certain(allow) ?? none(allow, otherwise)) : null),
    deny,
    allow,
    otherwise,
    custom: rules.custom
      .map(provider => bindList(provider.rules, facts, rule => rule.match))
      .filter(list => list.length > 0),
    audit: rules.audit
      .map(({ policy, rules }) => ({ policy, rules: bindList(rules, facts, () => null) }))
      .filter(({ rules }) => rules.length > 0),
    trials: rules.dryRun.map(({ policy, action, rules }) => ({
      policy,
      rules: bindList(rules, facts, () => null),
      matched: { policy, decision: action === 'DENY' ? 'deny' : 'allow' },
      unmatched: action === 'DENY' ? null : { policy, decision: 'deny' },
    })),
  };
}

/** The decision of the first rule when it matches whatever the request. */
function certain(rules: readonly BoundRule<Decision>[]): Decision | null {
  const first = rules[0];
  return first !== undefined && isCertain(first.question) ? first.outcome : null;
}

function none(rules: readonly BoundRule<Decision>[], otherwise: Decision): Decision | null {
  return rules.length === 0 ? otherwise : null;
}

/** Rules that can still match here; those behind one that always matches can never be reached. */
function bindList<R extends CompiledRule, T>(
  rules: readonly R[],
  facts: ConnectionFacts,
  outcomeOf: (rule: R) => T,
): BoundRule<T>[] {
  const bound: BoundRule<T>[] = [];
  for (const rule of rules) {
    const question = rule.never === null ? (rule.settled ?? bindGroups(rule.groups, facts)) : null;
    if (question === null) continue;
    bound.push({ outcome: outcomeOf(rule), question });
    if (isCertain(question)) break;
  }
  return bound;
}

/** What is left to ask; null when a group has no alternative left. */
function bindGroups(groups: readonly Group[], facts: ConnectionFacts): Question | null {
  const left: (readonly (readonly RequestClause[])[])[] = [];
  for (const group of groups) {
    const alternatives = group
      .filter(alternative => alternative.connection.every(clause => connectionHolds(clause, facts)))
      .map(alternative => alternative.request);
    if (alternatives.length === 0) return null;
    left.push(alternatives);
  }
  return questionOf(left);
}

/** Simplifies: what holds always is not asked, and a group with one alternative is no choice. */
export function questionOf(groups: readonly (readonly (readonly RequestClause[])[])[]): Question {
  const all: RequestClause[] = [];
  const any: (readonly (readonly RequestClause[])[])[] = [];
  for (const alternatives of groups) {
    if (alternatives.some(clauses => clauses.length === 0)) continue;
    if (alternatives.length === 1) all.push(...(alternatives[0] as readonly RequestClause[]));
    else any.push(alternatives.map(clauses => [...clauses].sort(byCost)));
  }
  return { all: all.sort(byCost), any };
}

function byCost(a: RequestClause, b: RequestClause): number {
  return a.cost - b.cost;
}

function isCertain({ all, any }: Question): boolean {
  return all.length === 0 && any.length === 0;
}

/** Whether the request meets what is left of a rule. */
export function holds({ all, any }: Question, reading: Reading): boolean {
  for (let i = 0; i < all.length; i++) if (!requestHolds(all[i] as RequestClause, reading)) return false;
  for (let i = 0; i < any.length; i++) {
    if (!anyHolds(any[i] as readonly (readonly RequestClause[])[], reading)) return false;
  }
  return true;
}

function anyHolds(alternatives: readonly (readonly RequestClause[])[], reading: Reading): boolean {
  for (let i = 0; i < alternatives.length; i++) {
    if (allHold(alternatives[i] as readonly RequestClause[], reading)) return true;
  }
  return false;
}

function allHold(clauses: readonly RequestClause[], reading: Reading): boolean {
  for (let i = 0; i < clauses.length; i++) {
    if (!requestHolds(clauses[i] as RequestClause, reading)) return false;
  }
  return true;
}
