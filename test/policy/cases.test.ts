import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type ExplainAnswer, explainRequest, type FrontDoor } from '../../src/policy/explain.ts';
import { parseExplainRequest } from '../../src/policy/explain-request.ts';
import { frontDoor } from '../../src/proxy/front-door.ts';
import { type Case, readCase, readCaseFile } from './case-file.ts';

const FOLDER = join(import.meta.dirname, 'cases');

/** Policy is asked about more principals than a certificate can hold. */
const DOOR: FrontDoor = {
  ...frontDoor(),
  peerFault: (principal, domains) =>
    domains.some(domain => principal.startsWith(`spiffe://${domain}/`)) ? null : 'foreign_trust_domain',
  requestFault: () => null,
};

for (const name of readdirSync(FOLDER).sort()) {
  t.test(name, t => {
    const { resources, tables } = readCaseFile(join(FOLDER, name), t.testdir());
    for (const { says, workload, cases } of tables) {
      t.test(says, async t => {
        for (const line of cases) {
          const wanted = readCase(line);
          const parsed = parseExplainRequest(wanted.request);
          if (!parsed.ok) throw new Error(parsed.reason);
          const answer = await explainRequest(resources, workload, parsed.request, DOOR);
          t.ok(meets(answer, wanted), line, { answer });
          t.same(contradictions(answer), [], `the trace agrees: ${line}`, { answer });
        }
      });
    }
    t.end();
  });
}

function meets(answer: ExplainAnswer, wanted: Case): boolean {
  const { decision, why, audit, dryRun, custom } = wanted;
  if (answer.decision !== decision) return false;
  const trials = answer.dryRun.map(trial => `${trial.policy}:${trial.decision}`);
  const asked = (answer.custom ?? []).map(({ provider }) => provider);
  if (`${answer.audit}` !== `${audit}` || `${trials}` !== `${dryRun}` || `${asked}` !== `${custom}`)
    return false;
  if (why === undefined) return true;
  if (why.includes('#')) return `${answer.policy}#${answer.rule}` === why;
  if (why === 'none') return answer.reason === 'rbac_access_denied_matched_policy[none]';
  if (why === 'default') return answer.policy === undefined;
  return answer.reason === why;
}

/**
 * Lines of a trace that say the opposite of the decision: of the enforced DENY and ALLOW rules only the last may have
 * matched, and only when a rule decided.
 */
function contradictions({ trace, policy, reason }: ExplainAnswer): string[] {
  const claims = trace.filter(line => /^(?:ALLOW|DENY) /.test(line) && !line.includes(' (dry-run): '));
  const decided = policy !== undefined && reason?.startsWith('ext_authz') !== true && claims.length > 0;
  return claims.filter((line, i) => {
    const failed = /did not match|can never|has no rules/.test(line);
    return failed === (decided && i === claims.length - 1);
  });
}
