import t, { type Test } from 'tap';
import { loadManifests } from '../../src/config/manifest.ts';
import type { Resources } from '../../src/config/resources.ts';
import { Explainer } from '../../src/policy/explain.ts';
import { parseExplainRequest } from '../../src/policy/explain-request.ts';
import { frontDoor } from '../../src/proxy/front-door.ts';
import { jwks, KEYS, publicJwk, token } from '../identity/jwt-issuer.ts';

const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';
const HOUR = 3_600;

const POLICIES = `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: foo}
spec:
  jwtRules:
    - issuer: https://issuer
      audiences: [web]
      jwks: '${jwks(publicJwk(KEYS.rsa, { kid: 'k' }))}'
      outputClaimToHeaders: [{header: x-sub, claim: sub}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow, namespace: foo}
spec:
  rules:
    - from: [{source: {requestPrincipals: [https://issuer/alice]}}]
    - when: [{key: 'request.headers[x-sub]', values: [carol]}]
    - when: [{key: 'request.headers[x_sub]', values: [mallory]}]
    - to: [{operation: {paths: [/open, /custom]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: watch, namespace: foo}
spec: {action: AUDIT, rules: [{to: [{operation: {paths: [/open]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: next, namespace: foo, annotations: {istio.io/dry-run: "true"}}
spec: {action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask, namespace: foo}
spec: {action: CUSTOM, provider: {name: opa}, rules: [{to: [{operation: {paths: [/custom*], ports: ["8080", "9090"]}}]}]}
---
kind: MeshConfig
extensionProviders:
  - name: opa
    envoyExtAuthzGrpc: {service: opa.foo.svc.cluster.local, port: 9000}
`;

function load(t: Test, text: string): Resources {
  const loaded = loadManifests([`${t.testdir({ 'a.yaml': text })}/a.yaml`]);
  if (!loaded.ok) throw new Error(loaded.faults.map(fault => fault.message).join('\n'));
  return loaded.resources;
}

function explainer(t: Test, text = POLICIES) {
  const made = new Explainer(load(t, text), { namespace: 'foo', labels: {} }, frontDoor());
  return (given: object) => {
    const parsed = parseExplainRequest({
      destination: { port: 8080 },
      source: { principal: SLEEP },
      ...given,
    });
    if (!parsed.ok) throw new Error(parsed.reason);
    return made.explain(parsed.request);
  };
}

const now = () => Math.floor(Date.now() / 1000);

function bearer(payload: object, key = KEYS.rsa): object {
  const claims = { iss: 'https://issuer', aud: ['web'], exp: now() + HOUR, ...payload };
  return { authorization: [`Bearer ${token(claims, { key })}`] };
}

t.test('the stages are told in the order of the wire', async t => {
  const ask = explainer(t);
  t.strictSame(await ask({ request: { path: '/custom', headers: bearer({ sub: 'alice' }) } }), {
    decision: 'allow',
    status: 200,
    policy: 'foo/allow',
    rule: 0,
    mtlsMode: 'PERMISSIVE',
    path: '/custom',
    custom: [{ provider: 'opa', policy: 'foo/ask', rule: 0, assumed: 'allow' }],
    audit: [],
    dryRun: [{ policy: 'foo/next', decision: 'deny' }],
    trace: [
      'CUSTOM foo/ask rule 0: to.ports matched 8080; to.paths matched /custom; so provider opa is asked',
      'CUSTOM foo/ask rule 0: provider opa allows (assumed)',
      'RequestAuthentication foo/tokens: the token is accepted: issuer https://issuer, subject alice, audience web',
      'AUDIT foo/watch rule 0: to.paths did not match: saw /custom, wants /open',
      'DENY foo/next rule 0 (dry-run): to.methods matched GET',
      'ALLOW foo/allow rule 0: from.requestPrincipals matched https://issuer/alice',
    ],
  });
  t.match(await ask({ request: { path: '/open' } }), {
    decision: 'allow',
    audit: ['foo/watch'],
    trace: [
      /^CUSTOM/,
      'RequestAuthentication foo/tokens: no token, and none is needed to pass here',
      /^AUDIT/,
    ],
  });
});

