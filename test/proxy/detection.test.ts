import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import {
  dialTls,
  get,
  SIDECAR_TCP,
  startApp,
  startTcpApp,
  valuesOf,
  type Wire,
  wirePlain,
  wireTls,
} from '../peers.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const own = await testIdentity(authority, 'foo/httpbin');
const client = await testIdentity(authority, 'foo/sleep');
const XFCC = 'x-forwarded-client-cert';

/** Runs out while a test waits for its effect. */
const SHORT = ['--detect-timeout-ms', '50'];
const LONG = ['--detect-timeout-ms', '60000'];

const STRICT = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: foo}
spec: {mtls: {mode: STRICT}}
`;

async function start(t: Test, app: number, flags: readonly string[], manifests = 'kind: MeshConfig\n') {
  return startSidecar(t, { certs: temporaryIdentity(t, own), app, manifests, flags });
}

const SAYS_TCP = 'mutual TLS of a sidecar that says TCP';

/** The ways in on which the first bytes tell what a connection is: how they are called, and a client of each. */
const WAYS = {
  plaintext: { manifests: 'kind: MeshConfig\n', dial: (t: Test, port: number) => wirePlain(t, port) },
  'mutual TLS of a client that is no sidecar': { manifests: STRICT, dial: unmarked },
  [SAYS_TCP]: {
    manifests: 'kind: MeshConfig\n',
    dial: (t: Test, port: number) => wireTls(t, port, client, { ALPNProtocols: SIDECAR_TCP }),
  },
} as const;

/** Mutual TLS with no word of Istio's on what is inside. */
function unmarked(t: Test, port: number): Promise<Wire> {
  return wireTls(t, port, client, { ALPNProtocols: ['http/1.1'] });
}

/** Does the same on each of them. */
async function onEachWay(
  t: Test,
  app: number,
  flags: readonly string[],
  what: (sidecar: Sidecar, dial: () => Promise<Wire>, way: string) => Promise<void>,
): Promise<void> {
  for (const [way, { manifests, dial }] of Object.entries(WAYS)) {
    const sidecar = await start(t, app, flags, manifests);
    await what(sidecar, () => dial(t, sidecar.ports.inbound), way);
  }
}

/** Lets everything that was sent before be read: another connection of the only worker is served after it. */
async function settled(t: Test, sidecar: Sidecar): Promise<void> {
  await sidecar.metric('outrider_workers');
  (await wirePlain(t, sidecar.ports.inbound)).socket.destroy();
  await sidecar.metric('outrider_workers');
}

/** Waits until one connection is known to speak `protocol`. */
async function speaks(sidecar: Sidecar, protocol: string): Promise<boolean> {
  for (let i = 0; i < 1_000; i++) {
    const rows = JSON.parse((await sidecar.get('admin', '/connections')).body) as { protocol: string }[];
    if (rows.some(row => row.protocol === protocol)) return true;
  }
  return false;
}

t.test('what is sent byte by byte is what it is in one piece', async t => {
  const http = await startApp(t);
  await onEachWay(t, http.port, LONG, async (sidecar, dial, way) => {
    if (way === SAYS_TCP) return; // it is not kept waiting: see below
    const wire = await dial();
    for (const byte of get('/slow', `${XFCC}: evil`)) {
      wire.send(byte);
      await settled(t, sidecar);
    }
    const received = (await wire.reply()).received();
    t.equal(received.url, '/slow', way);
    t.notMatch(valuesOf(received, XFCC), ['evil'], way);
  });
  const echo = await startTcpApp(t, socket => socket.pipe(socket));
  await onEachWay(t, echo.port, LONG, async (sidecar, dial, way) => {
    const wire = await dial();
    for (const byte of 'GETTING no request\n') {
      wire.send(byte);
      await settled(t, sidecar);
    }
    t.equal((await wire.take(19)).toString(), 'GETTING no request\n', way);
  });
});

t.test('bytes that are no request go to the app as they are', async t => {
  const echo = await startTcpApp(t, socket => socket.pipe(socket));
  await onEachWay(t, echo.port, LONG, async (sidecar, dial, way) => {
    for (const bytes of ['*1\r\n$4\r\nPING\r\n', '\x00\x01\x02', 'get a\r\n', 'hello', 'Hello there']) {
      const wire = await dial();
      wire.send(bytes);
      t.equal((await wire.take(bytes.length)).toString('latin1'), bytes, way);
    }
    t.equal(await sidecar.metric('istio_requests_total'), 0);
  });
});

t.test('a prefix of a request that ends there is no request, and is passed on', async t => {
  const echo = await startTcpApp(t, socket => socket.pipe(socket));
  const sidecar = await start(t, echo.port, LONG, STRICT);
  const wire = await unmarked(t, sidecar.ports.inbound);
  wire.send('HELLO').socket.end();
  t.equal(await wire.rest(), 'HELLO');
});

t.test('what looks like HTTP and is malformed is refused as HTTP', async t => {
  const app = await startApp(t);
  const sidecar = await start(t, app.port, LONG, STRICT);
  for (const bytes of [
    'GET / HTTP/1.1\nhost: a\n\n',
    'GET  / HTTP/1.1\r\nhost: a\r\n\r\n',
    'get / http/1.1\r\n\r\n',
    '\n\nGET / HTTP/1.1\r\nhost: a\r\n\r\n',
    ' GET / HTTP/1.1\r\nhost: a\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  ]) {
    const wire = await unmarked(t, sidecar.ports.inbound);
    t.equal((await wire.ask(bytes)).status, 400, JSON.stringify(bytes));
  }
  const long = await unmarked(t, sidecar.ports.inbound);
  const reply = await long.ask(`BREW /${'a'.repeat(70_000)} HTTP/1.1\r\nhost: a\r\n${XFCC}: evil\r\n\r\n`);
  t.equal(reply.status, 431, 'a target longer than what is looked at is no way past');
  t.equal(app.connections(), 0);
});

t.test('a request line that comes in odd pieces is never whole at the app', async t => {
  const app = await startApp(t);
  const sidecar = await start(t, app.port, LONG, STRICT);
  for (const [begin, rest] of [
    ['zz', `z / HTTP/1.1\r\nhost: a\r\n${XFCC}: By=x;URI=spiffe://evil\r\n\r\n`],
    ['Foo', ` / HTTP/1.0\r\n${XFCC}: By=x;URI=spiffe://evil\r\n\r\n`],
  ] as const) {
    const wire = await unmarked(t, sidecar.ports.inbound);
    wire.send(begin);
    await settled(t, sidecar);
    wire.send(rest);
    await wire.rest().catch(() => '');
  }
  t.match(await sidecar.access.take(l => l.connection_termination_details === 'http_on_a_tcp_connection'), {
    bytes_received: 2,
  });
});

