import type { ServerResponse } from 'node:http';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { deadPort, get, startApp, startTcpApp, startTlsPeer, wirePlain } from '../peers.ts';
import { startSidecar } from '../sidecar.ts';
import { mutual, service } from './services.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const sleep = await testIdentity(authority, 'foo/sleep');
const PLAIN = 'tls: {mode: DISABLE}';
const ask = (path: string) => get(path).replace('app.example', 'a.foo');

async function startClient(t: Test, manifests: string, flags: readonly string[] = []) {
  return startSidecar(t, {
    certs: temporaryIdentity(t, sleep),
    manifests: `kind: MeshConfig${manifests}`,
    flags,
  });
}

t.test('requests go on to another endpoint when one is dead, whatever the balancer', async t => {
  const app = await startApp(t);
  for (const balancer of ['LEAST_REQUEST', 'ROUND_ROBIN', 'RANDOM']) {
    const client = await startClient(
      t,
      service({
        host: 'a.foo',
        endpoints: [await deadPort(), app.port],
        policy: `${PLAIN}, loadBalancer: {simple: ${balancer}}`,
      }),
    );
    const wire = await wirePlain(t, client.ports.outbound);
    for (let i = 0; i < 60; i++) t.equal((await wire.ask(ask('/'))).status, 200, balancer);
    t.ok(await client.metric('outrider_upstream_connects_total', { result: 'ECONNREFUSED' }));
  }
});