t.test('a token that is refused ends the request, and is never shown', async t => {
  const ask = explainer(t);
  const expired = bearer({ sub: 'alice', exp: now() - HOUR });
  const answer = await ask({ request: { path: '/open', headers: expired } });
  t.match(answer, {
    decision: 'deny',
    status: 401,
    reason: 'jwt_authn_access_denied{Jwt_is_expired}',
    path: '/open',
    audit: [],
    dryRun: [],
  });
  t.equal(answer.trace.at(-1), 'RequestAuthentication foo/tokens: the token is refused: Jwt is expired');
  t.match(await ask({ request: { headers: bearer({ aud: 'other' }) } }), {
    status: 403,
    reason: 'jwt_authn_access_denied{Audiences_in_Jwt_are_not_allowed}',
  });
  t.match(await ask({ request: { headers: bearer({}, KEYS.otherRsa) } }), { status: 401 });
  const grpc = { 'content-type': ['application/grpc'], ...expired };
  t.match(await ask({ protocol: 'grpc', request: { headers: grpc } }), { status: 200, grpcStatus: 16 });
  const audience = { 'content-type': ['application/grpc'], ...bearer({ aud: 'other' }) };
  t.match(await ask({ protocol: 'grpc', request: { headers: audience } }), { status: 200, grpcStatus: 7 });
  for (const headers of [expired, bearer({ sub: 'alice' })]) {
    const text = JSON.stringify(await ask({ request: { headers } }));
    t.notMatch(text, /eyJ|Bearer/);
  }
});

t.test('policy sees the headers that a token is written into, and not what a client wrote there', async t => {
  const ask = explainer(t);
  t.match(await ask({ request: { headers: bearer({ sub: 'carol' }) } }), { decision: 'allow', rule: 1 });
  t.match(await ask({ request: { headers: { 'x-sub': ['carol'] } } }), { decision: 'deny', status: 403 });
  t.match(
    await ask({ request: { headers: { x_sub: ['mallory'] } } }),
    { decision: 'deny', status: 403 },
    'a spelling with _ is the same name, as it is on the wire',
  );
});

t.test('keys that only a live sidecar fetches refuse every token here, and are named', async t => {
  const remote = POLICIES.replace(/ {6}jwks: .*\n/, '      jwksUri: https://issuer/keys\n');
  const ask = explainer(t, remote);
  const answer = await ask({ request: { path: '/open', headers: bearer({ sub: 'alice' }) } });
  t.match(answer, { decision: 'deny', status: 401 });
  t.match(answer.trace.at(-1), /^the keys of https:\/\/issuer\/keys are not at hand here/);
  t.equal((await ask({ request: { path: '/open' } })).decision, 'allow', 'without a token it passes');
});

t.test('an external authorizer that is assumed to deny comes first', async t => {
  const ask = explainer(t);
  t.match(await ask({ custom: 'deny', request: { path: '/custom', headers: bearer({ exp: 1 }) } }), {
    decision: 'deny',
    status: 403,
    reason: 'ext_authz_denied',
    policy: 'foo/ask',
    rule: 0,
    custom: [{ provider: 'opa', assumed: 'deny' }],
    trace: [/^CUSTOM/, 'CUSTOM foo/ask rule 0: provider opa denies (assumed)'],
  });
  const elsewhere = await ask({ custom: 'deny', request: { path: '/open' } });
  t.equal(elsewhere.decision, 'allow', 'no CUSTOM rule matches');
  t.notOk('custom' in elsewhere);
});

t.test('an external authorizer that cannot be asked denies, as Envoy says it', async t => {
  const ask = explainer(t, POLICIES.replace('- name: opa', '- name: other'));
  t.match(await ask({ request: { path: '/custom' } }), {
    decision: 'deny',
    status: 403,
    reason:
      'rbac_access_denied_matched_policy[istio-ext-authz-opa-ns[foo]-policy[ask]-rule[0]-deny-due-to-bad-CUSTOM-action]',
    trace: [/refused: no provider "opa" in extensionProviders$/],
  });
});

t.test('TCP has authorizers, AUDIT and dry-run, and no tokens', async t => {
  const ask = explainer(t);
  const allowed = await ask({ protocol: 'tcp' });
  t.match(allowed, {
    decision: 'deny',
    custom: [{ provider: 'opa', assumed: 'allow' }],
    audit: ['foo/watch'],
    dryRun: [{ policy: 'foo/next', decision: 'deny' }],
  });
  t.notOk(allowed.trace.some(line => line.startsWith('RequestAuthentication')));
  const denied = await ask({ protocol: 'tcp', custom: 'deny' });
  t.match(denied, { decision: 'deny', reason: 'ext_authz_denied', policy: 'foo/ask' });
});

t.test('the ALLOW rule that came nearest says what it still wants', async t => {
  const ask = explainer(t);
  const { nearest } = await ask({ request: { path: '/x', headers: bearer({ sub: 'bob' }) } });
  t.strictSame(nearest, {
    policy: 'foo/allow',
    rule: 0,
    needs: ['from.requestPrincipals: https://issuer/alice (saw https://issuer/bob)'],
  });
  t.notOk('nearest' in (await ask({ request: { path: '/open' } })));
});

t.test('requests of many workloads do not keep policy of all of them', async t => {
  const ask = explainer(t);
  for (let i = 0; i < 200; i++) {
    const workload = { namespace: i % 2 === 0 ? 'foo' : `ns${i}`, labels: { i: String(i) } };
    const { decision } = await ask({ workload, request: { path: '/x' } });
    t.equal(decision, i % 2 === 0 ? 'deny' : 'allow');
  }
});
