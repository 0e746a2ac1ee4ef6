/** Requests whose fate is decided later: keys are fetched, an authorizer is asked. Meanwhile the connection goes on. */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { LocalAnswer, UpstreamStream } from '../../src/http/exchange.ts';
import type { ProxiedRequest } from '../../src/proxy/request.ts';
import { type LoopOptions, startLoop } from './loop.ts';
import { MemorySocket } from './memory-socket.ts';
import { rawClient, startRawApp } from './raw-app.ts';
import { settled } from './settled.ts';
import { readRequests, statusOf, valuesOf } from './strict-messages.ts';

const KIB = 1024;
const HOST = 'Host: app.test\r\n';
const GET = `GET / HTTP/1.1\r\n${HOST}\r\n`;
const NO: LocalAnswer = {
  status: 403,
  headers: [],
  body: 'no',
  grpcStatus: 7,
  grpcMessage: 'no',
  flag: 'UAEX',
  details: 'ext_authz_denied',
};

interface Waiting {
  readonly request: ProxiedRequest;
  readonly send: () => void;
}

/** A loop that decides nothing by itself. */
async function start(t: Test, options: LoopOptions = {}) {
  const app = await startRawApp(t);
  const waiting: Waiting[] = [];
  const loop = await startLoop(t, {
    app: app.port,
    ...options,
    onRequest: (request, send) => waiting.push({ request, send }),
  });
  /** The next request that waits. */
  const next = async (): Promise<Waiting> => {
    await loop.until(() => waiting.length > 0);
    return waiting.shift() as Waiting;
  };
  return { app, loop, waiting, next, client: await rawClient(t, loop.port) };
}

t.test('pipelined requests wait for the verdict on the one before, and are answered in order', async t => {
  const { app, client, loop, next, waiting } = await start(t);
  client.send(GET.repeat(3));
  const first = await next();
  await turn();
  t.same([waiting.length, loop.finished.length], [0, 0]);
  first.request.exchange.answer(NO);
  const second = await next();
  second.send();
  const connection = await app.next();
  await connection.request();
  t.equal(waiting.length, 0);
  connection.answer('yes');
  (await next()).request.exchange.answer(NO);
  for (const body of ['no', 'yes', 'no']) t.equal((await client.answer()).body, body);
});

t.test('a client that leaves ends its request, and a verdict that comes later changes nothing', async t => {
  for (const [name, message] of [
    ['without a body', GET],
    ['with half of its body', `POST / HTTP/1.1\r\n${HOST}Content-Length: 9\r\n\r\nhalf`],
  ] as const) {
    t.test(name, async t => {
      const { app, client, loop, next } = await start(t);
      client.send(message);
      const { request } = await next();
      client.socket.resetAndDestroy();
      await loop.until(({ finished }) => finished.length === 1);
      const { exchange } = request;
      t.match(exchange, { status: 0, flag: 'DC', details: 'downstream_remote_disconnect' });
      t.equal(request.gone, true);

      exchange.collectBody(100, () => t.fail('nobody is there to send one'));
      exchange.answer(NO);
      exchange.reply('policy_denied', '', '');
      const upstream = new UnusedUpstream();
      exchange.forward(upstream.stream, { target: '/', added: '', drop: 0, remove: null });
      t.equal(upstream.abandoned, true, 'the connection that was got for it is given up');
      t.match(exchange, { status: 0, flag: 'DC', bytesSent: 0, attempts: 0 });
      t.same([loop.finished.length, app.connections.length], [1, 0]);
    });
  }
});

/** A connection that must not be used. */
class UnusedUpstream {
  abandoned = false;
  readonly stream = {
    abandon: () => {
      this.abandoned = true;
    },
  } as unknown as UpstreamStream;
}

t.test('a client that only ended its side gets its answer', async t => {
  const { client, loop, next } = await start(t);
  client.send(GET);
  const { request } = await next();
  const ended = once(loop.sockets[0] as Socket, 'end');
  client.socket.end();
  await ended;
  request.exchange.answer(NO);
  t.equal((await client.answer()).body, 'no');
  t.equal(await client.wire.rest(), '');
});

t.test('a client that ended within a request that waits its turn has ended that request', async t => {
  const { client, loop, next } = await start(t);
  client.send(`${GET}POST / HTTP/1.1\r\n${HOST}Content-Length: 9\r\n\r\nhalf`);
  const { request } = await next();
  const ended = once(loop.sockets[0] as Socket, 'end');
  client.socket.end();
  await ended;
  request.exchange.answer(NO);
  t.equal((await client.answer()).body, 'no');
  await client.wire.rest();
  await loop.until(({ finished }) => finished.length === 2);
  t.match(loop.finished[1], { status: 0, flag: 'DC', details: 'downstream_remote_disconnect' });
});

