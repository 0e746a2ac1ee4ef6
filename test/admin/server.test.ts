import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import t from 'tap';
import { createAdmin } from '../../src/admin/server.ts';
import { deadPort } from '../peers.ts';
import { ANY_PORTS, ask, exchange, open, stateOf } from './admin.ts';

const READY = { ready: () => ({ ok: true, reason: '', detail: { generation: 3 } }) };
const NOT_READY = {
  ready: () => ({ ok: false, reason: 'no identity loaded', detail: { failure: 'key_mismatch' } }),
};

t.test('readiness is LIVE or a 503 that says why, on admin and health, in JSON when asked', async t => {
  const yes = await open(t, READY);
  const no = await open(t, NOT_READY);
  for (const [listener, path] of [
    ['admin', '/ready'],
    ['admin', '/healthz/ready'],
    ['health', '/healthz/ready'],
  ] as const) {
    const good = await ask(yes.admin.addresses[listener], `GET ${path}`);
    t.match(good, { status: 200, body: 'LIVE\n' }, `${listener} ${path}`);
    const bad = await ask(no.admin.addresses[listener], `GET ${path}`);
    t.match(bad, { status: 503, body: 'no identity loaded\n' }, `${listener} ${path}`);
    const verbose = await ask(no.admin.addresses[listener], `GET ${path}?verbose`);
    t.equal(verbose.status, 503);
    t.match(verbose.headers['content-type'], 'application/json');
    t.same(JSON.parse(verbose.body), { ready: false, reason: 'no identity loaded', failure: 'key_mismatch' });
  }
  t.same(JSON.parse((await ask(yes.admin.addresses.admin, 'GET /ready?verbose')).body), {
    ready: true,
    reason: null,
    generation: 3,
  });
  t.match(await ask(no.admin.addresses.health, 'GET /healthz/live'), { status: 200, body: 'LIVE\n' });
});

