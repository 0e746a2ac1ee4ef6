/**
 * Telling a person how policy came to what it says. That is settled already; here the very clauses that settled it are
 * asked again, one rule after the other, and what they saw is written down.
 */
import type { RequestAttributes } from './attributes.ts';
import type { PolicyRules, RuleSet } from './compile.ts';
import type { Decision } from './decision.ts';
import { type ConnectionFacts, connectionHolds, requestHolds } from './match.ts';
import type { Alternative, CompiledRule, Group } from './rule.ts';
import { type Clause, listed, saw } from './saw.ts';

export interface TraceQuestion {
  readonly rules: RuleSet;
  readonly facts: ConnectionFacts;
  /** null on TCP. */
  readonly request: RequestAttributes | null;
}

/** Appends one line for each rule considered, DENY before ALLOW, up to the one that decided. */
export function traceDecision(decision: Decision, question: TraceQuestion, lines: string[]): void {
  begin(question);
  const { rules } = question;
  for (const rule of [...rules.deny, ...rules.allow]) {
    lines.push(lineOf(rule, tell(rule, question).text));
    if (rule.decision === decision && rule.index !== null) return;
  }
}

/** Appends one line for each CUSTOM rule, of each provider up to the first that matches. */
export function traceCustom(question: TraceQuestion, lines: string[]): void {
  begin(question);
  for (const { rules } of question.rules.custom) {
    for (const rule of rules) {
      const { matched, text } = tell(rule, question);
      const { provider, bad } = rule.match;
      const then = bad === null ? `so provider ${provider} is asked` : `refused: ${bad}`;
      lines.push(lineOf(rule, matched ? `${text}; ${then}` : text));
      if (matched) break;
    }
  }
}

/** Appends one line for each rule of AUDIT policies and policies under dry-run, of each policy up to the first that matches. */
export function traceFindings(question: TraceQuestion, lines: string[]): void {
  begin(question);
  const { audit, dryRun } = question.rules;
  for (const policy of [...audit, ...dryRun]) tracePolicy(policy, question, lines);
}

function tracePolicy({ rules }: PolicyRules, question: TraceQuestion, lines: string[]): void {
  for (const rule of rules) {
    const { matched, text } = tell(rule, question);
    lines.push(lineOf(rule, text));
    if (matched) return;
  }
}

function begin({ rules, facts, request }: TraceQuestion): void {
  if (request !== null) rules.reading.take(request, facts);
}

function lineOf({ action, dryRun, policy, index }: CompiledRule, text: string): string {
  const rule = index === null ? '' : ` rule ${index}`;
  return `${action} ${policy}${rule}${dryRun ? ' (dry-run)' : ''}: ${text}`;
}

interface Told {
  readonly matched: boolean;
  readonly text: string;
}

function tell(rule: CompiledRule, question: TraceQuestion): Told {
  if (rule.never !== null) return { matched: false, text: rule.never };
  const told = rule.dropped.map(why => `left out, which widens the rule: ${why}`);
  const matches: string[] = [];
  for (const group of rule.groups) {
    const held = group.find(alternative => failureOf(alternative, question) === null);
    if (held === undefined) {
      return { matched: false, text: [...told, ...failures(group, question)].join('; ') };
    }
    for (const clause of clausesOf(held)) {
      matches.push(`${clause.field} matched ${withExclusion(clause, saw(clause, question))}`);
    }
  }
  if (matches.length === 0) matches.push('matches everything');
  return { matched: true, text: [...told, ...matches].join('; ') };
}

function withExclusion({ negated, wants }: Clause, seen: string): string {
  return negated ? `${seen} (none of ${listed(wants)})` : seen;
}

/** Of each alternative the first clause that failed. */
function failures(group: Group, question: TraceQuestion): string[] {
  return group.map(alternative => {
    const clause = failureOf(alternative, question) as Clause;
    const wants = clause.negated ? `wants none of ${listed(clause.wants)}` : `wants ${listed(clause.wants)}`;
    return `${clause.field} did not match: saw ${saw(clause, question)}, ${wants}`;
  });
}

function clausesOf({ connection, request }: Alternative): Clause[] {
  return [...connection, ...request];
}

function failureOf({ connection, request }: Alternative, question: TraceQuestion): Clause | null {
  const { rules, facts } = question;
  return (
    connection.find(clause => !connectionHolds(clause, facts)) ??
    request.find(clause => !requestHolds(clause, rules.reading)) ??
    null
  );
}