t.test('who says TCP is not kept waiting for what could still become a request', async t => {
  const echo = await startTcpApp(t, socket => socket.pipe(socket));
  const { manifests, dial } = WAYS[SAYS_TCP];
  const sidecar = await start(t, echo.port, LONG, manifests);
  for (const bytes of ['P', 'PING', 'GET', 'ABCD efgh']) {
    const wire = await dial(t, sidecar.ports.inbound);
    wire.send(bytes);
    t.equal((await wire.take(bytes.length)).toString(), bytes);
  }
  t.test('and does not get one past policy in pieces', async t => {
    const evil = get('/', `${XFCC}: By=x;URI=spiffe://evil`);
    for (const cut of [1, 3, 4, 7, 10]) {
      const app = await startApp(t);
      const own = await start(t, app.port, LONG, manifests);
      const wire = await dial(t, own.ports.inbound);
      wire.send(evil.slice(0, cut));
      await settled(t, own);
      wire.send(evil.slice(cut));
      const reply = await wire.reply().catch(() => null);
      if (reply !== null) t.notMatch(valuesOf(reply.received(), XFCC), ['evil'], `cut at ${cut}: a request`);
      else {
        const details = 'http_on_a_tcp_connection';
        t.match(await own.access.take(l => l.connection_termination_details === details), {
          bytes_received: cut,
        });
      }
    }
  });
});

