import t from 'tap';
import type { Rule } from '../../src/config/resources.ts';
import { customMatches, decideConnection, decideRequest, findingsOf } from '../../src/policy/decide.ts';
import { bind, policy, request } from './world.ts';

const when = (key: string, ...values: string[]): Partial<Rule> => ({
  when: [{ key, values, notValues: [] }],
});
const path = (...paths: string[]): Partial<Rule> => ({ to: [{ paths }] });

t.test('each action tells what its rules saw', t => {
  const bound = bind([
    policy('CUSTOM', [path('/c'), path('/x')], { provider: 'web' }),
    policy('AUDIT', [path('/a'), path('/x'), path('/never')]),
    policy('DENY', [path('/d')]),
    policy('DENY', [path('/x')], { name: 'trial', dryRun: true }),
    policy('ALLOW', [path('/x')]),
    policy('ALLOW', [path('/y')], { name: 'trial-too', dryRun: true }),
  ]);
  const asked = request({ path: '/x' });
  const trace: string[] = [];
  t.match(customMatches(bound, asked, trace), [
    { provider: 'web', policy: 'foo/custom', rule: 1, bad: null },
  ]);
  t.same(findingsOf(bound, asked, trace), {
    audit: ['foo/audit'],
    dryRun: [
      { policy: 'foo/trial', decision: 'deny' },
      { policy: 'foo/trial-too', decision: 'deny' },
    ],
  });
  t.equal(decideRequest(bound, asked, trace).policy, 'foo/allow');
  t.same(trace, [
    'CUSTOM foo/custom rule 0: to.paths did not match: saw /x, wants /c',
    'CUSTOM foo/custom rule 1: to.paths matched /x; so provider web is asked',
    'AUDIT foo/audit rule 0: to.paths did not match: saw /x, wants /a',
    'AUDIT foo/audit rule 1: to.paths matched /x',
    'DENY foo/trial rule 0 (dry-run): to.paths matched /x',
    'ALLOW foo/trial-too rule 0 (dry-run): to.paths did not match: saw /x, wants /y',
    'DENY foo/deny rule 0: to.paths did not match: saw /x, wants /d',
    'ALLOW foo/allow rule 0: to.paths matched /x',
  ]);
  t.end();
});

t.test('on TCP it tells what was left out and who is passed over', t => {
  const bound = bind([
    policy('CUSTOM', [path('/c')], { provider: 'web' }),
    policy('AUDIT', [{ to: [{ ports: ['80'], methods: ['GET'] }] }]),
    policy('ALLOW', [path('/x')]),
  ]);
  const trace: string[] = [];
  t.equal(customMatches(bound, null, trace), null);
  findingsOf(bound, null, trace);
  t.equal(decideConnection(bound, trace).allow, false);
  t.same(trace, [
    'CUSTOM foo/custom rule 0: passed over: provider web is asked about HTTP only',
    'AUDIT foo/audit rule 0: left out, which widens the rule: to.methods needs HTTP; to.ports matched 80',
    'ALLOW foo/allow rule 0: can never match: to.paths needs HTTP',
  ]);
  t.end();
});

t.test('a provider that cannot be asked', t => {
  const [one, two] = [
    policy('CUSTOM', [{}], { name: 'one', provider: 'web' }),
    policy('CUSTOM', [{}], { name: 'two', provider: 'rpc' }),
  ];
  const trace: string[] = [];
  const matches = customMatches(bind([one, two]), request(), trace);
  t.match(matches, [
    { provider: 'rpc', policy: 'foo/two', decision: { allow: false } },
    { provider: 'web', policy: 'foo/one', decision: { allow: false } },
  ]);
  t.same(trace, [
    'CUSTOM foo/two rule 0: matches everything; refused: CUSTOM policies of one workload name several providers: rpc, web',
    'CUSTOM foo/one rule 0: matches everything; refused: CUSTOM policies of one workload name several providers: rpc, web',
  ]);
  const several = customMatches(bind([one, two], {}, { multipleProviders: true }), request());
  t.match(
    several,
    [
      { provider: 'rpc', bad: null },
      { provider: 'web', bad: null },
    ],
    'unless several may be',
  );
  const lost = policy('CUSTOM', [{}], { provider: 'no body' });
  t.match(customMatches(bind([lost]), request()), [
    {
      bad: 'no provider "no body" in extensionProviders',
      decision: {
        reason:
          'rbac_access_denied_matched_policy[istio-ext-authz-no_body-ns[foo]-policy[custom]-rule[0]-deny-due-to-bad-CUSTOM-action]',
      },
    },
  ]);
  t.end();
});

t.test('nothing to say is null', t => {
  const quiet = bind([policy('AUDIT', [path('/a')]), policy('CUSTOM', [path('/a')], { provider: 'web' })]);
  t.equal(findingsOf(quiet, request()), null);
  t.equal(customMatches(quiet, request()), null);
  t.equal(findingsOf(bind([policy('ALLOW', [{}])]), request()), null);
  t.equal(customMatches(bind([]), null), null);
  t.end();
});

const TOKEN = 'eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJtZSJ9.c2lnbmF0dXJl';

