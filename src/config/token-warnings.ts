/** Policies about tokens that nobody verifies, and tokens that nobody asks for. */
import type { SectionsOf } from './document.ts';
import { mayMeet } from './policy-scope.ts';
import type { AuthorizationPolicy, Resources, Rule } from './resources.ts';
import { matchesAll } from './rule-cover.ts';
import type { Section } from './section.ts';

/** Warns where a policy asks about tokens and no RequestAuthentication of the files can apply to its workloads. */
export function warnOfUnverified(resources: Resources, sections: SectionsOf): void {
  const { mesh, authorizationPolicies, requestAuthentications } = resources;
  const verifying = requestAuthentications.filter(({ bound, jwtRules }) => !bound && jwtRules.length > 0);
  for (const policy of authorizationPolicies) {
    if (policy.bound || verifying.some(other => mayMeet(other, policy, mesh.rootNamespace))) continue;
    const found = policy.rules.map(rule => tokenField(rule, sections)).find(field => field !== null);
    if (found) {
      const effect = found.positive ? 'it never matches' : 'it always holds';
      found.section.warning(
        found.field,
        `no RequestAuthentication of these files applies here, so that no request has a verified token: ${effect}; add one`,
      );
    }
  }
}

interface TokenField {
  readonly section: Section;
  readonly field: string;
  readonly positive: boolean;
}

/** The first field of a rule that is about a token. */
function tokenField({ from, when }: Rule, sections: SectionsOf): TokenField | null {
  for (const source of from ?? []) {
    const section = sections.get(source);
    if (section && source.requestPrincipals) return { section, field: 'requestPrincipals', positive: true };
    if (section && source.notRequestPrincipals)
      return { section, field: 'notRequestPrincipals', positive: false };
  }
  for (const condition of when) {
    const section = sections.get(condition);
    if (section && condition.key.startsWith('request.auth.'))
      return { section, field: 'key', positive: condition.values.length > 0 };
  }
  return null;
}

/** Warns where tokens are verified and no policy can ask for one: requests without a token pass. */
export function warnOfUnasked(resources: Resources, sections: SectionsOf): void {
  const { mesh, authorizationPolicies, requestAuthentications } = resources;
  const asking = authorizationPolicies.filter(policy => !policy.bound && asks(policy));
  for (const authentication of requestAuthentications) {
    const { bound, jwtRules } = authentication;
    if (bound || jwtRules.length === 0) continue;
    if (asking.some(policy => mayMeet(policy, authentication, mesh.rootNamespace))) continue;
    sections
      .get(authentication)
      ?.warning(
        'jwtRules',
        'requests without a token pass: no AuthorizationPolicy of these files asks for one; add one with from.source.requestPrincipals',
      );
  }
}

/**
 * True for a policy that may depend on there being a token, by its fields, by its authorizer or by denying all; and for one
 * that allows only whom it names, where a token may well be for something else.
 */
function asks({ action, dryRun, rules }: AuthorizationPolicy): boolean {
  if (dryRun || action === 'AUDIT') return false;
  if (action === 'CUSTOM' || rules.length === 0 || rules.some(isAboutToken)) return true;
  return action === 'ALLOW' ? rules.every(namesSomeone) : rules.some(matchesAll);
}

function isAboutToken({ from, when }: Rule): boolean {
  const named = from?.some(source => source.requestPrincipals ?? source.notRequestPrincipals) ?? false;
  return (
    named || when.some(({ key }) => /^request\.(?:auth\.|headers\[(?:authorization|cookie)\])/i.test(key))
  );
}

function namesSomeone({ from, when }: Rule): boolean {
  return from !== null || when.some(({ key }) => /^(?:source|remote)\./.test(key));
}
