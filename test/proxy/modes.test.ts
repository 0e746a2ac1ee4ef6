import { once } from 'node:events';
import { connect } from 'node:net';
import { connect as connectSecure } from 'node:tls';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { dialTls, get, SIDECAR_HTTP, startApp, startTcpApp, Wire, wirePlain, wireTls } from '../peers.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const own = await testIdentity(authority, 'foo/httpbin');
const client = await testIdentity(authority, 'foo/sleep');

function mtls(mode: string, ports = ''): string {
  const selector = ports === '' ? '' : 'selector: {matchLabels: {app: httpbin}}, ';
  return `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: mode, namespace: foo}
spec: {${selector}mtls: {mode: ${mode}}${ports && `, portLevelMtls: {${ports}}`}}
`;
}

const LABELS = ['--labels', 'app=httpbin'];

async function start(t: Test, manifests: string, flags: readonly string[] = []) {
  const app = await startApp(t);
  const certs = temporaryIdentity(t, own);
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests, flags: [...LABELS, ...flags] });
  return { app, sidecar, inbound: sidecar.ports.inbound };
}

/** The status that a peer gets, or 'closed'. */
async function statusOf(wire: Wire): Promise<number | 'closed'> {
  return wire.ask(get('/')).then(
    ({ status }) => status,
    () => 'closed' as const,
  );
}

async function verdicts(t: Test, port: number) {
  return {
    mtls: await statusOf(dialTls(t, port, client)),
    plaintext: await statusOf(await wirePlain(t, port)),
    anonymousTls: await statusOf(dialTls(t, port, null)),
  };
}

t.test('without a PeerAuthentication the port is PERMISSIVE, as in Istio', async t => {
  const { inbound } = await start(t, 'kind: MeshConfig\n');
  t.same(await verdicts(t, inbound), { mtls: 200, plaintext: 200, anonymousTls: 'closed' });
});

t.test('STRICT takes mutual TLS only', async t => {
  const { inbound } = await start(t, mtls('STRICT'));
  t.same(await verdicts(t, inbound), { mtls: 200, plaintext: 'closed', anonymousTls: 'closed' });
});

t.test('DISABLE takes plaintext; TLS to an HTTP port is closed and logged', async t => {
  const app = await startApp(t);
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: app.port,
    manifests: mtls('DISABLE'),
    flags: ['--protocol', `${app.port}=http`],
  });
  t.same(await verdicts(t, sidecar.ports.inbound), {
    mtls: 'closed',
    plaintext: 200,
    anonymousTls: 'closed',
  });
  t.match(await sidecar.access.take(l => l.response_code_details === 'mtls_disabled'), {
    response_flags: 'NR',
  });
});

t.test('the mode of a port overrides that of its workload, both ways', async t => {
  const app = await startApp(t);
  for (const [workload, port, expected] of [
    ['STRICT', 'DISABLE', { mtls: 'closed', plaintext: 200, anonymousTls: 'closed' }],
    ['STRICT', 'PERMISSIVE', { mtls: 200, plaintext: 200, anonymousTls: 'closed' }],
    ['DISABLE', 'STRICT', { mtls: 200, plaintext: 'closed', anonymousTls: 'closed' }],
  ] as const) {
    const sidecar = await startSidecar(t, {
      certs: temporaryIdentity(t, own),
      app: app.port,
      manifests: mtls(workload, `${app.port}: {mode: ${port}}, 1: {mode: ${workload}}`),
      flags: [...LABELS, '--protocol', `${app.port}=http`],
    });
    t.same(await verdicts(t, sidecar.ports.inbound), expected, `${workload} with port ${port}`);
  }
});

