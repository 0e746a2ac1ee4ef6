import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { get, startApp, type Wire, wireTls } from '../peers.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const own = await testIdentity(authority, 'foo/httpbin');
const client = await testIdentity(authority, 'foo/sleep');

/** Runs in every thread before Outrider: on SIGUSR2 the oldest worker throws, as a fault of Outrider's own would. */
const FAULT = `
import { BroadcastChannel, isMainThread, threadId } from 'node:worker_threads';
if (isMainThread) {
  const alive = new Set();
  process.on('worker', worker => {
    const id = worker.threadId;
    alive.add(id);
    worker.once('exit', () => alive.delete(id));
  });
  const channel = new BroadcastChannel('fault');
  channel.unref();
  process.on('SIGUSR2', () => channel.postMessage(Math.min(...alive)));
} else {
  const channel = new BroadcastChannel('fault');
  channel.unref();
  channel.onmessage = ({ data }) => {
    if (data === threadId) setImmediate(() => { throw new Error('a fault of the test'); });
  };
}
`;
const PRELOAD = ['--import', `data:text/javascript,${encodeURIComponent(FAULT)}`];

async function start(t: Test, workers: number): Promise<Sidecar> {
  const app = await startApp(t);
  return startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: app.port,
    nodeFlags: PRELOAD,
    manifests: 'kind: MeshConfig\n',
    flags: ['--workers', String(workers)],
  });
}

/** Kills one worker and waits until another took its place. */
async function fail(sidecar: Sidecar): Promise<void> {
  sidecar.signal('SIGUSR2');
  t.match(await sidecar.log.take(line => line.msg === 'worker died'), { reason: /a fault of the test/ });
  await sidecar.log.take(line => line.msg === 'worker replaced');
}

t.test('a worker that dies is replaced and counted, and the connections of the others live on', async t => {
  const sidecar = await start(t, 2);
  const { inbound } = sidecar.ports;
  const wires: Wire[] = [];
  for (let i = 0; i < 24; i++) {
    const wire = await wireTls(t, inbound, client);
    t.equal((await wire.ask(get('/before'))).status, 200);
    wires.push(wire);
  }
  t.equal(await sidecar.metric('istio_requests_total'), 24);
  await fail(sidecar);
  const [lived, died] = [
    wires.filter(wire => wire.ended === null),
    wires.filter(wire => wire.ended !== null),
  ];
  t.ok(died.length > 0 && lived.length > 0, `${died.length} died, ${lived.length} lived`);
  for (const wire of lived) t.equal((await wire.ask(get('/after'))).status, 200);
  for (let i = 0; i < 24; i++) {
    const wire = await wireTls(t, inbound, client);
    t.equal((await wire.ask(get('/new'))).status, 200);
  }
  t.equal(await sidecar.metric('outrider_workers'), 2);
  t.equal(await sidecar.metric('outrider_worker_restarts_total'), 1);
  t.equal(
    await sidecar.metric('istio_requests_total'),
    48 + lived.length,
    'what the dead one counted stays counted',
  );
  t.equal(
    await sidecar.metric('outrider_connections_open'),
    24 + lived.length,
    'its open connections do not',
  );
  t.equal((await sidecar.get('health', '/healthz/ready')).status, 200);
});

t.test('the only worker is replaced too, on the same port, with the configuration in force', async t => {
  const sidecar = await start(t, 1);
  await sidecar.configure(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody, namespace: foo}
spec: {}
`);
  for (let i = 1; i <= 2; i++) {
    await fail(sidecar);
    const wire = await wireTls(t, sidecar.ports.inbound, client);
    t.equal((await wire.ask(get('/'))).status, 403);
    t.equal(await sidecar.metric('outrider_worker_restarts_total'), i);
  }
  t.same(await sidecar.stop(), { code: 0, signal: null });
});

t.test('one that dies while it drains does not hold the end up', async t => {
  const never = await startApp(t, () => {});
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: never.port,
    nodeFlags: PRELOAD,
    flags: ['--drain-seconds', '3600'],
  });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  wire.send(get('/'));
  while (never.connections() === 0) await sidecar.metric('outrider_workers');
  sidecar.signal('SIGTERM');
  await sidecar.log.take(line => line.msg === 'draining');
  sidecar.signal('SIGUSR2');
  t.same(await sidecar.exited, { code: 0, signal: null });
  t.equal(await wire.rest(), '');
});
