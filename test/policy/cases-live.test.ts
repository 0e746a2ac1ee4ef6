import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Case, parseCaseFile } from './case-file.ts';
import { type Act, castOf, neededOf } from './loopback.ts';
import { type Outcome, Stage } from './stage.ts';

t.setTimeout(180_000);
t.jobs = 3; // while one sidecar starts or reloads, others play

const FOLDER = join(import.meta.dirname, 'cases');
/** Files of which nothing can be played on loopback, with the reason. */
const NOT_PLAYED: Readonly<Record<string, string>> = {};
/** Refused before there is a request or a word to the app, and what the log calls it. */
const AT_THE_DOOR: Readonly<Record<string, string>> = {
  mtls_required: 'not_tls', // the handshake's own word for plaintext
  mtls_disabled: 'mtls_disabled',
  foreign_trust_domain: 'foreign_trust_domain',
};

const files = new Map(
  readdirSync(FOLDER)
    .sort()
    .map(name => [name, parseCaseFile(join(FOLDER, name))]),
);
const cast = neededOf(castOf(files));

t.test('every case file is played, or has its reason', async t => {
  const played = new Set(cast.flatMap(({ acts }) => acts.map(({ file }) => file)));
  t.same(
    [...played].sort(),
    [...files.keys()].filter(file => !(file in NOT_PLAYED)),
  );
  const lines = cast.flatMap(({ acts }) => acts.flatMap(({ scenes }) => scenes)).length;
  t.comment(`${lines} lines of ${played.size} files`);
});

for (const { role, acts } of cast) {
  const { workload, protocol, trustDomain } = role;
  const name = `${protocol} of ${workload.namespace} ${JSON.stringify(workload.labels)} in ${trustDomain}`;
  t.test(name, { buffered: true }, async t => {
    const stage = await Stage.open(t, role);
    for (const act of acts) await play(t, stage, act);
  });
}

async function play(t: Test, stage: Stage, act: Act): Promise<void> {
  await stage.set(act);
  for (const { line, wanted, request } of act.scenes) {
    const facts: Readonly<Record<string, unknown>> = factsOf(await stage.play(request));
    const expected = expectedOf(wanted, request.protocol);
    const compared = Object.keys(expected).map(name => [name, facts[name]]);
    t.strictSame(Object.fromEntries(compared), expected, `${act.file}: ${line}`);
  }
}

function factsOf({ reached, status, asked, log }: Outcome) {
  return {
    reached,
    status,
    asked,
    decision: log.policy_decision,
    code: log.response_code,
    policy: log.policy,
    rule: log.policy_rule,
    details: log.response_code_details ?? log.connection_termination_details,
    audit: log.audit ?? [],
    dryRun: (log.dry_run ?? []).map(({ policy, decision }) => `${policy}:${decision}`),
  };
}

/** The facts that a case tells; of one without a reason only that it is refused. */
function expectedOf({ decision, why, audit, dryRun, custom }: Case, protocol: string) {
  const reached = decision === 'allow';
  if (why === undefined && !reached) return { reached };
  const atTheDoor = AT_THE_DOOR[why ?? ''];
  const status = protocol === 'tcp' || atTheDoor !== undefined ? null : statusOf(why, reached);
  const common = { reached, status, code: status ?? 0, asked: custom, audit, dryRun };
  if (atTheDoor !== undefined) return { ...common, details: atTheDoor };
  const verdict = { ...common, decision: reached && audit.length > 0 ? 'audit' : decision };
  if (why === 'default') return { ...verdict, policy: null, rule: null };
  const [, policy, rule] = /^(.+)#(\d+)$/.exec(why ?? '') ?? [];
  if (policy === undefined) return { ...verdict, details: why === 'none' ? rbac('none') : why };
  const [namespace, name] = policy.split('/');
  const details = { details: rbac(`ns[${namespace}]-policy[${name}]-rule[${rule}]`) };
  return { ...verdict, policy, rule: Number(rule), ...(!reached && details) };
}

function rbac(rule: string): string {
  return `rbac_access_denied_matched_policy[${rule}]`;
}

function statusOf(why: string | undefined, allowed: boolean): number {
  if (allowed) return 200;
  return why?.startsWith('jwt_authn') && !why.includes('Audiences') ? 401 : 403;
}
