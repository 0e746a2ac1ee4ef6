import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { connectPlain } from '../../src/net/connect.ts';
import { type Side, type Splice, type SpliceEnd, splice } from '../../src/net/splice.ts';
import { startTcpApp } from '../peers.ts';

const MIB = 1024 * 1024;

/** A clock that the test moves. */
class HandClock {
  now = 0;
  readonly items = new Set<{ deadline: number; onDeadline(): void }>();

  add(item: { deadline: number; onDeadline(): void }): void {
    this.items.add(item);
  }

  delete(item: { deadline: number; onDeadline(): void }): void {
    this.items.delete(item);
  }

  forward(ms: number): void {
    this.now += ms;
    for (const item of this.items) if (item.deadline <= this.now) item.onDeadline();
  }
}

/** client ↔ a | splice | b ↔ app: `client` and `app` are the ends that the test holds. */
async function join(
  t: Test,
  options: { inlet?: boolean; screen?: { done: boolean; passes(c: Buffer): boolean } } = {},
) {
  const clock = new HandClock();
  const atApp = Promise.withResolvers<Socket>();
  const app = await startTcpApp(t, atApp.resolve);
  const atSplice = Promise.withResolvers<Socket>();
  const front = await startTcpApp(t, atSplice.resolve);
  const client = connect({ port: front.port, host: '127.0.0.1', allowHalfOpen: true });
  client.on('error', () => {});
  t.teardown(() => client.destroy());
  const a: Side = { socket: await atSplice.promise, inlet: null };
  const b = await new Promise<Side>(resolve => {
    if (options.inlet === false) {
      const socket = connect({ port: app.port, host: '127.0.0.1', allowHalfOpen: true });
      socket.on('error', () => {}).once('connect', () => resolve({ socket, inlet: null }));
    } else
      connectPlain({ host: '127.0.0.1', port: app.port, timeoutMs: 60_000 }, (_why, made) => resolve(made));
  });
  const ended = Promise.withResolvers<SpliceEnd>();
  let ends = 0;
  const joined: Splice = splice(a, b, {
    clock,
    idleTimeoutMs: 1_000,
    screen: options.screen ?? null,
    done: end => {
      if (++ends > 1) throw new Error('done was called twice');
      ended.resolve(end);
    },
  });
  return { clock, joined, client, app: await atApp.promise, ended: ended.promise };
}

async function textOf(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', chunk => {
    text += String(chunk);
  });
  await once(socket, 'end');
  return text;
}

for (const inlet of [true, false]) {
  t.test(`each direction ends on its own${inlet ? ', read by an inlet' : ''}`, async t => {
    const { client, app, ended, clock } = await join(t, { inlet });
    client.end('question');
    t.equal(await textOf(app), 'question');
    app.write('an ');
    app.end('answer');
    t.equal(await textOf(client), 'an answer');
    t.same(await ended, { fromA: 8, fromB: 9, why: 'end' });
    t.equal(clock.items.size, 0, 'nothing is left on the clock');
  });

  t.test(`16 MiB each way at once arrive as they were sent${inlet ? ', read by an inlet' : ''}`, async t => {
    const { client, app, ended } = await join(t, { inlet });
    const [up, down] = [randomBytes(MIB), randomBytes(MIB)];
    const digests = Promise.all([digestOf(app), digestOf(client)]);
    await Promise.all([pour(client, up), pour(app, down)]);
    t.same(await digests, [expected(up), expected(down)]);
    t.same(await ended, { fromA: 16 * MIB, fromB: 16 * MIB, why: 'end' });
  });
}

async function pour(socket: Socket, block: Buffer): Promise<void> {
  for (let i = 0; i < 16; i++) if (!socket.write(block)) await once(socket, 'drain');
  socket.end();
}

function expected(block: Buffer): string {
  const sums = createHash('sha256');
  for (let i = 0; i < 16; i++) sums.update(block);
  return sums.digest('hex');
}

async function digestOf(socket: Socket): Promise<string> {
  const sums = createHash('sha256');
  socket.on('data', chunk => sums.update(chunk));
  await once(socket, 'end');
  return sums.digest('hex');
}

for (const side of ['client', 'app'] as const) {
  t.test(`a reset of the ${side} resets the other side`, async t => {
    const joined = await join(t);
    const [broken, other] = side === 'client' ? [joined.client, joined.app] : [joined.app, joined.client];
    const told = new Promise(resolve => other.on('error', resolve).resume());
    broken.resetAndDestroy();
    t.match(await told, { code: 'ECONNRESET' });
    t.match(await joined.ended, { why: 'reset' });
    t.equal(joined.clock.items.size, 0);
  });
}

t.test('a connection on which nothing moves is ended, and every byte puts that off', async t => {
  const { clock, client, app, ended } = await join(t);
  clock.forward(900);
  client.write('a');
  await once(app, 'data');
  clock.forward(900);
  app.write('b');
  await once(client, 'data');
  clock.forward(900);
  client.write('c');
  await once(app, 'data');
  clock.forward(1_000);
  t.same(await ended, { fromA: 2, fromB: 1, why: 'idle' });
});

t.test('close ends both sides', async t => {
  const { joined, client, app, ended } = await join(t);
  const gone = [client, app].map(socket => new Promise(resolve => socket.once('end', resolve).resume()));
  joined.close();
  await Promise.all(gone);
  t.match(await ended, { why: 'closed' });
});

t.test('a sink that does not read stops its source', async t => {
  const { joined, client, app } = await join(t);
  const block = Buffer.alloc(MIB, 1);
  for (let i = 0; i < 64; i++) client.write(block);
  let last = -1;
  for (let same = 0; same < 50; ) {
    await new Promise(resolve => setImmediate(resolve));
    same = joined.fromA === last ? same + 1 : 0;
    last = joined.fromA;
  }
  t.ok(joined.fromA < 32 * MIB, `${joined.fromA} bytes were read`);
  let received = 0;
  app.on('data', chunk => {
    received += chunk.length;
  });
  client.end();
  await once(app, 'end');
  t.equal(received, 64 * MIB);
});

t.test('a screen sees the bytes of the first side before they pass, until it is done', async t => {
  const seen: string[] = [];
  const screen = {
    done: false,
    passes(chunk: Buffer) {
      seen.push(String(chunk));
      if (String(chunk) === 'last') this.done = true;
      return String(chunk) !== 'bad';
    },
  };
  const { client, app } = await join(t, { screen });
  for (const text of ['good', 'last', 'bad']) {
    client.write(text);
    t.equal(String((await once(app, 'data'))[0]), text);
  }
  t.same(seen, ['good', 'last']);

  const refusing = await join(t, { screen: { done: false, passes: () => false } });
  const nothing = textOf(refusing.app);
  refusing.client.write('bad');
  t.equal(await nothing, '');
  t.match(await refusing.ended, { why: 'screened' });
});

t.test('a side that was gone before the splice began takes the other with it', async t => {
  const { client, app } = await join(t);
  client.destroy();
  await new Promise(resolve => (client.closed ? resolve(null) : client.once('close', resolve)));
  const end = await new Promise<SpliceEnd>(resolve =>
    splice(
      { socket: client, inlet: null },
      { socket: app, inlet: null },
      { clock: new HandClock(), idleTimeoutMs: 1_000, done: resolve },
    ),
  );
  t.match(end, { fromA: 0, fromB: 0 });
  t.ok(app.destroyed);
});
