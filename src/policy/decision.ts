/** What comes out of policy: a decision, made once at load and handed out by reference. */

export interface Decision {
  readonly allow: boolean;
  /** `rbac_access_denied_matched_policy[…]` as in Envoy's response code details; '' when allowed. */
  readonly reason: string;
  /** `namespace/name` of the policy whose rule matched; null when none did. */
  readonly policy: string | null;
  /** Index of the rule in spec.rules. */
  readonly rule: number | null;
  /** Denied because none of them matched: the ALLOW policies, `namespace/name` each, with commas; else null. */
  readonly missed: string | null;
}

/** No ALLOW policy concerns the workload and no DENY rule matched. */
export const ALLOWED: Decision = Object.freeze({
  allow: true,
  reason: '',
  policy: null,
  rule: null,
  missed: null,
});

/** There are ALLOW policies and none of their rules matched. */
export function nothingMatched(policies: readonly string[]): Decision {
  return Object.freeze({
    allow: false,
    reason: 'rbac_access_denied_matched_policy[none]',
    policy: null,
    rule: null,
    missed: policies.join(','),
  });
}

export interface RuleName {
  readonly action: 'ALLOW' | 'DENY';
  /** `ns[…]-policy[…]-rule[…]`. */
  readonly id: string;
  readonly policy: string;
  readonly rule: number;
}

/** The decision when this rule matches. */
export function ruleDecision({ action, id, policy, rule }: RuleName): Decision {
  const allow = action === 'ALLOW';
  const reason = allow ? '' : `rbac_access_denied_matched_policy[${id}]`;
  return Object.freeze({ allow, reason, policy, rule, missed: null });
}
