import { X509Certificate } from 'node:crypto';
import { setTimeout as pace } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { testAuthority, testIdentity } from '../certificates.ts';
import { deadPort, get, startApp, wireTls } from '../peers.ts';
import { type Sidecar, spawnSidecar, startSidecar } from '../sidecar.ts';
import { startWorkloadApi, svidOf, type WorkloadApiServer } from '../workload-api-server.ts';

t.setTimeout(120_000);

const ROTATIONS = 30;
const HTTPBIN = 'spiffe://cluster.local/ns/foo/sa/httpbin';
const authority = await testAuthority();
const client = await testIdentity(authority, 'foo/sleep');

async function issued(spiffeId = HTTPBIN) {
  const pems = await testIdentity(authority, spiffeId);
  return { svid: svidOf(spiffeId, pems), serial: new X509Certificate(pems.certChainPem).serialNumber, pems };
}

async function start(t: Test, server: WorkloadApiServer, flags: readonly string[] = []): Promise<Sidecar> {
  const app = await startApp(t);
  const all = ['--workload-api', server.target, '--workers', '2', '--access-log', 'off', ...flags];
  return startSidecar(t, { app: app.port, flags: all });
}

function presented(wire: Awaited<ReturnType<typeof wireTls>>): string | undefined {
  return wire.socket.getPeerX509Certificate()?.serialNumber;
}

async function lastError(sidecar: Sidecar): Promise<unknown> {
  const { status, body } = await sidecar.get('health', '/healthz/ready?verbose');
  if (status !== 200) throw new Error(body);
  return JSON.parse(body).certificates.lastError;
}

/** Requests on one kept connection and on new ones, until `end`. */
function load(sidecar: Sidecar) {
  const failures: string[] = [];
  let over = false;
  let requests = 0;
  const dial = () => wireTls({ teardown: () => {} }, sidecar.ports.inbound, client);
  const ask = async (wire: Awaited<ReturnType<typeof dial>>): Promise<void> => {
    const { status, body } = await wire.ask(get('/'));
    requests++;
    if (status !== 200) failures.push(body);
  };
  const loop = async (turn: () => Promise<void>): Promise<void> => {
    while (!over && failures.length < 20) {
      await turn().catch(error => failures.push(String(error)));
      await pace(5); // how dense the load is; nothing waits for it
    }
  };
  const kept = dial();
  const loops = [
    loop(async () => ask(await kept)),
    loop(async () => {
      const wire = await dial();
      await ask(wire);
      wire.socket.destroy();
    }),
  ];
  return {
    failures,
    end: async (): Promise<number> => {
      over = true;
      await Promise.all(loops);
      (await kept).socket.destroy();
      return requests;
    },
  };
}

t.test(`${ROTATIONS} rotations and restarts of the server under load: no request fails`, async t => {
  const server = await startWorkloadApi(t, { svids: [(await issued()).svid] });
  const sidecar = await start(t, server);
  const traffic = load(sidecar);
  for (let round = 0; round < ROTATIONS; round++) {
    if (round % 15 === 7) {
      server.stop();
      await sidecar.log.take(({ reason }) => reason === 'workload_api_away');
      await server.start();
      t.match(await sidecar.log.take(({ was }) => was === 'workload_api_away'), { level: 'info' });
    }
    const { svid, serial } = await issued();
    server.say({ svids: [svid] });
    await sidecar.log.take(line => line.msg === 'certificates replaced' && line.serial === serial);
    await sidecar.metric('outrider_workers');
    const wire = await wireTls({ teardown: () => {} }, sidecar.ports.inbound, client);
    t.equal(presented(wire), serial);
    wire.socket.destroy();
  }
  const requests = await traffic.end();
  t.same(traffic.failures, []);
  t.ok(requests > ROTATIONS, `${requests} requests`);
  t.equal(await lastError(sidecar), null);
  t.equal(await sidecar.metric('outrider_certificate_reloads_total'), ROTATIONS);
  t.equal(
    await sidecar.metric('outrider_certificate_reload_failures_total', { reason: 'workload_api_away' }),
    2,
  );
  t.equal((await sidecar.stop()).code, 0);
});

t.test('what is refused or away is in the log and in readiness, and requests go on', async t => {
  const { svid, pems, serial } = await issued();
  const server = await startWorkloadApi(t, { svids: [svid] });
  const sidecar = await start(t, server);
  server.say({ svids: [svidOf(HTTPBIN, { ...pems, keyPem: client.keyPem })] });
  t.match(await sidecar.log.take(({ reason }) => reason === 'key_mismatch'), {
    level: 'warn',
    msg: 'certificates refused, the last good ones stay in force',
    file: server.target,
    detail: /x509_svid_key/,
  });
  t.match(await lastError(sidecar), { reason: 'key_mismatch' });
  server.stop();
  t.match(await sidecar.log.take(({ reason }) => reason === 'workload_api_away'), {
    level: 'warn',
    msg: 'no new certificates, the last good ones stay in force',
  });
  t.match(await lastError(sidecar), { reason: 'workload_api_away' });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  t.equal(presented(wire), serial);
  t.equal((await wire.ask(get('/'))).status, 200);
  const certs = JSON.parse((await sidecar.get('admin', '/certs')).body);
  t.match(certs, {
    generation: 1,
    id: HTTPBIN,
    chain: [{ uris: [HTTPBIN] }],
    lastError: { file: server.target },
  });
});

t.test('the socket of the environment serves, and --spiffe-id picks one of its SVIDs', async t => {
  const sleep = await issued('spiffe://cluster.local/ns/foo/sa/sleep');
  const server = await startWorkloadApi(t, { svids: [sleep.svid, (await issued()).svid] });
  const environment = { SPIFFE_ENDPOINT_SOCKET: server.target };
  const sidecar = await startSidecar(t, { environment, flags: ['--spiffe-id', HTTPBIN] });
  t.match(JSON.parse((await sidecar.get('admin', '/certs')).body), { id: HTTPBIN });
});

t.test('while the server does not answer, readiness says why, and SIGTERM ends it', async t => {
  const server = await startWorkloadApi(t, null);
  const health = await deadPort();
  const flags = ['--workload-api', server.target, '--health', `127.0.0.1:${health}`];
  const sidecar = spawnSidecar(t, { flags });
  t.match(await sidecar.log.take(({ msg }) => msg === 'no identity yet'), {
    reason: 'workload_api_silent',
    file: server.target,
  });
  const response = await fetch(`http://127.0.0.1:${health}/healthz/ready`);
  t.equal(response.status, 503);
  t.match(await response.text(), `${server.target}: took the request and does not answer`);
  t.same(await sidecar.stop(), { code: 0, signal: null });
});
