/** Answers whose status, fields and body somebody else chose, and changes to the response of an app. */
import t, { type Test } from 'tap';
import type { LocalAnswer, ResponseEdits } from '../../src/http/exchange.ts';
import { writeAnswer } from '../../src/http/local-answer.ts';
import { startLoop } from './loop.ts';
import { rawClient, startRawApp } from './raw-app.ts';
import { type Message, readResponse, statusOf, valuesOf } from './strict-messages.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const PLAIN = { grpc: false, method: 'GET', close: false, edits: null };
const UNAUTHORIZED: LocalAnswer = {
  status: 401,
  headers: [['www-authenticate', 'Bearer realm="https://a/", error="invalid_token"']],
  body: 'Jwt is expired',
  grpcStatus: 16,
  grpcMessage: 'Jwt is expired',
  flag: '-',
  details: 'jwt_authn_access_denied{Jwt_is_expired}',
};

/** The bytes of an answer, read as one sound response. */
function written(
  changes: Partial<LocalAnswer>,
  how: Partial<Parameters<typeof writeAnswer>[1]> = {},
): Message {
  const { head, body } = writeAnswer({ ...UNAUTHORIZED, ...changes }, { ...PLAIN, ...how });
  const text = head + (body?.toString('latin1') ?? '');
  const read = readResponse(text, how.method ?? 'GET', false);
  if (read === null || !read.message.complete || read.end !== text.length) throw new Error(text);
  if (read.message.faults.length > 0) throw new Error(read.message.faults.join());
  return read.message;
}

function namesOf({ fields }: Message): string[] {
  return fields.map(([name]) => name);
}

t.test('an answer has its status, the phrase of it, its fields, its body and a date', async t => {
  const message = written({});
  t.equal(message.line, 'HTTP/1.1 401 Unauthorized');
  t.same(namesOf(message), ['content-type', 'content-length', 'date', 'www-authenticate']);
  t.same([message.body, valuesOf(message, 'content-type')], ['Jwt is expired', ['text/plain']]);
  t.equal(written({ status: 413 }).line, 'HTTP/1.1 413 Payload Too Large');
  t.equal(written({ status: 499 }).line, 'HTTP/1.1 499 Unknown');
});

t.test('its own content-type wins, its own framing does not', async t => {
  const message = written({
    headers: [
      ['Content-Type', 'text/html'],
      ['Content-Length', '3'],
      ['Transfer-Encoding', 'chunked'],
      ['Connection', 'keep-alive, x-a'],
      ['Keep-Alive', 'timeout=9'],
      ['Upgrade', 'websocket'],
      ['Trailer', 'x-a'],
      ['Date', 'yesterday'],
      ['X-A', '1'],
      ['Set-Cookie', 'a=1'],
      ['Set-Cookie', 'b=2'],
    ],
  });
  t.same(
    message.fields.filter(([name]) => name !== 'date'),
    [
      ['content-length', '14'],
      ['Content-Type', 'text/html'],
      ['X-A', '1'],
      ['Set-Cookie', 'a=1'],
      ['Set-Cookie', 'b=2'],
    ],
  );
  t.notMatch(valuesOf(message, 'date'), ['yesterday']);
});

t.test('a name or value cannot write lines, fields or bodies', async t => {
  const message = written({
    headers: [
      ['x-value', 'a\r\nX-Evil: 1\r\n\r\nbody\0\x7f\u20ac'],
      ['x-name\r\nX-Evil', '1'],
      ['x name', '1'],
      ['', '1'],
      ['x-name:', '1'],
    ],
  });
  t.same(namesOf(message), ['content-type', 'content-length', 'date', 'x-value']);
  t.match(valuesOf(message, 'x-value'), ['a  X-Evil: 1    body']);
  t.equal(message.body, 'Jwt is expired');
});

t.test('text leaves as UTF-8, bytes as they are', async t => {
  t.equal(Buffer.from(written({ body: 'na\xefve \u20ac' }).body, 'latin1').toString(), 'na\xefve \u20ac');
  t.equal(written({ body: Buffer.from([0, 255, 10]) }).body, '\0\xff\n');
});

