/** The app's side of the loop: whose response is whose, when its connection is used again, and what breaks. */
import t, { type Test } from 'tap';
import { type LoopOptions, startLoop } from './loop.ts';
import { rawClient, startRawApp } from './raw-app.ts';
import { statusOf, valuesOf } from './strict-messages.ts';

const HOST = 'Host: app.test\r\n';
const GET = `GET / HTTP/1.1\r\n${HOST}\r\n`;

async function start(t: Test, options: Omit<LoopOptions, 'app'> = {}) {
  const app = await startRawApp(t);
  const loop = await startLoop(t, { app: app.port, ...options });
  return { app, loop, client: await rawClient(t, loop.port) };
}

t.test('a HEAD response ends with its head, whatever length it names', async t => {
  const { app, client } = await start(t);
  client.send(`HEAD / HTTP/1.1\r\n${HOST}\r\n${GET}`);
  const connection = await app.next();
  t.equal((await connection.request()).line, 'HEAD / HTTP/1.1');
  connection.send('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n');
  const head = await client.answer('HEAD');
  t.same([statusOf(head), valuesOf(head, 'content-length')], [200, ['1000']]);
  await connection.request();
  connection.answer('next');
  t.equal((await client.answer()).body, 'next', 'on the same connections');
});

for (const [status, lines] of [
  [204, ''],
  [304, 'Content-Length: 7\r\n'],
] as const) {
  t.test(`a ${status} response has no body`, async t => {
    const { app, client } = await start(t);
    client.send(GET + GET);
    const connection = await app.next();
    await connection.request();
    connection.send(`HTTP/1.1 ${status} Whatever\r\nETag: "a"\r\n${lines}\r\n`);
    t.equal((await client.answer()).line, `HTTP/1.1 ${status} Whatever`);
    await connection.request();
    connection.answer('next');
    t.equal((await client.answer()).body, 'next');
  });
}

t.test('a chunked response passes chunk for chunk, with its trailers', async t => {
  const { app, client } = await start(t);
  client.send(GET);
  const connection = await app.next();
  await connection.request();
  connection.send(
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nHost: a\r\n\r\n',
  );
  const answer = await client.answer();
  t.same([answer.framing, answer.body, answer.trailers], ['chunked', 'hello', [['X-Sum', '1']]]);
});

t.test('a response that ends with its connection is chunked, and the client may go on', async t => {
  const { app, client } = await start(t);
  client.send(GET);
  const connection = await app.next();
  await connection.request();
  connection.send('HTTP/1.0 200 OK\r\n\r\nhello ').socket.end('world');
  const answer = await client.answer();
  t.same([answer.framing, answer.body, valuesOf(answer, 'connection')], ['chunked', 'hello world', []]);
  client.send(GET);
  const next = await app.next();
  await next.request();
  next.answer('next');
  t.equal((await client.answer()).body, 'next');
});

t.test('a response that ends with its connection and is reset instead is broken off', async t => {
  const { app, client } = await start(t);
  client.send(GET);
  const connection = await app.next();
  await connection.request();
  connection.send('HTTP/1.1 200 OK\r\n\r\nhello');
  await client.wire.until(bytes => (bytes.includes('hello') ? true : null));
  connection.socket.resetAndDestroy();
  const text = await client.wire.rest();
  t.match(text, /\r\n5\r\nhello\r\n$/, 'without the last chunk');
});

t.test('Expect: 100-continue', async t => {
  const POST = `POST /p HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n`;

  t.test('reaches the app, its 100 the client, and then the body the app', async t => {
    const { app, client } = await start(t);
    client.send(POST);
    const connection = await app.next();
    t.same(valuesOf(await connection.head(), 'expect'), ['100-continue']);
    connection.send('HTTP/1.1 100 Continue\r\n\r\n');
    t.equal((await client.answer()).line, 'HTTP/1.1 100 Continue');
    client.send('hello');
    t.equal((await connection.wire.take(5)).toString(), 'hello');
    connection.answer('thanks');
    t.equal((await client.answer()).body, 'thanks');
    client.send(GET);
    await connection.request();
    connection.answer('next');
    t.equal((await client.answer()).body, 'next');
  });

  t.test('answered without the 100: the body is not waited for, and both connections end', async t => {
    const { app, client } = await start(t);
    client.send(POST);
    const connection = await app.next();
    await connection.head();
    connection.send('HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno');
    const answer = await client.answer();
    t.same([statusOf(answer), answer.body], [413, 'no']);
    t.equal(await client.wire.rest(), '');
    await connection.wire.rest();
  });

  t.test('an HTTP/1.0 client gets no 100', async t => {
    const { app, client } = await start(t);
    client.send(`POST /p HTTP/1.0\r\n${HOST}Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello`);
    const connection = await app.next();
    await connection.request();
    connection.send('HTTP/1.1 100 Continue\r\n\r\n').answer('thanks');
    t.equal((await client.answer()).line, 'HTTP/1.1 200 OK');
  });
});

t.test('103 and other interim responses pass, each by itself as it comes', async t => {
  const { app, client } = await start(t);
  client.send(GET);
  const connection = await app.next();
  await connection.request();
  connection.send('HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n');
  const hints = await client.answer();
  t.same([hints.line, hints.fields], ['HTTP/1.1 103 Early Hints', [['Link', '</a.css>']]]);
  connection.send('HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 What\r\n\r\n').answer('at last');
  t.equal(statusOf(await client.answer()), 102);
  t.equal(statusOf(await client.answer()), 199);
  t.equal((await client.answer()).body, 'at last');
});

