import t from 'tap';
import type { Rule } from '../../src/config/resources.ts';
import type { RequestAttributes } from '../../src/policy/attributes.ts';
import { decideRequest } from '../../src/policy/decide.ts';
import { bind, policy, request } from './world.ts';

const when = (key: string, values: string[], notValues: string[] = []): Partial<Rule> => ({
  when: [{ key, values, notValues }],
});
const role = 'request.auth.claims[role]';
const team = 'request.headers[x-team]';
const token = (payload: object) => request({ jwt: { payload: payload as Record<string, unknown> } });
const header = (...lines: string[]) => request({}, { 'x-team': lines });
const from = (address: string) => request({}, { 'x-forwarded-for': [address] });

/** says, a rule, a request, whether it matches. */
const TABLE: readonly (readonly [string, Partial<Rule>, RequestAttributes, boolean])[] = [
  ['an empty claim is not there for a star', when(role, ['*']), token({ role: '' }), false],
  ['nor for a negated one', when(role, [], ['*']), token({ role: '' }), true],
  ['a claim that is there', when(role, [], ['*']), token({ role: 'x' }), false],
  ['a list with a text in it', when(role, ['x']), token({ role: ['', 7, 'x'] }), true],
  ['a list without it', when(role, [], ['x']), token({ role: ['y', 'x'] }), false],
  [
    'a token without a subject',
    { from: [{ notRequestPrincipals: ['*'] }] },
    token({ iss: 'a', sub: '' }),
    true,
  ],
  ['a token with one', { from: [{ notRequestPrincipals: ['*'] }] }, token({ iss: 'a', sub: 'b' }), false],
  ['another issuer', { from: [{ notRequestPrincipals: ['a/b'] }] }, token({ iss: 'c', sub: 'b' }), true],
  ['the same issuer', { from: [{ requestPrincipals: ['a/*'] }] }, token({ iss: 'a', sub: 'b' }), true],
  ['an empty header is there for a star', when(team, ['*']), header(''), true],
  ['also for a negated one', when(team, [], ['*']), header(''), false],
  ['any line', when(team, ['a']), header('b', 'a'), true],
  ['no line', when(team, [], ['a']), header('b', 'a'), false],
  ['a host in capitals', { to: [{ hosts: ['A.com'] }] }, request({ host: 'a.COM' }), true],
  ['a negated host in capitals', { to: [{ notHosts: ['*.COM'] }] }, request({ host: 'A.com' }), false],
  ['a suffix', { to: [{ paths: ['*.txt'] }] }, request({ path: '/a.txt' }), true],
  ['a prefix', { to: [{ paths: ['/a*'] }] }, request({ path: '/a.txt' }), true],
  ['a template', { to: [{ paths: ['/x/{*}/y/{**}'] }] }, request({ path: '/x/a/y/b/c' }), true],
  ['a template begins with an operator', { to: [{ paths: ['/{*}/y'] }] }, request({ path: '/x/y' }), true],
  ['a template of an operator alone', { to: [{ paths: ['/{**}'] }] }, request({ path: '/' }), true],
  ['a negated template', { to: [{ notPaths: ['/x/{*}'] }] }, request({ path: '/x/a' }), false],
  ['beside a negated template', { to: [{ notPaths: ['/x/{*}', '/y*'] }] }, request({ path: '/z' }), true],
  ['a long IPv6 block', { from: [{ remoteIpBlocks: ['2001:db8:0:1::/64'] }] }, from('2001:db8:0:1::9'), true],
  ['beside it', { from: [{ remoteIpBlocks: ['2001:db8:0:1::/64'] }] }, from('2001:db8:0:2::9'), false],
  [
    'beside a negated one',
    { from: [{ notRemoteIpBlocks: ['2001:db8:0:1::/64'] }] },
    from('2001:db8:0:2::9'),
    true,
  ],
  ['in a negated one', { from: [{ notRemoteIpBlocks: ['10.0.0.0/7'] }] }, from('11.1.2.3'), false],
  ['every address', { from: [{ remoteIpBlocks: ['0.0.0.0/0'] }] }, from('255.0.0.1'), true],
  [
    'one of two alternatives',
    { to: [{ notMethods: ['GET'] }, { paths: ['/a'] }] },
    request({ path: '/a' }),
    true,
  ],
  [
    'an alternative without a guard',
    { to: [{ ports: ['80'] }, { paths: ['/b'] }] },
    request({ path: '/a' }),
    true,
  ],
  ['nothing asked for', {}, request(), true],
  ['nothing but the connection', { from: [{ principals: ['td/*'] }] }, request(), true],
];

/** Rules about the same attributes that never match. */
const FILLERS = Array.from({ length: 30 }, (_, i) => [
  when(role, [`f${i}`]),
  when(role, [`e${i}`], ['*']),
  when(team, [`f${i}`], [`g${i}`]),
  { to: [{ hosts: [`h${i}.com`], notHosts: ['q*'] }, { methods: [`M${i}`] }] },
  { to: [{ paths: [`/f${i}/{*}`, `/x/{*}/f${i}`, `*f${i}`] }] },
  { from: [{ remoteIpBlocks: [`172.16.${i}.0/24`, `fd00::${i}/128`] }] },
  { from: [{ requestPrincipals: [`f/${i}`, `f${i}/*`] }] },
]).flat();

t.test('a rule matches the same requests whether it is alone or one of many', t => {
  for (const [says, rule, asked, wanted] of TABLE) {
    const few = bind([policy('ALLOW', [rule])]);
    const many = bind([policy('ALLOW', [...FILLERS, rule, ...FILLERS])]);
    t.equal(few.http.sieves.decision, null, 'nothing is looked up');
    t.equal(decideRequest(few, asked).allow, wanted, `${says}, alone`);
    // A rule that always matches hides what comes behind it.
    if (!wanted || many.http.constant === null) t.not(many.http.sieves.decision, null);
    t.equal(decideRequest(many, asked).allow, wanted, `${says}, among many`);
    t.equal(
      decideRequest(many, request({ path: '/nothing' })).rule === null,
      decideRequest(few, request({ path: '/nothing' })).rule === null,
      'and so it is for another request',
    );
  }
  t.end();
});
