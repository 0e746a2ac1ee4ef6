/** `grpc-timeout`, kept for clients that do not look at the clock themselves. */
import {
  type ClientHttp2Stream,
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { ECHO, GRPC_HOST, startInbound, Tally } from '../grpc-peers.ts';
import { type Http2Client, http2Plain, http2Tls, startHttp2App } from '../http2-peers.ts';
import { listenUntilEnd, startApp, wirePlain } from '../peers.ts';
import { service } from '../proxy/services.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const own = await testIdentity(authority, 'foo/httpbin');
const sleep = await testIdentity(authority, 'foo/sleep');
const LATE = { response_flags: 'UT', response_code_details: 'max_duration_timeout', grpc_status: 4 };
const CANCEL = 8;

/** A message of gRPC. */
function framed(text: string, bytes = text.length): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(bytes, 1);
  return Buffer.concat([prefix, Buffer.from(text)]);
}

interface Outcome {
  readonly head: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** What the stream was reset with; 0 = it was not. */
  readonly reset: number;
  readonly ms: number;
}

/** A call by hand. Its request stays open where `open`. */
function call(
  { session, authority: host }: Http2Client,
  path: string,
  timeout: string,
  { open = false } = {},
): { readonly stream: ClientHttp2Stream; readonly outcome: Promise<Outcome> } {
  const began = performance.now();
  const stream = session.request(
    {
      ':method': 'POST',
      ':path': path,
      ':authority': host,
      'content-type': 'application/grpc',
      te: 'trailers',
      'grpc-timeout': timeout,
    },
    { endStream: false },
  );
  let [head, trailers]: IncomingHttpHeaders[] = [{}, {}];
  const chunks: Buffer[] = [];
  stream.on('response', found => {
    head = found;
  });
  stream.on('trailers', found => {
    trailers = found;
  });
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('error', () => {});
  if (open) stream.write(framed('x'));
  else stream.end(framed('x'));
  const outcome = new Promise<Outcome>(resolve => {
    stream.on('close', () => {
      const body = Buffer.concat(chunks);
      const ms = performance.now() - began;
      resolve({ head: head ?? {}, trailers: trailers ?? {}, body, reset: stream.rstCode ?? 0, ms });
    });
  });
  return { stream, outcome };
}

interface Side {
  readonly what: string;
  readonly sidecar: Sidecar;
  readonly client: Http2Client;
}

/** Each hub alone, with what its clients speak. */
async function sides(t: Test, app: number): Promise<Side[]> {
  const inbound = await startInbound(t, { app, serverIdentity: temporaryIdentity(t, own) });
  const outbound = await startSidecar(t, {
    certs: temporaryIdentity(t, sleep),
    manifests: `kind: MeshConfig${service({
      host: GRPC_HOST,
      endpoints: [app],
      protocol: 'GRPC',
      policy: 'tls: {mode: DISABLE}',
    })}`,
  });
  return [
    { what: 'inbound', sidecar: inbound, client: await http2Tls(t, inbound.ports.inbound, sleep) },
    {
      what: 'outbound',
      sidecar: outbound,
      client: await http2Plain(t, outbound.ports.outbound, GRPC_HOST),
    },
  ];
}

/** A server that does not look at the clock either: what a call gets is said by its path. */
async function startPatientApp(t: { teardown(fn: () => unknown): unknown }) {
  const cancelled = new Tally();
  const server = createServer();
  server.on('session', session => session.on('error', () => {}));
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    const path = headers[':path'];
    stream.on('error', () => {});
    stream.on('close', () => {
      if (stream.rstCode === CANCEL) cancelled.add();
    });
    stream.resume();
    if (path === ECHO.Never.path || path === ECHO.Gather.path) return;
    const unary = path === ECHO.Unary.path;
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: unary });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    if (unary) stream.end(framed('x'));
    else stream.write(path === ECHO.Stuck.path ? framed('first') : framed('half', 1_000));
  });
  return { port: await listenUntilEnd(t, server), cancelled };
}

const app = await startPatientApp(t);
const both = await sides(t, app.port);