t.test('when the client stays silent', async t => {
  t.test('an app that speaks first is heard', async t => {
    const greeter = await startTcpApp(t, socket => {
      socket.write('220 welcome\r\n');
      socket.pipe(socket);
    });
    await onEachWay(t, greeter.port, SHORT, async (_, dial, way) => {
      const wire = await dial();
      t.equal((await wire.take(13)).toString(), '220 welcome\r\n', way);
      wire.send('GET / HTTP/1.1\r\n');
      t.equal((await wire.take(16)).toString(), 'GET / HTTP/1.1\r\n', 'it is TCP from then on');
    });
  });

  t.test('and then sends a request, it is a request all the same', async t => {
    const app = await startApp(t);
    let connected = Promise.withResolvers<void>();
    const gate = await startTcpApp(t, socket => {
      connected.resolve();
      const onward = connect(app.port, '127.0.0.1');
      socket.pipe(onward).pipe(socket);
      onward.on('error', () => {});
    });
    await onEachWay(t, gate.port, SHORT, async (sidecar, dial, way) => {
      connected = Promise.withResolvers<void>();
      const wire = await dial();
      await connected.promise; // the app was connected to hear whether it speaks
      const received = (await wire.ask(get('/late', `${XFCC}: evil`))).received();
      t.equal(received.url, '/late', way);
      t.notMatch(valuesOf(received, XFCC), ['evil'], way);
      t.equal(await sidecar.metric('istio_requests_total', { response_code: '200' }), 1);
      t.equal(await sidecar.metric('istio_tcp_connections_opened_total'), 0);
    });
  });

  t.test('and then speaks TLS on a PERMISSIVE port, that is terminated', async t => {
    const connected = Promise.withResolvers<void>();
    const quiet = await startTcpApp(t, socket => {
      connected.resolve();
      socket.pipe(socket);
    });
    const sidecar = await start(t, quiet.port, SHORT);
    const raw = connect(sidecar.ports.inbound, '127.0.0.1');
    t.teardown(() => raw.destroy());
    await connected.promise;
    const { certChainPem: cert, keyPem: key } = client;
    const wire = dialTls(t, 0, client, { socket: raw, cert, key, ALPNProtocols: SIDECAR_TCP });
    wire.send('\x01ping');
    t.equal((await wire.take(5)).toString(), '\x01ping');
    t.equal(await sidecar.metric('outrider_tls_handshakes_total', { result: 'success' }), 1);
  });

  t.test('and TCP is denied, the app is not connected and requests are judged as ever', async t => {
    const app = await startApp(t);
    const sidecar = await start(
      t,
      app.port,
      SHORT,
      `${STRICT}---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: paths, namespace: foo}
spec: {rules: [{to: [{operation: {paths: [/open]}}]}]}
`,
    );
    const wire = await unmarked(t, sidecar.ports.inbound);
    const other = await unmarked(t, sidecar.ports.inbound);
    wire.send('G');
    t.ok(await speaks(sidecar, 'http1'), 'a prefix of a request is held for one');
    t.equal(app.connections(), 0);
    t.equal((await wire.ask(get('/open').slice(1))).status, 200);
    t.equal((await wire.ask(get('/shut'))).status, 403);
    t.equal((await other.ask(get('/shut'))).status, 403);
    t.equal((await other.ask(get('/open'))).status, 200);
  });

  t.test('and the app ends, the client is closed', async t => {
    const sidecar = await start(t, (await startTcpApp(t, socket => socket.end())).port, SHORT, STRICT);
    t.equal(await (await unmarked(t, sidecar.ports.inbound)).rest(), '');
  });

  t.test('and the app cannot be reached, the client is closed and the log says why', async t => {
    const sidecar = await start(t, 1, SHORT, STRICT);
    t.equal(await (await unmarked(t, sidecar.ports.inbound)).rest(), '');
    t.match(await sidecar.access.take(l => l.response_flags === 'UF'), {
      upstream_transport_failure_reason: 'ECONNREFUSED',
    });
  });
});
