import t, { type Test } from 'tap';
import type { Duct } from '../../src/http/exchange.ts';
import { type LoopOptions, startLoop } from './loop.ts';
import { MemorySocket } from './memory-socket.ts';
import { rawClient, response, startRawApp } from './raw-app.ts';
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

t.test('a connection carries one request after the other, and so does the one to the app', async t => {
  const { app, loop, client } = await start(t);
  client.send(get('/1'));
  const connection = await app.next();
  for (const path of ['/1', '/2', '/3']) {
    if (path !== '/1') client.send(get(path));
    t.equal((await connection.request()).line, `GET ${path} HTTP/1.1`);
    connection.answer(path);
    t.equal((await client.answer()).body, path);
  }
  t.equal(app.connections.length, 1);
  t.equal(loop.servers.length, 1);
});

t.test(
  'a hundred pipelined requests are answered in their order, each sent on when the one before is done',
  async t => {
    const { app, loop, client } = await start(t);
    const paths = Array.from({ length: 100 }, (_, i) => `/n${i}`);
    client.send(paths.map(path => get(path)).join(''));
    const connection = await app.next();
    for (const path of paths) {
      t.equal((await connection.request()).line, `GET ${path} HTTP/1.1`);
      connection.answer(path);
    }
    for (const path of paths) t.equal((await client.answer()).body, path);
    t.equal(app.connections.length, 1);
    t.equal(loop.finished.length, 100);
  },
);

t.test(
  'a request that comes byte by byte is one request, with its body and what is pipelined behind it',
  async t => {
    const { app, client } = await start(t);
    client.send(get('/first'));
    const connection = await app.next();
    await connection.request();
    // The app is slow: all of this waits on the loop's side.
    for (const byte of `POST /p HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello${get('/next')}`)
      client.send(byte);
    connection.answer('first');
    const post = await connection.request();
    t.same([post.line, post.body], ['POST /p HTTP/1.1', 'hello']);
    connection.answer('second');
    t.equal((await connection.request()).line, 'GET /next HTTP/1.1');
    connection.answer('third');
    for (const body of ['first', 'second', 'third']) t.equal((await client.answer()).body, body);
  },
);

t.test('Connection: close is the last request, whatever is behind it', async t => {
  const { app, client, loop } = await start(t);
  client.send(get('/last', 'Connection: close') + get('/smuggled'));
  const connection = await app.next();
  await connection.request();
  connection.answer('bye');
  const answer = await client.answer();
  t.same([answer.body, valuesOf(answer, 'connection')], ['bye', ['close']]);
  t.equal(await client.wire.rest(), '');
  client.socket.end();
  await loop.until(({ closed }) => closed === 1);
  t.equal(loop.finished.length, 1);
});

for (const [name, lines, keeps] of [
  ['without keep-alive ends', [], false],
  ['with keep-alive goes on', ['Connection: keep-alive'], true],
] as const) {
  t.test(`HTTP/1.0 ${name} after its response`, async t => {
    const { app, client } = await start(t);
    client.send(`GET /a HTTP/1.0\r\n${HOST}${lines.map(line => `${line}\r\n`).join('')}\r\n`);
    const connection = await app.next();
    const request = await connection.request();
    t.equal(request.line, 'GET /a HTTP/1.1', 'the app sees HTTP/1.1');
    connection.answer('a');
    const answer = await client.answer();
    t.same([answer.body, valuesOf(answer, 'connection')], ['a', [keeps ? 'keep-alive' : 'close']]);
    if (!keeps) {
      t.equal(await client.wire.rest(), '');
      return;
    }
    client.send(`GET /b HTTP/1.0\r\n\r\n`);
    const second = await connection.request();
    t.same(
      valuesOf(second, 'host'),
      [''],
      'a Host stands in every HTTP/1.1 request, empty where none was sent',
    );
    connection.answer('b');
    t.equal((await client.answer()).body, 'b');
  });
}