t.test('on a PERMISSIVE port', async t => {
  const { sidecar, inbound } = await start(t, mtls('PERMISSIVE'), ['--detect-timeout-ms', '60000']);

  t.test('who is who stands in the log', async t => {
    await (await wirePlain(t, inbound)).ask(get('/plain'));
    await (await wireTls(t, inbound, client)).ask(get('/mtls'));
    t.match(await sidecar.access.take(l => l.path === '/plain'), {
      connection_security_policy: 'none',
      source_principal: null,
      tls_version: null,
    });
    t.match(await sidecar.access.take(l => l.path === '/mtls'), {
      connection_security_policy: 'mutual_tls',
      source_principal: 'spiffe://cluster.local/ns/foo/sa/sleep',
    });
  });

  t.test('a request sent byte by byte is the request that it is in one piece', async t => {
    const wire = await wirePlain(t, inbound);
    for (const byte of get('/slow')) await written(wire, byte);
    t.equal((await wire.reply()).received().url, '/slow');
  });

  t.test('a TLS hello sent byte by byte is a TLS hello', async t => {
    const raw = connect({ host: '127.0.0.1', port: inbound, noDelay: true });
    t.teardown(() => raw.destroy());
    await once(raw, 'connect');
    const write = raw.write.bind(raw) as (bytes: Uint8Array) => boolean;
    const { Duplex } = await import('node:stream');
    const slow = new Duplex({
      read() {},
      async write(chunk: Buffer, _encoding, done) {
        for (const byte of chunk) {
          write(Uint8Array.of(byte));
          await new Promise(resolve => setImmediate(resolve));
        }
        done();
      },
    });
    raw.on('data', chunk => slow.push(chunk));
    const { certChainPem: cert, keyPem: key } = client;
    const wire = new Wire(
      connectSecure({ socket: slow, cert, key, rejectUnauthorized: false, ALPNProtocols: SIDECAR_HTTP }),
    );
    t.equal((await wire.ask(get('/'))).status, 200);
  });

  t.test('a first byte that is late does not change what the rest is', async t => {
    const plain = await wirePlain(t, inbound);
    const half = await wirePlain(t, inbound);
    half.send('G');
    // Both are open and undecided while others come and go.
    await (await wireTls(t, inbound, client)).ask(get('/'));
    t.equal((await plain.ask(get('/late'))).received().url, '/late');
    t.equal((await half.ask(get('/half').slice(1))).received().url, '/half');
  });

  t.test('a client that leaves before it spoke leaves nothing behind', async t => {
    for (let i = 0; i < 20; i++) (await wirePlain(t, inbound)).socket.destroy();
    const ended = await wirePlain(t, inbound);
    ended.socket.end();
    t.equal(await ended.rest(), '');
    await (await wireTls(t, inbound, client)).ask(get('/'));
  });
});

/** Sends one piece and lets the other side's event loop turn. */
async function written(wire: Wire, bytes: string): Promise<void> {
  await new Promise<void>(resolve => wire.socket.write(bytes, () => resolve()));
  await new Promise(resolve => setImmediate(resolve));
}

t.test('a reload to STRICT', async t => {
  const start2 = await start(t, mtls('PERMISSIVE'), ['--detect-timeout-ms', '60000']);
  const { sidecar, inbound, app } = start2;
  const idle = await wirePlain(t, inbound);
  const kept = await wirePlain(t, inbound);
  const secure = await wireTls(t, inbound, client);
  t.equal((await kept.ask(get('/before'))).status, 200);
  t.equal((await secure.ask(get('/before'))).status, 200);
  const silent = await wirePlain(t, inbound);
  const begun = await wirePlain(t, inbound);
  begun.send('GET / HT');
  t.equal(await openInbound(sidecar, 5), 5);
  await sidecar.configure(mtls('STRICT'));

  t.test('closes live plaintext connections, in whatever state', async t => {
    t.equal(await kept.rest(), '');
    t.equal(await begun.rest(), '');
    silent.send(get('/silent'));
    t.equal(await silent.rest(), '');
    idle.send(get('/idle'));
    t.equal(await idle.rest(), '');
  });

  t.test('leaves mutual TLS connections as they are', async t => {
    t.equal((await secure.ask(get('/after'))).status, 200);
    t.equal(app.connections() > 0, true);
  });
});

t.test('a reload to STRICT closes live plaintext TCP connections', async t => {
  const echo = await startTcpApp(t, socket => socket.pipe(socket));
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: echo.port,
    manifests: mtls('DISABLE'),
    flags: ['--protocol', `${echo.port}=tcp`],
  });
  const wire = await wirePlain(t, sidecar.ports.inbound);
  wire.send('ping');
  t.equal((await wire.take(4)).toString(), 'ping');
  await sidecar.configure(mtls('STRICT'));
  await wire.rest();
  t.match(await sidecar.access.take(l => l.bytes_received === 4), { bytes_sent: 4, response_code: 0 });
});

/** Waits until the sidecar says that `count` inbound connections are open. */
async function openInbound(sidecar: Sidecar, count: number): Promise<number> {
  for (let i = 0; i < 200; i++) {
    const open = await sidecar.metric('outrider_connections_open', { direction: 'inbound' });
    if (open === count) return open;
  }
  return sidecar.metric('outrider_connections_open', { direction: 'inbound' });
}
