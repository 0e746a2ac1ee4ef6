/** A body that is read by somebody who decides on it, and then sent on as it came. */
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { H1Exchange } from '../../src/http/h1-exchange.ts';
import type { Outbox } from '../../src/http/outbox.ts';
import type { ProxiedRequest } from '../../src/proxy/request.ts';
import { type LoopOptions, startLoop } from './loop.ts';
import { MemorySocket } from './memory-socket.ts';
import { rawClient, startRawApp } from './raw-app.ts';
import { settled } from './settled.ts';
import { readRequests, statusOf, valuesOf } from './strict-messages.ts';

const KIB = 1024;
const HOST = 'Host: app.test\r\n';

interface Collected {
  readonly body: string;
  readonly complete: boolean;
}

type Verdict = (request: ProxiedRequest, send: () => void) => void;

/** Collects every request's body, and then does what `verdict` says. */
function collecting(limit: number, verdict: Verdict = (_, send) => send()) {
  const seen: Collected[] = [];
  const options: LoopOptions = {
    onRequest: (request, send) =>
      request.exchange.collectBody(limit, (body, complete) => {
        seen.push({ body: body.toString('latin1'), complete });
        verdict(request, send);
      }),
  };
  return { seen, options };
}

async function start(t: Test, limit: number, verdict?: Verdict) {
  const app = await startRawApp(t);
  const { seen, options } = collecting(limit, verdict);
  const loop = await startLoop(t, { ...options, app: app.port });
  return { app, loop, seen, client: await rawClient(t, loop.port) };
}

/** A client and an app in memory. */
async function inMemory(t: Test, limit: number, verdict?: Verdict) {
  const [client, app] = [new MemorySocket(), new MemorySocket()];
  const { seen, options } = collecting(limit, verdict);
  const loop = await startLoop(t, {
    ...options,
    open: done => done(null, { socket: app.socket, inlet: null }),
  });
  loop.accept(client.socket);
  await turn();
  return { client, app, loop, seen };
}

function post(body: string, ...lines: readonly string[]): string {
  const fields = [`Content-Length: ${body.length}`, ...lines].map(line => `${line}\r\n`).join('');
  return `POST /p HTTP/1.1\r\n${HOST}${fields}\r\n${body}`;
}

function postChunked(chunks: string, ...lines: readonly string[]): string {
  const fields = ['Transfer-Encoding: chunked', ...lines].map(line => `${line}\r\n`).join('');
  return `POST /p HTTP/1.1\r\n${HOST}${fields}\r\n${chunks}`;
}

t.test('a body is read whole and then sent on as it came, however it was cut', async t => {
  const chunks = '5\r\nhello\r\n01;ext=1\r\n \r\nA\r\nworld12345\r\n0\r\nX-Sum: 1\r\n\r\n';
  for (const [name, message, body] of [
    ['Content-Length', post('hello world12345'), 'hello world12345'],
    ['chunked with trailers', postChunked(chunks), 'hello world12345'],
    ['empty', post(''), ''],
    ['no chunks', postChunked('0\r\n\r\n'), ''],
    ['none', `GET / HTTP/1.1\r\n${HOST}\r\n`, ''],
  ] as const) {
    for (const size of [1, 3, 7, message.length]) {
      const { client, app, seen, loop } = await inMemory(t, 16);
      for (let at = 0; at < message.length; at += size) {
        client.feed(message.slice(at, at + size));
        await turn();
      }
      await settled(() => app.bytesWritten);
      t.same(seen, [{ body, complete: true }], `${name}, ${size} bytes at a time`);
      const [sent] = readRequests(app.text).messages;
      t.match(sent, { body, complete: true, faults: [] });
      if (name === 'chunked with trailers') t.match(sent, { framing: 'chunked', trailers: [['X-Sum', '1']] });
      if (name === 'Content-Length') t.equal(sent?.framing, 'length');
      app.feed('HTTP/1.1 204 No Content\r\n\r\n');
      await settled(() => client.bytesWritten);
      t.match(loop.finished, [{ status: 204, bytesReceived: body.length }]);
    }
  }
});

