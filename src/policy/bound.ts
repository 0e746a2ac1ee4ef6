/** Policy on one connection: what the connection answers is settled, what requests answer is left to ask. */
import type { PolicyRules, RuleSet, Sieves } from './compile.ts';
import type { CustomMatch, Decision, DryRun } from './decision.ts';
import { type ConnectionFacts, connectionHolds } from './match.ts';
import { bothOf, isCertain, type Question, questionOf } from './question.ts';
import type { Alternative, CompiledRule, Group } from './rule.ts';
import { FEW, type Sieve } from './sieve.ts';
import type { Post } from './text-index.ts';

/** Rules that can still match, in order; lists side by side, since most of a long one is passed over. */
export interface BoundList<T> {
  /** What follows when the rule matches. */
  readonly outcomes: readonly T[];
  readonly questions: readonly Question[];
  /** How the sieve knows the rule. */
  readonly posts: readonly Post[];
}

/** The rules of one policy that can still match. */
export interface BoundPolicy {
  readonly policy: string;
  readonly rules: BoundList<true>;
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
  readonly deny: BoundList<Decision>;
  readonly allow: BoundList<Decision>;
  readonly otherwise: Decision;
  /** By provider. */
  readonly custom: readonly BoundList<CustomMatch>[];
  readonly audit: readonly BoundPolicy[];
  readonly trials: readonly BoundTrial[];
  /** As far as this connection leaves enough rules to look for. */
  readonly sieves: Sieves;
}

interface Given {
  readonly facts: ConnectionFacts;
  readonly sieve: Sieve | null;
}

/** Settles what the connection answers. */
export function bindRules(rules: RuleSet, facts: ConnectionFacts): BoundRules {
  const { sieves, otherwise } = rules;
  const deny = bindList(rules.deny, { facts, sieve: sieves.decision }, rule => rule.decision);
  const allow = bindList(rules.allow, { facts, sieve: sieves.decision }, rule => rule.decision);
  const custom = rules.custom
    .map(provider => bindList(provider.rules, { facts, sieve: sieves.custom }, rule => rule.match))
    .filter(list => !isEmpty(list));
  const audit = rules.audit
    .map(({ policy, rules }) => ({
      policy,
      rules: bindList(rules, { facts, sieve: sieves.findings }, () => true as const),
    }))
    .filter(({ rules }) => !isEmpty(rules));
  const trials = rules.dryRun.map(policy => bindTrial(policy, { facts, sieve: sieves.findings }));
  return {
    constant: certain(deny) ?? (isEmpty(deny) ? (certain(allow) ?? none(allow, otherwise)) : null),
    deny,
    allow,
    otherwise,
    custom,
    audit,
    trials,
    sieves: {
      custom: isLong(custom) ? sieves.custom : null,
      findings: isLong([...audit, ...trials].map(({ rules }) => rules)) ? sieves.findings : null,
      decision: isLong([deny, allow]) ? sieves.decision : null,
    },
  };
}

function bindTrial({ policy, action, rules }: PolicyRules, given: Given): BoundTrial {
  return {
    policy,
    rules: bindList(rules, given, () => true as const),
    matched: { policy, decision: action === 'DENY' ? 'deny' : 'allow' },
    unmatched: action === 'DENY' ? null : { policy, decision: 'deny' },
  };
}

function isLong(lists: readonly BoundList<unknown>[]): boolean {
  return lists.reduce((sum, { posts }) => sum + posts.length, 0) > FEW;
}

/** The decision of the first rule when it matches whatever the request. */
function certain({ outcomes, questions }: BoundList<Decision>): Decision | null {
  return questions[0] !== undefined && isCertain(questions[0]) ? (outcomes[0] as Decision) : null;
}

function none(rules: BoundList<Decision>, otherwise: Decision): Decision | null {
  return isEmpty(rules) ? otherwise : null;
}

function isEmpty({ posts }: BoundList<unknown>): boolean {
  return posts.length === 0;
}

/** Rules that can still match here; those behind one that always matches can never be reached. */
function bindList<R extends CompiledRule, T>(
  rules: readonly R[],
  { facts, sieve }: Given,
  outcomeOf: (rule: R) => T,
): BoundList<T> {
  const outcomes: T[] = [];
  const questions: Question[] = [];
  const posts: Post[] = [];
  for (const rule of rules) {
    const question = rule.never === null ? bindRule(rule, facts) : null;
    if (question === null) continue;
    outcomes.push(outcomeOf(rule));
    questions.push(question);
    posts.push(sieve === null ? ~rule.seat : sieve.postOf(rule));
    if (isCertain(question)) break;
  }
  return { outcomes, questions, posts };
}

/** What is left to ask; null when a group has no alternative left. */
function bindRule({ gates, mixed, question }: CompiledRule, facts: ConnectionFacts): Question | null {
  for (const gate of gates) if (!gate.some(alternative => stands(alternative, facts))) return null;
  if (mixed.length === 0) return question;
  const left = mixed.map(group => bindGroup(group, facts));
  return left.some(alternatives => alternatives.length === 0) ? null : bothOf(question, questionOf(left));
}

function bindGroup(group: Group, facts: ConnectionFacts) {
  return group.filter(alternative => stands(alternative, facts)).map(({ request }) => request);
}

function stands({ connection }: Alternative, facts: ConnectionFacts): boolean {
  for (const clause of connection) if (!connectionHolds(clause, facts)) return false;
  return true;
}
