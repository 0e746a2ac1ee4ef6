/** The answers that Outrider gives itself: one row of the table a failure, in HTTP's words or in gRPC's. */
import t from 'tap';
import { FAILURES, type FailureCode } from '../../src/errors.ts';
import { localResponse } from '../../src/http/reply.ts';
import { startLoop } from './loop.ts';
import { rawClient, startRawApp } from './raw-app.ts';
import { readResponse, statusOf, valuesOf } from './strict-messages.ts';

const CODES = Object.keys(FAILURES) as FailureCode[];
const PLAIN = { detail: 'why', grpc: false, bodiless: false, close: false };

function reply(
  code: FailureCode,
  changes: Partial<Parameters<typeof localResponse>[0]> = {},
  method = 'GET',
) {
  const made = localResponse({ code, ...PLAIN, ...changes });
  const read = readResponse(made.text, method, false);
  if (read === null || !read.message.complete || read.end !== made.text.length) throw new Error(made.text);
  return { made, message: read.message };
}

t.test('every failure has its status, body, length and date, and is one sound response', async t => {
  for (const code of CODES) {
    const { made, message } = reply(code);
    const { status, reasonPhrase, body } = FAILURES[code];
    t.equal(message.line, `HTTP/1.1 ${status} ${reasonPhrase}`, code);
    t.same(message.faults, []);
    t.same([message.body, message.framing], [body.replace('%s', 'why'), 'length']);
    t.same([made.status, made.bodyBytes], [status, message.body.length]);
    t.same(valuesOf(message, 'content-type'), ['text/plain']);
    t.match(valuesOf(message, 'date')[0], /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/);
    t.same(valuesOf(message, 'connection'), []);
  }
});

t.test('to gRPC every failure is 200 with grpc-status and grpc-message', async t => {
  for (const code of CODES) {
    const { made, message } = reply(code, { grpc: true, detail: '100%' });
    t.equal(message.line, 'HTTP/1.1 200 OK', code);
    t.same(valuesOf(message, 'content-type'), ['application/grpc']);
    t.same(valuesOf(message, 'grpc-status'), [String(FAILURES[code].grpcStatus)]);
    t.same(valuesOf(message, 'grpc-message'), [FAILURES[code].body.replace('%s', '100%25')]);
    t.same([made.status, message.body], [200, '']);
  }
});

t.test('to HEAD it is the head of the same response', async t => {
  const { made, message } = reply('policy_denied', { bodiless: true }, 'HEAD');
  t.same(valuesOf(message, 'content-length'), [String('RBAC: access denied'.length)]);
  t.equal(made.bodyBytes, 0);
});

t.test('a close is said', async t => {
  t.same(valuesOf(reply('bad_request', { close: true }).message, 'connection'), ['close']);
  t.same(valuesOf(reply('bad_request', { close: true, grpc: true }).message, 'connection'), ['close']);
});

t.test('a detail cannot write headers, bodies or patterns', async t => {
  const { message } = reply('connect_failed', { detail: "a\r\nX: evil\r\n\r\n$& $' \xe9\u20ac%s" });
  t.equal(message.body, "upstream connect error: a??X: evil????$& $' ??%s");
  const grpc = reply('connect_failed', { detail: 'a\r\nX: evil', grpc: true });
  t.same(valuesOf(grpc.message, 'x'), []);
  t.ok(reply('connect_failed', { detail: 'x'.repeat(10_000) }).message.body.length <= 512);
});

t.test('over the wire', async t => {
  const deny = {
    onRequest: (request: Parameters<NonNullable<Parameters<typeof startLoop>[1]['onRequest']>>[0]) =>
      request.exchange.reply('policy_denied', '', 'rbac'),
  };

  t.test('a denied request leaves the connection to the next one', async t => {
    const app = await startRawApp(t);
    const loop = await startLoop(t, { app: app.port, ...deny });
    const client = await rawClient(t, loop.port);
    client.send(
      'GET / HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n',
    );
    for (const method of ['GET', 'HEAD', 'GET']) t.equal(statusOf(await client.answer(method)), 403);
    t.equal(app.connections.length, 0);
    t.match(loop.finished[0], { status: 403, flag: '-', details: 'rbac', bytesSent: 19, attempts: 0 });
  });

  t.test('a gRPC request gets 200 with grpc-status 7', async t => {
    const loop = await startLoop(t, deny);
    const client = await rawClient(t, loop.port);
    client.send(
      'POST /s/m HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n',
    );
    const answer = await client.answer();
    t.same([statusOf(answer), valuesOf(answer, 'grpc-status')], [200, ['7']]);
    t.match(loop.finished, [{ status: 200, grpcStatus: '7' }]);
  });

  t.test(
    'a denied request whose body still comes is answered and closed; the body becomes no request',
    async t => {
      const loop = await startLoop(t, deny);
      const client = await rawClient(t, loop.port);
      client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n');
      const answer = await client.answer();
      t.same([statusOf(answer), valuesOf(answer, 'connection')], [403, ['close']]);
      client.send('GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n');
      t.equal(await client.wire.rest(), '');
      t.equal(loop.finished.length, 1);
    },
  );

  t.test(
    'a fault in the middle of a body that is being sent on: 400, and the app’s connection is cut',
    async t => {
      const app = await startRawApp(t);
      const loop = await startLoop(t, { app: app.port });
      const client = await rawClient(t, loop.port);
      client.send('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
      const connection = await app.next();
      await connection.head();
      client.send('x\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n');
      const answer = await client.answer();
      t.same([statusOf(answer), answer.body], [400, 'bad request: invalid chunk size']);
      t.notMatch(await connection.wire.rest(), /0\r\n\r\n|smuggled/);
      t.equal(await client.wire.rest(), '');
      t.match(loop.finished, [{ status: 400, flag: 'DPE' }]);
    },
  );
});
