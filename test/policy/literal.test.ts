import fc from 'fast-check';
import t from 'tap';
import type { AuthorizationPolicy, Operation, Rule, Source } from '../../src/config/resources.ts';
import type { RequestAttributes } from '../../src/policy/attributes.ts';
import { compileAuthorization } from '../../src/policy/compile.ts';
import { bindConnection, type Decision, decideConnection, decideRequest } from '../../src/policy/decide.ts';
import { decideLiterally, type Given } from './literal.ts';

// Small worlds, so that values and requests meet.
const identities = fc.constantFrom('td/ns/foo/sa/a', 'td/ns/foo/sa/b', 'td/ns/bar/sa/a', 'td/ns/foobar/sa/a');
const words = (...all: string[]) => fc.uniqueArray(fc.constantFrom(...all), { minLength: 1, maxLength: 3 });
const principals = words(
  'td/ns/foo/sa/a',
  'td/ns/bar/sa/a',
  'td/ns/foo/*',
  '*/sa/b',
  '*',
  'spiffe://td/ns/foo/sa/a',
  '*/*',
);
const namespaces = words('foo', 'bar', 'f*', '*o', '*', 'f*r', 'Foo', 'f.o');
const blocks = words('10.0.0.0/8', '10.0.0.1', '10.0.0.0/31', '192.168.0.0/16', '0.0.0.0/0', '10.128.0.0/9');
const hosts = words('a.com', 'A.com', '*.com', 'b.*', '*', 'b.com:80');
const ports = words('80', '8080', '080');
const methods = words('GET', 'POST', 'P*', '*T', '*');
const paths = words('/a', '/a*', '*b', '*', '/a/{*}', '/{**}', '/a/{**}/b', '/{*}/b', '*/b*');
const headerValues = words('x', 'xy', 'x*', '*y', '*');

function fields<T>(arbitraries: Record<string, fc.Arbitrary<string[]>>): fc.Arbitrary<T> {
  return fc
    .record(arbitraries, { requiredKeys: [] })
    .filter(value => Object.keys(value).length > 0) as fc.Arbitrary<T>;
}

const sources = fields<Source>({
  principals,
  notPrincipals: principals,
  namespaces,
  notNamespaces: namespaces,
  ipBlocks: blocks,
  notIpBlocks: blocks,
});
const operations = fields<Operation>({
  hosts,
  notHosts: hosts,
  ports,
  notPorts: ports,
  methods,
  notMethods: methods,
  paths,
  notPaths: paths,
});
const conditions = fc
  .constantFrom<[string, fc.Arbitrary<string[]>]>(
    ['source.principal', principals],
    ['source.namespace', namespaces],
    ['source.ip', blocks],
    ['destination.port', ports],
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
  from: fc.option(fc.array(sources, { minLength: 1, maxLength: 2 })),
  to: fc.option(fc.array(operations, { minLength: 1, maxLength: 2 })),
  when: fc.array(conditions, { maxLength: 2 }),
});
const policies: fc.Arbitrary<AuthorizationPolicy[]> = fc
  .array(fc.record({ action: fc.constantFrom('ALLOW', 'DENY'), rules: fc.array(rules, { maxLength: 12 }) }), {
    maxLength: 4,
  })
  .map(all =>
    all.map(({ action, rules }, index) => ({
      kind: 'AuthorizationPolicy',
      metadata: {
        namespace: index % 2 === 0 ? 'foo' : 'root',
        name: `p${9 - index}`,
        createdAt: 0,
        annotations: {},
      },
      origin: { file: 'test', line: 1, column: 1 },
      selector: null,
      bound: false,
      action,
      provider: null,
      dryRun: false,
      rules,
    })),
  );
