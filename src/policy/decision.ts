/** What comes out of policy, made once at load and handed out by reference. */

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

/** A rule of a CUSTOM policy that matched: the provider is to be asked, unless it cannot be. */
export type CustomMatch = {
  readonly provider: string;
  /** `namespace/name`. */
  readonly policy: string;
  readonly rule: number;
} & (
  | { readonly bad: null; readonly decision: null }
  /** Why nobody can be asked, and the refusal that follows. */
  | { readonly bad: string; readonly decision: Decision }
);

/** What the policies say that decide nothing. */
export interface Findings {
  /** AUDIT policies that matched, `namespace/name` each. */
  readonly audit: readonly string[];
  /** What the policies under dry-run would have decided. */
  readonly dryRun: readonly DryRun[];
}

export interface DryRun {
  /** `namespace/name`. */
  readonly policy: string;
  readonly decision: 'allow' | 'deny';
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
  readonly allow: boolean;
  /** `ns[…]-policy[…]-rule[…]`, with what Istio puts around it for CUSTOM. */
  readonly id: string;
  readonly policy: string;
  readonly rule: number;
}

/** The decision when this rule matches. */
export function ruleDecision({ allow, id, policy, rule }: RuleName): Decision {
  // Envoy keeps white space out of its details: the access log is split at it.
  const reason = allow ? '' : `rbac_access_denied_matched_policy[${id.replace(/[ \t\f\v\n\r]/g, '_')}]`;
  return Object.freeze({ allow, reason, policy, rule, missed: null });
}
