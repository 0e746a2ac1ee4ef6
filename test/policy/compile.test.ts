import t from 'tap';
import type { Rule } from '../../src/config/resources.ts';
import { decideConnection, decideRequest } from '../../src/policy/decide.ts';
import { bind, policy, request } from './world.ts';

const GET = request();

/** A request that nobody may look at. */
const UNREAD = new Proxy(GET, {
  get: (_, name) => {
    throw new Error(`${String(name)} was read`);
  },
});

const BAD: readonly (readonly [string, Partial<Rule>])[] = [
  ['a block that does not parse', { from: [{ ipBlocks: ['10.0.0.0/40'] }] }],
  ['a port that is no number', { to: [{ ports: ['http'] }] }],
  ['a port that is too large', { to: [{ ports: ['65536'] }] }],
  ['an unknown key', { when: [{ key: 'source.colour', values: ['red'], notValues: [] }] }],
  [
    'what Envoy filters have found',
    { when: [{ key: 'experimental.envoy.filters.a[b]', values: [], notValues: ['c'] }] },
  ],
  ['a claim without brackets', { when: [{ key: 'request.auth.claims', values: ['a'], notValues: [] }] }],
  ['a remote block that does not parse', { from: [{ remoteIpBlocks: ['10.0.0.0/40'] }] }],
  [
    'an unknown pseudo header',
    { when: [{ key: 'request.headers[:scheme]', values: ['https'], notValues: [] }] },
  ],
];

t.test('what cannot be read fails closed', t => {
  for (const [says, rule] of BAD) {
    const trace: string[] = [];
    t.equal(
      decideRequest(bind([policy('ALLOW', [rule])]), GET, trace).allow,
      false,
      `${says} in ALLOW: the rule is lost`,
    );
    t.match(trace, [/can never match/], 'and the trace says so');
    t.equal(
      decideRequest(bind([policy('DENY', [rule])]), GET).allow,
      false,
      `${says} in DENY: the rule goes on without it`,
    );
  }
  t.end();
});

t.test('a bad value beside a good one', t => {
  const rule = { from: [{ ipBlocks: ['nonsense', '10.0.0.0/8'] }] };
  const elsewhere = { from: [{ ipBlocks: ['nonsense', '11.0.0.0/8'] }] };
  t.equal(decideRequest(bind([policy('ALLOW', [rule])]), GET).allow, false, 'costs an ALLOW rule whole');
  t.equal(decideRequest(bind([policy('DENY', [rule])]), GET).allow, false, 'leaves a DENY rule the good one');
  t.equal(decideRequest(bind([policy('DENY', [elsewhere])]), GET).allow, true, 'which still has to match');
  t.end();
});

t.test('what the connection settles is not asked of the request', t => {
  const mine = { from: [{ principals: ['td/ns/foo/sa/a'] }] };
  const other = { from: [{ principals: ['td/ns/foo/sa/b'] }], to: [{ methods: ['GET'] }] };
  const got = { to: [{ methods: ['GET'] }] };
  t.equal(decideRequest(bind([]), UNREAD).allow, true, 'no policy');
  t.equal(
    decideRequest(bind([policy('ALLOW', [mine])]), UNREAD).policy,
    'foo/allow',
    'an ALLOW by principal',
  );
  t.equal(decideRequest(bind([policy('ALLOW', [other])]), UNREAD).allow, false, 'an ALLOW for somebody else');
  t.equal(decideRequest(bind([policy('DENY', [mine, got])]), UNREAD).rule, 0, 'a DENY by principal');
  t.equal(decideRequest(bind([policy('DENY', [other])]), UNREAD).allow, true, 'a DENY for somebody else');
  t.throws(
    () => decideRequest(bind([policy('DENY', [got])]), UNREAD),
    /was read/,
    'the method must be asked for',
  );
  t.end();
});

t.test('decisions are made beforehand and cannot be changed', t => {
  const bound = bind([policy('ALLOW', [{ to: [{ methods: ['GET'] }] }])]);
  const first = decideRequest(bound, GET);
  t.equal(decideRequest(bound, GET), first, 'the same object for every request');
  t.ok(Object.isFrozen(first));
  t.equal(decideConnection(bound), decideConnection(bound));
  t.end();
});

t.test('a principal that is no SPIFFE ID is no configured value, but somebody', t => {
  const named = policy('ALLOW', [{ from: [{ principals: ['td/*', 'a*'] }] }]);
  t.equal(decideRequest(bind([named], { principal: 'https://td/a' }), GET).allow, false);
  const anybody = policy('ALLOW', [{ from: [{ principals: ['*'] }] }]);
  t.equal(decideRequest(bind([anybody], { principal: 'https://td/a' }), GET).allow, true);
  t.end();
});
