import fc from 'fast-check';
import t, { type Test } from 'tap';
import { Comparer } from '../../src/cli/replay-compare.ts';
import { readLogLine } from '../../src/cli/replay-line.ts';
import { Side } from '../../src/cli/replay-side.ts';
import { loadManifests } from '../../src/config/manifest.ts';
import type { AuthorizationPolicy, Resources } from '../../src/config/resources.ts';
import { explainRequest } from '../../src/policy/explain.ts';
import { parseExplainRequest } from '../../src/policy/explain-request.ts';
import { frontDoor } from '../../src/proxy/front-door.ts';
import { type Line, logLine, policy, SLEEP } from './replay-log.ts';

function load(t: Test, text: string): Resources {
  const loaded = loadManifests([`${t.testdir({ 'a.yaml': text })}/a.yaml`]);
  if (!loaded.ok) throw new Error(loaded.faults.map(fault => fault.message).join('\n'));
  return loaded.resources;
}

function compare(before: Resources, after: Resources, line: Line = {}) {
  const workload = { namespace: null, labels: {} };
  const { peerFault } = frontDoor();
  const comparer = new Comparer(new Side(before, workload, peerFault), new Side(after, workload, peerFault));
  const read = readLogLine(logLine(line));
  if (read.is !== 'request') throw new Error(read.is);
  return comparer.compare(read.request).comparison;
}

const when = (key: string, values: string) => `{when: [{key: "${key}", values: ${values}}]}`;
const TENANT = (values: string) => when('request.headers[x-tenant]', values);
const ALL = policy('all', 'ALLOW', '[{}]');

t.test('a verdict that hangs on a header that no log holds cannot be told', async t => {
  const plain = load(t, ALL);
  const denied = load(t, ALL + policy('deny', 'DENY', `[${TENANT('[evil]')}]`));
  t.strictSame(compare(plain, denied), { is: 'unknown', names: ['header x-tenant'] });
  t.strictSame(compare(denied, plain), { is: 'unknown', names: ['header x-tenant'] });
  const narrowed = load(t, policy('all', 'ALLOW', `[${TENANT('[a, b]')}]`));
  const wider = load(t, policy('all', 'ALLOW', `[${TENANT('[a, b, c*]')}]`));
  t.equal(compare(narrowed, wider).is, 'unknown');
  t.equal(compare(load(t, policy('all', 'ALLOW', `[${TENANT('["*"]')}]`)), wider).is, 'unknown');
});

t.test('a header that counts the same under both configurations changes nothing', async t => {
  const rule = TENANT('[a]');
  const before = load(t, policy('p', 'ALLOW', `[${rule}]`));
  const after = load(t, policy('p', 'ALLOW', `[{to: [{operation: {paths: [/new]}}]}, ${rule}]`));
  t.equal(compare(before, after).is, 'same', 'whatever it was');
  t.strictSame(compare(before, after, { record: { path: '/new' } }), {
    is: 'unknown',
    names: ['header x-tenant'],
  });
});

t.test('a verdict that no header could turn is certain', async t => {
  const before = load(t, policy('p', 'ALLOW', `[{}]`));
  const after = load(
    t,
    policy(
      'p',
      'ALLOW',
      '[{to: [{operation: {methods: [PUT]}}], when: [{key: "request.headers[x-a]", values: [b]}]}]',
    ),
  );
  t.equal(compare(before, after).is, 'changed');
});

t.test('what the log says was decided tells what the header must have been', async t => {
  const before = load(t, policy('p', 'ALLOW', `[${TENANT('[a]')}]`));
  const after = load(t, policy('p', 'ALLOW', '[{to: [{operation: {methods: [PUT]}}]}]'));
  t.equal(compare(before, after).is, 'unknown');
  const allowed = { decision: 'allow', policy: 'foo/p', policyRule: 0 } as const;
  t.match(compare(before, after, { record: allowed }), { is: 'changed', after: { allow: false } });
  const denied = { decision: 'deny', policy: 'foo/p', policyRule: null } as const;
  t.equal(compare(before, after, { record: denied }).is, 'same');
});

const JWT = (name: string, issuer: string, more = '') => `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: ${name}, namespace: foo}
spec:
  jwtRules:
    - issuer: ${issuer}
      jwks: '{"keys":[]}'
${more}
---
`;

t.test('who a verified token spoke for is known, its other claims are not', async t => {
  const jwt = JWT('jwt', 'https://issuer');
  const plain = load(t, jwt + ALL);
  const record = { requestPrincipal: 'https://issuer/alice' };
  const rule = (values: string) => `[{from: [{source: {requestPrincipals: [${values}]}}]}]`;
  const alice = load(t, jwt + policy('all', 'ALLOW', rule('https://issuer/alice')));
  const bob = load(t, jwt + policy('all', 'ALLOW', rule('https://issuer/bob')));
  t.equal(compare(plain, alice, { record }).is, 'same');
  t.equal(compare(plain, bob, { record }).is, 'changed');
  t.equal(compare(plain, alice).is, 'changed', 'no token was there');
  const groups = load(t, jwt + policy('all', 'ALLOW', `[${when('request.auth.claims[groups]', '[ops]')}]`));
  t.strictSame(compare(plain, groups, { record }), { is: 'unknown', names: ['claim groups'] });
  t.equal(compare(groups, groups, { record }).is, 'same');
  const nested = load(t, jwt + policy('all', 'ALLOW', `[${when('request.auth.claims[a][b]', '[c]')}]`));
  t.strictSame(compare(plain, nested, { record }), { is: 'unknown', names: ['claim a'] });
  const iss = load(
    t,
    jwt + policy('all', 'ALLOW', `[${when('request.auth.claims[iss]', '[https://issuer]')}]`),
  );
  t.equal(compare(plain, iss, { record }).is, 'same');
});

