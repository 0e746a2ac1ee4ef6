// Hot path: decideRequest runs for every request and makes no object, closure or string unless it is asked for a trace.
/** Deciding: once a connection what the connection answers, once a request the rest. DENY first, then ALLOW. */
import { parseAddress } from './address.ts';
import type { ConnectionAttributes, RequestAttributes } from './attributes.ts';
import type { Authorization, CompiledRule, Group, RuleSet } from './compile.ts';
import type { Decision } from './decision.ts';
import {
  type ConnectionFacts,
  connectionHolds,
  identityOf,
  type RequestClause,
  requestHolds,
} from './match.ts';
import { traceRules } from './trace.ts';

export type { Decision } from './decision.ts';

/** What is left of a rule on one connection: every group needs one alternative whose clauses all hold. */
interface BoundRule {
  readonly decision: Decision;
  readonly groups: readonly (readonly (readonly RequestClause[])[])[];
}

interface BoundRules {
  /** The decision when no request can change it; else null. */
  readonly constant: Decision | null;
  readonly deny: readonly BoundRule[];
  readonly allow: readonly BoundRule[];
  readonly otherwise: Decision;
}

/** Policy as it holds on one connection. */
export interface ConnectionPolicy extends BoundRules {
  readonly authorization: Authorization;
  readonly facts: ConnectionFacts;
}

/** Evaluates all that depends on the connection only; call it when the peer is known and when policy changes. */
export function bindConnection(
  authorization: Authorization,
  connection: ConnectionAttributes,
): ConnectionPolicy {
  const facts: ConnectionFacts = {
    principal: connection.principal,
    identity: identityOf(connection.principal),
    sourceIp: connection.sourceIp,
    address: parseAddress(connection.sourceIp),
    port: connection.destinationPort,
  };
  return { ...bindRules(authorization.http, facts), authorization, facts };
}

/**
 * Decides one request.
 * @param trace when given, lines for a person are appended: each rule considered and the clause that matched or failed
 */
export function decideRequest(
  policy: ConnectionPolicy,
  request: RequestAttributes,
  trace?: string[],
): Decision {
  const decision = policy.constant ?? judge(policy, request);
  if (trace !== undefined) {
    traceRules({ rules: policy.authorization.http, facts: policy.facts, request, decision }, trace);
  }
  return decision;
}

/** Decides a connection whose bytes are not HTTP. */
export function decideConnection(policy: ConnectionPolicy, trace?: string[]): Decision {
  const rules = policy.authorization.tcp;
  const { constant, deny, allow, otherwise } = bindRules(rules, policy.facts);
  // Without request clauses what is left of a rule is certain, so the first one decides.
  const decision = constant ?? deny[0]?.decision ?? allow[0]?.decision ?? otherwise;
  if (trace !== undefined) traceRules({ rules, facts: policy.facts, request: null, decision }, trace);
  return decision;
}

function judge(policy: BoundRules, request: RequestAttributes): Decision {
  const { deny, allow } = policy;
  for (let i = 0; i < deny.length; i++) {
    const rule = deny[i] as BoundRule;
    if (ruleHolds(rule, request)) return rule.decision;
  }
  for (let i = 0; i < allow.length; i++) {
    const rule = allow[i] as BoundRule;
    if (ruleHolds(rule, request)) return rule.decision;
  }
  return policy.otherwise;
}

function ruleHolds(rule: BoundRule, request: RequestAttributes): boolean {
  const { groups } = rule;
  for (let i = 0; i < groups.length; i++) {
    if (!groupHolds(groups[i] as readonly (readonly RequestClause[])[], request)) return false;
  }
  return true;
}

function groupHolds(
  alternatives: readonly (readonly RequestClause[])[],
  request: RequestAttributes,
): boolean {
  for (let i = 0; i < alternatives.length; i++) {
    if (allHold(alternatives[i] as readonly RequestClause[], request)) return true;
  }
  return false;
}

function allHold(clauses: readonly RequestClause[], request: RequestAttributes): boolean {
  for (let i = 0; i < clauses.length; i++) {
    if (!requestHolds(clauses[i] as RequestClause, request)) return false;
  }
  return true;
}

function bindRules(rules: RuleSet, facts: ConnectionFacts): BoundRules {
  const deny = bindList(rules.deny, facts);
  const allow = bindList(rules.allow, facts);
  const { otherwise } = rules;
  return {
    constant: certain(deny) ?? (deny.length === 0 ? (certain(allow) ?? none(allow, otherwise)) : null),
    deny,
    allow,
    otherwise,
  };
}

/** The decision of the first rule when it matches whatever the request. */
function certain(rules: readonly BoundRule[]): Decision | null {
  const first = rules[0];
  return first !== undefined && first.groups.length === 0 ? first.decision : null;
}

function none(rules: readonly BoundRule[], otherwise: Decision): Decision | null {
  return rules.length === 0 ? otherwise : null;
}

/** Rules that can still match here; those behind one that always matches can never be reached. */
function bindList(rules: readonly CompiledRule[], facts: ConnectionFacts): BoundRule[] {
  const bound: BoundRule[] = [];
  for (const rule of rules) {
    const groups = rule.never === null ? bindGroups(rule.groups, facts) : null;
    if (groups === null) continue;
    bound.push({ decision: rule.decision, groups });
    if (groups.length === 0) break;
  }
  return bound;
}

/** What is left to ask; null when a group has no alternative left. */
function bindGroups(groups: readonly Group[], facts: ConnectionFacts): BoundRule['groups'] | null {
  const left: (readonly (readonly RequestClause[])[])[] = [];
  for (const group of groups) {
    const alternatives = group.requestOnly ?? bindGroup(group, facts);
    if (alternatives.length === 0) return null;
    // An alternative without clauses holds always, and so does its group.
    if (!alternatives.some(clauses => clauses.length === 0)) left.push(alternatives);
  }
  return left;
}

function bindGroup(group: Group, facts: ConnectionFacts): (readonly RequestClause[])[] {
  return group.alternatives
    .filter(alternative => alternative.connection.every(clause => connectionHolds(clause, facts)))
    .map(alternative => alternative.request);
}
