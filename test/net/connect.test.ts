import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { connectPlain, type PlainConnection } from '../../src/net/connect.ts';
import { deadPort, startTcpApp } from '../peers.ts';

type Outcome = { why: string | null; connection: PlainConnection };

function dial(t: Test, options: { host?: string; port: number; timeoutMs?: number }): Promise<Outcome> {
  return new Promise(resolve => {
    let times = 0;
    const started = connectPlain({ host: '127.0.0.1', timeoutMs: 60_000, ...options }, (why, connection) => {
      t.equal(++times, 1, 'done is called once');
      resolve({ why, connection });
    });
    t.teardown(() => started.socket.destroy());
  });
}

t.test('bytes come by the inlet, in a buffer that is only lent', async t => {
  const app = await startTcpApp(t, socket => socket.pipe(socket));
  const { why, connection } = await dial(t, { port: app.port });
  t.equal(why, null);
  const sent = randomBytes(500_000);
  const got: Buffer[] = [];
  let received = 0;
  await new Promise<void>(resolve => {
    connection.inlet.receive = (chunk, borrowed) => {
      t.equal(borrowed, true);
      got.push(Buffer.from(chunk));
      received += chunk.length;
      if (received === sent.length) resolve();
    };
    connection.socket.write(sent);
  });
  t.ok(Buffer.concat(got).equals(sent));
});

t.test('the first read is a small one, and bulk is read in large ones', async t => {
  const app = await startTcpApp(t, socket => socket.end(Buffer.alloc(4_000_000)));
  const { connection } = await dial(t, { port: app.port });
  const sizes: number[] = [];
  connection.inlet.receive = chunk => sizes.push(chunk.length);
  await once(connection.socket, 'end');
  t.equal(
    sizes.reduce((sum, size) => sum + size),
    4_000_000,
  );
  t.ok((sizes[0] ?? 0) <= 32_768, `${sizes[0]}`);
  t.ok(Math.max(...sizes) > 32_768, `${Math.max(...sizes)}`);
});

t.test('one word says why not', async t => {
  t.equal((await dial(t, { port: await deadPort() })).why, 'ECONNREFUSED');
  t.equal((await dial(t, { host: 'no-such-host.invalid', port: 1 })).why?.startsWith('E'), true);
});

t.test('a connection that takes too long is given up', async t => {
  // An address that swallows the attempt needs a network; a timeout that is over at once does not.
  const app = await startTcpApp(t, () => {});
  const { why, connection } = await dial(t, { port: app.port, timeoutMs: 0 });
  t.ok(why === 'connect_timeout' || why === null, String(why));
  t.equal(connection.socket.destroyed, why !== null);
});

t.test('after a failure nothing is left open; after a success the timer is gone', async t => {
  const app = await startTcpApp(t, socket => socket.end('bye'));
  const failed = await dial(t, { port: await deadPort() });
  t.ok(failed.connection.socket.destroyed);
  const { connection } = await dial(t, { port: app.port, timeoutMs: 50 });
  connection.socket.resume();
  await once(connection.socket, 'end');
  t.notOk(connection.socket.destroyed, 'half-close is kept');
  connection.socket.end();
  await once(connection.socket, 'close');
});

t.test('an error after it was made throws nowhere', async t => {
  const app = await startTcpApp(t, socket => socket.resetAndDestroy());
  const { connection } = await dial(t, { port: app.port });
  if (!connection.socket.closed)
    await new Promise(resolve => connection.socket.resume().once('close', resolve));
  t.ok(connection.socket.destroyed);
});
