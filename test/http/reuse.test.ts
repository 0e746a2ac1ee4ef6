/** When a connection to the app serves another request, and what happens to a request that meets a stale one. */
import t, { type Test } from 'tap';
import { type LoopOptions, startLoop } from './loop.ts';
import { rawClient, response, startRawApp } from './raw-app.ts';
import { statusOf, valuesOf } from './strict-messages.ts';

const HOST = 'Host: app.test\r\n';
const GET = `GET / HTTP/1.1\r\n${HOST}\r\n`;

async function start(t: Test, options: Omit<LoopOptions, 'app'> = {}) {
  const app = await startRawApp(t);
  const loop = await startLoop(t, { app: app.port, ...options });
  return { app, loop, client: await rawClient(t, loop.port) };
}

/** One request went through; its connection is idle now. */
async function warm(t: Test, options: Omit<LoopOptions, 'app'> = {}) {
  const started = await start(t, options);
  const { app, client } = started;
  client.send(GET);
  const connection = await app.next();
  await connection.request();
  connection.answer('warm');
  t.equal((await client.answer()).body, 'warm');
  return { ...started, connection };
}

t.test(
  'two responses to one request: the second reaches nobody, and the connection is not used again',
  async t => {
    for (const [name, second] of [
      ['in one piece', true],
      ['a moment later', false],
    ] as const) {
      t.test(name, async t => {
        const { app, client } = await start(t);
        client.send(GET);
        const connection = await app.next();
        await connection.request();
        connection.send(response('mine') + (second ? response('EVIL') : ''));
        t.equal((await client.answer()).body, 'mine');
        if (!second) connection.answer('EVIL');
        await connection.wire.rest();
        client.send(GET);
        const next = await app.next();
        await next.request();
        next.answer('next');
        t.equal((await client.answer()).body, 'next');
      });
    }
  },
);

t.test('when the app closes the connection it is not used again', async t => {
  for (const [name, answer] of [
    ['Connection: close', response('a', 'Connection: close')],
    ['Connection: x, Close', response('a', 'Connection: x, Close')],
    ['HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na'],
  ] as const) {
    t.test(name, async t => {
      const { app, client } = await start(t);
      client.send(GET);
      const connection = await app.next();
      await connection.request();
      connection.send(answer);
      t.equal((await client.answer()).body, 'a');
      await connection.wire.rest();
      client.send(GET);
      t.equal((await (await app.next()).request()).line, 'GET / HTTP/1.1');
    });
  }
});

t.test('an HTTP/1.0 app with keep-alive keeps its connection', async t => {
  const { app, client } = await start(t);
  client.send(GET + GET);
  const connection = await app.next();
  await connection.request();
  connection.send('HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na');
  const answer = await client.answer();
  t.same([answer.line, answer.body, valuesOf(answer, 'connection')], ['HTTP/1.1 200 OK', 'a', []]);
  t.equal((await connection.request()).line, 'GET / HTTP/1.1');
});

t.test('Keep-Alive: timeout=3 ends the use of a connection after two seconds', async t => {
  const { app, client, loop } = await start(t);
  client.send(GET);
  const first = await app.next();
  await first.request();
  first.answer('a', 'Keep-Alive: timeout=3, max=100');
  t.same(valuesOf(await client.answer(), 'keep-alive'), []);
  loop.clock.advance(2_000);
  client.send(GET);
  await first.request();
  first.answer('b');
  t.equal((await client.answer()).body, 'b');
  loop.clock.advance(2_001);
  client.send(GET);
  const second = await app.next();
  t.equal((await second.request()).line, 'GET / HTTP/1.1');
  await first.wire.rest();
});

