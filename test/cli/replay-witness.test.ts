import t from 'tap';
import { Comparisons } from '../../src/cli/replay-witness.ts';

function compared(...clauses: readonly (readonly string[])[]): Comparisons {
  const comparisons = new Comparisons();
  for (const clause of clauses) comparisons.add(clause);
  return comparisons;
}

t.test('one text for each way to match', async t => {
  t.same(compared(['a']).texts(), ['', 'a']);
  t.same(compared(['a', 'b'], ['b', 'c']).texts(), ['', 'a', 'b', 'c'], 'b is matched by both');
  t.same(compared(['a', 'b', 'c']).texts(), ['', 'a'], 'one clause, two ways');
  const texts = compared(['ab*'], ['*yz'], ['abc']).texts();
  t.ok(texts.some(text => text.startsWith('ab') && text.endsWith('yz') && text !== 'abc'));
  t.ok(texts.some(text => text.startsWith('ab') && !text.endsWith('yz') && text !== 'abc'));
  t.ok(texts.includes('abc'));
  t.equal(compared(['*']).texts().length, 2, 'there, and empty');
});

t.test('several at once: one set for each way in which some of them match', async t => {
  const sets = compared(['a'], ['b']).sets() ?? [];
  t.same(
    new Set(
      sets.map(set =>
        set
          .filter(text => text !== '')
          .sort()
          .join(),
      ),
    ),
    new Set(['', 'a', 'b', 'a,b']),
  );
  const many = new Comparisons();
  for (let i = 0; i < 20; i++) many.add([`v${i}`]);
  t.equal(many.sets(), null, 'a million ways are not tried');
  const long = compared(Array.from({ length: 10_000 }, (_, i) => `v${i}`));
  t.equal(long.sets()?.length, 2, 'however many values one clause has');
});
