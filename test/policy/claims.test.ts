import t from 'tap';
import { claimMatches, claimOf, claimPath } from '../../src/policy/claims.ts';
import { compileText } from '../../src/policy/text.ts';

t.test('the names in the brackets of a claim', t => {
  for (const [brackets, wanted] of [
    ['[a]', ['a']],
    ['[a][b]', ['a', 'b']],
    ['[https://example.com/a][b.c]', ['https://example.com/a', 'b.c']],
    ['[a[b]]', ['a[b]']],
    ['[a]b]', ['a]b']],
    ['[a][b', null],
    ['a', null],
    ['', null],
    ['[', null],
  ] as const) {
    t.same(claimPath(brackets), wanted, JSON.stringify(brackets));
  }
  t.end();
});

t.test('only what the token holds is a claim', t => {
  const payload = JSON.parse('{"a":{"b":"x"},"__proto__":"y","n":null}') as Record<string, unknown>;
  t.equal(claimOf(['a', 'b'], { payload }), 'x');
  t.equal(claimOf(['__proto__'], { payload }), 'y');
  for (const path of [
    ['constructor'],
    ['toString'],
    ['a', 'constructor', 'name'],
    ['n', 'x'],
    ['a', 'b', 'length'],
  ]) {
    t.equal(claimOf(path, { payload }), undefined, path.join('.'));
  }
  t.equal(claimOf(['a'], null), undefined, 'without a token');
  t.end();
});

t.test('a claim is Unicode text, and a star takes no line feed', t => {
  const text = (...values: string[]) => compileText(values, { presence: 'nonEmpty', unicode: true });
  const jwt = { payload: { name: 'Zoë', lines: 'a\nb' } };
  t.ok(claimMatches(['name'], text('Zoë'), jwt));
  t.ok(claimMatches(['name'], text('*ë'), jwt));
  t.ok(claimMatches(['name'], text('*'), jwt));
  t.notOk(claimMatches(['lines'], text('*'), jwt));
  t.ok(claimMatches(['lines'], text('a*'), jwt));
  t.end();
});
