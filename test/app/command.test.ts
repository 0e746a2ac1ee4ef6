import t, { type Test } from 'tap';
import {
  temporaryFolder,
  temporaryIdentity,
  testAuthority,
  testIdentity,
  writeIdentityFolder,
} from '../certificates.ts';
import { deadPort, get, startApp, startTcpApp, Wire, wirePlain, wireTls } from '../peers.ts';
import { spawnSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const client = await testIdentity(authority, 'foo/sleep');
const own = await testIdentity(authority, 'foo/httpbin');

/** Runs `node -e script` as the app of a sidecar. */
async function start(t: Test, script: string, flags: readonly string[] = []) {
  const certs = temporaryIdentity(t, own);
  return spawnSidecar(t, { certs, flags, command: [process.execPath, '-e', script] });
}

for (const [name, script, code] of [
  ['0', 'process.exit(0)', 0],
  ['3', 'process.exit(3)', 3],
  ['a signal is 128 and its number', 'process.kill(process.pid, "SIGKILL")', 137],
] as const) {
  t.test(`it ends with the app's exit code: ${name}`, async t => {
    const sidecar = await start(t, script);
    t.same(await sidecar.exited, { code, signal: null });
    t.match(await sidecar.log.take(line => line.msg === 'the app ended'), { code });
  });
}

t.test('a command that cannot be started is one line and 127', async t => {
  const sidecar = spawnSidecar(t, { certs: temporaryIdentity(t, own), command: ['/nonexistent/app'] });
  t.same(await sidecar.exited, { code: 127, signal: null });
  t.match(await sidecar.log.take(line => line.level === 'error'), {
    msg: 'the app does not start',
    command: '/nonexistent/app',
    reason: /ENOENT/,
  });
});

t.test('the app starts when the sidecar is ready, with the streams of the sidecar', async t => {
  const sidecar = await start(t, 'console.error("app err"); console.log("app out")');
  t.same(await sidecar.exited, { code: 0, signal: null });
  t.same(sidecar.other.all.toSorted(), ['app err', 'app out']);
  const order = sidecar.log.all.map(line => line.msg);
  t.ok(order.indexOf('ready') < order.indexOf('the app ended'));
});

t.test('it does not start while there is no identity', async t => {
  const certs = temporaryFolder(t);
  const sidecar = spawnSidecar(t, { certs, command: [process.execPath, '-e', 'console.log("app out")'] });
  await sidecar.log.take(line => line.msg === 'no identity yet');
  t.same(sidecar.other.all, []);
  writeIdentityFolder(certs, own);
  await sidecar.other.take(line => line === 'app out');
  t.equal((await sidecar.exited).code, 0);
});

/** An app that serves, and that the test talks to: it says each signal, and does what it is told. */
const TALKING_APP = `
  const { connect } = require('node:net');
  const http = require('node:http');
  const control = connect(Number(process.argv[1]), '127.0.0.1');
  for (const name of ['SIGTERM', 'SIGINT']) process.on(name, () => control.write(name + '\\n'));
  control.on('data', text => {
    const [what, value] = String(text).trim().split(' ');
    if (what === 'exit') process.exit(Number(value));
    if (what === 'release') return control.write('released\\n', release);
    const headers = { host: what };
    http.get({ port: Number(value), headers }, r => control.write(r.statusCode + '\\n'));
  });
  let release;
  const server = http.createServer(async (request, response) => {
    if (request.url === '/held') await new Promise(resolve => { release = resolve; control.write('held\\n'); });
    response.end('served');
  });
  server.listen(Number(process.argv[2]), '127.0.0.1', () => control.write('up\\n'));
`;

/** A sidecar and its app, which holds `/held` until it is told. */
async function startTalking(t: Test) {
  const control = Promise.withResolvers<Wire>();
  const controller = await startTcpApp(t, socket => control.resolve(new Wire(socket)));
  const port = await deadPort();
  const sidecar = spawnSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: port,
    flags: ['--drain-seconds', '3600'],
    command: [process.execPath, '-e', TALKING_APP, String(controller.port), String(port)],
  });
  const ports = await sidecar.ready;
  const app = await control.promise;
  const said = async (): Promise<string> => {
    const line = await app.until(bytes => (bytes.includes(10) ? bytes.indexOf(10) + 1 : null));
    return (await app.take(line)).toString().trim();
  };
  t.equal(await said(), 'up');
  return { sidecar, app, said, ...ports };
}

for (const how of ['SIGTERM', '/quitquitquit'] as const) {
  t.test(`${how}: the app hears of it when what it was asked is answered`, async t => {
    const { sidecar, app, said, inbound } = await startTalking(t);
    const wire = await wireTls(t, inbound, client);
    wire.send(get('/held'));
    t.equal(await said(), 'held');
    if (how === 'SIGTERM') sidecar.signal(how);
    else await sidecar.get('admin', how, { method: 'POST' });
    await sidecar.log.take(line => line.msg === 'draining');
    app.send('release 0\n');
    t.equal(await said(), 'released', 'before the signal');
    t.equal((await wire.reply()).body, 'served');
    t.equal(await said(), 'SIGTERM');
    app.send('exit 0\n');
    t.same(await sidecar.exited, { code: 0, signal: null });
  });
}

t.test("a signal while the last requests out finish does not take the app's exit code", async t => {
  const asked = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const outside = await startApp(t, async (_, response) => {
    asked.resolve();
    await go.promise;
    response.end();
  });
  const { sidecar, app, outbound } = await startTalking(t);
  const wire = await wirePlain(t, outbound);
  wire.send(get('/').replace('app.example', `127.0.0.1:${outside.port}`));
  await asked.promise;
  app.send('exit 3\n');
  await sidecar.log.take(line => line.msg === 'the app ended');
  sidecar.signal('SIGTERM');
  go.resolve();
  t.equal((await wire.reply()).status, 200);
  t.same(await sidecar.exited, { code: 3, signal: null });
});

t.test('SIGTERM goes to the app, which may still send requests out while it ends', async t => {
  const outside = await startApp(t);
  const { sidecar, app, said, inbound, outbound } = await startTalking(t);
  const wire = await wireTls(t, inbound, client);
  t.equal((await wire.ask(get('/'))).body, 'served');
  sidecar.signal('SIGTERM');
  t.equal(await said(), 'SIGTERM');
  await sidecar.log.take(line => line.msg === 'draining');
  t.equal(await wire.rest(), '', 'inbound drains');
  app.send(`127.0.0.1:${outside.port} ${outbound}\n`);
  t.equal(await said(), '200', 'outbound is up');
  sidecar.signal('SIGINT');
  t.equal(await said(), 'SIGINT', 'a second signal is forwarded too');
  app.send('exit 5\n');
  t.same(await sidecar.exited, { code: 5, signal: null });
});