t.test('of a longer body the first bytes are handed over, and all of it is sent', async t => {
  for (const [name, message] of [
    ['Content-Length', post('0123456789')],
    ['one chunk', postChunked('a\r\n0123456789\r\n0\r\n\r\n')],
    ['chunks', postChunked('3\r\n012\r\n3\r\n345\r\n4\r\n6789\r\n0\r\n\r\n')],
  ] as const) {
    for (const size of [1, 4, message.length]) {
      const { client, app, seen } = await inMemory(t, 5);
      for (let at = 0; at < message.length; at += size) client.feed(message.slice(at, at + size));
      await settled(() => app.bytesWritten);
      t.same(seen, [{ body: '01234', complete: false }], `${name}, ${size} bytes at a time`);
      t.match(readRequests(app.text).messages, [{ body: '0123456789', complete: true, faults: [] }]);
    }
  }
});

t.test('a client whose body is longer waits until it is decided', async t => {
  const sends: (() => void)[] = [];
  const { client, app, seen } = await inMemory(t, 100, (_, send) => sends.push(send));
  client.feed(post('x'.repeat(1_000)).slice(0, -800));
  await turn();
  t.same([seen.length, seen[0]?.complete, client.isPaused()], [1, false, true]);
  client.feed('x'.repeat(800));
  await settled(() => app.bytesWritten);
  t.equal(app.bytesWritten, 0);
  for (const send of sends) send();
  await settled(() => app.bytesWritten);
  t.match(readRequests(app.text).messages, [{ body: 'x'.repeat(1_000), complete: true }]);
});

t.test('the limit may be larger than what is read ahead otherwise', async t => {
  const body = 'abcdefgh'.repeat(64 * KIB);
  for (const chunk of [body.length, 9]) {
    const { client, app, seen } = await inMemory(t, body.length);
    let chunks = '';
    for (let at = 0; at < body.length; at += chunk) {
      const piece = body.slice(at, at + chunk);
      chunks += `${piece.length.toString(16).toUpperCase()}\r\n${piece}\r\n`;
    }
    const message = postChunked(`${chunks}0\r\n\r\n`);
    for (let at = 0; at < message.length; at += 60 * KIB) {
      t.equal(client.isPaused(), false);
      client.feed(message.slice(at, at + 60 * KIB));
      await turn();
    }
    await settled(() => app.bytesWritten);
    t.equal(seen.length, 1);
    t.ok(seen[0]?.complete === true && seen[0].body === body, `chunks of ${chunk} bytes`);
    t.ok(readRequests(app.text).messages[0]?.body === body);
  }
});

t.test('a client that waits for 100 gets it once, and the app is asked for none', async t => {
  const { app, client, seen } = await start(t, 100);
  client.send(post('hello', 'Expect: 100-continue').slice(0, -5));
  t.equal((await client.answer()).line, 'HTTP/1.1 100 Continue');
  t.equal(app.connections.length, 0);
  client.send('hello');
  const connection = await app.next();
  const request = await connection.request();
  t.same([request.body, valuesOf(request, 'expect')], ['hello', []]);
  // Servers exist that say it unasked.
  connection.send('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n').answer('done');
  t.equal(statusOf(await client.answer()), 103);
  t.equal((await client.answer()).body, 'done');
  t.same(seen, [{ body: 'hello', complete: true }]);
});

t.test('of a longer body a client that waits for 100 sends the rest without another', async t => {
  const { app, client } = await start(t, 3);
  client.send(post('hello', 'Expect: 100-continue').slice(0, -5));
  t.equal((await client.answer()).line, 'HTTP/1.1 100 Continue');
  client.send('hell');
  const connection = await app.next();
  t.same(valuesOf(await connection.head(), 'expect'), []);
  client.send('o');
  await connection.wire.until(bytes => (bytes.toString('latin1').endsWith('o') ? true : null));
  connection.answer('done');
  t.equal((await client.answer()).body, 'done');
});

