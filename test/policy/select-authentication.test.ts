import t from 'tap';
import type { JwtRule, RequestAuthentication, Selector } from '../../src/config/resources.ts';
import { selectAuthentication } from '../../src/policy/select.ts';

interface Plan {
  readonly selector?: Selector;
  readonly bound?: boolean;
  readonly createdAt?: number;
  readonly issuers?: readonly string[];
}

/** A resource called `namespace/name` with one rule of an issuer of that name, unless told otherwise. */
function authentication(id: string, plan: Plan = {}): RequestAuthentication {
  const [namespace = '', name = ''] = id.split('/');
  return {
    kind: 'RequestAuthentication',
    metadata: { namespace, name, createdAt: plan.createdAt ?? 0, annotations: {} },
    origin: { file: 'm.yaml', line: 1, column: 1 },
    selector: plan.selector ?? null,
    bound: plan.bound ?? false,
    jwtRules: (plan.issuers ?? [name]).map(ruleOf),
  };
}

function ruleOf(issuer: string): JwtRule {
  return {
    issuer,
    audiences: [],
    jwks: null,
    jwksUri: null,
    timeoutMs: 5_000,
    fromHeaders: [],
    fromParams: [],
    fromCookies: [],
    forwardOriginalToken: false,
    outputPayloadToHeader: null,
    outputClaimToHeaders: [],
    spaceDelimitedClaims: [],
  };
}

function issuersFor(...policies: readonly RequestAuthentication[]): string[] {
  const workload = { namespace: 'foo', labels: { app: 'httpbin', version: 'v1' } };
  return selectAuthentication(policies, workload, 'istio-system').map(({ issuer }) => issuer);
}

t.test('rules of the root namespace and of the own one hold, with and without selectors', t => {
  const issuers = issuersFor(
    authentication('foo/own'),
    authentication('bar/foreign'),
    authentication('istio-system/root'),
    authentication('foo/selected', { selector: { app: 'httpbin' } }),
    authentication('foo/not-selected', { selector: { app: 'httpbin', version: 'v2' } }),
    authentication('istio-system/root-selected', { selector: { version: 'v1' } }),
    authentication('istio-system/root-not-selected', { selector: { app: 'other' } }),
    authentication('foo/bound', { bound: true }),
    authentication('foo/none', { issuers: [] }),
  );
  t.same(issuers, ['own', 'selected', 'root', 'root-selected']);
  t.end();
});

t.test('rules stand in the order of Istio: own namespace, age, name, then as written', t => {
  const issuers = issuersFor(
    authentication('istio-system/a', { createdAt: 1 }),
    authentication('foo/young', { createdAt: 9 }),
    authentication('foo/old', { createdAt: 2 }),
    authentication('foo/b', { issuers: ['z', 'y'] }),
    authentication('foo/a'),
  );
  t.same(issuers, ['a', 'z', 'y', 'old', 'young', 'a']);
  t.end();
});
