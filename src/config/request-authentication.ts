import { refuseDryRun } from './annotations.ts';
import type { ResourceDocument, SectionsOf } from './document.ts';
import { readJwtRule } from './jwt-rule.ts';
import type { JwtRule, RequestAuthentication } from './resources.ts';
import type { Section } from './section.ts';
import { readSelector } from './selector.ts';
import { readTargetRefs, warnOfTargets } from './target-refs.ts';

const MAX_RULES = 4_096; // Istio's custom resource definition

/** Reads a RequestAuthentication (security.istio.io); null when the report has an error. */
export function readRequestAuthentication(document: ResourceDocument): RequestAuthentication | null {
  const { spec, metadata, origin, report, sections } = document;
  refuseDryRun(document);
  const bound = readTargetRefs(spec);
  if (bound) warnOfTargets(spec);
  const selector = readSelector(spec, 'selector');
  const jwtRules = readRules(spec, sections);
  spec.close();
  if (report.failed) return null;
  const policy: RequestAuthentication = {
    kind: 'RequestAuthentication',
    metadata,
    origin,
    selector,
    bound,
    jwtRules,
  };
  sections.set(policy, spec);
  return policy;
}

function readRules(spec: Section, sections: SectionsOf): readonly JwtRule[] {
  const entries = spec.sections('jwtRules') ?? [];
  if (entries.length > MAX_RULES) spec.error('jwtRules', `has more than ${MAX_RULES} rules`);
  return entries.map(section => readJwtRule(section, sections));
}