t.test('health and telemetry serve their own paths and nothing else', async t => {
  const { admin } = await open(t, { ...READY, metrics: async () => 'page\n' });
  const { health, telemetry } = admin.addresses;
  for (const path of [
    '/',
    '/ready',
    '/config_dump',
    '/certs',
    '/stats/prometheus',
    '/metrics',
    '/explain',
    '/drain',
  ]) {
    t.equal((await ask(health, `GET ${path}`)).status, 404, `health ${path}`);
  }
  for (const path of ['/', '/ready', '/healthz/ready', '/config_dump', '/quitquitquit']) {
    t.equal((await ask(telemetry, `GET ${path}`)).status, 404, `telemetry ${path}`);
  }
  for (const path of ['/stats/prometheus', '/metrics']) {
    const reply = await ask(telemetry, `GET ${path}`, { host: 'prometheus.example' });
    t.match(reply, { status: 200, body: 'page\n' }, 'any Host may scrape');
    t.equal(reply.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  }
  t.equal((await ask(health, 'GET /healthz/ready', { host: '10.1.2.3:15021' })).status, 200, 'and probe');
  t.match(await ask(health, 'POST /healthz/ready'), { status: 405, headers: { allow: 'GET' } });
});

t.test('admin shows what is in force, as JSON that no cache keeps', async t => {
  const { admin } = await open(t, {
    configDump: () => ({ resources: [{ kind: 'PeerAuthentication' }] }),
    certs: () => ({ chain: [{ serial: '0a' }] }),
    connections: async () => [{ peer: 'spiffe://cluster.local/ns/bar/sa/sleep' }],
    metrics: async () => 'page\n',
  });
  const at = admin.addresses.admin;
  for (const [path, expected] of [
    ['/config_dump', { resources: [{ kind: 'PeerAuthentication' }] }],
    ['/certs', { chain: [{ serial: '0a' }] }],
    ['/connections', [{ peer: 'spiffe://cluster.local/ns/bar/sa/sleep' }]],
  ] as const) {
    const reply = await ask(at, `GET ${path}`);
    t.equal(reply.status, 200, path);
    t.same(JSON.parse(reply.body), expected);
    t.match(reply.headers, {
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    });
  }
  t.match(await ask(at, 'GET /stats/prometheus'), { status: 200, body: 'page\n' });
  t.match((await ask(at, 'GET /')).body, 'GET  /certs');
});

t.test(
  'a Host that is not loopback gets 403, whatever it asks: a web page cannot rebind its name to this port',
  async t => {
    const { admin, errors } = await open(t, READY, ['ops.example', '10.1.2.3']);
    const at = admin.addresses.admin;
    const allowed = [
      'localhost',
      'localhost:15000',
      'LOCALHOST',
      'app.localhost',
      '127.0.0.1',
      '127.9.9.9:1',
      '[::1]',
      '[::1]:15000',
      'ops.example',
      'OPS.example:15000',
      '10.1.2.3:80',
    ];
    const refused = [
      'evil.example',
      'localhost.evil.example',
      'notlocalhost',
      '127.0.0.1.evil.example',
      '1127.0.0.1',
      '10.1.2.4',
      '[::2]',
      'sub.ops.example',
      'localhost:1:2',
      'user@localhost',
      '',
      '0.0.0.0',
    ];
    for (const host of allowed) t.equal((await ask(at, 'GET /ready', { host })).status, 200, host);
    for (const host of refused) t.equal((await ask(at, 'GET /ready', { host })).status, 403, host);
    t.equal((await ask(at, 'POST /drain', { host: 'evil.example' })).status, 403);
    t.equal((await exchange(at, 'GET /ready HTTP/1.0\r\n\r\n')).status, 403, 'no Host at all');
    t.same(errors, []);
  },
);

t.test('a page of another site cannot make a browser drain or quit', async t => {
  let drained = 0;
  const { admin } = await open(t, { drain: () => drained++ });
  const at = admin.addresses.admin;
  const host = `localhost:${at.port}`;
  for (const fields of [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { origin: 'http://localhost:1' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
  ] as Record<string, string>[]) {
    t.equal((await ask(at, 'POST /drain', fields)).status, 403, JSON.stringify(fields));
  }
  t.equal(drained, 0);
  t.equal(
    (await ask(at, 'POST /drain', { origin: `http://${host}`, 'sec-fetch-site': 'same-origin' })).status,
    200,
  );
  t.equal(drained, 1);
});

t.test('another method gets 405 and the one that is allowed', async t => {
  const { admin } = await open(t, {});
  const at = admin.addresses.admin;
  const gets = [
    '/',
    '/ready',
    '/healthz/ready',
    '/stats/prometheus',
    '/config_dump',
    '/certs',
    '/connections',
  ];
  const posts = ['/explain', '/drain', '/quitquitquit', '/logging?level=debug'];
  for (const path of gets) {
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      t.match(
        await ask(at, `${method} ${path}`),
        { status: 405, headers: { allow: 'GET' } },
        `${method} ${path}`,
      );
    }
  }
  for (const path of posts) {
    t.match(await ask(at, `GET ${path}`), { status: 405, headers: { allow: 'POST' } }, `GET ${path}`);
  }
  t.equal((await ask(at, 'GET /ready/')).status, 404);
  t.equal((await ask(at, 'GET /../ready')).status, 404);
  t.equal((await ask(at, 'OPTIONS *')).status, 404);
});

t.test('drain, quit and the log level act; quit only once its answer is out', async t => {
  const acts: string[] = [];
  const { admin } = await open(t, {
    drain: () => acts.push('drain'),
    quit: () => acts.push('quit'),
    setLogLevel: level => {
      if (level !== 'debug') return `unknown level "${level}"`;
      acts.push(level);
      return null;
    },
  });
  const at = admin.addresses.admin;
  t.match(await ask(at, 'POST /drain'), { status: 200, body: 'draining\n' });
  t.match(await ask(at, 'POST /logging?level=debug'), { status: 200, body: 'level: debug\n' });
  t.match(await ask(at, 'POST /logging?level=loud'), { status: 400, body: 'unknown level "loud"\n' });
  t.equal((await ask(at, 'POST /logging')).status, 400);
  t.match(await ask(at, 'POST /quitquitquit'), { status: 200 });
  await new Promise(resolve => setImmediate(resolve));
  t.same(acts, ['drain', 'debug', 'quit']);
});

t.test('explain takes described requests and answers a line each, with the status it is given', async t => {
  const bodies: string[] = [];
  const { admin } = await open(t, {
    explain: async body => {
      bodies.push(body);
      return body === 'x'
        ? { status: 400, lines: ['{"error":"line 1: not JSON"}'] }
        : { status: 200, lines: ['{}', '{}'] };
    },
  });
  const at = admin.addresses.admin;
  const body = '{"destination":{"port":80}}\n{"id":"ü"}\n';
  t.match(await ask(at, 'POST /explain', {}, body), { status: 200, body: '{}\n{}\n' });
  t.match(await ask(at, 'POST /explain', { 'transfer-encoding': 'chunked', 'content-length': '' }, ''), {
    status: 400,
  });
  t.match(await ask(at, 'POST /explain', {}, 'x'), { status: 400, body: '{"error":"line 1: not JSON"}\n' });
  t.same(bodies, [body, 'x']);
});

t.test('a body over 1 MiB gets 413 and is not read to its end', async t => {
  const { admin, errors } = await open(t, { explain: () => ({ status: 200, lines: [] }) });
  const at = admin.addresses.admin;
  const declared = await ask(at, 'POST /explain', { 'content-length': String(2 << 20) }, 'x');
  t.match(declared, { status: 413, headers: { connection: 'close' } });
  const size = (1 << 20) + 1;
  const chunked = `${size.toString(16)}\r\n${'x'.repeat(size)}\r\n`; // and no end
  const head = `POST /explain HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n`;
  t.equal((await exchange(at, head + chunked)).status, 413);
  const just = await ask(at, 'POST /explain', {}, 'x'.repeat(1 << 20));
  t.equal(just.status, 200);
  t.same(errors, []);
});

t.test('a handler that fails gives a bare 500, and the error to the log', async t => {
  const { admin, errors } = await open(t, {});
  const reply = await ask(admin.addresses.admin, 'GET /certs');
  t.match(reply, { status: 500, body: 'internal error\n' });
  t.match(errors, [{ message: /certs was called/ }]);
  const scrape = await ask(admin.addresses.telemetry, 'GET /metrics');
  t.match(scrape, { status: 500, body: 'internal error\n' });
});

t.test('one connection serves many requests', async t => {
  const { admin } = await open(t, { ...READY, drain: () => {} });
  const at = admin.addresses.admin;
  const one = 'GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n';
  const refused = 'PUT /ready HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\nabc';
  const last = 'POST /drain HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n';
  const { body } = await exchange(at, one + refused + one + last);
  t.equal(body.split('HTTP/1.1 ').length, 4, 'three more answers follow the first');
});

t.test('a client that goes away in its body has asked nothing, and is no error', async t => {
  const { admin, errors } = await open(t, { ...READY, quit: () => t.fail('quit on half a request') });
  const at = admin.addresses.admin;
  const gone = connect(at.port, at.host);
  gone.write('POST /quitquitquit HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nabc');
  await once(gone, 'connect');
  gone.destroy();
  t.equal((await ask(at, 'GET /ready')).status, 200);
  await admin.close();
  t.same(errors, []);
});

t.test('scrapes at the same time share one page', async t => {
  let pages = 0;
  const { promise, resolve } = Promise.withResolvers<string>();
  const { admin } = await open(t, {
    metrics: () => {
      pages++;
      return promise;
    },
  });
  const at = admin.addresses.telemetry;
  const first = connect(at.port, at.host).setEncoding('utf8');
  const second = connect(at.port, at.host).setEncoding('utf8');
  for (const socket of [first, second])
    socket.write('GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
  while (pages === 0) await new Promise(again => setImmediate(again));
  resolve('page\n');
  for (const socket of [first, second]) t.match((await once(socket, 'data'))[0], 'page\n');
  t.ok(pages <= 2, 'at most one a turn');
});

t.test('a POST from another machine gets 403', async t => {
  const outside = Object.values(networkInterfaces())
    .flat()
    .find(one => one?.family === 'IPv4' && !one.internal)?.address;
  if (outside === undefined) return t.pass('no other address on this machine to come from');
  const admin = await createAdmin({
    state: stateOf({ ...READY, drain: () => t.fail('drained from outside') }),
    addresses: { ...ANY_PORTS, admin: { host: outside, port: 0 } },
    adminHosts: [outside],
    onError: error => t.fail('no error', { error }),
  });
  t.teardown(() => admin.close());
  t.equal((await ask(admin.addresses.admin, 'POST /drain', { host: outside })).status, 403);
  t.equal((await ask(admin.addresses.admin, 'GET /ready', { host: outside })).status, 200);
});

t.test('a port that is taken is an error, and nothing stays bound', async t => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  t.teardown(() => other.close());
  const taken = { host: '127.0.0.1', port: (other.address() as AddressInfo).port };
  const options = { state: stateOf({}), adminHosts: [], onError: () => {} };
  await t.rejects(createAdmin({ ...options, addresses: { ...ANY_PORTS, telemetry: taken } }), {
    code: 'EADDRINUSE',
  });
  const free = { host: '127.0.0.1', port: await deadPort() };
  await t.rejects(createAdmin({ ...options, addresses: { ...ANY_PORTS, admin: free, telemetry: taken } }), {
    code: 'EADDRINUSE',
  });
  await t.rejects(once(connect(free.port, free.host), 'connect'), { code: 'ECONNREFUSED' });
});

t.test('close ends idle connections at once and lets an answer under way finish', async t => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  let asked = false;
  const { admin } = await open(t, {
    ...READY,
    connections: () => {
      asked = true;
      return promise;
    },
  });
  const at = admin.addresses.admin;
  const idle = connect(at.port, at.host).setEncoding('utf8');
  idle.write('GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n');
  t.match((await once(idle, 'data'))[0], '200 OK');
  const busy = ask(at, 'GET /connections', { connection: 'keep-alive' });
  while (!asked) await new Promise(again => setImmediate(again));
  const closed = admin.close();
  await once(idle, 'close');
  resolve([]);
  t.match(await busy, { status: 200, body: '[]\n', headers: { connection: 'close' } });
  await closed;
  await t.rejects(once(connect(at.port, at.host), 'connect'), { code: 'ECONNREFUSED' });
  await admin.close();
});

t.test('what is not HTTP is closed and harms nobody', async t => {
  const { admin, errors } = await open(t, READY);
  const at = admin.addresses.health;
  for (const bytes of [
    '\u0016\u0003\u0001\u0002\u0000',
    'GET\r\n\r\n',
    'GET / HTTP/1.1\r\nhost: a\r\nhost: b\u0000\r\n\r\n',
  ]) {
    t.equal((await exchange(at, bytes)).status, 400);
  }
  const gone = connect(at.port, at.host);
  gone.write('GET /healthz/ready HTTP/1.1\r\n');
  gone.resetAndDestroy();
  t.equal((await ask(at, 'GET /healthz/ready')).status, 200);
  t.same(errors, []);
});
