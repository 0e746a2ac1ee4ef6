/**
 * Telling a person how a decision came about. The decision is already made; here the very clauses that made it are asked
 * again, one rule after the other as far as the deciding one, and what they saw is written down.
 */
import type { RequestAttributes } from './attributes.ts';
import type { Alternative, CompiledRule, Group, RuleSet } from './compile.ts';
import type { Decision } from './decision.ts';
import {
  type ConnectionClause,
  type ConnectionFacts,
  connectionHolds,
  type RequestClause,
  requestHolds,
  targetOf,
} from './match.ts';

export interface TraceQuestion {
  readonly rules: RuleSet;
  readonly facts: ConnectionFacts;
  /** null on TCP. */
  readonly request: RequestAttributes | null;
  readonly decision: Decision;
}

/** Appends one line for each rule considered, DENY before ALLOW, up to the one that decided. */
export function traceRules(question: TraceQuestion, lines: string[]): void {
  const { rules, decision } = question;
  for (const rule of [...rules.deny, ...rules.allow]) {
    lines.push(`${nameOf(rule)}: ${describe(rule, question)}`);
    if (rule.decision === decision && rule.index !== null) return;
  }
}

function nameOf({ action, policy, index }: CompiledRule): string {
  return index === null ? `${action} ${policy}` : `${action} ${policy} rule ${index}`;
}

function describe(rule: CompiledRule, question: TraceQuestion): string {
  if (rule.never !== null) return rule.never;
  const left = rule.dropped.map(why => `left out, which widens the rule: ${why}`);
  const matched: string[] = [];
  for (const group of rule.groups) {
    const held = group.alternatives.find(alternative => failureOf(alternative, question) === null);
    if (held === undefined) return [...left, ...failures(group, question)].join('; ');
    for (const clause of clausesOf(held)) {
      matched.push(`${clause.field} matched ${withExclusion(clause, saw(clause, question))}`);
    }
  }
  if (matched.length === 0) matched.push('matches everything');
  return [...left, ...matched].join('; ');
}

function withExclusion({ negated, wants }: Clause, seen: string): string {
  return negated ? `${seen} (none of ${list(wants)})` : seen;
}

/** Of each alternative the first clause that failed. */
function failures(group: Group, question: TraceQuestion): string[] {
  return group.alternatives.map(alternative => {
    const clause = failureOf(alternative, question) as Clause;
    const wants = clause.negated ? `wants none of ${list(clause.wants)}` : `wants ${list(clause.wants)}`;
    return `${clause.field} did not match: saw ${saw(clause, question)}, ${wants}`;
  });
}

type Clause = ConnectionClause | RequestClause;

function clausesOf({ connection, request }: Alternative): Clause[] {
  return [...connection, ...request];
}

function failureOf({ connection, request }: Alternative, question: TraceQuestion): Clause | null {
  return (
    connection.find(clause => !connectionHolds(clause, question.facts)) ??
    request.find(clause => question.request === null || !requestHolds(clause, question.request)) ??
    null
  );
}

function list(values: readonly string[]): string {
  return values.join(' or ');
}

/** The value that a clause looked at. */
function saw(clause: Clause, { facts, request }: TraceQuestion): string {
  switch (clause.attribute) {
    case 'principal':
    case 'namespace':
      return facts.identity ?? 'no peer identity';
    case 'sourceIp':
      return facts.sourceIp;
    case 'port':
      return String(facts.port);
    default:
      return request === null ? 'no request' : sawInRequest(clause, request);
  }
}

function sawInRequest(clause: RequestClause, request: RequestAttributes): string {
  switch (clause.attribute) {
    case 'method':
      return shown(request.method);
    case 'path':
      return shown(request.path);
    case 'target':
      return shown(targetOf(request));
    case 'header': {
      const lines = request.headerValues(clause.header);
      return lines.length === 0 ? 'no such header' : lines.map(shown).join(' and ');
    }
    default:
      return shown(request.host);
  }
}

/** A byte string for reading. */
function shown(text: string): string {
  return text === '' ? '""' : Buffer.from(text, 'latin1').toString('utf8');
}
