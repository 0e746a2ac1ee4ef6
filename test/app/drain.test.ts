import { request } from 'node:http';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { get, startApp, startTcpApp, wirePlain, wireTls } from '../peers.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const client = await testIdentity(authority, 'foo/sleep');
const own = await testIdentity(authority, 'foo/httpbin');
const LONG = ['--drain-seconds', '3600'];

/** An app that answers when the test says so. */
async function startHeldApp(t: Test) {
  const began = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const app = await startApp(t, async ({ url }, response) => {
    if (url === '/held') {
      began.resolve();
      await go.promise;
    }
    response.end(`did ${url}`);
  });
  return { app, began: began.promise, release: () => go.resolve() };
}

async function start(t: Test, app: number, flags: readonly string[] = LONG): Promise<Sidecar> {
  return startSidecar(t, { certs: temporaryIdentity(t, own), app, flags });
}

/** Waits until every worker has stopped to accept. */
async function draining(sidecar: Sidecar): Promise<void> {
  await sidecar.log.take(line => line.msg === 'draining');
  await sidecar.metric('outrider_workers');
}

/** Whether a port takes no connection any more. */
async function wireEnds(t: Test, port: number): Promise<boolean> {
  try {
    (await wirePlain(t, port)).socket.destroy();
    return false;
  } catch {
    return true;
  }
}

for (const how of ['SIGTERM', 'SIGINT', 'quitquitquit'] as const) {
  t.test(`${how}: what is in flight finishes, nothing new begins, then it ends with 0`, async t => {
    const { app, began, release } = await startHeldApp(t);
    const sidecar = await start(t, app.port, [...LONG, '--workers', '2']);
    const { inbound, outbound } = sidecar.ports;
    const idle = await wireTls(t, inbound, client);
    t.equal((await idle.ask(get('/idle'))).status, 200);
    const fresh = await wireTls(t, inbound, client);
    const busy = await wireTls(t, inbound, client);
    busy.send(get('/held'));
    await began;
    if (how === 'quitquitquit') {
      t.equal((await sidecar.get('admin', '/quitquitquit', { method: 'POST' })).status, 200);
    } else sidecar.signal(how);
    await draining(sidecar);
    t.equal(await idle.rest(), '', 'an idle connection closes');
    t.equal(await fresh.rest(), '', 'and one that never asked');
    for (const port of [inbound, outbound]) await t.rejects(wirePlain(t, port), { code: 'ECONNREFUSED' });
    const health = await sidecar.get('health', '/healthz/ready');
    t.same([health.status, health.body], [503, 'draining\n']);
    release();
    const reply = await busy.reply();
    t.same([reply.status, reply.body], [200, 'did /held']);
    t.equal(reply.header('connection'), 'close');
    t.equal(await busy.rest(), '');
    t.same(await sidecar.exited, { code: 0, signal: null });
    t.match(
      await sidecar.access.take(l => l.path === '/held'),
      { response_code: 200 },
      'the last line is out',
    );
  });
}

t.test('a request whose head is under way at the drain is still served', async t => {
  const { app } = await startHeldApp(t);
  const sidecar = await start(t, app.port);
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  const [first, second] = [get('/half').slice(0, 20), get('/half').slice(20)];
  wire.send(first);
  await sidecar.metric('outrider_workers');
  sidecar.signal('SIGTERM');
  await draining(sidecar);
  const reply = await wire.ask(second);
  t.same([reply.status, reply.header('connection')], [200, 'close']);
  t.same(await sidecar.exited, { code: 0, signal: null });
});

t.test('a request right behind a handshake that is under way at the drain is still served', async t => {
  const { app } = await startHeldApp(t);
  const sidecar = await start(t, app.port);
  const { socket } = await wirePlain(t, sidecar.ports.inbound);
  while ((await sidecar.metric('outrider_connections_open', { direction: 'inbound' })) === 0);
  sidecar.signal('SIGTERM');
  await draining(sidecar);
  const wire = await wireTls(t, 0, client, { socket });
  const reply = await wire.ask(get('/late'));
  t.same([reply.status, reply.header('connection')], [200, 'close']);
  t.same(await sidecar.exited, { code: 0, signal: null });
});

t.test('a body that is under way at the drain arrives whole', async t => {
  const app = await startApp(t);
  const sidecar = await start(t, app.port);
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  wire.send('POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n01234');
  while (app.connections() === 0) await sidecar.metric('outrider_workers');
  sidecar.signal('SIGTERM');
  await draining(sidecar);
  t.equal((await wire.ask('56789')).received().body, '0123456789');
  t.same(await sidecar.exited, { code: 0, signal: null });
});

t.test('pipelined requests: the one in flight is answered, with connection: close', async t => {
  const { app, began, release } = await startHeldApp(t);
  const sidecar = await start(t, app.port);
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  wire.send(get('/held') + get('/next'));
  await began;
  sidecar.signal('SIGTERM');
  await draining(sidecar);
  release();
  const reply = await wire.reply();
  t.same([reply.body, reply.header('connection')], ['did /held', 'close']);
  t.equal(await wire.rest(), '', 'the next one is the client to send again');
  t.same(await sidecar.exited, { code: 0, signal: null });
});