t.test('HTTP/1.0 gets a chunked response without its chunks and trailers, ended by the close', async t => {
  const { app, client } = await start(t);
  client.send(`GET /a HTTP/1.0\r\n${HOST}Connection: keep-alive\r\n\r\n`);
  const connection = await app.next();
  await connection.request();
  connection.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
  connection.send('6;x=y\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n');
  t.equal(await client.wire.rest(), 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello world');
});

t.test('HTTP/1.0: a response that breaks off is reset, since an end would say that it is whole', async t => {
  const { app, client } = await start(t);
  client.send(`GET /a HTTP/1.0\r\n${HOST}\r\n`);
  const connection = await app.next();
  await connection.request();
  connection.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
  await client.wire.until(bytes => (bytes.toString('latin1').endsWith('hello') ? true : null));
  connection.socket.destroy();
  await client.wire.rest();
  t.match(client.wire.ended, /ECONNRESET/);
});

t.test('a client that ends its side still gets its answers, pipelined ones too', async t => {
  const { app, client, loop } = await start(t);
  client.socket.end(get('/1') + get('/2'));
  const connection = await app.next();
  for (const path of ['/1', '/2']) {
    t.equal((await connection.request()).line, `GET ${path} HTTP/1.1`);
    connection.answer(path);
  }
  t.equal((await client.answer()).body, '/1');
  t.equal((await client.answer()).body, '/2');
  t.equal(await client.wire.rest(), '');
  await loop.until(({ closed }) => closed === 1);
});

t.test('a client that ends in the middle of a body is gone, and its request with it', async t => {
  const { app, client, loop } = await start(t);
  client.send(`POST /p HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\nhello`);
  const connection = await app.next();
  t.equal((await connection.head()).line, 'POST /p HTTP/1.1');
  client.socket.end();
  await connection.wire.rest();
  await loop.until(({ closed }) => closed === 1);
  t.match(loop.finished, [{ flag: 'DC', status: 0 }]);
});

t.test('a client that ends in the middle of a head is closed without an answer', async t => {
  const { client, loop } = await start(t);
  client.socket.end('GET / HTTP/1.1\r\nHost: app');
  t.equal(await client.wire.rest(), '');
  await loop.until(({ closed }) => closed === 1);
  t.same([loop.finished, loop.refused], [[], []]);
});

t.test('a client that goes in the middle of a response takes the connection to the app with it', async t => {
  const { app, client, loop } = await start(t);
  client.send(get('/'));
  const connection = await app.next();
  await connection.request();
  connection.send('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello');
  await client.wire.until(bytes => (bytes.includes('hello') ? true : null));
  client.socket.resetAndDestroy();
  await connection.wire.rest();
  await loop.until(({ closed }) => closed === 1);
  t.match(loop.finished, [{ flag: 'DC', status: 200 }]);
  t.equal(loop.destination.upstream.pool.open, 0);
});

t.test(
  'a client that goes while its request waits for a connection leaves that connection to others',
  async t => {
    const opened: ((why: string | null, duct: Duct | null) => void)[] = [];
    const app = new MemorySocket();
    const loop = await startLoop(t, { open: done => opened.push(done), pool: { maxConnections: 1 } });
    const gone = await rawClient(t, loop.port);
    gone.send(get('/gone'));
    await loop.until(() => opened.length === 1);
    gone.socket.resetAndDestroy();
    await loop.until(({ closed }) => closed === 1);
    const other = await rawClient(t, loop.port);
    other.send(get('/other'));
    await loop.until(({ servers, sockets }) => servers.length === 2 && (sockets[1]?.bytesRead ?? 0) > 0);
    opened[0]?.(null, { socket: app.socket, inlet: null });
    t.match(app.text, /^GET \/other HTTP\/1.1\r\n/);
    app.feed(response('other'));
    t.equal((await other.answer()).body, 'other');
    t.equal(opened.length, 1);
  },
);

t.test('what makes a head too large', async t => {
  for (const [name, head] of [
    ['60 KiB and a byte', `GET / HTTP/1.1\r\n${HOST}X: ${'a'.repeat(60 * 1024)}\r\n\r\n`],
    ['60 KiB without an end', `GET /${'a'.repeat(60 * 1024)}`],
    ['101 fields', `GET / HTTP/1.1\r\n${'X: y\r\n'.repeat(100)}${HOST}\r\n`],
  ] as const) {
    t.test(`${name}: 431, closed`, async t => {
      const { app, client, loop } = await start(t);
      client.send(head);
      const answer = await client.answer();
      t.equal(statusOf(answer), 431);
      t.same(valuesOf(answer, 'connection'), ['close']);
      t.equal(await client.wire.rest(), '');
      t.match(loop.refused, [{ code: 'headers_too_large' }]);
      t.equal(app.connections.length, 0);
    });
  }
  t.test('100 fields in just under 60 KiB pass', async t => {
    const { app, client } = await start(t);
    const value = 'a'.repeat(600);
    client.send(`GET / HTTP/1.1\r\n${`X: ${value}\r\n`.repeat(99)}${HOST}\r\n`);
    const connection = await app.next();
    t.equal(valuesOf(await connection.request(), 'x').length, 99);
  });
});

t.test('empty lines before a request are passed over, four of them', async t => {
  const { app, client } = await start(t);
  client.send(`\r\n\r\n\r\n\r\n${get('/')}`);
  t.equal((await (await app.next()).request()).line, 'GET / HTTP/1.1');
  const five = await start(t);
  five.client.send(`\r\n\r\n\r\n\r\n\r\n${get('/')}`);
  t.equal(statusOf(await five.client.answer()), 400);
});

t.test('a refused head is answered and closed; nothing behind it is read', async t => {
  const { app, client, loop } = await start(t);
  client.send(`GET / HTTP/1.1\r\n${HOST}${HOST}\r\n${get('/smuggled')}`);
  const answer = await client.answer();
  t.same([statusOf(answer), answer.body], [400, 'bad request: repeated Host']);
  client.send(get('/smuggled'));
  t.equal(await client.wire.rest(), '');
  t.same(loop.refused, [{ code: 'bad_request', what: 'repeated Host' }]);
  client.socket.end();
  await loop.until(({ closed }) => closed === 1);
  t.equal(app.connections.length, 0);
});

t.test('draining', async t => {
  t.test('an idle connection ends at once', async t => {
    const { client, loop } = await start(t);
    await loop.until(({ servers }) => servers.length === 1);
    loop.servers[0]?.drain();
    t.equal(await client.wire.rest(), '');
  });

  t.test('one with a request in flight ends after its response, which says so', async t => {
    const { app, client, loop } = await start(t);
    client.send(get('/') + get('/not-any-more'));
    const connection = await app.next();
    await connection.request();
    loop.servers[0]?.drain();
    connection.answer('last');
    const answer = await client.answer();
    t.same([answer.body, valuesOf(answer, 'connection')], ['last', ['close']]);
    t.equal(await client.wire.rest(), '');
    t.equal(loop.finished.length, 1);
  });
});
