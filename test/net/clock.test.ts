import t from 'tap';
import { CoarseClock, type Deadline } from '../../src/net/clock.ts';

const awake = setInterval(() => {}, 1_000); // a clock alone keeps no process running
t.teardown(() => clearInterval(awake));

/** A deadline that tells when it fires. */
function waiting(deadline: number): Deadline & { fired: Promise<void>; times: number } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return {
    deadline,
    fired: promise,
    times: 0,
    onDeadline() {
      this.times++;
      resolve();
    },
  };
}

t.test('a deadline that is over fires once, at a later tick', async t => {
  const clock = new CoarseClock();
  t.teardown(() => clock.stop());
  const due = waiting(clock.now);
  const later = waiting(clock.now + 3_600_000);
  clock.add(due);
  clock.add(later);
  t.equal(due.times, 0, 'never in the tick that armed it');
  await due.fired;
  t.equal(due.deadline, Number.POSITIVE_INFINITY);
  const next = waiting(clock.now);
  clock.add(next);
  await next.fired;
  t.same([due.times, later.times], [1, 0]);
});

t.test('moving a deadline is writing a field', async t => {
  const clock = new CoarseClock();
  t.teardown(() => clock.stop());
  const moved = waiting(clock.now);
  const witness = waiting(clock.now);
  clock.add(moved);
  clock.add(witness);
  moved.deadline = clock.now + 3_600_000;
  await witness.fired;
  t.equal(moved.times, 0);
  moved.deadline = clock.now;
  await moved.fired;
});

t.test('one that was taken off does not fire, not even by another of the same tick', async t => {
  const clock = new CoarseClock();
  t.teardown(() => clock.stop());
  const second = waiting(clock.now);
  const first = waiting(clock.now);
  first.onDeadline = () => clock.delete(second);
  clock.add(first);
  clock.add(second);
  const last = waiting(clock.now);
  clock.add(last);
  await last.fired;
  t.equal(second.times, 0);
});

t.test('now moves, and keeps nobody alive', async t => {
  const clock = new CoarseClock();
  const before = clock.now;
  const due = waiting(before);
  clock.add(due);
  await due.fired;
  t.ok(clock.now > before);
  clock.stop();
});