t.test('no token and no password is printed', t => {
  const key = (name: string) => `request.headers[${name}]`;
  const names = ['authorization', 'Proxy-Authorization', 'cookie', 'x-token'];
  const rules = [...names.map(name => when(key(name), 'no')), when(key(':path'), 'no')];
  const trace: string[] = [];
  const headers = {
    authorization: ['Basic c2VjcmV0'],
    'proxy-authorization': ['secret'],
    cookie: ['a=secret'],
    'x-token': [`T ${TOKEN}`],
  };
  const rawPath = `/a?access_token=sec.ret&x=${TOKEN}&token=secret`;
  decideRequest(bind([policy('ALLOW', rules)]), request({ path: '/a', rawPath }, headers), trace);
  t.same(trace, [
    `ALLOW foo/allow rule 0: when ${key('authorization')} did not match: saw a value that is not shown, wants no`,
    `ALLOW foo/allow rule 1: when ${key('Proxy-Authorization')} did not match: saw a value that is not shown, wants no`,
    `ALLOW foo/allow rule 2: when ${key('cookie')} did not match: saw a value that is not shown, wants no`,
    `ALLOW foo/allow rule 3: when ${key('x-token')} did not match: saw T (token), wants no`,
    `ALLOW foo/allow rule 4: when ${key(':path')} did not match: saw /a?access_token=(token)&x=(token)&token=(token), wants no`,
  ]);
  t.end();
});

t.test('what is printed is legible and has an end', t => {
  const principals = Array.from({ length: 1_000 }, (_, i) => `td/ns/x/sa/a${i}`);
  const rules = [
    { from: [{ principals }] },
    when('request.auth.claims[role]', 'no'),
    when('request.headers[x-long]', 'no'),
    when('request.headers[x-name]', 'no'),
    when('request.headers[x-many]', 'no'),
    when('request.headers[x-tokens]', 'no'),
  ];
  const trace: string[] = [];
  const jwt = { payload: { role: 'a\u001b[31m\nALLOW\u202e' } };
  const headers = {
    'x-long': ['x'.repeat(70_000)],
    'x-name': [Buffer.from('Zoë').toString('latin1')],
    'x-many': Array.from({ length: 90 }, () => 'x'.repeat(600)),
    // Looking for a token's dot from each of these would take seconds.
    'x-tokens': ['eyJ-'.repeat(15_000)],
  };
  decideRequest(bind([policy('ALLOW', rules)]), request({ jwt }, headers), trace);
  t.match(trace[0], /wants td\/ns\/x\/sa\/a0 or .* or td\/ns\/x\/sa\/a7 or 992 more$/);
  t.match(trace[1], 'saw a\\u{1b}[31m\\u{a}ALLOW\\u{202e}, wants no');
  t.ok(trace[2]!.length < 400, 'a long value is cut');
  t.match(trace[3], 'saw Zoë, wants no');
  t.match(trace[4], /x… and 82 more, wants no$/);
  t.ok(trace[4]!.length < 2_400, 'so are many');
  t.match(trace[5], 'saw (token), wants no');
  t.end();
});

t.test('each attribute says what was seen, or that nothing was there', t => {
  const seen = (rule: Partial<Rule>, connection = {}, asked = request()) => {
    const trace: string[] = [];
    decideRequest(bind([policy('ALLOW', [rule])], connection), asked, trace);
    return /saw (.*), wants/.exec(trace[0]!)?.[1];
  };
  const plaintext = { principal: null };
  const forwarded = (value: string) => request({}, { 'x-forwarded-for': [value] });
  t.equal(seen(when('source.serviceAccount', 'foo/b')), 'td/ns/foo/sa/a');
  t.equal(seen(when('source.trustDomain', 'x'), plaintext), 'no peer identity');
  t.equal(seen(when('destination.ip', '10.9.9.9')), '10.1.0.1');
  t.equal(seen(when('connection.sni', 'x')), 'no server name');
  t.equal(seen(when('connection.sni', 'x'), { sni: 'Shop' }), 'shop');
  t.equal(seen(when('remote.ip', '1.1.1.1')), '10.0.0.9');
  t.equal(
    seen(when('remote.ip', '1.1.1.1'), {}, forwarded('9.9.9.9, 8.8.8.8')),
    'the last of x-forwarded-for 9.9.9.9, 8.8.8.8',
  );
  t.equal(
    seen(when('remote.ip', '1.1.1.1'), {}, forwarded('unknown')),
    '10.0.0.9 (x-forwarded-for unknown does not end in an address)',
  );
  t.equal(seen(when('request.auth.principal', 'a/b')), 'no verified token');
  t.equal(seen(when('request.auth.claims[a]', 'x'), {}, request({ jwt: { payload: {} } })), 'no such claim');
  t.equal(
    seen(when('request.auth.claims[a]', 'x'), {}, request({ jwt: { payload: { a: [1, 'y'] } } })),
    '[1,"y"]',
  );
  t.equal(
    seen(when('request.auth.principal', 'a/b'), {}, request({ jwt: { payload: { iss: 'me', sub: 'x' } } })),
    'me/x',
  );
  t.equal(seen(when('request.headers[x]', 'y')), 'no such header');
  t.equal(seen(when('request.headers[x]', 'y'), {}, request({}, { x: ['', 'a'] })), '"" and a');
  t.end();
});
