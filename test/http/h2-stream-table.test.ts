import t from 'tap';
import { H2StreamTable } from '../../src/http/h2-stream-table.ts';

/** A generator of the same numbers every time (xorshift). */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return below => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function ids(table: H2StreamTable<{ id: number }>): number[] {
  return table
    .values()
    .map(({ id }) => id)
    .sort((a, b) => a - b);
}

t.test('the table holds what a Map would, with streams that stay while others come and go', async t => {
  for (const limit of [1, 16, 17, 256]) {
    const random = numbers(limit);
    const table = new H2StreamTable<{ id: number }>();
    const model = new Map<number, { id: number }>();
    let next = 1;
    for (let step = 0; step < 20_000; step++) {
      if (model.size < limit && random(2) === 0) {
        const stream = { id: next };
        next += 2;
        table.add(stream);
        model.set(stream.id, stream);
      } else {
        // Mostly the young: some streams stay for thousands of others.
        const open = [...model.keys()];
        const id = open[Math.max(0, open.length - 1 - random(4))] ?? 1;
        if (table.delete(id) !== model.delete(id)) t.fail(`deleting ${id} of ${limit}`);
      }
      if (table.size !== model.size) t.fail(`size with ${limit}`);
    }
    t.same(
      ids(table),
      [...model.keys()].sort((a, b) => a - b),
    );
    for (const [id, stream] of model) t.equal(table.get(id), stream);
    t.equal(table.has(next), false);
  }
});

t.test('a stream whose id falls on a taken slot is found, also when the other has gone', async t => {
  const table = new H2StreamTable<{ id: number }>();
  const streams = [1, 65, 129, 3, 67].map(id => ({ id })); // 32 slots: ids 64 apart meet
  for (const stream of streams) table.add(stream);
  t.equal(table.delete(1), true);
  t.equal(table.delete(1), false);
  for (const stream of streams.slice(1)) t.equal(table.get(stream.id), stream);
});

t.test('a cleared table is empty and goes on', async t => {
  const table = new H2StreamTable<{ id: number }>();
  for (let id = 1; id < 100; id += 2) table.add({ id });
  table.clear();
  t.same([table.size, table.has(1), table.values()], [0, false, []]);
  table.add({ id: 1 });
  t.same(ids(table), [1]);
});
