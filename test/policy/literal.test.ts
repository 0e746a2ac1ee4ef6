import fc from 'fast-check';
import t from 'tap';
import type { AuthorizationPolicy } from '../../src/config/resources.ts';
import type { RequestAttributes } from '../../src/policy/attributes.ts';
import { compileAuthorization } from '../../src/policy/compile.ts';
import {
  bindConnection,
  type ConnectionPolicy,
  customMatches,
  type Decision,
  decideConnection,
  decideRequest,
  findingsOf,
} from '../../src/policy/decide.ts';
import { type Given, type GivenRequest, type Mesh, readLiterally, type Verdict } from './literal.ts';
import { someConnection, someMesh, somePolicies, someRequest } from './literal-world.ts';

function bind(policies: AuthorizationPolicy[], mesh: Mesh, given: Omit<Given, 'request'>): ConnectionPolicy {
  const { trustDomains, providers, multipleProviders } = mesh;
  const [trustDomain, ...trustDomainAliases] = trustDomains as [string, ...string[]];
  const authorization = compileAuthorization({
    policies,
    workload: { namespace: 'foo', labels: {} },
    mesh: { rootNamespace: 'root', trustDomain, trustDomainAliases, providers, multipleProviders },
  });
  return bindConnection(authorization, {
    principal: given.identity === null ? null : `spiffe://${given.identity}`,
    sourceIp: given.sourceIp,
    destinationIp: given.destinationIp,
    destinationPort: given.port,
    sni: given.sni,
  });
}

function attributesOf(request: GivenRequest): RequestAttributes {
  const { method, host, path, query, headers, claims } = request;
  const jwt = claims === null ? null : { payload: claims };
  return { method, host, path, rawPath: path + query, headerValues: name => headers[name] ?? [], jwt };
}

/** What policy says, in the words of the literal reading; with the traces of each question. */
function verdictOf(
  policy: ConnectionPolicy,
  request: RequestAttributes | null,
): Verdict & { trace: string[] } {
  const trace: string[] = [];
  const custom = customMatches(policy, request) ?? [];
  const findings = findingsOf(policy, request);
  const decision = request === null ? decideConnection(policy) : decideRequest(policy, request);
  const again = request === null ? decideConnection(policy, trace) : decideRequest(policy, request, trace);
  if (again !== decision) throw new Error('a trace changes the decision');
  const told = findings?.dryRun.map(trial => `${trial.policy} ${trial.decision}`) ?? [];
  return {
    decision: [decision.allow ? 'allow' : 'deny', ruleName(decision)],
    custom: custom.map(match => `${match.bad === null ? '' : '!'}${match.provider} ${ruleName(match)}`),
    audit: [...(findings?.audit ?? [])].sort(),
    dryRun: told.sort(),
    trace,
  };
}

function ruleName({ policy, rule }: Pick<Decision, 'policy' | 'rule'>): string | null {
  const [namespace, name] = (policy ?? '/').split('/');
  return policy === null ? null : `ns[${namespace}]-policy[${name}]-rule[${rule}]`;
}

const FAILED = /did not match|can never match|has no rules/;

/** The trace of a decision names every rule up to the one that decided, and that one alone as matching. */
function agrees(trace: readonly string[], [, rule]: Verdict['decision']): void {
  const matching = trace.filter(line => !FAILED.test(line));
  const wanted = rule === null ? 0 : 1;
  if (matching.length !== wanted)
    throw new Error(`${wanted} rules decide, but the trace says\n${trace.join('\n')}`);
  const [, namespace, name, index] = /^ns\[(.*)\]-policy\[(.*)\]-rule\[(.*)\]$/.exec(rule ?? '') ?? [];
  if (wanted === 1 && !trace.at(-1)!.includes(` ${namespace}/${name} rule ${index}: `)) {
    throw new Error(trace.join('\n'));
  }
}

/** The traces of CUSTOM, AUDIT and dry-run mark as matching what matches. */
function marks(
  policy: ConnectionPolicy,
  request: RequestAttributes | null,
  { custom, audit, dryRun }: Verdict,
) {
  const lines: string[] = [];
  customMatches(policy, request, lines);
  const asked = lines.filter(line => /; (?:so provider .* is asked|refused: .*)$/.test(line)).length;
  if (asked !== custom.length)
    throw new Error(`${custom} are asked, but the trace says\n${lines.join('\n')}`);
  const found: string[] = [];
  findingsOf(policy, request, found);
  const matched = found.filter(line => !FAILED.test(line));
  for (const line of matched) {
    const [, action, name] = /^(\S+) (\S+)/.exec(line)!;
    const said =
      action === 'AUDIT' ? audit.includes(name!) : dryRun.some(told => told.startsWith(`${name} `));
    if (!said) throw new Error(`${line}\nis not in ${audit} or ${dryRun}`);
  }
  if (matched.filter(line => line.startsWith('AUDIT')).length !== audit.length)
    throw new Error(found.join('\n'));
}

function same(got: Verdict, wanted: Verdict): void {
  for (const part of ['decision', 'custom', 'audit', 'dryRun'] as const) {
    if (`${got[part]}` !== `${wanted[part]}`)
      throw new Error(`${part}: ${got[part]}, literally ${wanted[part]}`);
  }
}

t.test('each request is decided as the policies read literally', t => {
  const given = fc.tuple(somePolicies(4), someMesh, someConnection, someRequest);
  fc.assert(
    fc.property(given, ([policies, mesh, connection, asked]) => {
      const policy = bind(policies, mesh, connection);
      const request = attributesOf(asked);
      const wanted = readLiterally(policies, mesh, { ...connection, request: asked });
      const got = verdictOf(policy, request);
      same(got, wanted);
      agrees(got.trace, got.decision);
      marks(policy, request, got);
    }),
    { numRuns: 5_000 },
  );
  t.pass('with its trace');
  t.end();
});

t.test('each TCP connection is decided as the policies read literally', t => {
  const given = fc.tuple(somePolicies(4), someMesh, someConnection);
  fc.assert(
    fc.property(given, ([policies, mesh, connection]) => {
      const policy = bind(policies, mesh, connection);
      const got = verdictOf(policy, null);
      same(got, readLiterally(policies, mesh, { ...connection, request: null }));
      agrees(got.trace, got.decision);
      marks(policy, null, got);
    }),
    { numRuns: 3_000 },
  );
  t.pass('with its trace');
  t.end();
});

t.test('many rules are decided as if each were asked, and one connection serves many requests', t => {
  const given = fc.tuple(somePolicies(14), someMesh, someConnection, fc.array(someRequest, { maxLength: 6 }));
  fc.assert(
    fc.property(given, ([policies, mesh, connection, many]) => {
      const policy = bind(policies, mesh, connection);
      for (const asked of many) {
        const wanted = readLiterally(policies, mesh, { ...connection, request: asked });
        same(verdictOf(policy, attributesOf(asked)), wanted);
      }
    }),
    { numRuns: 1_500 },
  );
  t.pass('each decided by itself');
  t.end();
});
