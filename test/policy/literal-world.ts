/** Small worlds of policies and requests for the property tests, so that values and what they are compared with meet. */
import fc from 'fast-check';
import type { AuthorizationPolicy, Operation, Rule, Source } from '../../src/config/resources.ts';
import type { Given, GivenRequest, Mesh } from './literal.ts';

const words = (...all: string[]) => fc.uniqueArray(fc.constantFrom(...all), { minLength: 1, maxLength: 3 });

const principals = words(
  ...['td/ns/foo/sa/a', 'old/ns/bar/sa/a', 'cluster.local/ns/foo/sa/b', 'td/ns/foo/*', '*/sa/b', '*'],
  ...['spiffe://td/ns/foo/sa/a', '*/*', 'else/ns/foo/sa/a'],
);
const namespaces = words('foo', 'bar', 'f*', '*o', '*', 'f*r', 'Foo', 'f.o');
const accounts = words('a', 'b', 'foo/a', 'bar/a', 'root/a', 'foo/a.b', 'foo/x');
const trustDomains = words('td', 'old', 'else', '*', 't*', '*d', '*e*');
const blocks = words('10.0.0.0/8', '10.0.0.1', '10.0.0.0/31', '192.168.0.0/16', '0.0.0.0/0', '10.128.0.0/9');
const requestPrincipals = words(
  ...[
    'i/s',
    'i/t',
    'j/k/s',
    '*',
    'i*',
    'i/*',
    'j/k/*',
    'i/s*',
    '*s',
    '*/s',
    '*k/s',
    'i',
    'i/s/t',
    '**',
    '*/t*',
  ],
);
const hosts = words('a.com', 'A.com', '*.com', 'b.*', '*', 'b.com:80');
const ports = words('80', '8080', '080');
const methods = words('GET', 'POST', 'P*', '*T', '*');
const paths = words('/a', '/a*', '*b', '*', '/a/{*}', '/{**}', '/a/{**}/b', '/{*}/b', '*/b*', '/a/{*}/{**}');
const headerValues = words('x', 'xy', 'x*', '*y', '*');
const claimValues = words('u', 'v', 'uv', 'u*', '*v', '*');
const names = words('s.example', '*.example', 's*', '*', 'S.example');

function fields<T>(arbitraries: Record<string, fc.Arbitrary<string[]>>): fc.Arbitrary<T> {
  return fc
    .record(arbitraries, { requiredKeys: [] })
    .filter(value => Object.keys(value).length > 0) as fc.Arbitrary<T>;
}

/** A field and its not-form. */
function pair(name: string, values: fc.Arbitrary<string[]>): Record<string, fc.Arbitrary<string[]>> {
  return { [name]: values, [`not${name[0]!.toUpperCase()}${name.slice(1)}`]: values };
}

const someSources = {
  ...pair('principals', principals),
  ...pair('requestPrincipals', requestPrincipals),
  ...pair('namespaces', namespaces),
  ...pair('serviceAccounts', accounts),
  ...pair('trustDomains', trustDomains),
  ...pair('ipBlocks', blocks),
  ...pair('remoteIpBlocks', blocks),
};
const someOperations = {
  ...pair('hosts', hosts),
  ...pair('ports', ports),
  ...pair('methods', methods),
  ...pair('paths', paths),
};

/** Few fields at a time: with all of them at once nothing would ever match. */
function few<T>(all: Record<string, fc.Arbitrary<string[]>>): fc.Arbitrary<T> {
  return fc
    .subarray(Object.keys(all), { minLength: 1, maxLength: 3 })
    .chain(chosen => fields<T>(Object.fromEntries(chosen.map(name => [name, all[name]!]))));
}

const conditions = fc
  .constantFrom<[string, fc.Arbitrary<string[]>]>(
    ['source.principal', principals],
    ['source.namespace', namespaces],
    ['source.serviceAccount', accounts],
    ['source.trustDomain', trustDomains],
    ['source.ip', blocks],
    ['remote.ip', blocks],
    ['destination.ip', blocks],
    ['destination.port', ports],
    ['connection.sni', names],
    ['request.auth.principal', requestPrincipals],
    ['request.auth.audiences', claimValues],
    ['request.auth.presenter', claimValues],
    ['request.auth.claims[c]', claimValues],
    ['request.auth.claims[c][d]', claimValues],
    ['request.headers[x-a]', headerValues],
    ['request.headers[X-B]', headerValues],
    ['request.headers[:method]', methods],
    ['request.headers[:path]', words('/a', '/a?q', '/a*', '*?q')],
  )
  .chain(([key, values]) =>
    fc
      .record({
        key: fc.constant(key),
        values: fc.oneof(fc.constant([]), values),
        notValues: fc.oneof(fc.constant([]), values),
      })
      .filter(condition => condition.values.length + condition.notValues.length > 0),
  );

