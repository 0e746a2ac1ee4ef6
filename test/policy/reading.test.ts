import t from 'tap';
import type { Rule } from '../../src/config/resources.ts';
import { bindConnection, customMatches, decideRequest, findingsOf } from '../../src/policy/decide.ts';
import { bind, CONNECTION, policy, request } from './world.ts';

const header = (name: string, value: string): Partial<Rule> => ({
  when: [{ key: `request.headers[${name}]`, values: [value], notValues: [] }],
});

/** A request that counts how often each header is read. */
function counting(headers: Record<string, readonly string[]>) {
  const reads: string[] = [];
  const headerValues = (name: string) => {
    reads.push(name);
    return headers[name] ?? [];
  };
  return { reads, asked: request({ headerValues }) };
}

t.test('a header that many rules ask about is read once a decision', t => {
  for (const count of [3, 300]) {
    const rules = Array.from({ length: count }, (_, i) => header(i % 2 === 0 ? 'x-a' : 'X-B', `v${i}`));
    const remote = { from: [{ remoteIpBlocks: ['1.1.1.1'] }, { remoteIpBlocks: ['1.1.1.2'] }] };
    const bound = bind([policy('DENY', [...rules, remote, remote]), policy('ALLOW', [{}])]);
    const { reads, asked } = counting({ 'x-a': ['1'], 'x-b': ['2'] });
    t.ok(decideRequest(bound, asked).allow, `${count} rules`);
    t.same(reads.sort(), ['x-a', 'x-b', 'x-forwarded-for']);
    decideRequest(bound, asked);
    t.equal(reads.length, 6, 'and anew for the next');
  }
  t.end();
});

t.test('a request that was edited between the questions is read anew', t => {
  const bound = bind([
    policy('CUSTOM', [header('x-a', 'before')], { provider: 'web' }),
    policy('AUDIT', [header('x-a', 'after')]),
    policy('DENY', [header('x-a', 'after')]),
  ]);
  const headers: Record<string, readonly string[]> = { 'x-a': ['before'] };
  const asked = request({ headerValues: name => headers[name] ?? [] });
  t.equal(customMatches(bound, asked)?.length, 1);
  headers['x-a'] = ['after'];
  t.same(findingsOf(bound, asked)?.audit, ['foo/audit']);
  t.equal(decideRequest(bound, asked).allow, false);
  t.end();
});

t.test('two connections of one rule set do not mix their requests up', t => {
  const rules = Array.from({ length: 40 }, (_, i) => header('x-a', `v${i}`));
  const policies = [policy('ALLOW', [...rules, { from: [{ remoteIpBlocks: ['10.0.0.1'] }] }])];
  const near = bind(policies, { sourceIp: '10.0.0.1' });
  const far = bindConnection(near.authorization, { ...CONNECTION, sourceIp: '10.0.0.2' });
  for (let i = 0; i < 3; i++) {
    t.equal(decideRequest(near, request()).allow, true);
    t.equal(decideRequest(far, request()).allow, false);
    t.equal(decideRequest(far, request({}, { 'x-a': ['v7'] })).rule, 7);
  }
  t.end();
});