t.test('the drain has an end: what does not finish is closed', async t => {
  const { app, began } = await startHeldApp(t);
  const echo = await startTcpApp(t, socket => socket.pipe(socket));
  const http = await start(t, app.port, ['--drain-seconds', '1']);
  const tcp = await start(t, echo.port, ['--drain-seconds', '1', '--protocol', `${echo.port}=tcp`]);
  const stuck = await wireTls(t, http.ports.inbound, client);
  stuck.send(get('/held'));
  await began;
  const stream = await wireTls(t, tcp.ports.inbound, client);
  stream.send('a');
  await stream.take(1);
  http.signal('SIGTERM');
  tcp.signal('SIGTERM');
  await draining(tcp);
  stream.send('b');
  t.equal((await stream.take(1)).toString(), 'b', 'bytes pass while it drains');
  t.equal(await stuck.rest(), '');
  t.equal(await stream.rest(), '');
  t.same(await http.exited, { code: 0, signal: null });
  t.same(await tcp.exited, { code: 0, signal: null });
  t.match(await http.access.take(l => l.path === '/held'), {
    response_code: 0,
    response_flags: /^(?:DC|-)$/,
  });
  t.match(await tcp.access.take(l => l.bytes_received === 2), { bytes_sent: 2 });
});

t.test('--drain-seconds 0 does not wait', async t => {
  const { app, began } = await startHeldApp(t);
  const sidecar = await start(t, app.port, ['--drain-seconds', '0']);
  (await wireTls(t, sidecar.ports.inbound, client)).send(get('/held'));
  await began;
  t.same(await sidecar.stop(), { code: 0, signal: null });
});

t.test('a second signal ends it at once', async t => {
  const { app, began } = await startHeldApp(t);
  const sidecar = await start(t, app.port);
  (await wireTls(t, sidecar.ports.inbound, client)).send(get('/held'));
  await began;
  sidecar.signal('SIGTERM');
  await draining(sidecar);
  sidecar.signal('SIGTERM');
  t.same(await sidecar.exited, { code: 0, signal: null });
});

t.test('/drain takes no more requests in, and stays for those that the app sends out', async t => {
  const app = await startApp(t);
  const sidecar = await start(t, app.port);
  const { inbound, outbound } = sidecar.ports;
  const answered = await sidecar.get('admin', '/drain', { method: 'POST' });
  t.equal(answered.status, 200);
  await draining(sidecar);
  await t.rejects(wirePlain(t, inbound), { code: 'ECONNREFUSED' });
  t.equal((await sidecar.get('health', '/healthz/ready')).status, 503);
  t.equal((await sidecar.get('health', '/healthz/live')).status, 200);
  const out = await wirePlain(t, outbound);
  t.equal((await out.ask(get('/').replace('app.example', `127.0.0.1:${app.port}`))).status, 200);
  t.equal((await sidecar.get('admin', '/drain', { method: 'POST' })).status, 200, 'again is no fault');
  t.same(await sidecar.stop(), { code: 0, signal: null });
});

t.test('SIGTERM after /drain, as a preStop hook has it, waits for what is in flight', async t => {
  const { app, began, release } = await startHeldApp(t);
  const sidecar = await start(t, app.port);
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  wire.send(get('/held'));
  await began;
  await sidecar.get('admin', '/drain', { method: 'POST' });
  await draining(sidecar);
  sidecar.signal('SIGTERM');
  while ((await wireEnds(t, sidecar.ports.outbound)) === false); // it has been told: outbound is closed
  release();
  const reply = await wire.reply();
  t.same([reply.status, reply.body], [200, 'did /held']);
  t.same(await sidecar.exited, { code: 0, signal: null });
});

t.test('/drain and /quitquitquit are for POST from this machine, by its own name', async t => {
  const sidecar = await start(t, 1);
  t.equal((await sidecar.get('admin', '/quitquitquit')).status, 405);
  t.equal((await sidecar.get('admin', '/drain')).status, 405);
  const status = await new Promise(resolve => {
    const { admin } = sidecar.ports;
    request(
      { port: admin, path: '/quitquitquit', method: 'POST', headers: { host: 'evil.example' } },
      response => resolve(response.statusCode),
    ).end();
  });
  t.equal(status, 403);
  t.equal((await sidecar.get('health', '/healthz/ready')).status, 200);
});

t.test('a reload while it drains changes nothing', async t => {
  const { app, began, release } = await startHeldApp(t);
  const sidecar = await start(t, app.port);
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  wire.send(get('/held'));
  await began;
  sidecar.signal('SIGTERM');
  await draining(sidecar);
  sidecar.signal('SIGHUP');
  await sidecar.log.take(line => line.msg === 'reloading');
  release();
  t.equal((await wire.reply()).status, 200);
  t.same(await sidecar.exited, { code: 0, signal: null });
});