for (const { what, sidecar, client } of both) {
  t.test(`${what}: a call without an answer ends at its deadline, not before`, async t => {
    const cancelled = app.cancelled.count;
    const { head, trailers, body, reset, ms } = await call(client, ECHO.Never.path, '700m').outcome;
    t.match(head, { ':status': 200, 'grpc-status': '4', 'grpc-message': 'upstream request timeout' });
    t.same([Object.keys(trailers), body.length, reset], [[], 0, 0]);
    t.ok(ms >= 700, `${ms} ms`);
    await app.cancelled.reach(cancelled + 1);
    t.match(await sidecar.access.take(l => l.path === ECHO.Never.path), { ...LATE, response_code: 200 });
    t.equal(
      await sidecar.metric('istio_requests_total', { grpc_response_status: '4', response_flags: 'UT' }),
      1,
    );
  });

  t.test(`${what}: one whose request is still coming, too`, async t => {
    const cancelled = app.cancelled.count;
    const { head, reset } = await call(client, ECHO.Gather.path, '300000u', { open: true }).outcome;
    t.match(head, { ':status': 200, 'grpc-status': '4' });
    t.equal(reset, 0);
    await app.cancelled.reach(cancelled + 1);
    t.match(await sidecar.access.take(l => l.path === ECHO.Gather.path), LATE);
  });

  t.test(`${what}: where the answer has begun the status comes in its trailers`, async t => {
    const cancelled = app.cancelled.count;
    const { head, trailers, body, reset } = await call(client, ECHO.Stuck.path, '1S').outcome;
    t.match([head[':status'], head['grpc-status'], reset], [200, undefined, 0]);
    t.same(body, framed('first'));
    t.match(trailers, { 'grpc-status': '4', 'grpc-message': 'upstream request timeout' });
    await app.cancelled.reach(cancelled + 1);
    t.match(await sidecar.access.take(l => l.path === ECHO.Stuck.path), LATE);
  });

  t.test(`${what}: in the middle of a message only a reset is understood`, async t => {
    const { head, trailers, body, reset } = await call(client, '/half', '500m').outcome;
    t.match(head, { ':status': 200 });
    t.same([Object.keys(trailers), reset], [[], CANCEL]);
    t.same(body, framed('half', 1_000));
    t.match(await sidecar.access.take(l => l.path === '/half'), {
      response_flags: 'UT',
      response_code_details: 'max_duration_timeout',
    });
  });

  t.test(`${what}: a call that is answered in time is left alone`, async t => {
    const { trailers, body } = await call(client, ECHO.Unary.path, '10S').outcome;
    t.match(trailers, { 'grpc-status': '0' });
    t.same(body, framed('x'));
    t.match(await sidecar.access.take(l => l.path === ECHO.Unary.path), {
      response_flags: '-',
      response_code_details: 'via_upstream',
      grpc_status: 0,
    });
  });

  t.test(`${what}: what is no timeout sets none`, async t => {
    const wrong = ['0m', '700', '1s', '-1S', '100000000n', '1 m', ''].map(timeout =>
      call(client, ECHO.Never.path, timeout),
    );
    let over = 0;
    for (const { outcome } of wrong) void outcome.then(() => over++);
    await call(client, ECHO.Never.path, '700m').outcome;
    t.match(await sidecar.access.take(l => l.path === ECHO.Never.path), LATE);
    t.equal(over, 0);
    for (const { stream } of wrong) stream.close(CANCEL);
    for (const _ of wrong)
      t.match(await sidecar.access.take(l => l.path === ECHO.Never.path), { response_flags: 'DC' });
  });
}

t.test('a client in a hurry has no endpoint ejected', async t => {
  const outbound = await startSidecar(t, {
    certs: temporaryIdentity(t, sleep),
    manifests: `kind: MeshConfig${service({
      host: GRPC_HOST,
      endpoints: [app.port],
      protocol: 'GRPC',
      policy:
        'tls: {mode: DISABLE}, outlierDetection: {consecutiveGatewayErrors: 1, baseEjectionTime: 60s, maxEjectionPercent: 100}',
    })}`,
  });
  const client = await http2Plain(t, outbound.ports.outbound, GRPC_HOST);
  t.match((await call(client, ECHO.Never.path, '1m').outcome).head, { 'grpc-status': '4' });
  t.match((await call(client, ECHO.Unary.path, '10S').outcome).trailers, { 'grpc-status': '0' });
});

t.test('what is no gRPC has no deadline, whatever it says', async t => {
  const web = await startHttp2App(t, (stream, { headers }) => {
    setTimeout(() => {
      stream.respond({ ':status': 200, 'x-timeout': headers[headers.indexOf('grpc-timeout') + 1] });
      stream.end('late');
    }, 600);
  });
  const [{ client }] = (await sides(t, web.port)) as [Side, Side];
  const reply = await client.ask('/', { headers: { 'grpc-timeout': '1m' }, body: 'x' });
  t.match([reply.status, reply.body.toString(), reply.headers['x-timeout']], [200, 'late', '1m']);
});

t.test('gRPC in HTTP/1.1 has one too', async t => {
  const web = await startApp(t, () => {});
  const outbound = await startSidecar(t, {
    certs: temporaryIdentity(t, sleep),
    manifests: `kind: MeshConfig${service({
      host: GRPC_HOST,
      endpoints: [web.port],
      policy: 'tls: {mode: DISABLE}',
    })}`,
  });
  const wire = await wirePlain(t, outbound.ports.outbound);
  const reply = await wire.ask(
    `POST /old HTTP/1.1\r\nHost: ${GRPC_HOST}\r\nContent-Type: application/grpc\r\nGrpc-Timeout: 500m\r\nContent-Length: 0\r\n\r\n`,
  );
  t.match([reply.status, reply.header('grpc-status')], [200, '4']);
  t.match(await outbound.access.take(l => l.path === '/old'), LATE);
});
