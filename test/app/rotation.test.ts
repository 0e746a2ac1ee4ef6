import { X509Certificate } from 'node:crypto';
import t from 'tap';
import {
  type IdentityPems,
  temporaryIdentity,
  testAuthority,
  testIdentity,
  writeIdentityFolder,
} from '../certificates.ts';
import { HOSTILE_WRITERS, renameOver } from '../identity-writers.ts';
import { get, startApp, wireTls } from '../peers.ts';
import { RotationLoad, SerialsInForce } from '../rotation-load.ts';
import { rotate, startWorld, torture } from '../rotation-torture.ts';
import { startSidecar } from '../sidecar.ts';

t.setTimeout(240_000);

const ROTATIONS = 50; // `npm run torture:rotation` makes 1,000
const authority = await testAuthority();
const client = await testIdentity(authority, 'foo/sleep');

function serialOf(pems: IdentityPems): string {
  return new X509Certificate(pems.certChainPem).serialNumber;
}

t.test(
  `${ROTATIONS} rotations in every hostile way under load: no request fails, no certificate is wrong`,
  async t => {
    const report = await torture(t, { rotations: ROTATIONS });
    t.same(report.failed, []);
    t.same(report.wrong, []);
    t.equal(report.restarts, 0);
    t.ok(report.seen > ROTATIONS / 2, `${report.seen} certificates seen`);
    t.ok(report.resumed > 0, `${report.resumed} connections resumed`);
    for (const reason of ['key_mismatch', 'not_pem', 'file_empty', 'file_missing', 'folder_missing']) {
      t.ok(report.refused[reason], `${reason} was met on the way`);
    }
    t.comment(`${report.requests} requests, ${report.handshakes} handshakes, ${HOSTILE_WRITERS.length} ways`);
  },
);

t.test('the authority is exchanged under load, in three steps, and no request fails', async t => {
  const next = await testAuthority();
  const both = authority.rootPem + next.rootPem;
  const own = await testIdentity(authority, 'foo/httpbin');
  const dir = temporaryIdentity(t, own);
  const serials = new SerialsInForce();
  serials.written(own);
  const world = await startWorld(t, dir, client);
  const load = new RotationLoad({ serials, client, ...world.targets });
  t.teardown(() => load.end());
  const steps = [
    { ...(await testIdentity(authority, 'foo/httpbin')), rootPem: both },
    { ...(await testIdentity(next, 'foo/httpbin')), rootPem: both },
  ];
  for (const pems of steps) {
    await rotate({ world, serials, dir, write: renameOver, pems });
    await load.newInbound();
  }
  await load.end();
  t.same(load.failed, []);
  t.same(load.wrong, []);
  const moved = await testIdentity(next, 'foo/sleep');
  const last = await testIdentity(next, 'foo/httpbin');
  await rotate({ world, serials, dir, write: renameOver, pems: last });
  t.equal((await (await wireTls(t, world.targets.httpInbound, moved)).ask(get('/'))).status, 200);
  t.equal(await (await wireTls(t, world.targets.httpInbound, client)).rest(), '', 'the old authority is out');
});

t.test('a bad rotation keeps the last good certificate, and says so once', async t => {
  const own = await testIdentity(authority, 'foo/httpbin');
  const certs = temporaryIdentity(t, own);
  const sidecar = await startSidecar(t, { certs, app: (await startApp(t)).port });
  writeIdentityFolder(certs, { ...own, keyPem: client.keyPem });
  const line = await sidecar.log.take(
    ({ msg }) => msg === 'certificates refused, the last good ones stay in force',
  );
  t.match(line, { level: 'warn', file: /key\.pem$/, reason: /./, detail: /./ });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  t.equal(wire.socket.getPeerX509Certificate()?.serialNumber, serialOf(own));
  t.equal((await wire.ask(get('/'))).status, 200);
  t.equal(
    await sidecar.metric('outrider_certificate_reload_failures_total', { reason: line.reason as string }),
    1,
  );
  const { status, body } = await sidecar.get('health', '/healthz/ready?verbose');
  t.equal(status, 200);
  t.match(JSON.parse(body).certificates.lastError, { reason: line.reason });
  const good = await testIdentity(authority, 'foo/httpbin');
  writeIdentityFolder(certs, good);
  await sidecar.log.take(({ serial }) => serial === serialOf(good));
  t.equal(
    JSON.parse((await sidecar.get('health', '/healthz/ready?verbose')).body).certificates.lastError,
    null,
  );
});
