import t from 'tap';
import { Pool, type Pooled, type PoolLimits, type Waiter } from '../../src/upstream/pool.ts';

const LIMITS: PoolLimits = {
  maxConnections: 2,
  maxPending: 2,
  maxRequestsPerConnection: 0,
  idleTimeoutMs: 60_000,
};
const ANY_AGE = Number.POSITIVE_INFINITY;

class Connection implements Pooled {
  usable = true;
  idleSince = 0;
  idleLimitMs = Number.POSITIVE_INFINITY;
  requests = 1;
  destroyed = false;
  #pool: Pool<Connection>;

  constructor(pool: Pool<Connection>, changes: Partial<Connection> = {}) {
    this.#pool = pool;
    Object.assign(this, changes);
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.#pool.drop(this);
  }
}

/** A pool with an open connection for each of `changes`, idle in that order. */
function poolWith(limits: Partial<PoolLimits>, ...changes: Partial<Connection>[]) {
  const pool = new Pool<Connection>({ ...LIMITS, ...limits });
  const connections = changes.map(change => {
    pool.reserve();
    return new Connection(pool, change);
  });
  for (const connection of connections) pool.put(connection);
  return { pool, connections };
}

function waiter(): Waiter<Connection> & { readonly got: Connection[] } {
  const got: Connection[] = [];
  return { got, onConnection: connection => got.push(connection) };
}

t.test('the connection used last is used next', async t => {
  const { pool, connections } = poolWith({}, {}, {});
  t.equal(pool.take(0, ANY_AGE), connections[1]);
  t.equal(pool.take(0, ANY_AGE), connections[0]);
  t.equal(pool.take(0, ANY_AGE), null);
  t.equal(pool.open, 2);
});

t.test('a connection is not taken, and closed', async t => {
  for (const [name, change, limits] of [
    ['when it cannot take a request', { usable: false }, {}],
    ['when it was idle for longer than the server said', { idleLimitMs: 999 }, {}],
    ['when it was idle for longer than the pool allows', {}, { idleTimeoutMs: 999 }],
  ] as const) {
    t.test(name, async t => {
      const { pool, connections } = poolWith(limits, change);
      t.equal(pool.take(1_000, ANY_AGE), null);
      t.same([connections[0]?.destroyed, pool.open, pool.idle], [true, 0, 0]);
    });
  }
});

t.test(
  'a request that wants a fresher one than there is leaves it to others while another may be opened',
  async t => {
    const { pool, connections } = poolWith({}, {});
    t.equal(pool.take(1_000, 999), null);
    t.equal(pool.reserve(), true);
    t.equal(pool.take(1_000, 1_000), connections[0]);
  },
);

t.test('and gets the place of the oldest when none may', async t => {
  const { pool, connections } = poolWith({}, {}, { idleSince: 500 });
  t.equal(pool.take(1_000, 100), null);
  t.same(
    connections.map(({ destroyed }) => destroyed),
    [true, false],
  );
  t.equal(pool.reserve(), true);
});

t.test('no more connections are open than allowed, those being opened counted', async t => {
  const { pool } = poolWith({});
  t.same([pool.reserve(), pool.reserve(), pool.reserve()], [true, true, false]);
  pool.drop(null);
  t.same([pool.reserve(), pool.reserve(), pool.reserve(true)], [true, false, true]);
  t.equal(pool.open, 3);
});

t.test('waiters are served in their order, by a connection that comes back', async t => {
  const { pool, connections } = poolWith({ maxConnections: 1 }, {});
  const connection = pool.take(0, ANY_AGE) as Connection;
  const [first, second, third] = [waiter(), waiter(), waiter()];
  t.same([pool.wait(first), pool.wait(second), pool.wait(third)], [true, true, false]);
  pool.put(connection);
  t.same([first.got, second.got], [connections, []]);
  pool.put(connection);
  t.same(second.got, connections);
  pool.put(connection);
  t.equal(pool.idle, 1);
});

t.test('or named when a connection is gone, so that another can be opened for them', async t => {
  const { pool } = poolWith({ maxConnections: 1 });
  pool.reserve();
  const [first, second] = [waiter(), waiter()];
  pool.wait(first);
  pool.wait(second);
  pool.forget(first);
  t.equal(pool.waiting, 1);
  pool.drop(null);
  t.equal(pool.next(), second);
  t.equal(pool.next(), null);
});

t.test('a waiter that went away is not served', async t => {
  const { pool, connections } = poolWith({ maxConnections: 1 }, {});
  const connection = pool.take(0, ANY_AGE) as Connection;
  const [first, second] = [waiter(), waiter()];
  pool.wait(first);
  pool.wait(second);
  pool.forget(first);
  pool.forget(first);
  pool.put(connection);
  t.same([first.got, second.got], [[], connections]);
});

t.test('a connection ends after as many requests as it may carry, though others wait', async t => {
  const { pool } = poolWith({ maxConnections: 1, maxRequestsPerConnection: 3 });
  pool.reserve();
  const connection = new Connection(pool, { requests: 2 });
  pool.put(connection);
  t.equal(pool.take(0, ANY_AGE), connection);
  connection.requests = 3;
  pool.put(connection);
  t.same([connection.destroyed, pool.open], [true, 0]);
});

t.test('the sweep closes what was idle too long, and nothing else', async t => {
  const { pool, connections } = poolWith(
    { maxConnections: 9 },
    {},
    { idleSince: 5_000 },
    { idleLimitMs: 10 },
    { usable: false },
  );
  pool.sweep(60_001);
  t.same(
    connections.map(({ destroyed }) => destroyed),
    [true, false, true, true],
  );
  t.same([pool.idle, pool.open], [1, 1]);
});

t.test('clear closes every idle connection; those in use come back later', async t => {
  const { pool, connections } = poolWith({}, {}, {});
  const used = pool.take(0, ANY_AGE) as Connection;
  pool.clear();
  t.same([connections[0]?.destroyed, used.destroyed, pool.idle, pool.open], [true, false, 0, 1]);
  pool.put(used);
  t.equal(pool.idle, 1);
});
