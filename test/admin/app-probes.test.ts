/** The kubelet's probes as the telemetry listener does them, against real apps. */
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net';
import { Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import type { Address } from '../../src/admin/listener.ts';
import { createAdmin } from '../../src/admin/server.ts';
import { parseAppProbes } from '../../src/config/app-probes.ts';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { startSidecar } from '../sidecar.ts';
import { ANY_PORTS, ask, stateOf } from './admin.ts';

type Teardown = Pick<Test, 'teardown'>;

/** The telemetry listener with one probe at /app-health/web/readyz. */
async function probing(t: Test, probe: object): Promise<Address> {
  const read = parseAppProbes(JSON.stringify({ '/app-health/web/readyz': probe }));
  if (!read.ok) throw new Error(read.reason);
  const admin = await createAdmin({
    state: stateOf({}),
    addresses: ANY_PORTS,
    adminHosts: [],
    appProbes: read.probes,
    onError: error => t.fail(String(error)),
  });
  t.teardown(() => admin.close());
  return admin.addresses.telemetry;
}

async function listening(t: Teardown, server: Server): Promise<number> {
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.close();
    (server as { closeAllConnections?: () => void }).closeAllConnections?.();
  });
  return (server.address() as AddressInfo).port;
}

function app(t: Teardown, listener: RequestListener): Promise<number> {
  return listening(t, createServer(listener));
}

const READY = 'GET /app-health/web/readyz';

t.test("an HTTP probe reaches the app as the kubelet's does, and the app's answer comes back", async t => {
  const seen: string[] = [];
  const port = await app(t, ({ method, url, headers }, response) => {
    seen.push(
      `${method} ${url} ${headers.host} ${headers['user-agent']} ${headers['x-token']} ${headers['x-kept']}`,
    );
    response.writeHead(503, { 'content-type': 'text/html' }).end('busy');
  });
  const httpHeaders = [
    { name: 'Host', value: 'probe.shop' },
    { name: 'X-Token', value: 'a' },
  ];
  const at = await probing(t, { httpGet: { path: '/ready//a/../b?x=%2F', port, httpHeaders } });
  const reply = await ask(at, READY, { 'user-agent': 'kube-probe/1.34', 'x-token': 'b', 'x-kept': 'c' });
  t.match(reply, { status: 503, body: 'busy', headers: { 'content-type': 'text/html' } });
  t.same(seen, ['GET /ready//a/../b?x=%2F probe.shop kube-probe/1.34 a c']);
});

t.test('what was not injected is not found, and another method is not allowed', async t => {
  const port = await app(t, (_, response) => response.end());
  const at = await probing(t, { httpGet: { port } });
  t.match(await ask(at, READY), { status: 200 });
  t.match(await ask(at, 'POST /app-health/web/readyz'), { status: 405 });
  for (const path of ['/app-health/web/livez', '/app-health/other/readyz', '/app-health/web/readyz/']) {
    t.match(await ask(at, `GET ${path}`), { status: 404 }, path);
  }
});

t.test(
  'a redirect inside the app is followed, one that leads out of it is a 200, and a ring is a 500',
  async t => {
    const seen: string[] = [];
    const port = await app(t, ({ url = '' }, response) => {
      seen.push(url);
      const to: Record<string, string> = {
        '/in': 'there?a=1',
        '/out': 'http://elsewhere.example/x',
        '/strange': 'ftp://127.0.0.1/',
        '/ring': '/ring',
      };
      if (to[url] === undefined) response.writeHead(418).end();
      else response.writeHead(302, { location: to[url] }).end();
    });
    const status = async (path: string) =>
      (await ask(await probing(t, { httpGet: { path, port } }), READY)).status;
    t.equal(await status('/in'), 418);
    t.same(seen, ['/in', '/there?a=1']);
    t.equal(await status('/out'), 200);
    t.equal(await status('/strange'), 200);
    t.equal(await status('/ring'), 500);
  },
);

t.test('HTTPS is asked without a look at the certificate', async t => {
  const { keyPem, certChainPem } = await testIdentity(await testAuthority(), 'shop/web');
  const tls = createTlsServer({ key: keyPem, cert: certChainPem }, (_, response) => response.end('over TLS'));
  const port = await listening(t, tls);
  t.match(await ask(await probing(t, { httpGet: { port, scheme: 'HTTPS' } }), READY), {
    status: 200,
    body: 'over TLS',
  });
  t.match(await ask(await probing(t, { httpGet: { port } }), READY), { status: 500 }, 'HTTP to a TLS port');
});