const requests = fc.record({
  method: fc.constantFrom('GET', 'POST', 'PUT', 'PATCH'),
  host: fc.constantFrom('a.com', 'A.COM', 'b.com', 'b.com:80'),
  path: fc.constantFrom('/', '/a', '/ab', '/a/b', '/a//b', '/a/x/b', '/b', '/a/b*'),
  query: fc.constantFrom('', '?q', '?q=/a'),
  headers: fc.record(
    {
      'x-a': fc.array(fc.constantFrom('x', 'xy', 'y', ''), { minLength: 1, maxLength: 2 }),
      'x-b': fc.constant(['x']),
    },
    { requiredKeys: [] },
  ),
});
const connections = {
  identity: fc.option(identities),
  sourceIp: fc.constantFrom('10.0.0.1', '10.0.0.2', '10.200.0.1', '192.168.1.1'),
  port: fc.constantFrom(80, 8080, 9000),
};

function bind(all: AuthorizationPolicy[], given: Given) {
  const authorization = compileAuthorization({
    policies: all,
    workload: { namespace: 'foo', labels: {} },
    mesh: {
      rootNamespace: 'root',
      trustDomain: 'mesh.example',
      trustDomainAliases: [],
      providers: [],
      multipleProviders: false,
    },
  });
  return bindConnection(authorization, {
    principal: given.identity === null ? null : `spiffe://${given.identity}`,
    sourceIp: given.sourceIp,
    destinationIp: '10.1.0.1',
    destinationPort: given.port,
    sni: null,
  });
}

function attributesOf({
  method,
  host,
  path,
  query,
  headers,
}: NonNullable<Given['request']>): RequestAttributes {
  return { method, host, path, rawPath: path + query, headerValues: name => headers[name] ?? [], jwt: null };
}

/** The decision in the words of the literal reading. */
function told({ allow, policy, rule }: Decision): [string, string | null] {
  const [namespace, name] = (policy ?? '/').split('/');
  return [
    allow ? 'allow' : 'deny',
    policy === null ? null : `ns[${namespace}]-policy[${name}]-rule[${rule}]`,
  ];
}

function same(got: Decision, wanted: [string, string | null]): void {
  if (told(got).join() !== wanted.join()) throw new Error(`decided ${told(got)}, literally ${wanted}`);
}

/** The trace names every rule up to the one that decided, and that one alone as matching. */
function agrees(trace: readonly string[], { policy, rule }: Decision): void {
  const matching = trace.filter(line => !/did not match|can never match|has no rules/.test(line));
  const wanted = policy === null ? 0 : 1;
  if (matching.length !== wanted)
    throw new Error(`${wanted} rules decide, but the trace says\n${trace.join('\n')}`);
  if (wanted === 1 && !trace.at(-1)!.includes(` ${policy} rule ${rule}: `)) throw new Error(trace.join('\n'));
}

t.test('each request is decided as the policies read literally', t => {
  fc.assert(
    fc.property(policies, fc.record({ ...connections, request: requests }), (all, given) => {
      const policy = bind(all, given);
      const request = attributesOf(given.request);
      const trace: string[] = [];
      same(decideRequest(policy, request), decideLiterally(all, given));
      agrees(trace, decideRequest(policy, request, trace));
    }),
    { numRuns: 3000 },
  );
  t.pass('with its trace');
  t.end();
});

t.test('each TCP connection is decided as the policies read literally', t => {
  fc.assert(
    fc.property(policies, fc.record({ ...connections, request: fc.constant(null) }), (all, given) => {
      const policy = bind(all, given);
      const trace: string[] = [];
      same(decideConnection(policy), decideLiterally(all, given));
      agrees(trace, decideConnection(policy, trace));
    }),
    { numRuns: 3000 },
  );
  t.pass('with its trace');
  t.end();
});

t.test('one connection serves many requests', t => {
  fc.assert(
    fc.property(
      policies,
      fc.record(connections),
      fc.array(requests, { maxLength: 5 }),
      (all, connection, many) => {
        const policy = bind(all, { ...connection, request: null });
        for (const request of many) {
          same(
            decideRequest(policy, attributesOf(request)),
            decideLiterally(all, { ...connection, request }),
          );
        }
      },
    ),
    { numRuns: 500 },
  );
  t.pass('each decided by itself');
  t.end();
});
