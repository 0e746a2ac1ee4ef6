import t from 'tap';
import { type Algorithm, Balancer, type Candidate } from '../../src/upstream/balance.ts';

interface Endpoint extends Candidate {
  readonly name: string;
}

function endpoint(name: string, weight = 1, active = 0): Endpoint {
  return { name, weight, active };
}

/** Names of the next `count` picks; `draws` stands for Math.random and must be used up. */
function picks(
  algorithm: Algorithm,
  count: number,
  candidates: readonly Endpoint[],
  draws: number[] = [],
): string {
  const balancer = new Balancer<Endpoint>(algorithm, () => {
    const draw = draws.shift();
    if (draw === undefined) throw new Error('a draw too many');
    return draw;
  });
  return Array.from({ length: count }, () => balancer.pick(candidates)?.name ?? '-').join('');
}

t.test('nothing to pick from', async t => {
  for (const algorithm of ['ROUND_ROBIN', 'LEAST_REQUEST', 'RANDOM'] as const) {
    t.equal(picks(algorithm, 1, []), '-');
    t.equal(picks(algorithm, 2, [endpoint('a')]), 'aa', 'one endpoint needs no dice');
  }
});

t.test('ROUND_ROBIN takes one after the other', async t => {
  t.equal(picks('ROUND_ROBIN', 7, [endpoint('a'), endpoint('b'), endpoint('c')]), 'abcabca');
});

t.test('ROUND_ROBIN gives each its share by weight, spread out', async t => {
  t.equal(picks('ROUND_ROBIN', 8, [endpoint('a', 3), endpoint('b', 1)]), 'aabaaaba');
});

t.test('ROUND_ROBIN goes on when an endpoint is left out for a while', async t => {
  const [a, b, c] = [endpoint('a'), endpoint('b'), endpoint('c')];
  const balancer = new Balancer<Endpoint>('ROUND_ROBIN');
  const next = (...candidates: Endpoint[]) => balancer.pick(candidates)?.name;
  t.same([next(a, b, c), next(b, c), next(b, c), next(a, b, c)].includes(undefined), false);
  const seen = Array.from({ length: 9 }, () => next(a, b, c));
  for (const name of 'abc') t.ok(seen.filter(one => one === name).length >= 2, name);
});

t.test('RANDOM draws by weight', async t => {
  const candidates = [endpoint('a', 1), endpoint('b', 3)];
  t.equal(picks('RANDOM', 4, candidates, [0, 0.2499, 0.25, 0.9999]), 'aabb');
});

t.test('LEAST_REQUEST draws two and takes the one with less to do', async t => {
  const candidates = [endpoint('a', 1, 5), endpoint('b', 1, 4), endpoint('c', 1, 9)];
  t.equal(picks('LEAST_REQUEST', 4, candidates, [0, 0.4, 0.4, 0, 0.9, 0, 0.9, 0.9]), 'bbac');
});

t.test('LEAST_REQUEST weighs what there is to do', async t => {
  const candidates = [endpoint('a', 1, 2), endpoint('b', 9, 9)];
  t.equal(picks('LEAST_REQUEST', 1, candidates, [0, 0.5]), 'b');
});
