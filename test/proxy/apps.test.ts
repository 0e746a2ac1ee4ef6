import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { UpstreamStream } from '../../src/http/exchange.ts';
import { ClientSource } from '../../src/net/client-source.ts';
import { AppDestination } from '../../src/proxy/app.ts';
import { Apps } from '../../src/proxy/apps.ts';
import { FakeClock } from '../http/loop.ts';
import { startTcpApp } from '../peers.ts';
import { recorder } from '../telemetry/facts.ts';

const WITHOUT_POWER = { code: 'EPERM', why: 'no power' };

interface Options {
  readonly keeps?: boolean;
  readonly host?: string;
}

/** The app is reached without the client's address; whose connection is whose is the same. */
function start(t: Test, { keeps = true, host }: Options = {}): { apps: Apps; clock: FakeClock } {
  const clock = new FakeClock();
  const sources = new ClientSource({ warn: () => {}, bind: () => WITHOUT_POWER });
  const apps = new Apps({
    host: host ?? null,
    sources: keeps ? sources : null,
    make: at => new AppDestination({ ...at, clock, recorder: recorder().recorder, connectTimeoutMs: 10_000 }),
  });
  t.teardown(() => apps.close());
  return { apps, clock };
}

function streamOf(app: AppDestination): Promise<UpstreamStream> {
  return new Promise((resolve, reject) => {
    const onNoConnection = (code: string, why: string): void => reject(new Error(`${code} ${why}`));
    app.upstream.apply({ gone: false, onConnection: resolve, onNoConnection }, 60_000);
  });
}

const from = (remoteAddress: string): { remoteAddress: string } => ({ remoteAddress });
const FOUR = { port: 8080, host: '10.0.0.1' };
const SIX = { port: 8080, host: 'fd00::1' };

t.test('each client has its own, and each port', t => {
  const { apps } = start(t);
  const app = apps.on(FOUR, false, from('10.0.0.2'));
  t.equal(apps.on(FOUR, false, from('10.0.0.2')), app);
  t.equal(apps.on(FOUR, false, from('::ffff:10.0.0.2')), app, 'on a socket of both families');
  t.not(apps.on(FOUR, false, from('10.0.0.3')), app);
  t.not(apps.on({ ...FOUR, port: 8081 }, false, from('10.0.0.2')), app);
  t.not(apps.on(FOUR, true, from('10.0.0.2')), app, "at the pod's own address");
  t.equal(apps.on(SIX, false, from('fd00::2')).host, '::1');
  t.end();
});

t.test('an address that the app cannot see, or is none of another host, counts for nothing', t => {
  const { apps } = start(t);
  const four = apps.on(FOUR, false, from('127.0.0.1'));
  const six = apps.on(SIX, false, from('::1'));
  t.equal(apps.on(FOUR, false, from('127.8.9.1')), four);
  t.equal(apps.on(FOUR, false, from('::ffff:127.0.0.1')), four);
  t.equal(apps.on(FOUR, false, from('fd00::2')), four, 'of the other family');
  t.equal(apps.on(SIX, false, from('10.0.0.2')), six, 'of the other family');
  t.equal(apps.on(SIX, false, from('fe80::1%eth0')), six, 'link-local');
  t.end();
});

t.test('where the app does not see its clients, or is on another host, all share it', t => {
  for (const options of [{ keeps: false }, { host: '10.0.0.7' }, { host: 'localhost' }]) {
    const { apps } = start(t, options);
    t.equal(apps.on(FOUR, false, from('10.0.0.2')), apps.on(FOUR, false, from('10.0.0.3')));
  }
  const { apps } = start(t, { host: '127.0.0.1' });
  t.not(apps.on(FOUR, false, from('10.0.0.2')), apps.on(FOUR, false, from('10.0.0.3')));
  t.end();
});

t.test('who has no connection goes, and who has one stays until that was idle for too long', async t => {
  const { apps, clock } = start(t);
  const server = await startTcpApp(t, () => {});
  const workload = { ...FOUR, port: server.port };
  const busy = apps.on(workload, false, from('10.0.0.2'));
  const quiet = apps.on(workload, false, from('10.0.0.3'));
  const stream = await streamOf(busy);
  clock.now += 60_000;
  apps.sweep(clock.now);
  t.same([busy.replaced, quiet.replaced], [false, true]);
  t.equal(apps.on(workload, false, from('10.0.0.2')), busy);
  const next = apps.on(workload, false, from('10.0.0.3'));
  t.not(next, quiet);
  stream.abandon();
  apps.sweep(clock.now);
  t.equal(busy.replaced, true);
});

t.test('any number of clients: the oldest goes, and its request under way is not cut', async t => {
  const { apps } = start(t);
  const sockets: Socket[] = [];
  const server = await startTcpApp(t, socket => sockets.push(socket));
  const workload = { ...SIX, port: server.port };
  const first = apps.on({ ...FOUR, port: server.port }, false, from('10.0.0.2'));
  const stream = await streamOf(first);
  for (let client = 1; client < 4_096; client++)
    apps.on(workload, false, from(`fd00::${client.toString(16)}`));
  t.equal(first.replaced, false, 'as many as there may be');
  apps.on(workload, false, from('fd00::1:1'));
  t.equal(first.replaced, true);
  const second = apps.on({ ...FOUR, port: server.port }, false, from('10.0.0.2'));
  t.not(second, first);
  await streamOf(second);
  t.same(
    sockets.map(({ destroyed, readableEnded }) => ({ destroyed, readableEnded })),
    Array(2).fill({ destroyed: false, readableEnded: false }),
  );
  stream.abandon();
});

t.test('connections of all clients together have a bound', t => {
  const { apps } = start(t);
  for (let count = 0; count < 16_384; count++) if (!apps.take()) t.fail(`only ${count}`);
  t.equal(apps.take(), false);
  apps.free();
  t.equal(apps.take(), true);
  t.end();
});

t.test('beyond the bound a request is refused, after it has asked', async t => {
  const { apps } = start(t);
  const app = apps.on(FOUR, false, from('10.0.0.2'));
  for (let count = 0; count < 16_384; count++) apps.take();
  await t.rejects(streamOf(app), { message: 'connect_failed connection_limit' });
  t.equal(app.idle, true);
});
