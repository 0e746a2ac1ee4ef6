import t from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { get, type Received, startApp, valuesOf, wirePlain, wireTls } from '../peers.ts';
import { startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const client = await testIdentity(authority, 'foo/sleep');
const app = await startApp(t);
const sidecar = await startSidecar(t, {
  certs: temporaryIdentity(t, await testIdentity(authority, 'foo/httpbin')),
  app: app.port,
});
const wire = await wireTls(t, sidecar.ports.inbound, client);
const plain = await wirePlain(t, sidecar.ports.inbound);
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

async function received(...lines: string[]): Promise<Received> {
  return (await wire.ask(get('/', ...lines))).received();
}

t.test('x-request-id is kept, or made: the app and the log have the same', async t => {
  t.same(valuesOf(await received('X-Request-Id: mine'), 'x-request-id'), ['mine']);
  t.match(await sidecar.access.take(l => l.request_id === 'mine'), { response_code: 200 });
  const [made = ''] = valuesOf(await received(), 'x-request-id');
  t.match(made, UUID);
  t.match(await sidecar.access.take(l => l.request_id === made), { response_code: 200 });
  t.not(valuesOf(await received(), 'x-request-id')[0], made, 'another for each');
  t.match(valuesOf(await received('x-request-id:'), 'x-request-id'), [UUID], 'an empty one is none');
});

t.test('x-forwarded-proto is https on mutual TLS, and what a mesh peer says is kept', async t => {
  t.same(valuesOf(await received(), 'x-forwarded-proto'), ['https']);
  t.same(valuesOf(await received('x-forwarded-proto: http'), 'x-forwarded-proto'), ['http']);
  t.same(valuesOf(await received('x-forwarded-proto: gopher'), 'x-forwarded-proto'), ['https']);
  t.same(
    valuesOf(await received('x-forwarded-proto: http', 'x-forwarded-proto: https'), 'x-forwarded-proto'),
    ['https'],
  );
});

t.test('a plaintext client says nothing about its scheme that is believed', async t => {
  for (const line of ['x-forwarded-proto: https', 'X_Forwarded_Proto: https', 'accept: */*']) {
    const reply = (await plain.ask(get('/', line))).received();
    t.same(valuesOf(reply, 'x-forwarded-proto'), ['http']);
    t.same(valuesOf(reply, 'x_forwarded_proto'), []);
  }
});

t.test('traceparent passes, and its trace stands in the log', async t => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  t.same(valuesOf(await received(`traceparent: ${traceparent}`, 'tracestate: a=b'), 'traceparent'), [
    traceparent,
  ]);
  await sidecar.access.take(l => l.trace_id === '0af7651916cd43dd8448eb211c80319c');
  t.same(valuesOf(await received(), 'traceparent'), [], 'without tracing none is made');
});

t.test('what belongs to one connection is not passed on; the rest is, in its order and case', async t => {
  const reply = await received(
    'Connection: keep-alive, X-Mine, close-not',
    'X-Mine: 1',
    'Keep-Alive: timeout=5',
    'Proxy-Connection: keep-alive',
    'TE: gzip',
    'Upgrade: h2c',
    'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA',
    'x-envoy-peer-metadata: abc',
    'x-envoy-peer-metadata-id: def',
    'X-Odd-CaSe:   value  ',
    'Cookie: a=1',
    'cookie: b=2',
    'Accept:',
  );
  const own = new Set(['x-forwarded-client-cert', 'x-forwarded-proto', 'x-request-id', 'connection']);
  const lines: string[] = [];
  reply.rawHeaders.forEach((text, i, all) => {
    if (i % 2 === 0 && !own.has(text.toLowerCase())) lines.push(`${text}: ${all[i + 1]}`);
  });
  t.same(lines, ['host: app.example', 'X-Odd-CaSe: value', 'Cookie: a=1', 'cookie: b=2', 'Accept: ']);
});

t.test('what policy saw is what the app gets: the path is normalised before both', async t => {
  for (const [sent, forwarded] of [
    ['/a/../b', '/b'],
    ['/%61dmin?q=%61', '/admin?q=%61'],
    ['/x\\y', '/x/y'],
    ['/a#fragment', '/a'],
  ]) {
    t.equal((await wire.ask(get(sent as string))).received().url, forwarded, sent as string);
  }
  const refused = await wirePlain(t, sidecar.ports.inbound);
  const reply = await refused.ask(get('/a%00b'));
  t.same([reply.status, reply.body], [400, 'bad request: invalid path']);
});
