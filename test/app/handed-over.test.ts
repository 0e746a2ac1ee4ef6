import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readlinkSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import t, { type Test } from 'tap';
import type { ListenFd } from '../../src/config/listen-fds.ts';
import { duplicate } from '../../src/net/handed-over.ts';
import { descriptorOf } from '../../src/net/socket-options.ts';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { deadPort, get, startApp, type Wire, wirePlain, wireTls } from '../peers.ts';
import { type SidecarOptions, spawnSidecar, startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const client = await testIdentity(authority, 'foo/sleep');
const own = await testIdentity(authority, 'foo/httpbin');
const TAKEN = 'the inbound socket that was handed over is listened on, and not --inbound';

interface Listening {
  readonly descriptor: number;
  readonly port: number;
}

/** A socket that listens, held as systemd holds it: by somebody who does not accept. */
async function listening(t: Test, host = '127.0.0.1'): Promise<Listening> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen({ host, port: 0, ipv6Only: true }, resolve));
  const { port } = server.address() as AddressInfo;
  const descriptor = duplicate(descriptorOf(server));
  t.teardown(() => closeSync(descriptor));
  await new Promise(resolve => server.close(resolve));
  return { descriptor, port };
}

function inbound(...sockets: readonly Listening[]): ListenFd[] {
  return sockets.map(({ descriptor }) => ({ descriptor, name: 'inbound' }));
}

async function options(t: Test, more: Partial<SidecarOptions>): Promise<SidecarOptions> {
  const app = await startApp(t, (received, response) => response.end(`did ${received.url}`));
  return { certs: temporaryIdentity(t, own), app: app.port, ...more };
}

t.test('inbound is served on every socket of that name, and --inbound is not', async t => {
  const [four, six] = [await listening(t), await listening(t, '::1')];
  const sidecar = await startSidecar(t, await options(t, { listenFds: inbound(four, six) }));
  t.equal(sidecar.ports.inbound, four.port, 'the ready line names what it is bound to');
  t.match(await sidecar.log.take(line => line.msg === TAKEN), { level: 'info', host: '127.0.0.1', port: 0 });
  for (const [port, host] of [
    [four.port, '127.0.0.1'],
    [six.port, '::1'],
  ] as const) {
    const wire = await wireTls(t, port, client, { host });
    t.match(await wire.ask(get('/')), { status: 200, body: 'did /' }, host);
    t.match(await sidecar.access.take(line => line.path === '/'), {
      source_principal: 'spiffe://cluster.local/ns/foo/sa/sleep',
    });
  }
  t.same(await sidecar.stop(), { code: 0, signal: null });
});

const systemd = spawnSync('systemd-socket-activate', ['--version']).status === 0;

t.test("systemd's own program hands it over", { skip: !systemd && 'needs systemd' }, async t => {
  const port = await deadPort();
  const launcher = ['systemd-socket-activate', '-l', `127.0.0.1:${port}`, '--fdname=inbound'];
  const sidecar = spawnSidecar(t, await options(t, { launcher }));
  await sidecar.other.take(line => line.startsWith('Listening on'));
  const wire = await wireTls(t, port, client); // the first connection starts it, and waits
  t.match(await wire.ask(get('/')), { status: 200, body: 'did /' });
  t.same(await sidecar.stop(), { code: 0, signal: null });
});

t.test('outbound is taken as well, and nothing is said where no flag is overruled', async t => {
  const socket = await listening(t);
  const flags = ['--outbound', '127.0.0.1:15001'];
  const set = await options(t, { flags, listenFds: [{ descriptor: socket.descriptor, name: 'outbound' }] });
  const sidecar = await startSidecar(t, set);
  t.equal(sidecar.ports.outbound, socket.port);
  const wire = await wirePlain(t, socket.port);
  const reply = await wire.ask(
    `GET http://127.0.0.1:${set.app}/out HTTP/1.1\r\nhost: 127.0.0.1:${set.app}\r\n\r\n`,
  );
  t.match(reply, { status: 200, body: 'did /out' });
  t.notOk(sidecar.log.all.some(line => line.level !== undefined));
});

