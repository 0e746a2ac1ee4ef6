/**
 * What a policy decision costs: `node bench/decide.ts`. One thread, no sockets: request heads as the parser hands them
 * over, policies as the manifest reader does. Times are CPU time of this thread, so that a busy machine changes them little. Prints time and allocation a decision, look-up among many principals, and
 * the time to compile; exits with 1 when a target is missed.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { AuthorizationPolicy } from '../src/config/resources.ts';
import { parseRequest, type RequestHead } from '../src/http/h1-parser.ts';
import { compileAuthorization } from '../src/policy/compile.ts';
import {
  bindConnection,
  type ConnectionPolicy,
  customMatches,
  decideRequest,
  findingsOf,
} from '../src/policy/decide.ts';
import { thisMachine } from './machine.ts';
import { mixedPolicies, negativePolicies, policy, principalPolicy } from './policies.ts';
import { median } from './statistics.ts';

const ROUNDS = 15;
const DECISIONS = 40_000;
const BINDS = 20_000;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const CONNECTION = {
  principal: 'spiffe://cluster.local/ns/web/sa/shop',
  sourceIp: '10.0.0.9',
  destinationIp: '10.1.0.1',
  destinationPort: 8080,
  sni: 'outbound_.8080_._.shop.shop.svc.cluster.local',
};

const TOKEN = { iss: 'https://issuer.example', sub: 'somebody', aud: ['shop'], org: { role: 'guest' } };

/** Requests that no rule but those added by `lastWord` matches: every rule is asked. */
const HEADS = ['/api/v1/things/42', '/api/v1/other', '/api/rooms', '/api/v2/list?page=3'].map(head);

function head(path: string): RequestHead {
  const lines = [
    `GET ${path} HTTP/1.1`,
    'Host: shop.example.com:8080',
    'User-Agent: curl/8.9.1',
    'Accept: */*',
    'Accept-Encoding: gzip, deflate, br',
    'Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl',
    'X-Forwarded-For: 203.0.113.7, 10.2.3.4',
    'X-Request-Id: 5a1c2c0e-6c1f-4d4f-9f5e-3a0d7d3c1f10',
    'X-Team: checkout',
    'X-Env: production',
    'Content-Type: application/json',
    'Cookie: session=abcdef',
  ];
  const parsed = parseRequest(`${lines.join('\r\n')}\r\n\r\n`) as RequestHead;
  parsed.path = path.split('?')[0] as string;
  parsed.jwt = { payload: TOKEN };
  return parsed;
}

/** A rule that the last request word decides, named after all others. */
const LAST_WORD = policy('zz', 'ALLOW', [
  {
    from: null,
    to: [{ methods: ['GET'] }],
    when: [{ key: 'request.headers[x-team]', values: ['checkout'], notValues: [] }],
  },
]);

function bind(policies: readonly AuthorizationPolicy[]): ConnectionPolicy {
  return bindConnection(authorize(policies), CONNECTION);
}

function authorize(policies: readonly AuthorizationPolicy[]) {
  return compileAuthorization({
    policies,
    workload: { namespace: 'shop', labels: {} },
    mesh: {
      rootNamespace: 'istio-system',
      trustDomain: 'cluster.local',
      trustDomainAliases: [],
      providers: [{ name: 'authorizer', kind: 'http' }],
      multipleProviders: false,
    },
  });
}

/** Decides `count` requests; the sum keeps the work from being optimised away. */
function decideMany(bound: ConnectionPolicy, count: number): number {
  let allowed = 0;
  for (let i = 0; i < count; i++) {
    if (decideRequest(bound, HEADS[i & 3] as RequestHead).allow) allowed++;
  }
  return allowed;
}

/** All that is asked about a request on its way: CUSTOM, AUDIT and dry-run, DENY and ALLOW. */
function askAll(bound: ConnectionPolicy, count: number): number {
  let allowed = 0;
  for (let i = 0; i < count; i++) {
    const head = HEADS[i & 3] as RequestHead;
    if (customMatches(bound, head) !== null || findingsOf(bound, head) !== null) continue;
    if (decideRequest(bound, head).allow) allowed++;
  }
  return allowed;
}

