/** Made-up AuthorizationPolicies for `bench/decide.ts`: mixed fields, every value distinct, all about one workload. */
import type { AuthorizationPolicy, PolicyAction, Rule } from '../src/config/resources.ts';

/** Headers that rules ask about, whatever the number of policies. */
const HEADERS = ['x-team', 'x-env', 'user-agent', 'authorization', 'x-canary'];

/** `count` policies of five rules, their actions in turn. */
export function mixedPolicies(
  count: number,
  actions: readonly PolicyAction[] = ['ALLOW', 'ALLOW', 'ALLOW', 'DENY'],
): AuthorizationPolicy[] {
  return Array.from({ length: count }, (_, i) => {
    const rules = [0, 1, 2, 3, 4].map(n => mixedRule(i * 5 + n));
    return policy(`p${i}`, actions[i % actions.length] as PolicyAction, rules);
  });
}

/**
 * Ten shapes in turn. Each rule is for the peer of the bench, so that its connection settles none of them; what its request
 * lacks comes last.
 */
function mixedRule(n: number): Rule {
  const from = [
    {
      principals: [`cluster.local/ns/ns${n}/sa/a`, 'cluster.local/ns/web/sa/shop'],
      notNamespaces: ['other'],
    },
    { namespaces: ['web', `ns${n}`], ipBlocks: ['10.0.0.0/8'] },
  ];
  const header = HEADERS[n % HEADERS.length] as string;
  const key = `request.headers[${header}]`;
  const shapes: Rule[] = [
    rule({ from, to: [{ methods: ['GET'], paths: [`/api/v1/thing${n}`] }] }),
    rule({ from, to: [{ paths: [`/api/v1/area${n}/*`], notMethods: ['DELETE'] }] }),
    rule({ to: [{ methods: ['POST', 'PUT'], paths: [`/write${n}/*`] }, { paths: [`*/thing${n}.json`] }] }),
    rule({ from, to: [{ hosts: [`h${n}.example.com`, `*.h${n}.example.com`] }] }),
    rule({ to: [{ methods: ['GET'] }], when: [{ key, values: [`v${n}`, `w${n}*`], notValues: [] }] }),
    rule({ to: [{ paths: ['/api/*'] }], when: [{ key, values: [`*z${n}`], notValues: [`a${n}`] }] }),
    rule({ from: [{ requestPrincipals: [`https://issuer.example/user${n}`, `https://i${n}/*`] }] }),
    rule({ when: [{ key: 'request.auth.claims[org][role]', values: [`role${n}`], notValues: [] }] }),
    rule({
      from: [{ remoteIpBlocks: [`172.16.${n % 256}.0/24`] }],
      to: [{ ports: ['8080'], methods: ['GET'] }],
    }),
    rule({ to: [{ paths: [`/api/{*}/rooms${n}/{**}`], notHosts: [`h${n}.example.com`] }] }),
  ];
  return shapes[n % shapes.length] as Rule;
}

/** `count` policies of five rules that have nothing but not-fields and presence to go by, and fail by them. */
export function negativePolicies(count: number): AuthorizationPolicy[] {
  return Array.from({ length: count }, (_, i) => {
    const rules = [0, 1, 2, 3, 4].map(n => negativeRule(i * 5 + n));
    return policy(`n${i}`, i % 4 === 3 ? 'DENY' : 'ALLOW', rules);
  });
}

function negativeRule(n: number): Rule {
  const team = 'request.headers[x-team]';
  const shapes: Rule[] = [
    rule({ to: [{ notMethods: ['GET', `M${n}`] }] }),
    rule({ to: [{ notPaths: [`/x${n}/*`, '/api*'] }] }),
    rule({ to: [{ notHosts: ['*.example.com:8080', `h${n}.com`] }] }),
    rule({ when: [{ key: `request.headers[x-none-${n % 5}]`, values: ['*'], notValues: [] }] }),
    rule({ when: [{ key: team, values: ['*'], notValues: ['checkout', `v${n}`] }] }),
    rule({ from: [{ notRequestPrincipals: ['*'] }] }),
    rule({ when: [{ key: 'request.auth.claims[org][role]', values: [], notValues: ['guest', `r${n}`] }] }),
    rule({ from: [{ notRemoteIpBlocks: ['10.0.0.0/8', `192.168.${n % 256}.0/24`] }] }),
    rule({ to: [{ paths: ['/api*'] }], when: [{ key: team, values: [], notValues: ['check*'] }] }),
  ];
  return shapes[n % shapes.length] as Rule;
}

/** One ALLOW policy that names `count` principals. */
export function principalPolicy(count: number): AuthorizationPolicy {
  const principals = Array.from({ length: count }, (_, i) => `cluster.local/ns/ns${i % 97}/sa/a${i}`);
  return policy('principals', 'ALLOW', [rule({ from: [{ principals }] })]);
}

function rule(given: Partial<Rule>): Rule {
  return { from: null, to: null, when: [], ...given };
}

export function policy(name: string, action: PolicyAction, rules: readonly Rule[]): AuthorizationPolicy {
  return {
    kind: 'AuthorizationPolicy',
    metadata: { namespace: 'shop', name, createdAt: 0, annotations: {} },
    origin: { file: 'bench', line: 1, column: 1 },
    selector: null,
    bound: false,
    action,
    provider: action === 'CUSTOM' ? 'authorizer' : null,
    dryRun: false,
    rules,
  };
}