t.test('a connection that had gone stale', async t => {
  t.test('GET is sent once more, on a new one, and answered', async t => {
    const { app, client, loop, connection } = await warm(t);
    client.send(GET);
    await connection.request();
    connection.socket.resetAndDestroy();
    const fresh = await app.next();
    t.equal((await fresh.request()).line, 'GET / HTTP/1.1');
    fresh.answer('again');
    t.equal((await client.answer()).body, 'again');
    t.equal(loop.finished.at(-1)?.attempts, 2);
  });

  t.test('and when the new one breaks too, that is the end', async t => {
    const { app, client, connection } = await warm(t);
    client.send(GET);
    await connection.request();
    connection.socket.resetAndDestroy();
    const fresh = await app.next();
    await fresh.request();
    fresh.socket.resetAndDestroy();
    t.equal(statusOf(await client.answer()), 503);
    t.equal(app.connections.length, 2);
  });

  t.test('POST is never sent twice', async t => {
    const { app, client, connection } = await warm(t);
    client.send(`POST /p HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`);
    t.equal((await connection.request()).body, 'hello');
    connection.socket.resetAndDestroy();
    t.equal(statusOf(await client.answer()), 503);
    t.equal(app.connections.length, 1);
  });

  t.test('POST does not take a connection that was idle for more than a second', async t => {
    const { app, client, loop } = await warm(t);
    loop.clock.advance(1_001);
    client.send(`POST /p HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`);
    const fresh = await app.next();
    t.equal((await fresh.request()).body, 'hello');
  });

  t.test('PUT is sent again with the whole of its body, while more of it comes', async t => {
    const { app, client, connection } = await warm(t);
    client.send(`PUT /p HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n`);
    await connection.head();
    client.send('6\r\nsecond\r\n');
    await connection.wire.until(bytes => (bytes.toString('latin1').endsWith('second\r\n') ? true : null));
    connection.socket.resetAndDestroy();
    client.send('5\r\nthird\r\n0\r\n\r\n');
    const fresh = await app.next();
    t.equal((await fresh.request()).body, 'firstsecondthird');
    fresh.answer('stored');
    t.equal((await client.answer()).body, 'stored');
  });

  t.test('PUT with more body than is kept is not', async t => {
    const { app, client, connection } = await warm(t);
    client.send(`PUT /p HTTP/1.1\r\n${HOST}Content-Length: 1000000\r\n\r\n${'x'.repeat(200_000)}`);
    await connection.head();
    await connection.wire.until(bytes => (bytes.length > 100_000 ? true : null));
    connection.socket.resetAndDestroy();
    t.equal(statusOf(await client.answer()), 503);
    t.equal(app.connections.length, 1);
  });

  t.test('not when a part of a response had come', async t => {
    for (const part of ['HTTP/1.1 200 O', 'HTTP/1.1 103 Early Hints\r\n\r\n']) {
      const { app, client, connection } = await warm(t);
      client.send(GET);
      await connection.request();
      connection.socket.end(part);
      let answer = await client.answer();
      if (statusOf(answer) === 103) answer = await client.answer();
      t.equal(statusOf(answer), 503, part);
      t.equal(app.connections.length, 1);
    }
  });
});

t.test(
  'requests wait in order for the one connection that there may be, and each gets its own answer',
  async t => {
    const { app, loop, client } = await start(t, { pool: { maxConnections: 1 } });
    const others = await Promise.all(Array.from({ length: 4 }, () => rawClient(t, loop.port)));
    client.send(`GET /0 HTTP/1.1\r\n${HOST}\r\n`);
    const connection = await app.next();
    await connection.request();
    for (const [i, other] of others.entries()) {
      other.send(`GET /${i + 1} HTTP/1.1\r\n${HOST}\r\n`);
      await loop.until(
        ({ servers, sockets }) => servers.length === 5 && sockets.filter(s => s.bytesRead > 0).length > i + 1,
      );
    }
    for (const [i, one] of [client, ...others].entries()) {
      connection.answer(`answer ${i}`);
      t.equal((await one.answer()).body, `answer ${i}`);
      if (i < 4) t.equal((await connection.request()).line, `GET /${i + 1} HTTP/1.1`);
    }
    t.equal(app.connections.length, 1);
  },
);

t.test('a POST that must not take the only, stale connection gets a new one in its place', async t => {
  const { app, client, loop, connection } = await warm(t, { pool: { maxConnections: 1 } });
  loop.clock.advance(2_000);
  client.send(`POST /p HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`);
  const fresh = await app.next();
  t.equal((await fresh.request()).body, 'hello');
  fresh.answer('new');
  t.equal((await client.answer()).body, 'new');
  await connection.wire.rest();
});

t.test('too many waiting requests: 503 overflow', async t => {
  const { app, loop, client } = await start(t, { pool: { maxConnections: 1, maxPending: 0 } });
  client.send(GET);
  await (await app.next()).request();
  const other = await rawClient(t, loop.port);
  other.send(GET);
  const answer = await other.answer();
  t.same([statusOf(answer), answer.body], [503, 'overflow']);
});
