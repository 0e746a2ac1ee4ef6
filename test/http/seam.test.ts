/** The seam between framings: HTTP/1.1 clients above a stream that wants content only, such a sink above an HTTP/1.1 app. */
import t, { type Test } from 'tap';
import { H1Client } from '../../src/http/h1-client.ts';
import { ParseFault, parseRequest } from '../../src/http/h1-parser.ts';
import { Outbox } from '../../src/http/outbox.ts';
import { connectPlain, type PlainConnection } from '../../src/net/connect.ts';
import { FakeClock } from './loop.ts';
import { rawClient, startRawApp } from './raw-app.ts';
import { BareSink, type BareStream, type Seam, startSeam } from './seam-ends.ts';
import { statusOf } from './strict-messages.ts';

const HOST = 'Host: app.test\r\n';
const CHUNKED = `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n`;

async function start(t: Test) {
  const seam = await startSeam(t);
  return { seam, client: await rawClient(t, seam.port) };
}

/** Sends the pieces one by one, each when the one before was read. */
async function sendApart(t: Test, seam: Seam, pieces: readonly string[]): Promise<BareStream> {
  seam.streams.length = 0;
  seam.server = null;
  const client = await rawClient(t, seam.port);
  await seam.events.until(() => seam.server !== null);
  let sent = 0;
  for (const piece of pieces) {
    client.send(piece);
    sent += piece.length;
    await seam.events.until(() => (seam.server?.duct.socket.bytesRead ?? 0) >= sent);
  }
  const stream = await seam.stream();
  await seam.events.until(() => stream.trailers !== null);
  client.socket.destroy();
  return stream;
}

function cuts(text: string): string[][] {
  const two = Array.from({ length: text.length - 1 }, (_, i) => [text.slice(0, i + 1), text.slice(i + 1)]);
  return [[text], ...two, [...text]];
}

for (const [name, raw, content, trailers] of [
  ['a length', `POST / HTTP/1.1\r\n${HOST}Content-Length: 11\r\n\r\nhello world`, 'hello world', ''],
  ['chunks', `${CHUNKED}5\r\nhello\r\n006;a=b\r\n world\r\n0\r\n\r\n`, 'hello world', ''],
  [
    'chunks and trailers',
    `${CHUNKED}A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nX-Own: 2\r\n\r\n`,
    '0123456789',
    'X-Sum: 1\r\n',
  ],
  ['no body', `GET / HTTP/1.1\r\n${HOST}\r\n`, '', ''],
] as const) {
  t.test(`a request with ${name} arrives as content, wherever it is cut`, async t => {
    const seam = await startSeam(t);
    for (const pieces of cuts(raw)) {
      const stream = await sendApart(t, seam, pieces);
      const got = [stream.content, stream.trailers];
      if (got[0] !== content || got[1] !== trailers) t.same(got, [content, trailers], pieces.join(' | '));
    }
    const atOnce = await sendApart(t, seam, [raw]);
    t.same([atOnce.content, atOnce.trailers, atOnce.whole], [content, trailers, trailers === '']);
  });
}