t.test('a token that the other configuration reads in another way cannot be told', async t => {
  const none = load(t, ALL);
  const jwt = load(t, JWT('jwt', 'https://issuer') + ALL);
  t.strictSame(compare(none, jwt), { is: 'unknown', names: ['the token'] }, 'nobody looked for one');
  t.equal(compare(jwt, none).is, 'same');
  const narrower = load(t, JWT('jwt', 'https://issuer', '      audiences: [a]') + ALL);
  const record = { requestPrincipal: 'https://issuer/alice' };
  t.equal(compare(jwt, narrower).is, 'same', 'there was none');
  t.strictSame(compare(jwt, narrower, { record }), { is: 'unknown', names: ['the token'] });
  const elsewhere = load(t, JWT('jwt', 'https://issuer', '      fromParams: [t]') + ALL);
  t.equal(compare(jwt, elsewhere).is, 'unknown', 'nobody looked there');
  const refused = {
    details: 'jwt_authn_access_denied{Jwt_is_expired}',
    status: 401,
    decision: 'deny' as const,
  };
  t.equal(compare(jwt, jwt, { record: refused }).is, 'same');
  t.match(compare(jwt, none, { record: refused }), {
    is: 'changed',
    before: { reason: 'jwt_authn_access_denied' },
  });
});

const CUSTOM = `${policy('c', 'CUSTOM', '[{to: [{operation: {paths: [/x]}}]}]').replace('{action', '{provider: {name: opa}, action')}
kind: MeshConfig
extensionProviders:
  - name: opa
    envoyExtAuthzHttp: {service: opa.foo.svc.cluster.local, port: 80}
---
`;

t.test('nobody knows what an external authorizer would say that was not asked', async t => {
  const plain = load(t, ALL);
  const custom = load(t, ALL + CUSTOM);
  const refused = { flag: 'UAEX', status: 403, decision: 'deny', policy: 'foo/c', policyRule: 0 };
  const at = (more: object = {}) => ({ record: { path: '/x', ...more } });
  t.strictSame(compare(plain, custom, at()), { is: 'unknown', names: ['the answer of provider opa'] });
  t.equal(compare(plain, custom).is, 'same', 'another path');
  t.equal(compare(custom, custom, at()).is, 'same');
  t.match(compare(custom, plain, at(refused)), {
    is: 'changed',
    after: { allow: true },
  });
  const allowed = { decision: 'allow', policy: 'foo/all', policyRule: 0 };
  t.equal(compare(custom, plain, at(allowed)).is, 'same', 'it allowed');
  const both = load(t, CUSTOM + policy('all', 'ALLOW', '[{to: [{operation: {paths: [/x]}}]}]'));
  t.equal(compare(custom, both, at(refused)).is, 'same');
});

t.test('what is said for certain is so, whatever the headers and claims were', async t => {
  const value = fc.constantFrom('a', 'ab', 'b', 'abc', 'xb', '');
  const pattern = fc.constantFrom('a', 'ab', 'a*', '*b', '*', 'abc');
  const condition = fc.record({
    key: fc.constantFrom('request.headers[x-a]', 'request.headers[x-b]'),
    values: fc.uniqueArray(pattern, { maxLength: 2 }),
    notValues: fc.uniqueArray(pattern, { maxLength: 2 }),
  });
  const rules = fc.array(fc.array(condition, { minLength: 1, maxLength: 2 }), { minLength: 1, maxLength: 2 });
  const side = fc.record({ allow: rules, deny: rules, denies: fc.boolean() });
  const headers = fc.dictionary(
    fc.constantFrom('x-a', 'x-b'),
    fc.array(value, { minLength: 1, maxLength: 2 }),
  );
  const base = load(t, ALL);
  const resourcesOf = ({
    allow,
    deny,
    denies,
  }: typeof side extends fc.Arbitrary<infer T> ? T : never): Resources => {
    const made = (action: 'ALLOW' | 'DENY', lists: typeof allow): AuthorizationPolicy => ({
      ...base.authorizationPolicies[0]!,
      metadata: { ...base.authorizationPolicies[0]!.metadata, name: action.toLowerCase() },
      action,
      rules: lists.map(conditions => ({ from: null, to: null, when: conditions })),
    });
    const policies = denies ? [made('ALLOW', allow), made('DENY', deny)] : [made('ALLOW', allow)];
    return { ...base, authorizationPolicies: policies };
  };
  const decide = async (resources: Resources, sent: Record<string, string[]>) => {
    const parsed = parseExplainRequest({
      destination: { port: 8080 },
      source: { principal: SLEEP },
      request: { host: 'a.com', headers: sent },
    });
    if (!parsed.ok) throw new Error(parsed.reason);
    const answer = await explainRequest(
      resources,
      { namespace: 'foo', labels: {} },
      parsed.request,
      frontDoor(),
    );
    return answer.decision;
  };
  let certain = 0;
  await fc.assert(
    fc.asyncProperty(side, side, headers, async (one, other, sent) => {
      const [before, after] = [resourcesOf(one), resourcesOf(other)];
      const { is } = compare(before, after);
      if (is === 'unknown') return true;
      certain++;
      const changes = (await decide(before, sent)) !== (await decide(after, sent));
      return changes === (is === 'changed');
    }),
    { numRuns: 400 },
  );
  t.ok(certain > 20, `${certain} of 400 were certain`);
});