/** Median microseconds of one of `count` runs within `work`. */
function microseconds(count: number, work: () => void): number {
  return median(Array.from({ length: ROUNDS }, () => microsecondsOf(work) / count));
}

function microsecondsOf(work: () => void): number {
  const before = process.threadCpuUsage();
  work();
  const { user, system } = process.threadCpuUsage(before);
  return user + system;
}

/** Bytes of garbage a decision leaves: the heap's growth over few enough decisions that nothing is collected. */
function bytesEach(bound: ConnectionPolicy): number {
  const count = 2_000;
  const sizes: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    collect();
    const before = process.memoryUsage().heapUsed;
    decideMany(bound, count);
    sizes.push((process.memoryUsage().heapUsed - before) / count);
  }
  return median(sizes);
}

const { cpu, cores, node } = thisMachine();
console.log(`${cpu}, ${cores} cores, Node ${node}; medians of ${ROUNDS} rounds\n`);
let missed = 0;

function report(what: string, value: number, unit: string, target: number | null): void {
  const verdict =
    target === null
      ? ''
      : value <= target
        ? `  (target ${target} ${unit}: met)`
        : `  (target ${target} ${unit}: MISSED)`;
  if (target !== null && value > target) missed++;
  console.log(`${what.padEnd(76)} ${value.toFixed(value < 10 ? 2 : 0).padStart(8)} ${unit}${verdict}`);
}

// First, while nothing is warm: as at start.
const thousand = mixedPolicies(1_000);
report(
  'compiling 1,000 policies of 5 rules, the first time',
  microsecondsOf(() => authorize(thousand)) / 1_000,
  'ms',
  300,
);
report(
  'compiling 1,000 policies of 5 rules, on a reload',
  microseconds(1, () => authorize(thousand)) / 1_000,
  'ms',
  null,
);

const forty = bind([...mixedPolicies(40), LAST_WORD]);
if (decideMany(forty, 4) !== 4) throw new Error('the last rule should have allowed all');
report(
  'a decision, 40 policies of 5 rules, mixed fields, every rule asked',
  microseconds(DECISIONS, () => decideMany(forty, DECISIONS)),
  'µs',
  3,
);

const negative = bind([...negativePolicies(40), LAST_WORD]);
if (decideMany(negative, 4) !== 4) throw new Error('the last rule should have allowed all');
report(
  'the same, rules of not-fields and presence only',
  microseconds(DECISIONS, () => decideMany(negative, DECISIONS)),
  'µs',
  3,
);

const ACTIONS = ['ALLOW', 'DENY', 'ALLOW', 'AUDIT', 'ALLOW', 'CUSTOM'] as const;
const actions = bind([...mixedPolicies(40, ACTIONS), LAST_WORD]);
report(
  'the same with AUDIT and CUSTOM policies among them, all questions',
  microseconds(DECISIONS, () => askAll(actions, DECISIONS)),
  'µs',
  null,
);

const sizes = [10, 40, 160].map(count => bytesEach(bind([...mixedPolicies(count), LAST_WORD])));
for (const [i, count] of [10, 40, 160].entries()) {
  report(
    `allocated by a decision, ${count} policies`,
    sizes[i] as number,
    'bytes',
    i === 0 ? null : Math.ceil((sizes[0] as number) * 1.05) + 32,
  );
}

for (const [count, target] of [
  [10, null],
  [10_000, 10],
] as const) {
  const authorization = authorize([principalPolicy(count)]);
  const principal = `spiffe://cluster.local/ns/ns${(count - 1) % 97}/sa/a${count - 1}`;
  const connection = { ...CONNECTION, principal };
  report(
    `a connection bound and decided, one policy with ${count} principals`,
    microseconds(BINDS, () => {
      for (let i = 0; i < BINDS; i++) {
        if (!decideRequest(bindConnection(authorization, connection), HEADS[0] as RequestHead).allow)
          throw new Error('denied');
      }
    }),
    'µs',
    target,
  );
}

const one = authorize(mixedPolicies(40));
report(
  'binding a connection, 40 policies of 5 rules',
  microseconds(1_000, () => {
    for (let i = 0; i < 1_000; i++) bindConnection(one, CONNECTION);
  }),
  'µs',
  null,
);
process.exitCode = missed > 0 ? 1 : 0;
