/** Policies, connections and requests written in one line, for tests that look at one thing each. */
import type { AuthorizationPolicy, PolicyAction, Rule } from '../../src/config/resources.ts';
import type { ConnectionAttributes, RequestAttributes } from '../../src/policy/attributes.ts';
import { compileAuthorization, type PolicyMesh } from '../../src/policy/compile.ts';
import { bindConnection, type ConnectionPolicy } from '../../src/policy/decide.ts';

const MESH: PolicyMesh = {
  rootNamespace: 'istio-system',
  trustDomain: 'td',
  trustDomainAliases: [],
  providers: [
    { name: 'web', kind: 'http' },
    { name: 'rpc', kind: 'grpc' },
  ],
  multipleProviders: false,
};

/** A policy in namespace foo, named after its action unless `more` says otherwise. */
export function policy(
  action: PolicyAction,
  rules: readonly Partial<Rule>[],
  more: { readonly name?: string; readonly provider?: string; readonly dryRun?: boolean } = {},
): AuthorizationPolicy {
  return {
    kind: 'AuthorizationPolicy',
    metadata: {
      namespace: 'foo',
      name: more.name ?? action.toLowerCase(),
      createdAt: 0,
      annotations: {},
    },
    origin: { file: 'test', line: 1, column: 1 },
    selector: null,
    bound: false,
    action,
    provider: more.provider ?? null,
    dryRun: more.dryRun ?? false,
    rules: rules.map(rule => ({ from: null, to: null, when: [], ...rule })),
  };
}

export const CONNECTION: ConnectionAttributes = {
  principal: 'spiffe://td/ns/foo/sa/a',
  sourceIp: '10.0.0.9',
  destinationIp: '10.1.0.1',
  destinationPort: 80,
  sni: null,
};

export function bind(
  policies: readonly AuthorizationPolicy[],
  connection: Partial<ConnectionAttributes> = {},
  mesh: Partial<PolicyMesh> = {},
): ConnectionPolicy {
  const authorization = compileAuthorization({
    policies,
    workload: { namespace: 'foo', labels: {} },
    mesh: { ...MESH, ...mesh },
  });
  return bindConnection(authorization, { ...CONNECTION, ...connection });
}

/** @param headers values by lower-case name */
export function request(
  given: Partial<RequestAttributes> = {},
  headers: Readonly<Record<string, readonly string[]>> = {},
): RequestAttributes {
  const path = given.path ?? '/';
  return {
    method: 'GET',
    host: 'a.com',
    path,
    rawPath: path,
    jwt: null,
    headerValues: name => headers[name] ?? [],
    ...given,
  };
}
