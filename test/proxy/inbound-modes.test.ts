import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { createServer as createTlsServer } from 'node:tls';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { realHello } from '../net/hellos.ts';
import { dialTls, get, listenUntilEnd, SIDECAR_HTTP, SIDECAR_TCP, type Wire, wirePlain } from '../peers.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';
import { mutual, service } from './services.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const own = await testIdentity(authority, 'foo/httpbin');
const client = await testIdentity(authority, 'foo/sleep');
const theApps = await testIdentity(await testAuthority(), 'app/itself');
const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';
const NO_WORD = { ALPNProtocols: ['http/1.1'] };

const mtls = (mode: string): string => `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: mode, namespace: foo}
spec: {mtls: {mode: ${mode}}}
`;

const allow = (rule: string): string => `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: some, namespace: foo}
spec: {rules: [${rule}]}
`;

/** An app that takes what comes and says what it was: a request, bytes, or TLS, which it terminates itself. */
async function startAnyApp(t: Test): Promise<{ port: number; connections: () => number }> {
  let connections = 0;
  const answer = (socket: Socket, inTls: boolean): void => {
    let head = '';
    socket
      .on('error', () => {})
      .on('data', chunk => {
        head += chunk.toString('latin1');
        if (!head.startsWith('GET')) socket.write(inTls ? 'APP-TLS' : 'APP-TCP');
        else if (head.endsWith('\r\n\r\n')) {
          socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${head.length}\r\n\r\n${head}`);
          head = '';
        }
      });
  };
  const secure = createTlsServer({ cert: theApps.certChainPem, key: theApps.keyPem }, socket =>
    answer(socket, true),
  );
  secure.on('tlsClientError', () => {});
  const server = createServer(socket => {
    connections++;
    socket
      .on('error', () => {})
      .once('data', first => {
        socket.pause();
        socket.unshift(first);
        if (first[0] === 0x16) secure.emit('connection', socket);
        else {
          answer(socket, false);
          socket.resume();
        }
      });
  });
  return { port: await listenUntilEnd(t, server), connections: () => connections };
}

async function start(
  t: Test,
  app: number,
  manifests: string,
  flags: readonly string[] = [],
): Promise<Sidecar> {
  return startSidecar(t, { certs: temporaryIdentity(t, own), app, manifests, flags });
}

/** An answer of the app, of HTTP/1.1 or of HTTP/2. */
const TELLS = /APP-T..|\r\n\r\n[\s\S]*\r\n\r\n|^HTTP\/1\.1 4|^\0\0.\x04/;

/** What became of bytes: by what the app got of them and what the client was told. */
async function fateOf(wire: Wire, bytes: string): Promise<string> {
  wire.send(bytes);
  return wire
    .until(all => (TELLS.test(all.toString('latin1')) ? all : null))
    .then(all => {
      const text = all.toString('latin1');
      if (text.startsWith('HTTP/1.1 4')) return text.slice(9, 12);
      if (text.startsWith('\0')) return 'h2'; // the length of its SETTINGS
      if (/APP-T/.test(text)) return text.slice(4, 7).toLowerCase();
      if (!text.includes('x-request-id')) return 'tcp'; // the app got it as it was sent
      return text.includes(`URI=${SLEEP}`) ? 'request of sleep' : 'request of nobody';
    })
    .catch((error: Error) => (/no application protocol/i.test(error.message) ? 'alert' : 'closed'));
}

const REQUEST = get('/');
const BYTES = 'PING\n';
const KNOWN = 'request of sleep';
const NOBODY = 'request of nobody';

/** What a client offers by ALPN (null = it speaks no TLS), what it sends, and its fate on nine ports. */
const TABLE: readonly (readonly [
  string[] | null,
  string,
  Record<'strict' | 'permissive' | 'disable', string[]>,
])[] = [
  // On each: http, tcp, undeclared.
  [
    null,
    REQUEST,
    { strict: closed(), permissive: [NOBODY, 'tcp', NOBODY], disable: [NOBODY, 'tcp', NOBODY] },
  ],
  [null, BYTES, { strict: closed(), permissive: ['400', 'tcp', 'tcp'], disable: ['400', 'tcp', 'tcp'] }],
  [[], REQUEST, { strict: [KNOWN, 'tcp', KNOWN], permissive: ['closed', 'tls', 'tls'], disable: raw() }],
  [[], BYTES, { strict: ['400', 'tcp', 'tcp'], permissive: ['closed', 'tls', 'tls'], disable: raw() }],
  [['h2', 'http/1.1'], REQUEST, { strict: ['h2', 'tcp', KNOWN], permissive: raw(), disable: raw() }],
  [['http/1.1'], BYTES, { strict: ['400', 'tcp', 'tcp'], permissive: raw(), disable: raw() }],
  [['ISTIO'], BYTES, { strict: ['400', 'tcp', 'tcp'], permissive: raw(), disable: raw() }],
  [['h2'], BYTES, { strict: ['h2', 'tcp', 'h2'], permissive: raw(), disable: raw() }],
  [['istio'], REQUEST, { ...same([KNOWN, 'tcp', KNOWN]), disable: raw() }],
  [['istio'], BYTES, { ...same(['400', 'tcp', 'tcp']), disable: raw() }],
  [['istio-peer-exchange', 'istio'], BYTES, { ...same(['400', 'tcp', 'tcp']), disable: raw() }],
  [SIDECAR_HTTP, REQUEST, { ...same([KNOWN, 'tcp', KNOWN]), disable: raw() }],
  [SIDECAR_HTTP, BYTES, { ...same(['400', 'tcp', '400']), disable: raw() }],
  [['istio-http/1.0', 'istio', 'http/1.0'], REQUEST, { ...same([KNOWN, 'tcp', KNOWN]), disable: raw() }],
  [['http/1.1', 'istio-http/1.1'], BYTES, { ...same(['400', 'tcp', '400']), disable: raw() }],
  [
    ['istio', 'istio-http/1.1'],
    BYTES,
    { strict: ['400', 'tcp', '400'], permissive: ['400', 'tcp', 'tcp'], disable: raw() },
  ],
  [['istio-h2', 'istio', 'h2'], BYTES, { ...same(['h2', 'tcp', 'h2']), disable: raw() }],
];

function closed(): string[] {
  return ['closed', 'closed', 'closed'];
}

/** TLS is the app's own affair, where the app does not speak HTTP. */
function raw(): string[] {
  return ['closed', 'tls', 'tls'];
}

function same(fates: string[]) {
  return { strict: fates, permissive: fates };
}

for (const mode of ['strict', 'permissive', 'disable'] as const) {
  t.test(`what a port does with what comes first, in mode ${mode}`, async t => {
    const app = await startAnyApp(t);
    for (const [at, protocol] of ['http', 'tcp', 'auto'].entries()) {
      const flags = ['--protocol', `${app.port}=${protocol}`];
      const sidecar = await start(t, app.port, mtls(mode.toUpperCase()), flags);
      for (const [offered, bytes, fates] of TABLE) {
        const wire =
          offered === null
            ? await wirePlain(t, sidecar.ports.inbound)
            : dialTls(t, sidecar.ports.inbound, client, {
                ALPNProtocols: offered.length === 0 ? undefined : offered,
              } as object);
        // What the app answers inside its own TLS has the app's certificate.
        const expected = fates[mode][at] === 'tls' && bytes === REQUEST ? 'tcp' : fates[mode][at];
        t.equal(
          await fateOf(wire, bytes),
          expected,
          `${protocol}: ${offered ?? 'plaintext'} ${bytes.trim()}`,
        );
        wire.socket.destroy();
      }
    }
  });
}

t.test('TLS that is passed on to the app', async t => {
  const app = await startAnyApp(t);
  const sidecar = await start(t, app.port, mtls('PERMISSIVE'));
  const { inbound } = sidecar.ports;

  t.test('is the app’s from the first byte, and of nobody in the log', async t => {
    const wire = dialTls(t, inbound, client, { ...NO_WORD, servername: 'App.Example' });
    await once(wire.socket, 'secureConnect');
    t.match(wire.socket.getPeerX509Certificate()?.subjectAltName, 'spiffe://cluster.local/ns/app/sa/itself');
    t.equal(await fateOf(wire, BYTES), 'tls');
    wire.socket.destroy();
    t.match(await sidecar.access.take(l => l.requested_server_name === 'app.example'), {
      source_principal: null,
      connection_security_policy: 'none',
      tls_version: null,
      response_code: 0,
    });
  });

  t.test('may come byte by byte', async t => {
    const hello = await realHello({ ...NO_WORD, servername: 'slow.example' });
    const wire = await wirePlain(t, inbound);
    for (const byte of hello) {
      wire.send(Uint8Array.of(byte));
      await new Promise(resolve => setImmediate(resolve));
    }
    t.equal((await wire.take(1))[0], 0x16, 'the app’s part of the handshake');
    wire.socket.destroy();
    t.match(await sidecar.access.take(l => l.requested_server_name === 'slow.example'), {
      bytes_received: hello.length,
    });
  });

  t.test(
    'is decided as a plaintext connection, by its server name too, before the app is connected',
    async t => {
      await sidecar.configure(
        mtls('PERMISSIVE') + allow('{when: [{key: connection.sni, values: [app.example]}]}'),
      );
      const before = app.connections();
      const other = dialTls(t, inbound, client, { ...NO_WORD, servername: 'other.example' });
      t.equal(await fateOf(other, BYTES), 'closed');
      t.equal(app.connections(), before);
      t.equal(
        await fateOf(dialTls(t, inbound, client, { ...NO_WORD, servername: 'APP.example' }), BYTES),
        'tls',
      );
      await sidecar.configure(
        mtls('PERMISSIVE') + allow('{from: [{source: {principals: [cluster.local/ns/foo/sa/sleep]}}]}'),
      );
      t.equal(
        await fateOf(dialTls(t, inbound, client, NO_WORD), BYTES),
        'closed',
        'a certificate nobody asked for',
      );
      t.equal(await fateOf(dialTls(t, inbound, client, { ALPNProtocols: SIDECAR_TCP }), BYTES), 'tcp');
    },
  );
});

t.test('what a sidecar says is TCP is decided as TCP, even when it is a request', async t => {
  const app = await startAnyApp(t);
  const gets = '{to: [{operation: {methods: [GET]}}]}';
  const sidecar = await start(t, app.port, mtls('PERMISSIVE') + allow(gets));
  const { inbound } = sidecar.ports;
  const ask = (ALPNProtocols: readonly string[]) =>
    fateOf(dialTls(t, inbound, client, { ALPNProtocols: [...ALPNProtocols] }), REQUEST);
  t.equal(await ask(SIDECAR_HTTP), KNOWN);
  t.equal(await ask(SIDECAR_TCP), 'closed', 'a rule with methods allows no TCP');
  t.match(await sidecar.access.take(l => l.policy_decision === 'deny'), {
    connection_termination_details: 'rbac_access_denied_matched_policy[none]',
    source_principal: SLEEP,
  });
  t.equal(app.connections(), 1);

  t.test('and as a request, which keeps headers that are not its own from the app', async t => {
    await sidecar.configure(mtls('PERMISSIVE') + allow('{from: [{source: {namespaces: [foo]}}]}'));
    const wire = dialTls(t, inbound, client, { ALPNProtocols: SIDECAR_TCP });
    t.equal(await fateOf(wire, get('/', 'x-forwarded-client-cert: By=x;URI=spiffe://evil')), KNOWN);
    t.equal(await fateOf(wire, REQUEST), KNOWN);
    await sidecar.configure(mtls('PERMISSIVE') + allow(gets));
    t.equal(await wire.rest().then(() => 'closed'), 'closed', 'a new policy closes it, as it closes TCP');
  });

  t.test('on a STRICT port the first bytes decide where the client says nothing', async t => {
    await sidecar.configure(mtls('STRICT') + allow(gets));
    t.equal(await ask(['http/1.1']), KNOWN);
    t.equal(await ask(SIDECAR_TCP), 'closed');
    t.equal(await fateOf(dialTls(t, inbound, client, NO_WORD), BYTES), 'closed');
  });
});

t.test('a hello that is none, or never ends', async t => {
  const app = await startAnyApp(t);
  const hello = await realHello({ ALPNProtocols: SIDECAR_HTTP });
  const broken = Buffer.from(hello);
  broken[5] = 2; // a ServerHello
  const endless = Buffer.concat([Buffer.from('1603014000', 'hex'), Buffer.alloc(17_000)]);
  for (const protocol of ['http', 'tcp', 'auto']) {
    const sidecar = await start(t, app.port, mtls('PERMISSIVE'), [
      '--protocol',
      `${app.port}=${protocol}`,
      '--detect-timeout-ms',
      '300',
    ]);
    const send = async (bytes: Buffer, end = false): Promise<Wire> => {
      const wire = (await wirePlain(t, sidecar.ports.inbound)).send(bytes);
      if (end) wire.socket.end();
      return wire;
    };
    const said = (details: string) => sidecar.access.take(l => l.response_code_details === details);
    t.equal(await (await send(endless)).rest(), '', protocol);
    t.match(await said('client_hello_too_large'), { response_flags: 'NR', bytes_sent: 0 });
    for (const length of [1, 2, 5, 100, hello.length - 1]) {
      t.equal(
        await (await send(hello.subarray(0, length), true)).rest(),
        '',
        `${protocol}: an end after ${length}`,
      );
      t.match(await said('connection_reset'), { response_flags: 'NR' });
    }
    t.equal(
      await (await send(hello.subarray(0, 100))).rest(),
      '',
      'it is not waited for longer than for others',
    );
    t.match(await said('detect_timeout'), { response_flags: 'NR' });
    const before = app.connections();
    const wire = await send(broken, true);
    if (protocol === 'http') t.match(await wire.rest(), /^HTTP\/1\.1 400 /);
    else {
      await wire.rest();
      t.equal(app.connections(), before + 1, `${protocol}: bytes of nobody’s, for the app`);
    }
  }
});

/** A TLS client of which only the first `count` bytes are sent until it is let go on. */
async function dialHalfway(t: Test, port: number, count: number, ALPNProtocols: readonly string[]) {
  const raw = await wirePlain(t, port);
  const go = Promise.withResolvers<void>();
  const network = new Duplex({
    read() {},
    async write(chunk: Buffer, _encoding, done) {
      const held = Math.max(0, count - raw.socket.bytesWritten);
      raw.send(chunk.subarray(0, held));
      await go.promise;
      raw.send(chunk.subarray(held));
      done();
    },
  });
  const gone = (): unknown => wire.socket.destroy();
  raw.socket
    .on('data', chunk => network.push(chunk))
    .on('end', gone)
    .on('close', gone);
  const wire = dialTls(t, 0, client, { socket: network, ALPNProtocols: [...ALPNProtocols] });
  /** Lets the rest go, and tells who was met: `terminated`, `passed on` to the app, or `closed`. */
  const fate = async (): Promise<string> => {
    go.resolve();
    const secure = once(wire.socket, 'secureConnect').then(
      () => true,
      () => false,
    );
    if (!(await Promise.race([secure, raw.rest().then(() => false)]))) return 'closed';
    const names = wire.socket.getPeerX509Certificate()?.subjectAltName ?? '';
    if (names.includes('/sa/itself')) return 'passed on';
    return (await fateOf(wire, REQUEST)) === KNOWN ? 'terminated' : 'closed';
  };
  return { raw, fate };
}

t.test('the mode in force when the hello is whole decides', async t => {
  const app = await startAnyApp(t);
  const { ALPNProtocols: others } = NO_WORD;
  for (const [protocol, from, sent, to, offered, expected] of [
    ['auto', 'PERMISSIVE', 300, 'DISABLE', others, 'passed on'],
    ['auto', 'PERMISSIVE', 300, 'STRICT', others, 'terminated'],
    ['auto', 'PERMISSIVE', 0, 'STRICT', others, 'terminated'],
    ['tcp', 'PERMISSIVE', 300, 'DISABLE', others, 'passed on'],
    ['http', 'PERMISSIVE', 300, 'DISABLE', others, 'closed'],
    ['http', 'PERMISSIVE', 1, 'STRICT', others, 'terminated'],
    ['http', 'DISABLE', 1, 'PERMISSIVE', SIDECAR_HTTP, 'terminated'],
    ['http', 'DISABLE', 1, 'PERMISSIVE', others, 'closed'],
    ['auto', 'DISABLE', 0, 'PERMISSIVE', SIDECAR_TCP, 'terminated'],
    ['auto', 'DISABLE', 0, 'PERMISSIVE', others, 'passed on'],
    // A handshake that a STRICT port began is finished; a port in DISABLE has none.
    ['auto', 'STRICT', 300, 'PERMISSIVE', others, 'terminated'],
    ['auto', 'STRICT', 300, 'DISABLE', others, 'closed'],
  ] as const) {
    const says = `${protocol}: ${from}, ${sent} bytes, ${to}, ${offered}`;
    const flags = ['--protocol', `${app.port}=${protocol}`, '--handshake-timeout-ms', '60000'];
    const sidecar = await start(t, app.port, mtls(from), [...flags, '--detect-timeout-ms', '60000']);
    const { fate } = await dialHalfway(t, sidecar.ports.inbound, sent, offered);
    await openInbound(sidecar);
    await sidecar.configure(mtls(to));
    t.equal(await fate(), expected, says);
  }
});

/** Waits until the sidecar has accepted the one connection there is. */
async function openInbound(sidecar: Sidecar): Promise<void> {
  while ((await sidecar.metric('outrider_connections_open', { direction: 'inbound' })) !== 1);
}

t.test('between two sidecars', async t => {
  const app = await startAnyApp(t);
  for (const mode of ['PERMISSIVE', 'STRICT']) {
    const server = await start(t, app.port, mtls(mode));
    const names = mutual('spiffe://cluster.local/ns/foo/sa/httpbin');
    const at = { endpoints: [server.ports.inbound], policy: names };
    const services =
      service({ ...at, host: 'http.example' }) +
      service({ ...at, host: 'tcp.example', port: 5432, protocol: 'TCP' });
    const caller = await startSidecar(t, {
      certs: temporaryIdentity(t, client),
      app: app.port,
      manifests: services,
    });

    t.test(`requests are requests of the caller, ${mode}`, async t => {
      const wire = await wirePlain(t, caller.ports.outbound);
      const reply = await wire.ask('GET / HTTP/1.1\r\nhost: http.example\r\n\r\n');
      t.match(reply.body, `URI=${SLEEP}`);
    });

    t.test(`bytes in a tunnel are bytes of the caller, ${mode}`, async t => {
      const wire = await wirePlain(t, caller.ports.outbound);
      t.equal((await wire.connect('tcp.example:5432')).status, 200);
      t.equal(await fateOf(wire, BYTES), 'tcp');
      wire.socket.destroy();
      t.match(await server.access.take(l => l.bytes_received === BYTES.length), { source_principal: SLEEP });
    });
  }
});
