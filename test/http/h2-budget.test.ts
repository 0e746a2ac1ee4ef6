import t from 'tap';
import { H2Budget } from '../../src/http/h2-budget.ts';

/** How often it may happen in a row. */
function timesOf(once: () => boolean): number {
  let times = 0;
  while (times < 10_000 && once()) times++;
  return times;
}

t.test('fields of lists that are too large are paid from what resets are paid from', async t => {
  const budget = new H2Budget(0);
  t.ok(timesOf(() => budget.beyond(0, 11_000)) < 10, 'a frame full of them, a few times');
  t.ok(timesOf(() => budget.reset(0)) < 11_000 / 128);
  t.ok(budget.beyond(10_000, 11_000), 'time gives it back');
});

t.test('a list that is a little too large costs nothing more than its refusal', async t => {
  const budget = new H2Budget(0);
  t.equal(
    timesOf(() => budget.beyond(0, 100)),
    10_000,
  );
  t.equal(
    timesOf(() => budget.reset(0)),
    400,
  );
});
