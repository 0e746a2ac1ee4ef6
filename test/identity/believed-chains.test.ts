import { hash, randomBytes } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import t from 'tap';
import { BelievedChains } from '../../src/identity/believed-chains.ts';

const digest = (leaf: Uint8Array): string => hash('sha256', leaf, 'hex');

/** A chain of certificates of these sizes, of random bytes. */
function chainOf(...sizes: number[]): Buffer[] {
  return sizes.map(size => randomBytes(size));
}

function add(chains: BelievedChains, chain: readonly Buffer[]): string {
  const key = digest(chain[0]!);
  chains.add(key, chain);
  return key;
}

t.test('what one thread believed, every thread finds, byte for byte', async t => {
  const memory = BelievedChains.memory();
  const [here, there] = [new BelievedChains(memory), new BelievedChains(memory)];
  for (const chain of [chainOf(500), chainOf(480, 510), chainOf(900, 1_200, 1), chainOf(1, 0)]) {
    const key = add(here, chain);
    t.same(there.find(key), chain);
    t.same(here.find(key), chain);
  }
  t.equal(there.find('00'.repeat(32)), null, 'and nothing else');
});

t.test('a thread that begins later finds what was believed before', async t => {
  const memory = BelievedChains.memory();
  const chain = chainOf(480, 510);
  const key = add(new BelievedChains(memory), chain);
  t.same(new BelievedChains(memory).find(key), chain);
});

t.test('a leaf that came with other signers has the last ones', async t => {
  const memory = BelievedChains.memory();
  const [here, there] = [new BelievedChains(memory), new BelievedChains(memory)];
  const [leaf, old, next] = chainOf(480, 510, 510);
  const key = add(here, [leaf!, old!]);
  t.same(there.find(key), [leaf, old]);
  add(there, [leaf!, next!]);
  t.same(here.find(key), [leaf, next]);
});

t.test('who comes again and again is not forgotten, however many others came meanwhile', async t => {
  const chains = new BelievedChains(BelievedChains.memory(10_000));
  const regular = chainOf(500, 500);
  const key = add(chains, regular);
  for (let round = 0; round < 20; round += 1) {
    for (let other = 0; other < 4; other += 1) add(chains, chainOf(400, 400));
    t.same(chains.find(key), regular, `round ${round}`);
    add(chains, regular);
  }
});

t.test('a full ring forgets the oldest, and what comes back is there again', async t => {
  const memory = BelievedChains.memory(10_000);
  const [here, there] = [new BelievedChains(memory), new BelievedChains(memory)];
  const first = chainOf(500, 500);
  const key = add(here, first);
  const others = Array.from({ length: 12 }, () => chainOf(400, 400));
  const keys = others.map(chain => add(here, chain));
  t.equal(here.find(key), null);
  t.equal(there.find(key), null);
  t.same(there.find(keys.at(-1)!), others.at(-1));
  t.equal(there.find(keys[0]!), null);
  add(there, first);
  t.same(here.find(key), first);
});

t.test('a chain that would fill the ring is not kept, and the others stay', async t => {
  const chains = new BelievedChains(BelievedChains.memory(10_000));
  const kept = chainOf(500);
  const key = add(chains, kept);
  t.equal(chains.find(add(chains, chainOf(5_000))), null);
  t.same(chains.find(key), kept);
});

t.test('whatever is added in whatever order, a thread finds the chain or nothing', async t => {
  const sizes = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 3 });
  const step = fc.record({ by: fc.integer({ min: 0, max: 2 }), leaf: fc.integer({ min: 0, max: 9 }), sizes });
  const always = fc.property(
    fc.array(step, { maxLength: 60 }),
    fc.integer({ min: 4_000, max: 9_000 }),
    (steps, bytes) => {
      const memory = BelievedChains.memory(bytes);
      const threads = [0, 1, 2].map(() => new BelievedChains(memory));
      const latest = new Map<string, Buffer[]>();
      for (const { by, leaf, sizes } of steps) {
        const chain = [Buffer.alloc(40, leaf), ...chainOf(...sizes)];
        const key = add(threads[by]!, chain);
        const fits = chain.reduce((sum, { length }) => sum + length + 4, 36) <= bytes / 4;
        if (fits) latest.set(key, chain);
        for (const thread of threads) {
          const found = thread.find(key);
          const wanted = latest.get(key);
          if (fits && found === null) return false;
          if (
            found !== null &&
            (wanted === undefined || Buffer.compare(Buffer.concat(found), Buffer.concat(wanted)) !== 0)
          )
            return false;
        }
      }
      return true;
    },
  );
  t.doesNotThrow(() => fc.assert(always));
});

t.test('threads that write at the same time lose nothing', async t => {
  const memory = BelievedChains.memory();
  const each = 200;
  const source = `
    import { workerData, parentPort } from 'node:worker_threads';
    const { BelievedChains } = await import(workerData.module);
    const chains = new BelievedChains(workerData.memory);
    for (let i = 0; i < ${each}; i++) {
      const leaf = Buffer.from('leaf ' + workerData.id + ' ' + i);
      const hash = (await import('node:crypto')).hash('sha256', leaf, 'hex');
      chains.add(hash, [leaf, Buffer.alloc(300, workerData.id)]);
    }
    parentPort.postMessage('done');`;
  const module = new URL('../../src/identity/believed-chains.ts', import.meta.url).href;
  const ids = [1, 2, 3];
  await Promise.all(
    ids.map(
      id =>
        new Promise<void>((resolve, reject) => {
          const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
          const worker = new Worker(url, { workerData: { id, module, memory } });
          worker.once('message', () => resolve());
          worker.once('error', reject);
        }),
    ),
  );
  const chains = new BelievedChains(memory);
  let found = 0;
  for (const id of ids) {
    for (let i = 0; i < each; i++) {
      const leaf = Buffer.from(`leaf ${id} ${i}`);
      const chain = chains.find(digest(leaf));
      if (chain !== null && Buffer.from(chain[0]!).equals(leaf) && chain[1]![0] === id) found++;
    }
  }
  t.equal(found, ids.length * each);
});

t.test('a lock whose thread has died is taken over', async t => {
  const memory = BelievedChains.memory();
  const chain = chainOf(480);
  const key = add(new BelievedChains(memory), chain);
  new Int32Array(memory, 0, 1)[0] = 1;
  t.same(new BelievedChains(memory).find(key), chain);
  t.same(new BelievedChains(memory).find(key), chain, 'and is free again');
});
