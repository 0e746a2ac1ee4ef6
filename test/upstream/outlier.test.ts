import t from 'tap';
import type { OutlierDetection } from '../../src/config/resources.ts';
import { EndpointHealth, mayEject, type Outcome } from '../../src/upstream/outlier.ts';

const SETTINGS: OutlierDetection = {
  consecutive5xxErrors: 3,
  consecutiveGatewayErrors: 0,
  intervalMs: 10_000,
  baseEjectionTimeMs: 30_000,
  maxEjectionPercent: 10,
};

function after(settings: OutlierDetection | null, outcomes: readonly Outcome[], may = true): EndpointHealth {
  const health = new EndpointHealth(settings);
  for (const outcome of outcomes) health.count(outcome, 0, may);
  return health;
}

t.test('without settings nothing is ever ejected', async t => {
  t.equal(after(null, ['error', 'error', 'error', 'error', 'connect_failed']).ejected(0), false);
});

t.test('as many failures in a row as consecutive5xxErrors eject, of any kind', async t => {
  t.equal(after(SETTINGS, ['error', 'gateway_error']).ejected(0), false);
  const health = after(SETTINGS, ['error', 'gateway_error', 'connect_failed']);
  t.same([health.ejected(0), health.ejected(29_999), health.ejected(30_000)], [true, true, false]);
});

t.test('a success in between starts the count anew', async t => {
  t.equal(after(SETTINGS, ['error', 'error', 'ok', 'error', 'error']).ejected(0), false);
});

t.test('consecutiveGatewayErrors counts 502, 503, 504 and failed connections only', async t => {
  const settings = { ...SETTINGS, consecutive5xxErrors: 0, consecutiveGatewayErrors: 2 };
  t.equal(after(settings, ['error', 'error', 'error']).ejected(0), false);
  t.equal(after(settings, ['connect_failed', 'gateway_error']).ejected(0), true);
  t.equal(
    after(settings, ['gateway_error', 'error', 'gateway_error']).ejected(0),
    false,
    'a 500 ends the row',
  );
});

t.test('each ejection lasts longer than the one before, five minutes at most', async t => {
  const health = after(SETTINGS, ['error', 'error', 'error']);
  let now = 0;
  const lengths: number[] = [];
  for (let i = 0; i < 12; i++) {
    lengths.push(health.ejectedUntil - now);
    now = health.ejectedUntil;
    for (let failures = 0; failures < 3; failures++) health.count('error', now, true);
  }
  t.same(lengths.slice(0, 3), [30_000, 60_000, 90_000]);
  t.equal(Math.max(...lengths), 300_000);
});

t.test('while it is ejected its failures do not make it longer', async t => {
  const health = after(SETTINGS, ['error', 'error', 'error']);
  for (let i = 0; i < 9; i++) t.equal(health.count('error', 1_000, true), false);
  t.equal(health.ejectedUntil, 30_000);
});

t.test('when no more may be ejected it stays, and its count with it', async t => {
  const health = after(SETTINGS, ['error', 'error', 'error', 'error'], false);
  t.equal(health.ejected(0), false);
  t.equal(health.count('error', 0, true), true);
});

t.test('how many may be ejected', async t => {
  for (const [total, ejected, percent, may] of [
    [1, 0, 10, true],
    [10, 0, 10, true],
    [10, 1, 10, false],
    [10, 1, 20, true],
    [10, 2, 20, false],
    [3, 1, 50, false],
    [3, 1, 67, true],
    [2, 1, 100, true],
  ] as const) {
    t.equal(mayEject(total, ejected, percent), may, `${ejected} of ${total} are, ${percent} % may be`);
  }
});