t.test('a client that sends its body with the head is told nothing', async t => {
  const { app, client } = await start(t, 100);
  client.send(post('hello', 'Expect: 100-continue'));
  const connection = await app.next();
  t.same(valuesOf(await connection.request(), 'expect'), ['100-continue']);
  connection.answer('a');
  t.equal((await client.answer()).body, 'a');
});

t.test('a client of HTTP/1.0 is told nothing either', async t => {
  const { app, client, loop } = await start(t, 100);
  const message = post('hello', 'Expect: 100-continue').replace('HTTP/1.1', 'HTTP/1.0');
  client.send(message.slice(0, -5));
  await loop.received(message.length - 5);
  client.send('hello');
  const connection = await app.next();
  await connection.request();
  connection.answer('a');
  t.equal((await client.answer()).body, 'a');
});

t.test('an answer to a body that is too long ends the connection; none of it becomes a request', async t => {
  for (const message of [
    post('x'.repeat(200_000)),
    postChunked(`30d40\r\n${'x'.repeat(200_000)}\r\n0\r\n\r\n`),
  ]) {
    const { app, client, loop } = await start(t, 1_000, ({ exchange }) =>
      exchange.reply('payload_too_large', '', 'request_payload_too_large'),
    );
    client.send(message).send(`GET /smuggled HTTP/1.1\r\n${HOST}\r\n`);
    const answer = await client.answer();
    t.same([answer.line, answer.body], ['HTTP/1.1 413 Payload Too Large', 'Payload Too Large']);
    t.same(valuesOf(answer, 'connection'), ['close']);
    t.equal(await client.wire.rest(), '');
    t.match(loop.finished, [{ status: 413, flag: '-', details: 'request_payload_too_large' }]);
    t.equal(app.connections.length, 0);
  }
});

t.test('an answer to a body that came whole leaves the connection to the next request', async t => {
  const { client, loop } = await start(t, 100, ({ exchange }) => exchange.reply('policy_denied', '', ''));
  client.send(post('hello', 'Expect: 100-continue').slice(0, -5));
  t.equal(statusOf(await client.answer()), 100);
  client.send(`hello${post('again')}`);
  for (let i = 0; i < 2; i++) t.equal(statusOf(await client.answer()), 403);
  t.equal(loop.finished.length, 2);
});

t.test('pipelined requests are collected one after the other', async t => {
  const { app, client, seen } = await start(t, 100);
  client.send(post('one') + postChunked('3\r\ntwo\r\n0\r\n\r\n') + post('three'));
  const connection = await app.next();
  for (const [i, body] of ['one', 'two', 'three'].entries()) {
    t.equal((await connection.request()).body, body);
    t.equal(seen.length, i + 1);
    connection.answer(body);
    t.equal((await client.answer()).body, body);
  }
});

t.test('what ends a request while its body is collected ends it for good', async t => {
  const begin = postChunked('5\r\nhello\r\n');

  t.test('a fault in its chunks', async t => {
    const { client, seen, loop } = await start(t, 100);
    client.send(begin);
    await loop.received(begin.length);
    client.send('x\r\n');
    t.equal(statusOf(await client.answer()), 400);
    t.equal(await client.wire.rest(), '');
    t.same(seen, []);
    t.match(loop.finished, [{ status: 400, flag: 'DPE' }]);
  });

  t.test('silence', async t => {
    const { client, seen, loop } = await start(t, 100);
    client.send(begin);
    await loop.received(begin.length);
    loop.clock.advance(3_600_001);
    t.equal(statusOf(await client.answer()), 408);
    t.same(seen, []);
    t.match(loop.finished, [{ status: 408, flag: 'DT' }]);
  });

  t.test('its client', async t => {
    for (const leave of ['end', 'resetAndDestroy'] as const) {
      const { app, client, seen, loop } = await start(t, 100);
      client.send(begin);
      await loop.received(begin.length);
      client.socket[leave]();
      await loop.until(({ finished }) => finished.length === 1);
      t.match(loop.finished, [{ status: 0, flag: 'DC' }]);
      t.same([seen, app.connections], [[], []]);
    }
  });
});