t.test('a response of unknown length is chunked for HTTP/1.1, with its trailers', async t => {
  const { seam, client } = await start(t);
  client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`.repeat(2));
  const stream = await seam.stream();
  stream.respond('103 Early Hints\r\nLink: </a>').respond('200 OK\r\nTransfer-Encoding: chunked');
  stream.send('hello').send(' world').end('X-Sum: 1\r\n');
  t.equal(statusOf(await client.answer()), 103);
  const answer = await client.answer();
  t.same([answer.framing, answer.body, answer.trailers], ['chunked', 'hello world', [['X-Sum', '1']]]);
  t.equal(seam.finished[0]?.bytesSent, 11);
  (await seam.stream(1)).respond('200 OK\r\nContent-Length: 4').send('next').end();
  t.equal((await client.answer()).body, 'next', 'on the same connection');
});

t.test(
  'a response of unknown length ends with the connection for HTTP/1.0, and its trailers are dropped',
  async t => {
    const { seam, client } = await start(t);
    client.send(`GET / HTTP/1.0\r\n${HOST}Connection: keep-alive\r\n\r\n`);
    const stream = await seam.stream();
    stream.respond('200 OK\r\nTransfer-Encoding: chunked').send('hello').send(' world').end('X-Sum: 1\r\n');
    const text = await client.wire.rest();
    t.match(text, /^HTTP\/1\.1 200 OK\r\n/);
    t.notMatch(text.toLowerCase(), 'chunked');
    t.ok(text.endsWith('\r\n\r\nhello world'), text);
  },
);

t.test('a gRPC status is read from the trailers', async t => {
  const { seam, client } = await start(t);
  client.send(`POST / HTTP/1.1\r\n${HOST}Content-Type: application/grpc\r\nContent-Length: 0\r\n\r\n`);
  (await seam.stream()).respond('200 OK\r\nTransfer-Encoding: chunked').end('grpc-status: 5\r\n');
  await client.answer();
  t.equal(seam.finished[0]?.grpcStatus, '5');
});

t.test('a response before the end of its request ends the connection after it', async t => {
  const { seam, client } = await start(t);
  client.send(`POST / HTTP/1.1\r\n${HOST}Content-Length: 100\r\n\r\nsome`);
  const stream = await seam.stream();
  t.equal(stream.whole, false);
  stream.respond('413 Too Large\r\nContent-Length: 2').send('no').end();
  t.equal(statusOf(await client.answer()), 413);
  t.equal(await client.wire.rest(), '');
  t.equal(stream.trailers, null);
});

t.test('a client waits while the stream takes no more, and goes on when it does', async t => {
  const { seam, client } = await start(t);
  const body = 'x'.repeat(1024 * 1024);
  seam.prepare = stream => {
    stream.takesMore = false;
    stream.backedUp = true;
  };
  client.send(`POST / HTTP/1.1\r\n${HOST}Content-Length: ${body.length}\r\n\r\n${body}`);
  const stream = await seam.stream();
  await seam.events.until(() => seam.server?.duct.socket.isPaused() === true);
  t.ok(stream.content.length < body.length);
  stream.takesMore = true;
  stream.sink.onUpstreamDrain();
  await seam.events.until(() => stream.trailers !== null);
  t.equal(stream.content.length, body.length);
});

t.test('the stream waits while the client reads nothing, and goes on when it does', async t => {
  const { seam, client } = await start(t);
  client.send(`GET / HTTP/1.1\r\n${HOST}\r\n`);
  const stream = await seam.stream();
  client.socket.pause();
  stream.respond('200 OK\r\nTransfer-Encoding: chunked');
  for (let mib = 0; mib < 64 && !stream.paused; mib++) stream.send('x'.repeat(1024 * 1024));
  t.equal(stream.paused, true);
  client.socket.resume();
  await seam.events.until(() => !stream.paused);
  stream.end();
  t.equal((await client.answer()).complete, true);
});

t.test('the stream is given up when the client goes', async t => {
  const { seam, client } = await start(t);
  client.send(`POST / HTTP/1.1\r\n${HOST}Content-Length: 100\r\n\r\nsome`);
  const stream = await seam.stream();
  client.socket.destroy();
  await seam.events.until(() => stream.abandoned && seam.finished.length === 1);
  t.match(seam.finished[0], { flag: 'DC', status: 0 });
});

for (const [name, head, body, content] of [
  [
    'a small body',
    `POST / HTTP/1.1\r\n${HOST}Content-Length: 60000\r\n\r\n`,
    'x'.repeat(60_000),
    'x'.repeat(60_000),
  ],
  ['many small chunks', CHUNKED, `${'1;e\r\nx\r\n'.repeat(5_000)}0\r\n\r\n`, 'x'.repeat(5_000)],
] as const) {
  t.test(`a refused POST with ${name} is sent again`, async t => {
    const { seam, client } = await start(t);
    const half = Math.floor(body.length / 2);
    client.send(head + body.slice(0, half));
    const refused = await seam.stream();
    await seam.events.until(() => (seam.server?.duct.socket.bytesRead ?? 0) >= head.length + half);
    refused.fail('refused');
    client.send(body.slice(half));
    const again = await seam.stream(1);
    await seam.events.until(() => again.trailers !== null);
    t.ok(again.content === content, 'with all of its body');
    again.respond('200 OK\r\nContent-Length: 2').send('ok').end();
    t.equal((await client.answer()).body, 'ok');
    t.match(seam.finished[0], { attempts: 2, flag: '-' });
  });
}

t.test('a refused POST whose body is too large to be kept is answered 503', async t => {
  const { seam, client } = await start(t);
  const body = 'x'.repeat(100_000);
  client.send(`POST / HTTP/1.1\r\n${HOST}Content-Length: ${body.length}\r\n\r\n${body}`);
  const stream = await seam.stream();
  await seam.events.until(() => stream.trailers !== null);
  stream.fail('refused');
  t.equal(statusOf(await client.answer()), 503);
  t.match(seam.finished[0], {
    attempts: 1,
    flag: 'UC',
    details: 'upstream_reset_before_response_started{remote_refused_stream_reset}',
  });
});

t.test('what is refused three times is answered 503', async t => {
  const { seam, client } = await start(t);
  client.send(`POST / HTTP/1.1\r\n${HOST}Content-Length: 1\r\n\r\nx`);
  for (const number of [0, 1, 2]) {
    const stream = await seam.stream(number);
    t.equal(stream.content, 'x');
    stream.fail('refused');
  }
  t.equal(statusOf(await client.answer()), 503);
});

t.test('a POST that was not refused is not sent again', async t => {
  const { seam, client } = await start(t);
  seam.prepare = stream => {
    stream.requests = 5;
  };
  client.send(`POST / HTTP/1.1\r\n${HOST}Content-Length: 1\r\n\r\nx`);
  (await seam.stream()).fail('reset');
  t.equal(statusOf(await client.answer()), 503);
  t.equal(seam.streams.length, 1);
});

/** A client on a new connection to the app. */
async function connectClient(
  t: Test,
  port: number,
): Promise<{ client: H1Client; connection: PlainConnection }> {
  const connection = await new Promise<PlainConnection>((resolve, reject) => {
    connectPlain({ host: '127.0.0.1', port, timeoutMs: 10_000 }, (why, made) =>
      why === null ? resolve(made as PlainConnection) : reject(new Error(why)),
    );
  });
  const client = new H1Client(connection, { onIdle: () => {}, onGone: () => {} }, new FakeClock());
  t.teardown(() => client.destroy());
  return { client, connection };
}

const GET = parseRequest(`GET / HTTP/1.1\r\n${HOST}\r\n`);

function ask(client: H1Client, sink: BareSink): void {
  if (GET instanceof ParseFault) throw new Error(GET.what);
  const edits = { target: '/', added: '', drop: 0, remove: null };
  client.begin(sink, { head: GET, edits, drop: 0 }, new Outbox(), true, false);
  client.requestComplete('', 0);
}

for (const [name, raw, content, trailers, ends] of [
  ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello', 'hello', '', false],
  [
    'chunks and trailers',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n06\r\n world\r\n0\r\nX-Sum: 1\r\nHost: a\r\n\r\n',
    'hello world',
    'X-Sum: 1\r\n',
    false,
  ],
  ['no end but that of the connection', 'HTTP/1.1 200 OK\r\n\r\nhello', 'hello', '', true],
] as const) {
  t.test(`a response with ${name} arrives as content, wherever it is cut`, async t => {
    const app = await startRawApp(t);
    for (const pieces of cuts(raw)) {
      const { client, connection } = await connectClient(t, app.port);
      const sink = new BareSink();
      ask(client, sink);
      const server = await app.next();
      await server.request();
      let sent = 0;
      for (const piece of pieces) {
        server.send(piece);
        sent += piece.length;
        await sink.events.until(() => connection.socket.bytesRead >= sent);
      }
      if (ends) server.socket.end();
      await sink.events.until(() => sink.end !== null || sink.failure !== null);
      const got = [sink.content, sink.end];
      const want = [content, { bytes: content.length, trailers }];
      if (JSON.stringify(got) !== JSON.stringify(want)) t.same(got, want, pieces.join(' | '));
      client.destroy();
    }
    t.pass(`${raw.length + 1} ways to cut it`);
  });
}

t.test('a connection whose response was held back is used for the next', async t => {
  const app = await startRawApp(t);
  const { client, connection } = await connectClient(t, app.port);
  const first = new BareSink();
  ask(client, first);
  const server = await app.next();
  await server.request();
  client.pauseResponse();
  server.answer('held');
  t.equal(connection.socket.isPaused(), true);
  client.resumeResponse();
  await first.events.until(() => first.end !== null);
  t.equal(first.content, 'held');
  const second = new BareSink();
  ask(client, second);
  await server.request();
  server.answer('next');
  await second.events.until(() => second.end !== null);
  t.same([second.content, client.requests], ['next', 2]);
});