t.test('where no body may be there is none', async t => {
  for (const [status, length] of [
    [204, []],
    [205, ['0']],
    [304, []],
  ] as const) {
    const message = written({ status });
    t.same([message.body, valuesOf(message, 'content-length')], ['', length], String(status));
    t.same(valuesOf(message, 'content-type'), []);
  }
  const head = written({}, { method: 'HEAD' });
  t.same([head.body, valuesOf(head, 'content-length')], ['', ['14']]);
  const empty = written({ body: '' });
  t.same([valuesOf(empty, 'content-length'), valuesOf(empty, 'content-type')], [['0'], []]);
});

t.test('a status that ends no exchange is never sent', async t => {
  for (const status of [0, 100, 101, 199, 600, 403.5, Number.NaN])
    t.equal(statusOf(written({ status })), 500);
  t.equal(statusOf(written({ status: 200 })), 200);
  // To CONNECT it would open a tunnel.
  const refused = writeAnswer({ ...UNAUTHORIZED, status: 200 }, { ...PLAIN, method: 'CONNECT' });
  t.equal(refused.status, 500);
});

t.test('to gRPC it is 200 with grpc-status and grpc-message, and the other fields stay', async t => {
  const message = written(
    {
      headers: [
        ['content-type', 'text/html'],
        ['grpc-status', '0'],
        ['x-a', '1'],
      ],
      grpcMessage: '100% na\xefve\r\nx: y',
    },
    { grpc: true },
  );
  t.equal(message.line, 'HTTP/1.1 200 OK');
  t.same(namesOf(message), ['content-type', 'grpc-status', 'grpc-message', 'content-length', 'date', 'x-a']);
  t.same(valuesOf(message, 'content-type'), ['application/grpc']);
  t.same(valuesOf(message, 'grpc-status'), ['16']);
  t.same(valuesOf(message, 'grpc-message'), ['100%25 na%C3%AFve%0D%0Ax: y']);
  t.same([message.body, valuesOf(message, 'content-length')], ['', ['0']]);
  t.same(valuesOf(written({ grpcMessage: '' }, { grpc: true }), 'grpc-message'), []);
  t.equal(
    valuesOf(written({ grpcMessage: 'x'.repeat(9_000) }, { grpc: true }), 'grpc-message')[0]?.length,
    1024,
  );
});

t.test('edits of the response take out and add, also what an answer has by itself', async t => {
  const edits = {
    remove: ['content-type', 'www-authenticate', 'content-length'],
    added: 'content-type: a/b\r\nx: y\r\n',
  };
  const message = written({}, { edits });
  t.same(namesOf(message), ['content-length', 'date', 'content-type', 'x']);
  t.same(valuesOf(message, 'content-type'), ['a/b']);
});

/** A loop that answers every request with `answer`. */
async function answering(t: Test, answer: Partial<LocalAnswer>, edits: ResponseEdits | null = null) {
  const loop = await startLoop(t, {
    onRequest: ({ exchange }) => {
      exchange.responseEdits = edits;
      exchange.answer({ ...UNAUTHORIZED, ...answer });
    },
  });
  return { loop, client: await rawClient(t, loop.port) };
}

t.test('an answered request leaves the connection to the next one', async t => {
  const { client, loop } = await answering(t, {});
  client.send(GET + GET.replace('GET', 'HEAD') + GET);
  for (const method of ['GET', 'HEAD', 'GET']) {
    const answer = await client.answer(method);
    t.same([statusOf(answer), valuesOf(answer, 'connection')], [401, []]);
  }
  const said = { status: 401, flag: '-', details: UNAUTHORIZED.details, attempts: 0, grpcStatus: '' };
  t.match(loop.finished, [
    { ...said, bytesSent: 14 },
    { ...said, bytesSent: 0 },
    { ...said, bytesSent: 14 },
  ]);
});

t.test('the record of an answer says who gave it, and a gRPC one its code', async t => {
  const { client, loop } = await answering(t, { flag: 'UAEX', details: 'ext_authz_denied', grpcStatus: 7 });
  client.send(GET.replace('\r\n\r\n', '\r\nContent-Type: application/grpc+proto\r\n\r\n'));
  t.same(valuesOf(await client.answer(), 'grpc-status'), ['7']);
  t.match(loop.finished, [
    { status: 200, flag: 'UAEX', details: 'ext_authz_denied', grpcStatus: '7', bytesSent: 0 },
  ]);
});