const rules: fc.Arbitrary<Rule> = fc.record({
  from: fc.option(fc.array(few<Source>(someSources), { minLength: 1, maxLength: 2 })),
  to: fc.option(fc.array(few<Operation>(someOperations), { minLength: 1, maxLength: 2 })),
  when: fc.array(conditions, { maxLength: 2 }),
});

const spec = fc.record({
  action: fc.constantFrom('ALLOW', 'ALLOW', 'DENY', 'DENY', 'AUDIT', 'CUSTOM'),
  provider: fc.constantFrom('web', 'rpc', 'web', 'lost'),
  dryRun: fc.constantFrom(false, false, false, true),
  rules: fc.array(rules, { maxLength: 12 }),
});

/** @param many how many policies at most */
export function somePolicies(many: number): fc.Arbitrary<AuthorizationPolicy[]> {
  return fc.array(spec, { maxLength: many }).map(all =>
    all.map(
      ({ action, provider, dryRun, rules }, index) =>
        ({
          kind: 'AuthorizationPolicy',
          metadata: {
            namespace: index % 2 === 0 ? 'foo' : 'root',
            name: `p${99 - index}`,
            createdAt: 0,
            annotations: {},
          },
          origin: { file: 'test', line: 1, column: 1 },
          selector: null,
          bound: false,
          action,
          provider: action === 'CUSTOM' ? provider : null,
          dryRun: dryRun && (action === 'ALLOW' || action === 'DENY'),
          rules,
        }) as AuthorizationPolicy,
    ),
  );
}

export const someMesh: fc.Arbitrary<Mesh> = fc.record({
  trustDomains: fc.constantFrom(['td'], ['td', 'old']),
  providers: fc.constant([{ name: 'web', kind: 'http' } as const, { name: 'rpc', kind: 'grpc' } as const]),
  multipleProviders: fc.boolean(),
});

const claim = fc.constantFrom<unknown>(
  'u',
  'uv',
  '',
  ['u', 'w'],
  ['uv'],
  [],
  { d: 'u' },
  { d: ['v', 7] },
  7,
  true,
  [['u']],
);

const someClaims = fc.record(
  {
    iss: fc.constantFrom('i', 'j/k', 'i/s'),
    sub: fc.constantFrom('s', 't', '', 'st'),
    aud: fc.constantFrom<unknown>('u', ['u', 'v'], ['w']),
    azp: fc.constantFrom('u', 'v'),
    c: claim,
  },
  { requiredKeys: ['iss'] },
);

export const someRequest: fc.Arbitrary<GivenRequest> = fc.record({
  method: fc.constantFrom('GET', 'POST', 'PUT', 'PATCH'),
  host: fc.constantFrom('a.com', 'A.COM', 'b.com', 'b.com:80'),
  path: fc.constantFrom('/', '/a', '/ab', '/a/b', '/a//b', '/a/x/b', '/b', '/a/b*'),
  query: fc.constantFrom('', '?q', '?q=/a'),
  headers: fc.record(
    {
      'x-a': fc.array(fc.constantFrom('x', 'xy', 'y', ''), { minLength: 1, maxLength: 2 }),
      'x-b': fc.constant(['x']),
      'x-forwarded-for': fc.constantFrom(['10.0.0.1'], ['1.1.1.1, 192.168.1.1'], ['10.0.0.1', 'unknown']),
    },
    { requiredKeys: [] },
  ),
  claims: fc.option(someClaims),
});

export const someConnection: fc.Arbitrary<Omit<Given, 'request'>> = fc.record({
  identity: fc.option(
    fc.constantFrom(
      ...['td/ns/foo/sa/a', 'td/ns/foo/sa/b', 'old/ns/bar/sa/a', 'td/ns/foobar/sa/a', 'td/x/ns/foo/y/sa/a'],
      ...['td/ns/foo/sa/a/z', 'td/ns/foo/sa/axb', 'old/ns/root/sa/a', 'td/ns/bar/ns/foo/sa/a'],
    ),
  ),
  sourceIp: fc.constantFrom('10.0.0.1', '10.0.0.2', '10.200.0.1', '192.168.1.1'),
  destinationIp: fc.constantFrom('10.0.0.1', '192.168.2.2'),
  port: fc.constantFrom(80, 8080, 9000),
  sni: fc.option(fc.constantFrom('s.example', 'S.example', 't.example')),
});