t.test('on an exchange that is over nothing is collected', async t => {
  const seen: Buffer[] = [];
  const loop = await startLoop(t, {
    onRequest: ({ exchange }) => {
      exchange.reply('policy_denied', '', '');
      exchange.collectBody(100, body => seen.push(body));
    },
  });
  const client = await rawClient(t, loop.port);
  client.send(post('hello'));
  t.equal(statusOf(await client.answer()), 403);
  t.same(seen, []);
});

t.test(
  'a body that was collected is repeated on another connection when the first had gone stale',
  async t => {
    for (const [name, how] of [
      ['whole', 'PUT /p'],
      ['told to go on', 'Expect: 100-continue'],
    ] as const) {
      t.test(name, async t => {
        const { app, client, seen } = await start(t, 10 * KIB);
        client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
        const stale = await app.next();
        await stale.request();
        stale.answer('warm');
        await client.answer();
        const body = 'a1b2c3d4'.repeat(KIB);
        const expects = how.startsWith('Expect');
        const lines = expects ? [how] : [];
        const message = postChunked(`2000\r\n${body}\r\n0\r\nX-Sum: 1\r\n\r\n`, ...lines).replace(
          'POST',
          'PUT',
        );
        client.send(message.slice(0, message.length - 4_000));
        if (lines.length > 0) t.equal(statusOf(await client.answer()), 100);
        client.send(message.slice(-4_000));
        t.equal((await stale.request()).body, body);
        stale.socket.destroy();
        const fresh = await app.next();
        const again = await fresh.request();
        t.same([again.body, again.trailers, again.faults], [body, [['X-Sum', '1']], []]);
        t.same(valuesOf(again, 'expect'), []);
        fresh.answer('done');
        t.equal((await client.answer()).body, 'done');
        t.equal(seen.length, 2);
      });
    }
  },
);

t.test('a body that is too long to be held for another attempt is not repeated', async t => {
  const { app, client } = await start(t, 200 * KIB);
  client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
  const stale = await app.next();
  await stale.request();
  stale.answer('warm');
  await client.answer();
  client.send(post('x'.repeat(100 * KIB)).replace('POST', 'PUT'));
  await stale.request();
  stale.socket.destroy();
  t.equal(statusOf(await client.answer()), 503);
  t.equal(app.connections.length, 1);
});

t.test('a large body that was collected waits for its app, not in memory, when it goes on', async t => {
  const total = 16 * 1024 * KIB;
  const limit = 1024 * KIB;
  const { client, app } = await inMemory(t, limit);
  app.stop();
  client.feed(`POST /p HTTP/1.1\r\n${HOST}Content-Length: ${total}\r\n\r\n`);
  const piece = Buffer.alloc(64 * KIB, 'x');
  for (let fed = 0; fed < total; await turn()) {
    for (; fed < total && !client.isPaused(); fed += piece.length) client.feed(piece);
    if (client.isPaused()) app.goOnce();
  }
  app.go();
  await settled(() => app.bytesWritten);
  t.ok(app.bytesWritten > total);
  t.ok(app.mostQueued < limit + 512 * KIB, `${app.mostQueued} bytes waited at most`);
});

t.test('a body of the tiniest chunks is held in few pieces', async t => {
  const outboxes: Outbox[] = [];
  const seen: string[] = [];
  const client = new MemorySocket();
  const loop = await startLoop(t, {
    onRequest: ({ exchange }) => {
      outboxes.push((exchange as H1Exchange<ProxiedRequest>).requestOut);
      exchange.collectBody(64 * KIB, body => seen.push(body.toString()));
    },
  });
  loop.accept(client.socket);
  client.feed(postChunked(''));
  let most = 0;
  for (let i = 0; i < 2_000; i++) {
    await turn();
    client.feed('1;x\r\nx\r\n');
    most = Math.max(most, outboxes[0]?.pieces.length ?? 0);
  }
  client.feed('0\r\n\r\n');
  await turn();
  t.ok(most > 64 && most < 150, `${most} pieces at most`);
  t.same(seen, ['x'.repeat(2_000)]);
});
