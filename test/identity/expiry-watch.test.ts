import t from 'tap';
import { ExpiryWatch } from '../../src/identity/expiry-watch.ts';

interface Certificate {
  readonly name: string;
  readonly notBefore: number;
  readonly notAfter: number;
}

const HOUR = 3_600_000;
const FIRST: Certificate = { name: 'first', notBefore: 0, notAfter: 30 * HOUR };

/** A watch whose clock stands where it is put, and what it said. */
function watching(t: { teardown(fn: () => void): unknown }) {
  const said: string[] = [];
  let now = 0;
  const watch = new ExpiryWatch<Certificate>({
    now: () => now,
    onStage: (stage, { name }) => said.push(`${name} ${stage}`),
  });
  t.teardown(() => watch.close());
  const at = (hour: number): string[] => {
    now = hour * HOUR;
    watch.look();
    return said;
  };
  return { watch, at, said };
}

t.test('it is said once that a third of the life is left, once a tenth, once nothing', async t => {
  const { watch, at } = watching(t);
  watch.watch(FIRST);
  t.same(at(19.9), []);
  t.same(at(20), ['first third']);
  t.same(at(26.9), ['first third']);
  t.same(at(27), ['first third', 'first tenth']);
  t.same(at(29.9), ['first third', 'first tenth']);
  t.same(at(30), ['first third', 'first tenth', 'first expired']);
  t.same(at(99), ['first third', 'first tenth', 'first expired']);
});

t.test('a rotation begins it anew', async t => {
  const { watch, at } = watching(t);
  watch.watch(FIRST);
  at(27);
  watch.watch({ name: 'second', notBefore: 27 * HOUR, notAfter: 57 * HOUR });
  t.same(at(46), ['first tenth'], 'nothing of the first that is over');
  t.same(at(47), ['first tenth', 'second third']);
});

t.test('a new certificate that was dated back is new all the same', async t => {
  const { watch, at } = watching(t);
  watch.watch(FIRST);
  at(19);
  watch.watch({ name: 'second', notBefore: 0, notAfter: 22 * HOUR });
  t.same(at(20.9), []);
  t.same(at(21), ['second third']);
});

t.test('the same certificate with another bundle is not said to be old twice', async t => {
  const { watch, at } = watching(t);
  watch.watch(FIRST);
  at(20);
  watch.watch({ ...FIRST, name: 'again' });
  t.same(at(21), ['first third']);
  t.same(at(27), ['first third', 'again tenth']);
});

t.test(
  'a certificate that is near its end at the start is said to be so at once, in its last stage only',
  async t => {
    const { watch, at, said } = watching(t);
    at(28);
    watch.watch(FIRST);
    t.same(said, ['first tenth']);
  },
);

t.test('a clock that is set back says nothing twice', async t => {
  const { watch, at } = watching(t);
  watch.watch(FIRST);
  at(27);
  t.same(at(1), ['first tenth']);
  t.same(at(28), ['first tenth']);
});

t.test('the timer looks by itself, and not after the end', async t => {
  const reached = Promise.withResolvers<string>();
  const now = Date.now();
  const short = { notBefore: now - 10_000, notAfter: now + 50 };
  const stages: string[] = [];
  const watch = new ExpiryWatch({
    onStage: stage => {
      stages.push(stage);
      if (stage === 'expired') reached.resolve(stage);
    },
  });
  const held = setInterval(() => {}, 1_000); // the watch's own timer holds no process up
  t.teardown(() => clearInterval(held));
  watch.watch(short);
  await reached.promise;
  t.same(stages, ['tenth', 'expired']);
  watch.close();
  watch.look();
  t.same(stages, ['tenth', 'expired']);
});
