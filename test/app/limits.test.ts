import { once } from 'node:events';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { dialTls, get, startApp, startTcpApp, type Wire, wirePlain, wireTls } from '../peers.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const own = await testIdentity(authority, 'foo/httpbin');
const client = await testIdentity(authority, 'foo/sleep');
const STRICT = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: foo}
spec: {mtls: {mode: STRICT}}
`;

async function start(t: Test, flags: readonly string[], manifests = STRICT) {
  const app = await startApp(t);
  const certs = temporaryIdentity(t, own);
  const declared = ['--protocol', `${app.port}=http`];
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests, flags: [...flags, ...declared] });
  return { app, sidecar, inbound: sidecar.ports.inbound };
}

/** Sends `bytes` one by one for as long as the connection stands, each after the last was read. */
async function dribble(sidecar: Sidecar, wire: Wire, bytes: Iterable<string | Uint8Array>): Promise<void> {
  for (const byte of bytes) {
    if (wire.ended !== null) return;
    wire.send(byte);
    await sidecar.metric('outrider_workers');
  }
}

function* endless(head: string, more: string): Generator<string> {
  yield* head;
  for (;;) yield more;
}

async function gone(sidecar: Sidecar): Promise<number> {
  let open = -1;
  for (let i = 0; i < 500 && open !== 0; i++) open = await sidecar.metric('outrider_connections_open');
  return open;
}

t.test('above --max-connections a connection is closed at once; the others do not notice', async t => {
  const { sidecar, inbound } = await start(t, ['--max-connections', '3']);
  const wires = [];
  for (let i = 0; i < 3; i++) wires.push(await wireTls(t, inbound, client));
  for (let i = 0; i < 5; i++) {
    const over = dialTls(t, inbound, client);
    t.equal(await over.rest(), '');
  }
  for (const wire of wires) t.equal((await wire.ask(get('/'))).status, 200);
  wires[0]!.socket.destroy();
  while ((await sidecar.metric('outrider_connections_open')) === 3);
  t.equal((await (await wireTls(t, inbound, client)).ask(get('/'))).status, 200);
});

t.test('a handshake that does not come to its end is closed after --handshake-timeout-ms', async t => {
  const { sidecar, inbound } = await start(t, ['--handshake-timeout-ms', '300']);
  const hello = Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]);

  const silent = await wirePlain(t, inbound);
  const half = (await wirePlain(t, inbound)).send(hello);
  const slow = await wirePlain(t, inbound);
  await dribble(sidecar, slow, endless(hello.toString('latin1'), '\x01'));
  for (const wire of [silent, half, slow]) {
    t.equal(await wire.rest(), '');
    t.match(await sidecar.access.take(l => l.downstream_remote_address === `127.0.0.1:${wire.localPort}`), {
      response_code_details: 'handshake_timeout',
    });
  }
  t.equal(await sidecar.metric('outrider_tls_handshakes_total', { reason: 'handshake_timeout' }), 3);
  t.equal(await gone(sidecar), 0);
  t.equal((await (await wireTls(t, inbound, client)).ask(get('/'))).status, 200);
});

t.test('a header section that does not come to its end gets 408 after --header-timeout-ms', async t => {
  const { sidecar, inbound } = await start(t, ['--header-timeout-ms', '300']);
  const half = (await wireTls(t, inbound, client)).send('GET / HTTP/1.1\r\nhost:');
  t.equal((await half.reply()).status, 408);
  const slow = await wireTls(t, inbound, client);
  await dribble(sidecar, slow, endless('GET / HTTP/1.1\r\n', 'a'));
  t.match(await slow.rest(), /^HTTP\/1\.1 408 /);

  t.test('the next request of a kept connection has the same time, from its first byte', async t => {
    const kept = await wireTls(t, inbound, client);
    t.equal((await kept.ask(get('/'))).status, 200);
    t.equal((await kept.send('GET /next HT').reply()).status, 408);
  });

  t.test('a body may take longer', async t => {
    const body = await wireTls(t, inbound, client);
    body.send('POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n');
    const late = await wireTls(t, inbound, client);
    t.equal((await late.send('GET').reply()).status, 408); // by now the time is over
    t.equal((await body.ask('ok')).received().body, 'ok');
  });
});

t.test('a connection that is idle is closed after --idle-timeout-ms', async t => {
  const { sidecar, inbound } = await start(t, ['--idle-timeout-ms', '300']);
  const kept = await wireTls(t, inbound, client);
  t.equal((await kept.ask(get('/'))).status, 200);
  t.equal(await kept.rest(), '');

  const echo = await startTcpApp(t, socket => socket.pipe(socket));
  const tcp = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: echo.port,
    flags: ['--idle-timeout-ms', '300', '--protocol', `${echo.port}=tcp`],
  });
  const stream = await wireTls(t, tcp.ports.inbound, client);
  stream.send('a');
  t.equal(await stream.rest(), 'a');
  t.match(await tcp.access.take(l => l.bytes_received === 1), {
    connection_termination_details: 'idle_timeout',
  });
  t.equal(await gone(sidecar), 0);
});

t.test('a header section above its limits gets 431', async t => {
  const { app, inbound } = await start(t, []);
  for (const lines of [
    [`x-big: ${'a'.repeat(61_440)}`],
    Array.from({ length: 101 }, (_, i) => `x-${i}: 1`),
  ]) {
    const wire = await wireTls(t, inbound, client);
    t.equal((await wire.ask(get('/', ...lines))).status, 431);
    await wire.rest();
  }
  const fits = await wireTls(t, inbound, client);
  t.equal(
    (await fits.ask(get('/', `x-big: ${'a'.repeat(50_000)}`))).status,
    431,
    "the app's own limit (Node: 16 KiB)",
  );
  t.equal(app.connections(), 1);
});

t.test('a client that does not read its responses stops them, and memory stays bounded', async t => {
  const MIB = 1024 * 1024;
  const block = Buffer.alloc(MIB, 7);
  let written = 0;
  const app = await startApp(t, async (_, response) => {
    response.setHeader('content-length', 64 * MIB);
    for (let i = 0; i < 64; i++) {
      written += MIB;
      if (!response.write(block)) await new Promise(resolve => response.once('drain', resolve));
    }
    response.end();
  });
  const sidecar = await startSidecar(t, { certs: temporaryIdentity(t, own), app: app.port });
  const before = await sidecar.metric('outrider_resident_memory_bytes');
  const sockets = [];
  for (let i = 0; i < 8; i++) {
    const { socket } = await wireTls(t, sidecar.ports.inbound, client);
    socket
      .removeAllListeners('data')
      .pause()
      .write(get(`/${i}`));
    sockets.push(socket);
  }
  for (let last = -1; written !== last; ) {
    last = written;
    for (let i = 0; i < 50; i++) await sidecar.metric('outrider_workers');
  }
  t.ok(written < 8 * 24 * MIB, `${written} bytes were written`); // kernel buffers, mostly
  const grown = (await sidecar.metric('outrider_resident_memory_bytes')) - before;
  t.ok(grown < 96 * MIB, `${grown} bytes for 8 responses of 64 MiB each`);
  const [first] = sockets;
  let received = 0;
  first?.resume().on('data', chunk => {
    received += chunk.length;
  });
  while (received < 64 * MIB) await once(first!, 'data');
  t.pass('and goes on where it stopped');
});
