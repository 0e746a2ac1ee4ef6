/** gRPC end to end: @grpc/grpc-js on both sides of a pair of sidecars. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { type Client, Metadata, status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { testAuthority, testIdentity } from '../certificates.ts';
import {
  drainStream,
  ECHO,
  FAILURE,
  GRPC_HOST,
  grpcClient,
  same,
  startGrpcApp,
  startGrpcPair,
  unary,
} from '../grpc-peers.ts';
import { http2Plain, http2Tls } from '../http2-peers.ts';
import { deadPort, listenUntilEnd, startApp, wirePlain, wireTls } from '../peers.ts';

t.setTimeout(180_000);

const MIB = 1024 * 1024;
const authority = await testAuthority();
const sleep = await testIdentity(authority, 'foo/sleep');
const app = await startGrpcApp(t);
const pair = await startGrpcPair(t, authority, { app: app.port });

function connect(t: Test, options = {}): Client {
  return grpcClient(t, pair.outbound.ports.outbound, options);
}

function line(side: 'inbound' | 'outbound', path: string, code: number) {
  return pair[side].access.take(l => l.path === path && l.grpc_status === code);
}

t.test('a unary call has its answer, its metadata both ways and its identity', async t => {
  const client = connect(t);
  const metadata = new Metadata();
  metadata.set('x-asked', 'yes');
  metadata.set('x-bytes-bin', Buffer.from([0, 255, 10]));
  const { status: end, answer } = await unary(client, ECHO.Unary, Buffer.from('hello'), { metadata });
  t.equal(end.code, status.OK);
  t.equal(String(answer), 'hello');
  t.same(end.metadata.get('x-asked'), ['yes']);
  t.same(end.metadata.get('x-bytes-bin'), [Buffer.from([0, 255, 10])]);
  t.match(String(end.metadata.get('x-told')), /URI=spiffe:\/\/cluster.local\/ns\/foo\/sa\/sleep/);
  t.match(await line('inbound', ECHO.Unary.path, 0), { protocol: 'HTTP/2', response_code: 200 });
  t.match(await line('outbound', ECHO.Unary.path, 0), { protocol: 'HTTP/2', response_code: 200 });
});

t.test('an empty message, and no message at all', async t => {
  const client = connect(t);
  t.same((await unary(client, ECHO.Unary, Buffer.alloc(0))).answer, Buffer.alloc(0));
  const stream = client.makeBidiStreamRequest(ECHO.Both.path, same, same);
  stream.end();
  const { status: end, parts } = await drainStream(stream);
  t.match([end.code, parts.length], [status.OK, 0]);
});

t.test('client streaming', async t => {
  const client = connect(t);
  const { promise, resolve, reject } = Promise.withResolvers<Buffer | undefined>();
  const stream = client.makeClientStreamRequest(ECHO.Gather.path, same, same, (error, answer) =>
    error ? reject(error) : resolve(answer),
  );
  for (let i = 0; i < 200; i++) stream.write(Buffer.from(`${i} `));
  stream.end();
  t.equal(String(await promise), Array.from({ length: 200 }, (_, i) => `${i} `).join(''));
});

t.test('server streaming', async t => {
  const stream = connect(t).makeServerStreamRequest(ECHO.Scatter.path, same, same, Buffer.from('500 1000'));
  const { status: end, parts } = await drainStream(stream);
  t.equal(end.code, status.OK);
  t.equal(parts.length, 500);
  t.ok(parts.every((part, i) => part.equals(Buffer.alloc(1000, `${i + 1} `))));
});

t.test('bidirectional streaming, in turns: neither waits for the end of the other', async t => {
  const stream = connect(t).makeBidiStreamRequest(ECHO.Both.path, same, same);
  for (let i = 0; i < 50; i++) {
    const word = Buffer.alloc(i === 0 ? MIB : 10, `${i} `);
    stream.write(word);
    const [back] = (await once(stream, 'data')) as [Buffer];
    t.ok(back.equals(word));
  }
  stream.end();
  t.equal((await drainStream(stream)).status.code, status.OK);
});

t.test('messages are counted on both sides, and calls by their status', async t => {
  const client = connect(t);
  const sides = [pair.inbound, pair.outbound];
  const count = (): Promise<number[][]> =>
    Promise.all(
      sides.map(async side => [
        await side.metric('istio_request_messages_total'),
        await side.metric('istio_response_messages_total'),
        await side.metric('istio_requests_total', { request_protocol: 'grpc', grpc_response_status: '0' }),
        await side.metric('istio_requests_total', { request_protocol: 'grpc', grpc_response_status: '9' }),
      ]),
    );
  const before = await count();
  const stream = client.makeBidiStreamRequest(ECHO.Both.path, same, same);
  for (let i = 0; i < 7; i++) stream.write(Buffer.alloc(i * 20_000));
  stream.end();
  await drainStream(stream);
  await drainStream(client.makeServerStreamRequest(ECHO.Scatter.path, same, same, Buffer.from('30 3')));
  await unary(client, ECHO.Fail, Buffer.from('x'));
  const after = await count();
  // 7 and 7, 1 and 30, 1 and 0
  for (const [i, values] of after.entries())
    t.same(
      values.map((value, at) => value - (before[i]?.[at] ?? 0)),
      [9, 37, 2, 1],
    );
});

t.test('messages of 4 MiB and of 20 MB, both ways', async t => {
  const client = connect(t);
  for (const bytes of [4 * MIB, 4 * MIB + 1, 20_000_000]) {
    const large = Buffer.alloc(bytes, 'large ');
    const { answer } = await unary(client, ECHO.Unary, large);
    t.ok(answer?.equals(large), `${bytes} bytes`);
  }
});

t.test('metadata of 32 KiB arrives whole, both ways', async t => {
  const metadata = new Metadata();
  metadata.set('x-large', 'm'.repeat(32 * 1024));
  const { status: end } = await unary(connect(t), ECHO.Unary, Buffer.from('x'), { metadata });
  t.equal(end.code, status.OK);
  t.equal(String(end.metadata.get('x-large')[0]).length, 32 * 1024);
});

t.test('metadata beyond the limit fails its call alone', async t => {
  const client = connect(t);
  const metadata = new Metadata();
  metadata.set('x-large', 'm'.repeat(70 * 1024));
  const other = client.makeBidiStreamRequest(ECHO.Both.path, same, same);
  other.write(Buffer.from('before'));
  await once(other, 'data');
  const { status: end } = await unary(client, ECHO.Unary, Buffer.from('x'), { metadata });
  t.equal(end.code, status.INTERNAL);
  other.write(Buffer.from('after'));
  t.equal(String((await once(other, 'data'))[0]), 'after');
  other.end();
  t.equal((await drainStream(other)).status.code, status.OK);
});

t.test('an error comes with its status, its details in any script, and its metadata', async t => {
  const { status: end } = await unary(connect(t), ECHO.Fail, Buffer.from('x'));
  t.match(end, FAILURE);
  t.same(end.metadata.get('x-more'), ['told']);
  t.same(end.metadata.get('x-bytes-bin'), [Buffer.from([0, 255, 10])]);
  t.match(await line('inbound', ECHO.Fail.path, FAILURE.code), { response_code: 200, response_flags: '-' });
  t.match(await line('outbound', ECHO.Fail.path, FAILURE.code), { response_code: 200, response_flags: '-' });
});

t.test('a server that gives up in the middle of a stream is heard', async t => {
  const stream = connect(t).makeServerStreamRequest(ECHO.FailLate.path, same, same, Buffer.from('x'));
  const { status: end, parts } = await drainStream(stream);
  t.same(parts.map(String), ['first']);
  t.match(end, FAILURE);
});

t.test('a method that is not there', async t => {
  const { status: end } = await unary(
    connect(t),
    { ...ECHO.Unary, path: '/test.Echo/Other' },
    Buffer.from('x'),
  );
  t.equal(end.code, status.UNIMPLEMENTED);
});

t.test('a client that cancels is heard by the server', async t => {
  const client = connect(t);
  const cancelled = app.cancelled.count;
  const held = app.held.count;
  const { status: end } = await unary(client, ECHO.Never, Buffer.from('x'), {
    given: cancel => app.held.reach(held + 1).then(cancel),
  });
  t.equal(end.code, status.CANCELLED);
  await app.cancelled.reach(cancelled + 1);
  const stream = client.makeServerStreamRequest(ECHO.Stuck.path, same, same, Buffer.from('x'));
  await once(stream, 'data');
  stream.cancel();
  t.equal((await drainStream(stream)).status.code, status.CANCELLED);
  await app.cancelled.reach(cancelled + 2);
  const bidi = client.makeBidiStreamRequest(ECHO.Both.path, same, same);
  bidi.write(Buffer.from('x'));
  await once(bidi, 'data');
  bidi.cancel();
  await drainStream(bidi);
  await app.cancelled.reach(cancelled + 3);
  t.match(await pair.inbound.access.take(l => l.path === ECHO.Never.path), {
    response_code: 0,
    response_flags: 'DC',
  });
});

t.test('a client that gives up at its deadline is heard by the server', async t => {
  const cancelled = app.cancelled.count;
  const { status: end } = await unary(connect(t), ECHO.Never, Buffer.from('x'), {
    options: { deadline: Date.now() + 1_000 },
  });
  t.equal(end.code, status.DEADLINE_EXCEEDED);
  await app.cancelled.reach(cancelled + 1);
});

t.test('policy denies with status 7, where the rest of the service is allowed', async t => {
  const client = connect(t);
  const { status: end } = await unary(client, ECHO.Denied, Buffer.from('x'));
  t.match(end, { code: status.PERMISSION_DENIED, details: 'RBAC: access denied' });
  const stream = client.makeBidiStreamRequest(ECHO.Denied.path, same, same);
  stream.write(Buffer.alloc(MIB));
  t.match((await drainStream(stream)).status, { code: status.PERMISSION_DENIED });
  t.match(await line('inbound', ECHO.Denied.path, 7), { policy: 'foo/denied', policy_decision: 'deny' });
  t.equal((await unary(client, ECHO.Unary, Buffer.from('x'))).status.code, status.OK);
});

t.test('a denial is one header section, in HTTP/2 and in HTTP/1.1, over either listener', async t => {
  const denied = { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '7' };
  const asked = { headers: { 'content-type': 'application/grpc', te: 'trailers' }, body: 'x' };
  for (const client of [
    await http2Plain(t, pair.outbound.ports.outbound, GRPC_HOST),
    await http2Tls(t, pair.inbound.ports.inbound, sleep),
  ]) {
    const { headers, trailers, body } = await client.ask(ECHO.Denied.path, asked);
    t.match(headers, { ...denied, 'grpc-message': 'RBAC: access denied' });
    t.same([Object.keys(trailers), body.length], [[], 0]);
  }
  const old = `POST ${ECHO.Denied.path} HTTP/1.1\r\nHost: ${GRPC_HOST}\r\nContent-Type: application/grpc\r\nContent-Length: 1\r\n\r\nx`;
  for (const wire of [
    await wirePlain(t, pair.outbound.ports.outbound),
    await wireTls(t, pair.inbound.ports.inbound, sleep),
  ]) {
    const reply = await wire.ask(old);
    t.match([reply.status, reply.header('grpc-status'), reply.body], [200, '7', '']);
  }
});

t.test('a server whose metadata is too large fails its call alone', async t => {
  const server = createServer({ maxSendHeaderBlockLength: 200_000 });
  const large = 'm'.repeat(70 * 1024);
  server.on('session', session => session.on('error', () => {}));
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    const type = { ':status': 200, 'content-type': 'application/grpc' };
    stream.on('error', () => {});
    stream.resume();
    if (headers[':path'] === '/head') stream.respond({ ...type, 'x-large': large });
    else stream.respond(type, { waitForTrailers: true });
    const trailers = headers[':path'] === '/trailers' ? { 'x-large': large } : {};
    stream.on('wantTrailers', () => stream.sendTrailers({ ...trailers, 'grpc-status': '0' }));
    stream.end(Buffer.from([0, 0, 0, 0, 1, 0x78]));
  });
  const other = await startGrpcPair(t, authority, { app: await listenUntilEnd(t, server) });
  const client = grpcClient(t, other.outbound.ports.outbound);
  const call = (path: string) => unary(client, { ...ECHO.Unary, path }, Buffer.from('x'));
  for (const path of ['/head', '/trailers']) {
    const [end, beside] = await Promise.all([call(path), call('/small')]);
    t.match(end.status, { code: status.UNAVAILABLE, details: /^upstream protocol error/ });
    t.equal(beside.status.code, status.OK);
    t.match(await other.inbound.access.take(l => l.path === path), { response_flags: 'UPE' });
  }
});

t.test('a service that nobody knows, and one whose server is away', async t => {
  const unknown = connect(t, { 'grpc.default_authority': 'other.foo' });
  t.equal((await unary(unknown, ECHO.Unary, Buffer.from('x'))).status.code, status.UNAVAILABLE);
  const port = await deadPort();
  const without = await startGrpcPair(t, authority, { app: port });
  const client = grpcClient(t, without.outbound.ports.outbound);
  t.equal((await unary(client, ECHO.Unary, Buffer.from('x'))).status.code, status.UNAVAILABLE);
  await startGrpcApp(t, { port });
  t.equal((await unary(client, ECHO.Unary, Buffer.from('x'))).status.code, status.OK, 'it came');
});

t.test('an app that answers in HTTP is counted by what its status stands for', async t => {
  const web = await startApp(t, (_, response) => {
    response.statusCode = 404;
    response.end('<html>');
  });
  const other = await startGrpcPair(t, authority, {
    app: web.port,
    speaks: 'http',
  });
  const client = grpcClient(t, other.outbound.ports.outbound);
  t.equal((await unary(client, ECHO.Unary, Buffer.from('x'))).status.code, status.UNIMPLEMENTED);
  for (const side of [other.inbound, other.outbound]) {
    const labels = { request_protocol: 'grpc', response_code: '404', grpc_response_status: '12' };
    t.equal(await side.metric('istio_requests_total', labels), 1);
    t.equal(await side.metric('istio_response_messages_total'), 0, 'what is no gRPC has no messages');
  }
});

t.test('a thousand calls at a time on one channel', async t => {
  const client = connect(t);
  const all = await Promise.all(
    Array.from({ length: 1_000 }, (_, i) => unary(client, ECHO.Unary, Buffer.from(`call ${i}`))),
  );
  t.equal(all.filter(({ status: end }) => end.code === status.OK).length, 1_000);
  t.ok(all.every(({ answer }, i) => String(answer) === `call ${i}`));
});

t.test('pings to keep a call alive, from both sides, offend nobody', async t => {
  const pings = { 'grpc.keepalive_time_ms': 10, 'grpc.keepalive_timeout_ms': 60_000 };
  const pinging = await startGrpcApp(t, { options: pings });
  const other = await startGrpcPair(t, authority, { app: pinging.port });
  const client = grpcClient(t, other.outbound.ports.outbound, {
    ...pings,
    'grpc.keepalive_permit_without_calls': 1,
  });
  const stream = client.makeServerStreamRequest(ECHO.Stuck.path, same, same, Buffer.from('x'), {
    deadline: Date.now() + 3_000,
  });
  const { status: end, parts } = await drainStream(stream);
  t.same(parts.map(String), ['first']);
  t.equal(end.code, status.DEADLINE_EXCEEDED, 'nothing else ended it');
  t.equal((await unary(client, ECHO.Unary, Buffer.from('x'))).status.code, status.OK);
  for (const side of [other.inbound, other.outbound])
    t.equal(await side.metric('outrider_http2_ended_total'), 0);
});

t.test('a client that pings without a call is answered', async t => {
  const { session } = await http2Plain(t, pair.outbound.ports.outbound, GRPC_HOST);
  await once(session, 'connect');
  for (let i = 0; i < 100; i++)
    await new Promise<void>((resolve, reject) => session.ping(error => (error ? reject(error) : resolve())));
});

t.test('messages that are compressed stay so', async t => {
  const gzip = { 'grpc.default_compression_algorithm': 2 };
  const client = connect(t, gzip);
  const large = Buffer.alloc(MIB, 'again and again ');
  const { status: end, answer } = await unary(client, ECHO.Unary, large);
  t.equal(end.code, status.OK);
  t.ok(answer?.equals(large));
  t.same(end.metadata.get('grpc-encoding'), []);
  const { bytes_received } = await pair.inbound.access.take(
    l => l.path === ECHO.Unary.path && l.bytes_received > 1_000 && l.bytes_received < MIB / 10,
  );
  t.ok(bytes_received < MIB / 10);
});
