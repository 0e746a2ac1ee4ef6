import t, { type Test } from 'tap';
import { loadManifests } from '../../src/config/manifest.ts';
import type { RequestAttributes } from '../../src/policy/attributes.ts';
import { compileAuthorization } from '../../src/policy/compile.ts';
import { bindConnection } from '../../src/policy/decide.ts';
import { explainDenial, explainTcpDenial, tokenLine } from '../../src/policy/explain-live.ts';

const POLICIES = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask, namespace: foo}
spec: {action: CUSTOM, provider: {name: opa}, rules: [{to: [{operation: {paths: [/custom]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: watch, namespace: foo}
spec: {action: AUDIT, rules: [{to: [{operation: {paths: [/custom]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: foo}
spec: {action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow, namespace: foo}
spec: {rules: [{from: [{source: {requestPrincipals: [i/alice]}}]}]}
---
kind: MeshConfig
extensionProviders:
  - name: PROVIDER
    envoyExtAuthzHttp: {service: opa.foo.svc.cluster.local, port: 80}
`;

function policy(t: Test, provider = 'opa') {
  const file = `${t.testdir({ 'a.yaml': POLICIES.replace('PROVIDER', provider) })}/a.yaml`;
  const loaded = loadManifests([file]);
  if (!loaded.ok) throw new Error(loaded.faults.map(fault => fault.message).join('\n'));
  const { authorizationPolicies, mesh } = loaded.resources;
  const authorization = compileAuthorization({
    policies: authorizationPolicies,
    workload: { namespace: 'foo', labels: {} },
    mesh: { ...mesh, providers: mesh.extensionProviders, multipleProviders: false },
  });
  return bindConnection(authorization, {
    principal: null,
    sourceIp: '10.0.0.9',
    destinationIp: '10.0.0.1',
    destinationPort: 8080,
    sni: null,
  });
}

function request(path: string, more: Partial<RequestAttributes> = {}): RequestAttributes {
  return { method: 'GET', host: 'a.com', path, rawPath: path, jwt: null, headerValues: () => [], ...more };
}

t.test('policy denied: every stage, up to the rule that decided', async t => {
  const jwt = { payload: { iss: 'i', sub: 'bob' } };
  t.strictSame(explainDenial(policy(t), request('/custom', { jwt }), { by: 'policy' }), [
    'CUSTOM foo/ask rule 0: to.paths matched /custom; so provider opa is asked',
    'CUSTOM foo/ask rule 0: provider opa allowed the request',
    'RequestAuthentication: the token is accepted: issuer i, subject bob',
    'AUDIT foo/watch rule 0: to.paths matched /custom',
    'DENY foo/deny rule 0: to.methods did not match: saw GET, wants DELETE',
    'ALLOW foo/allow rule 0: from.requestPrincipals did not match: saw i/bob, wants i/alice',
  ]);
  const lines = explainDenial(policy(t), request('/', { method: 'DELETE' }), { by: 'policy' });
  t.equal(lines.at(-1), 'DENY foo/deny rule 0: to.methods matched DELETE');
});

t.test('a token or an authorizer refused: nothing after it was considered', async t => {
  t.strictSame(explainDenial(policy(t), request('/'), { by: 'token', body: 'Jwt is expired' }), [
    'CUSTOM foo/ask rule 0: to.paths did not match: saw /, wants /custom',
    'RequestAuthentication: the token is refused: Jwt is expired',
  ]);
  const denied = {
    by: 'authorizer',
    provider: 'opa',
    policy: 'foo/ask',
    rule: 0,
    said: 'answered 403',
  } as const;
  t.strictSame(explainDenial(policy(t), request('/custom'), denied), [
    'CUSTOM foo/ask rule 0: to.paths matched /custom; so provider opa is asked',
    'CUSTOM foo/ask rule 0: provider opa answered 403',
  ]);
  t.strictSame(explainDenial(policy(t, 'other'), request('/custom'), { by: 'policy' }), [
    'CUSTOM foo/ask rule 0: to.paths matched /custom; refused: no provider "opa" in extensionProviders',
  ]);
});

t.test('a TCP connection', async t => {
  t.match(explainTcpDenial(policy(t)), [
    /^CUSTOM foo\/ask rule 0: passed over: provider opa is asked about HTTP only$/,
    /^AUDIT foo\/watch rule 0: /,
    /^DENY foo\/deny rule 0: /,
  ]);
});

t.test('what a token says is bounded and cannot forge a line', async t => {
  const payload = {
    iss: 'https://i\nDENY foo/p',
    sub: 'x'.repeat(10_000),
    aud: ['a', 'b', 'c', 'd', 'e', 3],
  };
  const line = tokenLine(['foo/jwt'], { payload });
  t.ok(line.length < 600);
  t.match(
    line,
    /^RequestAuthentication foo\/jwt: the token is accepted: issuer https:\/\/i\?DENY foo\/p, subject x+…/,
  );
  t.match(line, /, audience a, b, c, d$/);
  t.match(tokenLine([], { payload: { iss: 'i' } }), /: issuer i, no subject$/);
});