t.test('interim responses without end are a fault', async t => {
  const { app, client } = await start(t);
  client.send(GET);
  const connection = await app.next();
  await connection.request();
  connection.send('HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(65)).answer('never');
  await connection.wire.rest();
  let answer = await client.answer();
  while (statusOf(answer) === 103) answer = await client.answer();
  t.equal(statusOf(answer), 502);
});

t.test('a response before the end of its request', async t => {
  t.test('passes at once; when it ends first, both connections end', async t => {
    const { app, client } = await start(t);
    client.send(`POST /p HTTP/1.1\r\n${HOST}Content-Length: 1000000\r\n\r\nbegin`);
    const connection = await app.next();
    await connection.head();
    connection.answer('enough');
    t.equal((await client.answer()).body, 'enough');
    client.send(`and more\r\n\r\n${GET}`);
    t.equal(await client.wire.rest(), '');
    await connection.wire.rest();
    t.equal(app.connections.length, 1, 'nothing of the body became a request');
  });

  t.test(
    'goes along with it both ways, and the connections live on when the request ends in time',
    async t => {
      const { app, client } = await start(t);
      client.send(`POST /echo HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n`);
      const connection = await app.next();
      await connection.head();
      connection.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n');
      await client.wire.until(bytes => (bytes.toString('latin1').endsWith('a\r\n') ? true : null));
      client.send('1\r\nb\r\n0\r\n\r\n');
      await connection.wire.until(bytes => (bytes.toString('latin1').endsWith('0\r\n\r\n') ? true : null));
      connection.send('1\r\nb\r\n0\r\n\r\n');
      t.equal((await client.answer()).body, 'ab');
      client.send(GET);
      await connection.wire.until(bytes =>
        bytes.toString('latin1').endsWith('app.test\r\n\r\n') ? true : null,
      );
      connection.answer('next');
      t.equal((await client.answer()).body, 'next');
    },
  );
});

t.test('a response with a fault becomes 502, its connection is dropped', async t => {
  for (const [name, raw, what] of [
    [
      'two lengths',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na',
      'repeated Content-Length',
    ],
    [
      'length and coding',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      'both Transfer-Encoding and Content-Length',
    ],
    ['bare LF', 'HTTP/1.1 200 OK\nContent-Length: 1\n\na', 'bare LF'],
    ['no HTTP', 'SSH-2.0-OpenSSH\r\n\r\n', 'malformed status line'],
    ['a head without end', `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(61 * 1024)}`, 'header section too large'],
    [
      'an unasked 101',
      'HTTP/1.1 101 Up\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n',
      'a 101 that was not asked for',
    ],
    ['a bad first chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n', 'invalid chunk size'],
  ] as const) {
    t.test(name, async t => {
      const { app, client, loop } = await start(t);
      client.send(GET);
      const connection = await app.next();
      await connection.request();
      connection.send(raw);
      const answer = await client.answer();
      t.same([statusOf(answer), answer.body], [502, `upstream protocol error: ${what}`]);
      await connection.wire.rest();
      t.match(loop.finished, [{ status: 502, flag: 'UPE' }]);
      client.send(GET);
      const next = await app.next();
      await next.request();
      next.answer('next');
      t.equal((await client.answer()).body, 'next', 'the client connection lives on');
    });
  }
});

t.test('a fault in the middle of a response breaks it off visibly', async t => {
  const { app, client, loop } = await start(t);
  client.send(GET);
  const connection = await app.next();
  await connection.request();
  connection.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
  await client.wire.until(bytes => (bytes.toString('latin1').endsWith('hello\r\n') ? true : null));
  connection.send('5\r\nhelloEVIL');
  t.notMatch(await client.wire.rest(), /EVIL|\r\n0\r\n/);
  await connection.wire.rest();
  t.match(loop.finished, [{ status: 200, flag: 'UPE' }]);
});

t.test('an app that closes before it answers: 503, on a fresh connection not tried again', async t => {
  const { app, client, loop } = await start(t);
  client.send(GET);
  const connection = await app.next();
  await connection.request();
  connection.socket.destroy();
  const answer = await client.answer();
  t.same([statusOf(answer), answer.body], [503, 'upstream reset before response']);
  t.match(loop.finished, [{ status: 503, flag: 'UC' }]);
  t.equal(app.connections.length, 1);
});

t.test('an app that does not listen: 503', async t => {
  const loop = await startLoop(t, { open: done => queueMicrotask(() => done('ECONNREFUSED', null)) });
  const client = await rawClient(t, loop.port);
  client.send(GET);
  const answer = await client.answer();
  t.same([statusOf(answer), answer.body], [503, 'upstream connect error: ECONNREFUSED']);
  t.equal(loop.destination.upstream.pool.open, 0);
});

t.test('a response that is cut off after its head breaks the client connection', async t => {
  const { app, client, loop } = await start(t);
  client.send(GET);
  const connection = await app.next();
  await connection.request();
  connection.send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello').socket.end();
  t.match(await client.wire.rest(), /hello$/);
  await loop.until(({ closed }) => closed === 1);
  t.match(loop.finished, [{ status: 200, flag: 'UC' }]);
});