t.test('an app that is not there, says nothing, or breaks off is a 500 with its reason', async t => {
  const closed = await listening(
    t,
    createTcpServer().on('connection', socket => socket.destroy()),
  );
  const silent = await app(t, () => {});
  const mute = await listening(
    t,
    createTcpServer().on('connection', socket => socket.on('error', () => {})),
  );
  const broken = await app(t, (_, response) =>
    response.writeHead(200, { 'content-length': 9 }).write('x', () => response.destroy()),
  );
  const ask500 = async (probe: object) => {
    const { status, body } = await ask(await probing(t, probe), READY);
    t.equal(status, 500);
    return body;
  };
  t.equal(await ask500({ httpGet: { port: 1 } }), 'ECONNREFUSED\n');
  t.equal(await ask500({ tcpSocket: { port: 1 } }), 'ECONNREFUSED\n');
  t.equal(await ask500({ grpc: { port: 1 } }), 'ECONNREFUSED\n');
  t.equal(await ask500({ httpGet: { port: silent }, timeoutSeconds: 0.05 }), 'timeout\n');
  t.equal(await ask500({ grpc: { port: mute }, timeoutSeconds: 0.05 }), 'timeout\n');
  t.not(await ask500({ httpGet: { port: closed } }), '');
  t.not(await ask500({ httpGet: { port: broken } }), '');
  t.not(await ask500({ grpc: { port: closed } }), '');
});

t.test('of a long answer the first 10 KiB come back, and a hanging rest is not waited for', async t => {
  const port = await app(t, (_, response) => response.write('x'.repeat(20_000)));
  const reply = await ask(await probing(t, { httpGet: { port } }), READY);
  t.equal(reply.status, 200);
  t.equal(reply.body, 'x'.repeat(10 * 1024));
});

t.test('a TCP probe is a connection', async t => {
  const port = await listening(t, createTcpServer());
  t.match(await ask(await probing(t, { tcpSocket: { port } }), READY), { status: 200, body: '' });
});

t.test('a gRPC probe asks the health service', async t => {
  const asked: string[] = [];
  const states: Record<string, number> = { '': 1, 'shop.Front': 1, 'shop.Back': 2 };
  const raw = (bytes: Buffer): Buffer => bytes;
  const server = new GrpcServer();
  server.addService(
    {
      Check: {
        path: '/grpc.health.v1.Health/Check',
        requestStream: false,
        responseStream: false,
        requestSerialize: raw,
        requestDeserialize: raw,
        responseSerialize: raw,
        responseDeserialize: raw,
      },
    },
    {
      Check: (call: { request: Buffer }, done: (error: object | null, answer?: Buffer) => void) => {
        const service = call.request.subarray(2).toString();
        asked.push(service);
        const state = states[service];
        if (state === undefined) done({ code: 5, details: 'unknown service' });
        else done(null, Buffer.from([0x08, state]));
      },
    },
  );
  t.teardown(() => server.forceShutdown());
  const port = await new Promise<number>((resolve, reject) => {
    const credentials = ServerCredentials.createInsecure();
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  const reply = async (service: string | null) => {
    const { status, body } = await ask(await probing(t, { grpc: { port, service } }), READY);
    return `${status} ${body.trim()}`;
  };
  t.equal(await reply(null), '200 ');
  t.equal(await reply('shop.Front'), '200 ');
  t.equal(await reply('shop.Back'), '500 NOT_SERVING');
  t.equal(await reply('x'.repeat(300)), '500 grpc-status 5');
  t.same(asked.slice(0, 3), ['', 'shop.Front', 'shop.Back']);
  const http = await app(t, (_, response) => response.end());
  t.match(
    await ask(await probing(t, { grpc: { port: http } }), READY),
    { status: 500 },
    'an app of HTTP/1.1',
  );
});

t.test('the variable is read strictly', async t => {
  t.match(parseAppProbes(undefined), { ok: true });
  t.match(parseAppProbes(''), { ok: true });
  for (const [text, reason] of [
    ['{', 'it is not JSON'],
    ['[]', 'the whole is not a mapping'],
    ['{"/config_dump":{"tcpSocket":{"port":1}}}', '"/config_dump" is no path of a probe'],
    ['{"/app-health/a/livez":{}}', '/app-health/a/livez asks neither httpGet, tcpSocket nor grpc'],
    ['{"/app-health/a/livez":{"httpGet":{"port":"http"}}}', '/app-health/a/livez: "http" is not a port'],
    ['{"/app-health/a/livez":{"tcpSocket":{"port":65536}}}', '/app-health/a/livez: 65536 is not a port'],
    [
      '{"/app-health/a/livez":{"httpGet":{"port":1,"httpHeaders":[{"name":"a\\r\\nb"}]}}}',
      '/app-health/a/livez: "a\\r\\nb" is not a header',
    ],
  ] as const) {
    t.same(parseAppProbes(text), { ok: false, reason }, text);
  }
});

t.test('a sidecar answers the probes that stand in its environment', async t => {
  const certs = temporaryIdentity(t, await testIdentity(await testAuthority(), 'shop/web'));
  const port = await app(t, ({ url }, response) => response.end(`here is ${url}`));
  const ISTIO_KUBE_APP_PROBERS = JSON.stringify({
    '/app-health/web/livez': { httpGet: { port, path: '/alive' } },
  });
  const sidecar = await startSidecar(t, { certs, app: port, environment: { ISTIO_KUBE_APP_PROBERS } });
  t.same(await sidecar.get('telemetry', '/app-health/web/livez'), { status: 200, body: 'here is /alive' });
  t.match(await sidecar.get('health', '/app-health/web/livez'), { status: 404 });
  t.match(await sidecar.get('admin', '/app-health/web/livez'), { status: 404 });
});