t.test('so they do when one is somebody else', async t => {
  const right = await testIdentity(authority, 'foo/httpbin');
  const wrong = await testIdentity(authority, 'foo/other');
  const serve = (name: string) => (socket: import('node:tls').TLSSocket) =>
    socket.on('data', () => socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${name.length}\r\n\r\n${name}`));
  const good = await startTlsPeer(t, right, serve('good'));
  const bad = await startTlsPeer(t, wrong, serve('bad'));
  const client = await startClient(
    t,
    service({
      host: 'a.foo',
      endpoints: [bad.port, good.port],
      policy: mutual('spiffe://cluster.local/ns/foo/sa/httpbin'),
    }),
  );
  const wire = await wirePlain(t, client.ports.outbound);
  for (let i = 0; i < 40; i++) t.equal((await wire.ask(ask('/'))).body, 'good');
  t.equal(bad.received(), '');
});

t.test('when all are dead the answer is 503 with the reason', async t => {
  const endpoints = [await deadPort(), await deadPort()];
  const client = await startClient(t, service({ host: 'a.foo', endpoints, policy: PLAIN }));
  const wire = await wirePlain(t, client.ports.outbound);
  const reply = await wire.ask(ask('/dead'));
  t.same([reply.status, reply.body], [503, 'upstream connect error: ECONNREFUSED']);
  t.match(await client.access.take(l => l.path === '/dead'), {
    response_flags: 'UF',
    upstream_transport_failure_reason: 'ECONNREFUSED',
  });
  t.equal((await wire.ask(ask('/again'))).status, 503, 'and the connection goes on');
});

t.test('an endpoint that fails is ejected, until none is left', async t => {
  const policy = `${PLAIN}, outlierDetection: {consecutive5xxErrors: 2, baseEjectionTime: 1h, maxEjectionPercent: 100}`;
  const client = await startClient(t, service({ host: 'a.foo', endpoints: [await deadPort()], policy }));
  const wire = await wirePlain(t, client.ports.outbound);
  t.equal((await wire.ask(ask('/'))).body, 'upstream connect error: ECONNREFUSED');
  const reply = await wire.ask(ask('/'));
  t.same([reply.status, reply.body], [503, 'no healthy upstream']);
  await client.log.take(line => line.msg === 'endpoint ejected');
});

t.test('above the limits the answer is 503 overflow; what waits gets its turn', async t => {
  const held: ServerResponse[] = [];
  let wake = (): void => {};
  const app = await startApp(t, (_, response) => {
    held.push(response);
    wake();
  });
  const heldIs = async (count: number): Promise<void> => {
    while (held.length < count) await new Promise<void>(resolve => (wake = resolve));
  };
  const client = await startClient(
    t,
    service({
      host: 'a.foo',
      endpoints: [app.port],
      policy: `${PLAIN}, connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}`,
    }),
  );
  const [first, second, third] = await Promise.all([1, 2, 3].map(() => wirePlain(t, client.ports.outbound)));
  first!.send(ask('/first'));
  await heldIs(1);
  second!.send(ask('/second'));
  await client.metric('outrider_workers'); // it waits now
  const over = await third!.ask(ask('/third'));
  t.same([over.status, over.body], [503, 'overflow']);
  t.match(await client.access.take(l => l.path === '/third'), { response_flags: 'UO' });
  held[0]!.end('1');
  t.equal((await first!.reply()).body, '1');
  await heldIs(2);
  held[1]!.end('2');
  t.equal((await second!.reply()).body, '2');
  t.equal(app.connections(), 1);

  t.test('a client that leaves the queue makes room in it', async t => {
    first!.send(ask('/4'));
    await heldIs(3);
    const waiting = await wirePlain(t, client.ports.outbound);
    waiting.send(ask('/5'));
    await client.metric('outrider_workers');
    waiting.socket.resetAndDestroy(); // a mere end could be a half-close
    await client.access.take(l => l.path === '/5' && l.response_flags === 'DC');
    second!.send(ask('/6'));
    await client.metric('outrider_workers');
    held[2]!.end('4');
    await first!.reply();
    await heldIs(4);
    held[3]!.end('6');
    t.equal((await second!.reply()).body, '6');
  });
});

t.test('an upstream that closes before it answered is 503, or tried again where that is safe', async t => {
  let connections = 0;
  const flaky = await startTcpApp(t, socket => {
    connections++;
    let requests = 0;
    socket.on('data', () => {
      if (++requests === 1) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
      else socket.destroy();
    });
  });
  const client = await startClient(t, service({ host: 'a.foo', endpoints: [flaky.port], policy: PLAIN }));
  const wire = await wirePlain(t, client.ports.outbound);
  t.equal((await wire.ask(ask('/1'))).status, 200);
  t.equal((await wire.ask(ask('/2'))).status, 200, 'the kept connection broke: a GET is sent once more');
  t.equal(connections, 2);
  const post = await wire.ask('POST /3 HTTP/1.1\r\nhost: a.foo\r\ncontent-length: 2\r\n\r\nhi');
  t.same([post.status, post.body], [503, 'upstream reset before response'], 'a POST is not');
  t.match(await client.access.take(l => l.path === '/3'), { response_flags: 'UC' });
});

t.test('an upstream that never answers is 504 in its time', async t => {
  const silent = await startTcpApp(t, socket => socket.resume());
  const client = await startClient(t, service({ host: 'a.foo', endpoints: [silent.port], policy: PLAIN }), [
    '--response-timeout-ms',
    '100',
  ]);
  const wire = await wirePlain(t, client.ports.outbound);
  const reply = await wire.ask(ask('/slow'));
  t.same([reply.status, reply.body], [504, 'upstream request timeout']);
  t.match(await client.access.take(l => l.path === '/slow'), { response_flags: 'UT' });
});

t.test('an upstream that answers nonsense is 502', async t => {
  const odd = await startTcpApp(t, socket => socket.once('data', () => socket.write('HELLO THERE\r\n\r\n')));
  const client = await startClient(t, service({ host: 'a.foo', endpoints: [odd.port], policy: PLAIN }));
  const wire = await wirePlain(t, client.ports.outbound);
  const reply = await wire.ask(ask('/odd'));
  t.equal(reply.status, 502);
  t.match(reply.body, /^upstream protocol error: /);
  t.match(await client.access.take(l => l.path === '/odd'), { response_flags: 'UPE' });
});

t.test('failures to a gRPC client are gRPC', async t => {
  const client = await startClient(
    t,
    service({ host: 'a.foo', endpoints: [await deadPort()], policy: PLAIN }),
  );
  const wire = await wirePlain(t, client.ports.outbound);
  const reply = await wire.ask(
    'POST /pkg.Service/Method HTTP/1.1\r\nhost: a.foo\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n',
  );
  t.same([reply.status, reply.header('grpc-status')], [200, '14']);
  t.match(reply.header('grpc-message'), 'ECONNREFUSED');
});