t.test('every worker accepts from it', async t => {
  const socket = await listening(t);
  const flags = ['--workers', '2', '--max-connections', '1'];
  const sidecar = await startSidecar(t, await options(t, { flags, listenFds: inbound(socket) }));
  // A worker that has its one connection resets what it accepts: two at once are of two workers.
  const held: Wire[] = [];
  for (let tried = 0; tried < 2_000 && held.length < 2; tried++)
    await wireTls(t, socket.port, client).then(
      wire => held.push(wire),
      () => {},
    );
  for (const wire of held) t.equal((await wire.ask(get('/'))).status, 200);
  t.equal(held.length, 2);
  t.equal(await sidecar.metric('outrider_workers'), 2);
});

/** SIGUSR2 ends the worker. */
const MORTAL = `
import { isMainThread } from 'node:worker_threads';
if (isMainThread) process.on('worker', worker => process.once('SIGUSR2', () => worker.terminate()));
`;

t.test('so does one that takes the place of another, and nobody is refused before', async t => {
  const socket = await listening(t);
  const nodeFlags = ['--import', `data:text/javascript,${encodeURIComponent(MORTAL)}`];
  const sidecar = await startSidecar(t, await options(t, { nodeFlags, listenFds: inbound(socket) }));
  const open = await wireTls(t, socket.port, client);
  sidecar.signal('SIGUSR2');
  await open.rest();
  const wire = await wireTls(t, socket.port, client);
  t.equal((await wire.ask(get('/'))).status, 200);
  await sidecar.log.take(line => line.msg === 'worker replaced');
});

t.test('what connects between two processes is served by the next, and nobody is refused', async t => {
  const socket = await listening(t);
  const go = Promise.withResolvers<void>();
  const began = Promise.withResolvers<void>();
  const app = await startApp(t, async ({ url }, response) => {
    if (url === '/held') {
      began.resolve();
      await go.promise;
    }
    response.end(`did ${url}`);
  });
  const both = {
    certs: temporaryIdentity(t, own),
    app: app.port,
    listenFds: inbound(socket),
    flags: ['--workers', '2', '--drain-seconds', '3600'],
  };
  const first = await startSidecar(t, both);
  const busy = await wireTls(t, socket.port, client);
  busy.send(get('/held'));
  await began.promise;
  first.signal('SIGTERM');
  await first.log.take(line => line.msg === 'draining');
  await first.metric('outrider_workers');

  const early = await Promise.all(Array.from({ length: 20 }, () => wirePlain(t, socket.port)));
  go.resolve();
  t.match(await busy.reply(), { status: 200, body: 'did /held' }, 'the first ends what it began');
  t.same(await first.exited, { code: 0, signal: null });
  const late = await Promise.all(Array.from({ length: 20 }, () => wirePlain(t, socket.port)));

  const second = await startSidecar(t, both);
  t.equal(second.ports.inbound, socket.port);
  const replies = [...early, ...late].map(async ({ socket: raw }) => {
    const wire = await wireTls(t, socket.port, client, { socket: raw });
    return (await wire.ask(get('/waited'))).body;
  });
  t.same(await Promise.all(replies), Array(40).fill('did /waited'));
  t.equal(await second.metric('istio_requests_total', { reporter: 'destination', response_code: '200' }), 40);
});

t.test('the app of `run -- CMD` gets neither the socket nor a word of it', async t => {
  const socket = await listening(t);
  const command = ['sh', '-c', 'env; ls -l /proc/$$/fd'];
  const sidecar = await startSidecar(t, await options(t, { command, listenFds: inbound(socket) }));
  t.same(await sidecar.exited, { code: 0, signal: null });
  const said = sidecar.other.all.join('\n');
  t.match(said, /^PATH=/m);
  t.match(said, / 1 -> /, 'its descriptors are listed');
  t.notMatch(said, readlinkSync(`/proc/self/fd/${socket.descriptor}`));
  t.notMatch(said, /LISTEN/);
});