t.test('the connection ends after an answer when the client said so, or its body is not whole', async t => {
  for (const lines of ['Connection: close\r\n', 'Content-Length: 9\r\n', 'Transfer-Encoding: chunked\r\n']) {
    const { client } = await answering(t, {});
    client.send(`POST / HTTP/1.1\r\nHost: a\r\n${lines}\r\n`);
    t.same(valuesOf(await client.answer(), 'connection'), ['close'], lines);
    client.send('0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n');
    t.equal(await client.wire.rest(), '');
  }
});

t.test('a CONNECT that calls itself gRPC is not told 200', async t => {
  const { client } = await answering(t, {});
  client.send('CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Type: application/grpc\r\n\r\n');
  const answer = await client.answer();
  t.same([statusOf(answer), answer.body], [401, 'Jwt is expired']);
  t.equal(await client.wire.rest(), '');
});

t.test('of two answers the first counts', async t => {
  const loop = await startLoop(t, {
    onRequest: ({ exchange }) => {
      exchange.answer(UNAUTHORIZED);
      exchange.answer({ ...UNAUTHORIZED, status: 500 });
      exchange.reply('policy_denied', '', '');
    },
  });
  const client = await rawClient(t, loop.port);
  client.send(GET + GET);
  for (let i = 0; i < 2; i++) t.equal(statusOf(await client.answer()), 401);
  t.equal(loop.finished.length, 2);
});

t.test('edits of the response reach the answers of the failure table too', async t => {
  const edits = { remove: ['date'], added: 'set-cookie: a=1\r\n' };
  const loop = await startLoop(t, {
    onRequest: ({ exchange }) => {
      exchange.responseEdits = edits;
      exchange.reply('connect_failed', 'x\r\ny', '');
    },
  });
  const client = await rawClient(t, loop.port);
  client.send(GET);
  const answer = await client.answer();
  t.equal(answer.line, 'HTTP/1.1 503 Service Unavailable');
  t.same([answer.body, valuesOf(answer, 'set-cookie')], ['upstream connect error: x??y', ['a=1']]);
  t.same([valuesOf(answer, 'date'), loop.finished[0]?.flag], [[], 'UF']);
});

/** A loop in front of an app, with these edits on every response. */
async function editing(t: Test, edits: ResponseEdits) {
  const app = await startRawApp(t);
  const loop = await startLoop(t, {
    app: app.port,
    onRequest: (request, send) => {
      request.exchange.responseEdits = edits;
      send();
    },
  });
  return { app, loop, client: await rawClient(t, loop.port) };
}

t.test('edits of the response take lines out of the app’s and add theirs, but not to 1xx', async t => {
  const edits = { remove: ['server', 'x-a', 'content-length'], added: 'X-A: new\r\nset-cookie: b=2\r\n' };
  const { app, client } = await editing(t, edits);
  client.send(GET);
  const connection = await app.next();
  await connection.request();
  connection.send('HTTP/1.1 103 Early Hints\r\nX-A: hint\r\n\r\n');
  connection.answer('body', 'Server: app', 'X-A: 1', 'x_a: 2', 'Set-Cookie: a=1');
  t.same((await client.answer()).fields, [['X-A', 'hint']]);
  const answer = await client.answer();
  t.equal(answer.body, 'body');
  t.same(answer.fields, [
    ['Content-Length', '4'],
    ['Set-Cookie', 'a=1'],
    ['X-A', 'new'],
    ['set-cookie', 'b=2'],
  ]);
});

t.test('edits of the response leave chunks and the end of the connection as they are', async t => {
  const { app, client } = await editing(t, {
    remove: ['transfer-encoding', 'connection'],
    added: 'x: y\r\n',
  });
  client.send(GET);
  const connection = await app.next();
  await connection.request();
  connection.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT: 1\r\n\r\n');
  const answer = await client.answer();
  t.same([answer.body, answer.trailers, valuesOf(answer, 'x')], ['a', [['T', '1']], ['y']]);
});

t.test('edits of the response reach the 101 that ends HTTP on the connection', async t => {
  const { app, client } = await editing(t, { remove: ['x-a'], added: 'set-cookie: a=1\r\n' });
  client.send(GET.replace('\r\n\r\n', '\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'));
  const connection = await app.next();
  await connection.request();
  connection.send(
    'HTTP/1.1 101 Switching Protocols\r\nX-A: 1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  );
  const answer = await client.answer();
  t.same([statusOf(answer), valuesOf(answer, 'set-cookie'), valuesOf(answer, 'x-a')], [101, ['a=1'], []]);
});
