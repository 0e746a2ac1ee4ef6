/** Which ALLOW rule came nearest to a request that none of them let through, and what it still wanted. */
import type { RequestAttributes } from './attributes.ts';
import type { RuleSet } from './compile.ts';
import type { ConnectionPolicy } from './decide.ts';
import type { NearestRule } from './explain-answer.ts';
import { type ConnectionFacts, connectionHolds, requestHolds } from './match.ts';
import type { Alternative, CompiledRule, Group } from './rule.ts';
import { type Clause, listed, saw } from './saw.ts';

/** What every clause is asked about. */
interface Seen {
  readonly rules: RuleSet;
  readonly facts: ConnectionFacts;
  /** null on TCP. */
  readonly request: RequestAttributes | null;
}

/**
 * The ALLOW rule with the fewest clauses that fail; of several the first.
 * @param request null on TCP
 * @returns null when no rule can ever match
 */
export function nearestRule(policy: ConnectionPolicy, request: RequestAttributes | null): NearestRule | null {
  const { authorization, facts } = policy;
  const rules = request === null ? authorization.tcp : authorization.http;
  const seen: Seen = { rules, facts, request };
  if (request !== null) rules.reading.take(request, facts);
  let nearest: { rule: CompiledRule; failed: readonly Clause[] } | null = null;
  for (const rule of rules.allow) {
    if (rule.never !== null) continue;
    const failed = rule.groups.flatMap(group => fewestFailures(group, seen));
    if (nearest === null || failed.length < nearest.failed.length) nearest = { rule, failed };
  }
  if (nearest === null) return null;
  const { rule, failed } = nearest;
  return { policy: rule.policy, rule: rule.index ?? 0, needs: failed.map(clause => needOf(clause, seen)) };
}

/** The failing clauses of the alternative that has the fewest. */
function fewestFailures(group: Group, seen: Seen): readonly Clause[] {
  let fewest: readonly Clause[] | null = null;
  for (const alternative of group) {
    const failed = failuresOf(alternative, seen);
    if (fewest === null || failed.length < fewest.length) fewest = failed;
  }
  return fewest ?? [];
}

function failuresOf({ connection, request }: Alternative, { rules, facts }: Seen): Clause[] {
  return [
    ...connection.filter(clause => !connectionHolds(clause, facts)),
    ...request.filter(clause => !requestHolds(clause, rules.reading)),
  ];
}

function needOf(clause: Clause, seen: Seen): string {
  const wants = `${clause.negated ? 'none of ' : ''}${listed(clause.wants)}`;
  return `${clause.field}: ${wants} (saw ${saw(clause, seen)})`;
}
