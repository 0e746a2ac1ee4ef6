import t from 'tap';
import type { AuthorizationPolicy, Rule } from '../../src/config/resources.ts';
import { covers } from '../../src/config/rule-cover.ts';
import { compileAuthorization } from '../../src/policy/compile.ts';
import { bindConnection, decideConnection, decideRequest } from '../../src/policy/decide.ts';

/** Numbers that look random and are the same in every run. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const random = randomOf(7);
const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
const some = (list: readonly string[]): string[] => {
  const found = list.filter(() => random() < 0.4);
  return found.length > 0 ? found : [pick(list)];
};

const PRINCIPALS = [
  '*',
  'cluster.local/ns/a/sa/b',
  'cluster.local/ns/a*',
  '*b',
  'old/ns/a/sa/b',
  'mesh/ns/a/sa/b',
];
const ACCOUNTS = ['b', 'a/b', 'foo/b'];
const VALUES: Readonly<Record<string, readonly string[]>> = {
  principals: PRINCIPALS,
  requestPrincipals: ['*', 'i/s', 'i*', '*s', 'i/*', 'i'],
  namespaces: ['a', 'a*', '*', 'b'],
  trustDomains: ['*', 'mesh', 'old', 'm*', '*h'],
  ipBlocks: ['10.0.0.0/8', '10.0.0.1', '::/0'],
  remoteIpBlocks: ['10.0.0.0/8', '10.0.0.1'],
  hosts: ['*', 'a.com', 'A.com*', '*.com', 'a*', 'a.com:80'],
  methods: ['*', 'GET', 'G*', '*T', 'PUT'],
  paths: ['*', '/a', '/a*', '/*', '*a', '/a/{*}', '/a/b', '/{**}', '*/b*', '/a/b*'],
  ports: ['80', '080', '81'],
};
const SOURCE = [
  'principals',
  'requestPrincipals',
  'namespaces',
  'trustDomains',
  'ipBlocks',
  'remoteIpBlocks',
];
const OPERATION = ['hosts', 'methods', 'paths', 'ports'];
const KEYS: readonly (readonly [key: string, values: readonly string[]])[] = [
  ['source.principal', PRINCIPALS],
  ['source.serviceAccount', ACCOUNTS],
  ['request.headers[x]', ['*', 'v', 'v*', '*v', 'w']],
  ['request.auth.claims[c]', ['*', 'v', 'v*']],
  ['connection.sni', ['*', 'a.com', 'a*']],
  ['destination.port', ['80', '81']],
];

function match(fields: readonly string[]): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const field of fields) {
    const name = random() < 0.3 ? `not${field[0]!.toUpperCase()}${field.slice(1)}` : field;
    if (random() < 0.3) found[name] = some(VALUES[field]!);
  }
  const [first] = fields;
  return Object.keys(found).length > 0 ? found : { [first!]: some(VALUES[first!]!) };
}

function rule(): Rule {
  const source = () => (random() < 0.2 ? { serviceAccounts: some(ACCOUNTS) } : match(SOURCE));
  const from = random() < 0.4 ? null : Array.from({ length: 1 + Math.floor(random() * 2) }, source);
  const to =
    random() < 0.4 ? null : Array.from({ length: 1 + Math.floor(random() * 2) }, () => match(OPERATION));
  const when = KEYS.filter(() => random() < 0.15).map(([key, values]) => {
    const both = random();
    return { key, values: both < 0.7 ? some(values) : [], notValues: both > 0.6 ? some(values) : [] };
  });
  return { from, to, when };
}

/** A rule that asks no less: another value list, one field or condition more; or one from scratch. */
function narrower({ from, to, when }: Rule): Rule {
  if (random() < 0.2) return rule();
  const other = rule();
  const shrink = (list: Rule['from'] | Rule['to']) =>
    list?.map(one => ({ ...(random() < 0.3 ? match(['ipBlocks']) : {}), ...one })) ?? null;
  return {
    from: from ? (shrink(from) as Rule['from']) : other.from,
    to: to ? (random() < 0.5 ? to : to.slice(0, 1)) : other.to,
    when: [...when, ...(random() < 0.5 ? other.when : [])],
  };
}

