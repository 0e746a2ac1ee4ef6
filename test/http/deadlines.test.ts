/** How long the loop waits for a client or an app that says nothing, and what it does then. */
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { type LoopOptions, startLoop } from './loop.ts';
import { MemorySocket } from './memory-socket.ts';
import { rawClient, startRawApp } from './raw-app.ts';
import { statusOf, valuesOf } from './strict-messages.ts';

const HOST = 'Host: app.test\r\n';

function get(path: string, ...lines: readonly string[]): string {
  return `GET ${path} HTTP/1.1\r\n${HOST}${lines.map(line => `${line}\r\n`).join('')}\r\n`;
}

async function start(t: Test, options: Omit<LoopOptions, 'app'> = {}) {
  const app = await startRawApp(t);
  const loop = await startLoop(t, { app: app.port, ...options });
  return { app, loop, client: await rawClient(t, loop.port) };
}

t.test('deadlines', async t => {
  const limits = { headerTimeoutMs: 10_000, idleTimeoutMs: 60_000 };

  t.test('a head that does not end is answered with 408, however it trickles', async t => {
    const { client, loop } = await start(t, { limits });
    client.send('GET / HTTP/1.1\r\n');
    await loop.received(16);
    loop.clock.advance(9_000);
    client.send('Host:');
    await loop.received(21);
    loop.clock.advance(1_001);
    const answer = await client.answer();
    t.same([statusOf(answer), valuesOf(answer, 'connection')], [408, ['close']]);
    t.match(loop.refused, [{ code: 'request_timeout' }]);
  });

  t.test('a connection that says nothing is closed', async t => {
    const { client, loop } = await start(t, { limits });
    await loop.until(({ servers }) => servers.length === 1);
    loop.clock.advance(10_001);
    t.equal(await client.wire.rest(), '');
    t.same(loop.refused, []);
  });

  t.test('between requests it may be idle for as long as the limit says', async t => {
    const { app, client, loop } = await start(t, { limits });
    client.send(get('/'));
    const connection = await app.next();
    await connection.request();
    connection.answer('a');
    await client.answer();
    loop.clock.advance(59_000);
    client.send(get('/'));
    const next = await app.next();
    await next.request();
    next.answer('b');
    t.equal((await client.answer()).body, 'b');
    loop.clock.advance(60_001);
    t.equal(await client.wire.rest(), '');
  });

  t.test('a body that stops coming is answered with 408', async t => {
    const { app, client, loop } = await start(t, { limits });
    client.send(`POST / HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\nhello`);
    const connection = await app.next();
    await connection.head();
    loop.clock.advance(60_001);
    t.equal(statusOf(await client.answer()), 408);
    await connection.wire.rest();
    t.match(loop.finished, [{ status: 408 }]);
  });

  t.test('a response that does not begin is answered with 504', async t => {
    const { app, client, loop } = await start(t, { limits });
    client.send(get('/'));
    const connection = await app.next();
    await connection.request();
    loop.clock.advance(60_001);
    t.equal(statusOf(await client.answer()), 504);
    await connection.wire.rest();
    t.match(loop.finished, [{ status: 504, flag: 'UT' }]);
  });

  t.test('a response that goes on is not idle, however long it takes', async t => {
    const { app, client, loop } = await start(t, { limits });
    client.send(get('/'));
    const connection = await app.next();
    await connection.request();
    connection.send('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n');
    for (let i = 0; i < 8; i++) {
      connection.send(String(i));
      await client.wire.until(bytes => (bytes.toString('latin1').endsWith(String(i)) ? true : null));
      loop.clock.advance(40_000);
    }
    t.equal((await client.answer()).body, '01234567');
  });

  t.test('a response that stops is broken off, visibly', async t => {
    const { app, client, loop } = await start(t, { limits });
    client.send(get('/'));
    const connection = await app.next();
    await connection.request();
    connection.send('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n1');
    await client.wire.until(bytes => (bytes.toString('latin1').endsWith('1') ? true : null));
    loop.clock.advance(60_001);
    t.match(await client.wire.rest(), /\r\n\r\n1$/);
    await connection.wire.rest();
  });

  t.test('0 is no limit', async t => {
    const { app, client, loop } = await start(t, { limits: { headerTimeoutMs: 10_000, idleTimeoutMs: 0 } });
    client.send(get('/'));
    const connection = await app.next();
    await connection.request();
    loop.clock.advance(1_000_000_000);
    connection.answer('late');
    t.equal((await client.answer()).body, 'late');
  });

  t.test(
    'a response to the response timeout: none in time is 504, and the connection is not used again',
    async t => {
      const { app, client, loop } = await start(t, { limits: { ...limits, responseTimeoutMs: 5_000 } });
      client.send(get('/'));
      const connection = await app.next();
      await connection.request();
      loop.clock.advance(5_001);
      const answer = await client.answer();
      t.same([statusOf(answer), answer.body], [504, 'upstream request timeout']);
      await connection.wire.rest();
      client.send(get('/again'));
      const next = await app.next();
      await next.request();
      next.answer('again');
      t.equal((await client.answer()).body, 'again');
    },
  );

  t.test('no deadline outlives its connection', async t => {
    const { app, client, loop } = await start(t, { limits });
    client.send(get('/'));
    const connection = await app.next();
    await connection.request();
    t.equal(loop.clock.items.size, 2, 'one for the client, one for the app');
    connection.answer('a', 'Connection: close');
    await client.answer();
    client.socket.end();
    await loop.until(({ closed }) => closed === 1);
    t.equal(loop.clock.items.size, 0);
  });
});

t.test('after the last response a connection stays until it is delivered, to a slow reader too', async t => {
  const app = await startRawApp(t);
  const loop = await startLoop(t, { app: app.port });
  const client = new MemorySocket();
  loop.accept(client.socket);
  client.stop();
  client.feed(get('/', 'Connection: close'));
  const connection = await app.next();
  await connection.request();
  connection.answer('x'.repeat(100_000));
  await loop.until(({ finished }) => finished.length === 1);
  for (let i = 0; i < 60; i++) loop.clock.advance(1_000);
  t.not(client.destroyed, true);
  const delivered = once(client, 'finish');
  client.go();
  await delivered;
  t.match(client.text, /x{100000}$/);
  loop.clock.advance(1_001);
  t.equal(client.destroyed, true, 'a client that has all and does not end is closed');
});

t.test('a client that never reads its last response is given up', async t => {
  const app = await startRawApp(t);
  const loop = await startLoop(t, { app: app.port, limits: { idleTimeoutMs: 60_000 } });
  const client = new MemorySocket();
  loop.accept(client.socket);
  client.stop();
  client.feed(get('/', 'Connection: close'));
  const connection = await app.next();
  await connection.request();
  connection.answer('x'.repeat(100_000));
  await loop.until(({ finished }) => finished.length === 1);
  loop.clock.advance(60_001);
  t.equal(client.destroyed, true);
});