t.test('a name that it does not know is left alone, with a warning', async t => {
  const [strange, known] = [await listening(t), await listening(t)];
  const listenFds = [
    { descriptor: strange.descriptor, name: 'outrider.socket' },
    { descriptor: known.descriptor, name: 'inbound' },
  ];
  const sidecar = await startSidecar(t, await options(t, { listenFds }));
  t.match(
    sidecar.log.all.filter(line => line.level === 'warn'),
    [{ descriptor: 3, name: 'outrider.socket', names: 'inbound, outbound' }],
  );
  t.equal(sidecar.ports.inbound, known.port);
});

t.test('what another process was given is not taken', async t => {
  const environment = { LISTEN_PID: '1', LISTEN_FDS: '1', LISTEN_FDNAMES: 'inbound' };
  const sidecar = await startSidecar(t, await options(t, { environment }));
  t.ok(sidecar.ports.inbound > 0);
  t.notOk(sidecar.log.all.some(line => line.level !== undefined));
});

/** One line, and the end as for a port that cannot be used. */
async function refused(t: Test, more: Partial<SidecarOptions>, line: RegExp): Promise<void> {
  const sidecar = spawnSidecar(t, await options(t, more));
  t.same(await sidecar.exited, { code: 1, signal: null });
  t.same(sidecar.other.all, []);
  const errors = sidecar.log.all.filter(({ level }) => level === 'error');
  t.match(errors, [{ msg: line }]);
  t.equal(errors.length, 1);
}

const NO_LISTENER =
  /^cannot listen on the inbound socket that was handed over \(descriptor 3\): it is not a listening TCP socket$/;

t.test('a file is not listened on', async t => {
  const descriptor = openSync('/dev/null', 'r');
  t.teardown(() => closeSync(descriptor));
  await refused(t, { listenFds: inbound({ descriptor, port: 0 }) }, NO_LISTENER);
});

t.test('nor is one end of a connection', async t => {
  const { port } = await listening(t);
  const { socket } = await wirePlain(t, port);
  await refused(t, { listenFds: inbound({ descriptor: descriptorOf(socket), port }) }, NO_LISTENER);
});

t.test('nor is one that was announced and is not there', async t => {
  const socket = await listening(t);
  const environment = { LISTEN_FDS: '40', LISTEN_FDNAMES: Array(40).fill('inbound').join(':') };
  await refused(
    t,
    { environment, listenFds: inbound(socket) },
    /\(descriptor \d+\): it is not a listening TCP/,
  );
});

t.test('a count that is none is a fault', async t => {
  const environment = { LISTEN_FDS: 'two' };
  await refused(t, { environment, listenFds: inbound(await listening(t)) }, /^LISTEN_FDS is 'two'/);
});

t.test('an app that is the socket itself is a loop', async t => {
  const socket = await listening(t);
  await refused(t, { app: socket.port, listenFds: inbound(socket) }, /^--app \d+ is Outrider's own port/);
});

/** Neither node:ffi nor koffi, as with Node 24 alone. */
const WITHOUT_FFI = `
import module from 'node:module';
const builtin = process.getBuiltinModule;
process.getBuiltinModule = name => (name === 'node:ffi' ? undefined : builtin(name));
const load = module._load;
module._load = (name, ...more) => {
  if (name === 'koffi') throw new Error('not installed');
  return load(name, ...more);
};
`;

t.test('without FFI one line says what it needs', async t => {
  const nodeFlags = ['--import', `data:text/javascript,${encodeURIComponent(WITHOUT_FFI)}`];
  const listenFds = inbound(await listening(t));
  await refused(
    t,
    { nodeFlags, listenFds },
    /\(descriptor 3\): it needs Node 26\.9 \(node:ffi\) or .* koffi$/,
  );
});