t.test('a verdict may take longer than a head, and no longer than a connection may be idle', async t => {
  const { client, loop, next } = await start(t, {
    limits: { headerTimeoutMs: 10_000, idleTimeoutMs: 60_000 },
  });
  client.send(GET);
  const first = await next();
  loop.clock.advance(59_000);
  first.request.exchange.answer(NO);
  t.equal(statusOf(await client.answer()), 403);

  client.send(GET);
  const second = await next();
  loop.clock.advance(60_001);
  const answer = await client.answer();
  t.same([statusOf(answer), valuesOf(answer, 'connection')], [504, []]);
  second.request.exchange.answer(NO);
  t.match(loop.finished, [{ status: 403 }, { status: 504, flag: 'UT', details: 'stream_idle_timeout' }]);

  client.send(GET);
  (await next()).request.exchange.answer(NO);
  t.equal(statusOf(await client.answer()), 403, 'the late verdict is not taken for the next one');
});

t.test('body bytes that come meanwhile are held for 64 KiB, and then waited with', async t => {
  for (const [name, framing, size] of [
    ['Content-Length', `Content-Length: ${1024 * KIB}`, ''],
    ['chunked', 'Transfer-Encoding: chunked', '100000\r\n'],
  ] as const) {
    const [client, app] = [new MemorySocket(), new MemorySocket()];
    const { loop, next } = await start(t, { open: done => done(null, { socket: app.socket, inlet: null }) });
    loop.accept(client.socket);
    await turn();
    client.feed(`POST / HTTP/1.1\r\n${HOST}${framing}\r\n\r\n${size}`);
    const piece = Buffer.alloc(16 * KIB, 'x');
    let fed = 0;
    for (; !client.isPaused() && fed < 1024 * KIB; fed += piece.length) {
      client.feed(piece);
      await turn();
    }
    t.ok(fed >= 64 * KIB && fed <= 96 * KIB, `${name}: ${fed} bytes were read`);
    (await next()).send();
    for (; fed < 1024 * KIB; fed += piece.length) client.feed(piece);
    if (size !== '') client.feed('\r\n0\r\nT: 1\r\n\r\n');
    await settled(() => app.bytesWritten);
    t.equal(client.isPaused(), false);
    const [sent] = readRequests(app.text).messages;
    t.ok(sent?.complete === true && sent.body === 'x'.repeat(1024 * KIB), name);
    t.equal(sent?.trailers.length, size === '' ? 0 : 1);
  }
});

t.test('a body that is held already can still be collected', async t => {
  const client = new MemorySocket();
  const { loop, next } = await start(t);
  loop.accept(client.socket);
  await turn();
  client.feed(`POST / HTTP/1.1\r\n${HOST}Content-Length: ${200 * KIB}\r\n\r\n`);
  const { exchange } = (await next()).request;
  for (let i = 0; i < 2; i++) client.feed(Buffer.alloc(50 * KIB, 'x'));
  await turn();
  t.equal(client.isPaused(), true);
  let bytes = 0;
  exchange.collectBody(200 * KIB, (body, complete) => {
    bytes = body.length;
    t.equal(complete, true);
  });
  await turn();
  t.equal(client.isPaused(), false);
  for (let i = 0; i < 2; i++) client.feed(Buffer.alloc(50 * KIB, 'x'));
  await turn();
  t.equal(bytes, 200 * KIB);
});

t.test('a request that waits while the connection drains is answered, and the last one', async t => {
  const { client, loop, next } = await start(t);
  client.send(GET);
  const { request } = await next();
  loop.servers[0]?.drain();
  request.exchange.answer(NO);
  const answer = await client.answer();
  t.same([answer.body, valuesOf(answer, 'connection')], ['no', ['close']]);
  t.equal(await client.wire.rest(), '');
});

t.test('bytes behind a request for another protocol are refused, however late the verdict comes', async t => {
  const { app, client, loop, next } = await start(t);
  const upgrade = `GET / HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`;
  client.send(upgrade);
  const { send } = await next();
  client.send('early');
  await loop.received(upgrade.length + 5);
  send();
  const connection = await app.next();
  await connection.request();
  connection.send('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
  t.equal(statusOf(await client.answer()), 400);
  t.equal(await client.wire.rest(), '');
});