function policy(namespace: string, action: 'ALLOW' | 'DENY', rules: readonly Rule[]): AuthorizationPolicy {
  return {
    kind: 'AuthorizationPolicy',
    metadata: { namespace, name: 'it', createdAt: 0, annotations: {} },
    origin: { file: 'a.yaml', line: 1, column: 1 },
    selector: null,
    bound: false,
    action,
    provider: null,
    dryRun: false,
    rules,
  };
}

const MESH = {
  rootNamespace: 'root',
  trustDomain: 'mesh',
  trustDomainAliases: ['old'],
  providers: [],
  multipleProviders: false,
};
const CONNECTIONS = Array.from({ length: 24 }, () => ({
  principal:
    random() < 0.3
      ? null
      : `spiffe://${pick(['mesh', 'old', 'cluster.local', 'x'])}/ns/${pick(['a', 'ab', 'foo'])}/sa/${pick(['b', 'c'])}`,
  sourceIp: pick(['10.0.0.1', '10.0.0.2', '11.0.0.1', '::1']),
  destinationIp: '10.1.0.1',
  destinationPort: pick([80, 81]),
  sni: pick([null, 'a.com', 'b.com']),
}));
const REQUESTS = Array.from({ length: 60 }, () => {
  const path = pick(['/', '/a', '/a/', '/a/b', '/a/bc', '/b', '/ab', '/x/b*', '/a/b/a']);
  const headers = pick([
    {},
    { x: ['v'] },
    { x: ['w', 'v2'] },
    { x: [''] },
    { 'x-forwarded-for': ['10.0.0.1'] },
  ]);
  const claims = pick([
    { iss: 'i', sub: 's' },
    { iss: 'i', sub: 't', c: 'v' },
    { iss: 'ij', sub: 'xs', c: ['w', 'v1'] },
  ]);
  return {
    method: pick(['GET', 'PUT', 'POST']),
    host: pick(['a.com', 'A.COM:80', 'b.com', 'ab']),
    path,
    rawPath: path,
    headerValues: (name: string): readonly string[] => (headers as Record<string, string[]>)[name] ?? [],
    jwt: random() < 0.4 ? null : { payload: claims },
  };
});

/** What a policy alone lets through, of every connection and request, HTTP and TCP. */
function verdicts(namespace: string, action: 'ALLOW' | 'DENY', one: Rule): readonly boolean[] {
  const authorization = compileAuthorization({
    policies: [policy(namespace, action, [one])],
    workload: { namespace: 'foo', labels: {} },
    mesh: MESH,
  });
  return CONNECTIONS.flatMap(connection => {
    const bound = bindConnection(authorization, connection);
    const all = [decideConnection(bound), ...REQUESTS.map(request => decideRequest(bound, request))];
    return all.map(({ allow }) => allow);
  });
}

t.test('where one rule is said to cover another, it matches whatever that one matches', async t => {
  let covered = 0;
  for (let i = 0; i < 4_000; i++) {
    const wide = rule();
    const narrow = narrower(wide);
    const namespaces = pick([
      ['foo', 'foo'],
      ['root', 'foo'],
    ] as const);
    if (!covers({ rule: wide, namespace: namespaces[0] }, { rule: narrow, namespace: namespaces[1] }))
      continue;
    covered++;
    for (const action of ['ALLOW', 'DENY'] as const) {
      const matched = (allowed: boolean): boolean => allowed === (action === 'ALLOW');
      const wides = verdicts(namespaces[0], action, wide);
      const wrong = verdicts(namespaces[1], action, narrow).findIndex(
        (allowed, at) => matched(allowed) && !matched(wides[at]!),
      );
      if (wrong >= 0) t.fail(`${action}: ${JSON.stringify({ wide, narrow, namespaces, wrong })}`);
    }
  }
  t.ok(covered > 300, `${covered} pairs were compared`);
});
