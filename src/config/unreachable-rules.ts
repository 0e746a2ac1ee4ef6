/** Rules that change nothing, because another one of the same action already matches whatever they do. */
import { isEvaluated } from './condition.ts';
import type { SectionsOf } from './document.ts';
import { appliesWherever } from './policy-scope.ts';
import type { AuthorizationPolicy, Resources, Rule } from './resources.ts';
import { covers, matchesAll } from './rule-cover.ts';

const MAX_COMPARED = 400; // rules of one action that are compared each with each: 160,000 pairs, some 20 ms

interface Candidate {
  readonly policy: AuthorizationPolicy;
  readonly rule: Rule;
  readonly index: number;
  readonly namespace: string;
  /** Its place among all rules of its group. */
  readonly position: number;
}

/** Warns of ALLOW and DENY rules, and CUSTOM rules of one provider, that another rule makes superfluous. */
export function warnOfUnreachable({ mesh, authorizationPolicies }: Resources, sections: SectionsOf): void {
  const groups = groupRules(authorizationPolicies);
  const denyAll = (groups.get('DENY') ?? []).filter(({ rule }) => matchesAll(rule));
  for (const [group, rules] of groups) {
    const wide = rules.length > MAX_COMPARED ? rules.filter(({ rule }) => matchesAll(rule)) : rules;
    const before = group === 'ALLOW' ? denyAll : [];
    for (const rule of rules) {
      const other = before.find(found => hides(found, rule)) ?? wide.find(found => hides(found, rule));
      if (other) warn(rule, other, sections);
    }
  }

  /** Of two that match the same, the first stays. */
  function hides(wide: Candidate, narrow: Candidate): boolean {
    if (wide === narrow || !appliesWherever(wide.policy, narrow.policy, mesh.rootNamespace)) return false;
    if (!covers(wide, narrow)) return false;
    if (wide.position < narrow.position || wide.policy.action !== narrow.policy.action) return true;
    return !covers(narrow, wide) || !appliesWherever(narrow.policy, wide.policy, mesh.rootNamespace);
  }
}

/** What is enforced, by action and provider; rules with a condition that cannot be evaluated are left out. */
function groupRules(policies: readonly AuthorizationPolicy[]): Map<string, Candidate[]> {
  const groups = new Map<string, Candidate[]>();
  for (const policy of policies) {
    if (policy.bound || policy.dryRun || policy.action === 'AUDIT') continue;
    const key = policy.action === 'CUSTOM' ? `CUSTOM ${policy.provider}` : policy.action;
    const group = groups.get(key) ?? [];
    groups.set(key, group);
    for (const [index, rule] of policy.rules.entries()) {
      if (rule.when.every(condition => isEvaluated(condition.key)))
        group.push({ policy, rule, index, namespace: policy.metadata.namespace, position: group.length });
    }
  }
  return groups;
}

function warn({ rule }: Candidate, { policy, index }: Candidate, sections: SectionsOf): void {
  const section = sections.get(rule);
  const { metadata, action, origin } = policy;
  const where = `${action} ${metadata.namespace}/${metadata.name} rule ${index} (${origin.file}:${origin.line})`;
  section?.report.warning(
    section.place,
    `${section.path}: has no effect: ${where} matches whatever it matches; remove one of them`,
  );
}
