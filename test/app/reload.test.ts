import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { get, startApp, wireTls } from '../peers.ts';
import { startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const client = await testIdentity(authority, 'foo/sleep');

function allow(path: string): string {
  return `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: paths, namespace: foo}
spec: {rules: [{to: [{operation: {paths: [${path}]}}]}]}
`;
}

async function start(t: Test, manifests: string, flags: readonly string[] = []) {
  const app = await startApp(t);
  const certs = temporaryIdentity(t, await testIdentity(authority, 'foo/httpbin'));
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests, flags });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  const status = async (path: string): Promise<number> => (await wire.ask(get(path))).status;
  return { app, sidecar, wire, status };
}

t.test('a new policy decides the next request of a live connection, on every worker', async t => {
  const { sidecar, status } = await start(t, allow('/one'), ['--workers', '2']);
  t.same([await status('/one'), await status('/two')], [200, 403]);
  await sidecar.configure(allow('/two'));
  t.same([await status('/one'), await status('/two')], [403, 200]);
  t.equal(await sidecar.metric('outrider_config_generation'), 2);
  t.equal(await sidecar.metric('outrider_config_reloads_total', { result: 'success' }), 1);
  for (let i = 0; i < 8; i++) {
    const wire = await wireTls(t, sidecar.ports.inbound, client);
    t.equal((await wire.ask(get('/one'))).status, 403);
  }
});

t.test('a request that policy let in finishes, whatever policy says since', async t => {
  const began = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const app = await startApp(t, async (_, response) => {
    began.resolve();
    await go.promise;
    response.end('done');
  });
  const certs = temporaryIdentity(t, await testIdentity(authority, 'foo/httpbin'));
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests: allow('/one') });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  wire.send(get('/one'));
  await began.promise;
  await sidecar.configure(allow('/two'));
  go.resolve();
  t.equal((await wire.reply()).body, 'done');
  t.equal((await wire.ask(get('/one'))).status, 403);
});

t.test('a bad reload changes nothing and says so everywhere', async t => {
  const { sidecar, status } = await start(t, allow('/one'));
  const bad = `${allow('/two')}---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: x}\nspec: {mtls: {mode: STRIKT}}\n`;
  sidecar.writeManifests(bad);
  const fault = await sidecar.log.take(line => line.level === 'error');
  t.match(fault.msg, /manifests\.yaml:\d+:\d+ error .*STRIKT/);
  t.match(fault, { kind: 'PeerAuthentication', name: /x$/ });
  await sidecar.log.take(line => line.msg === 'configuration refused, the last good one stays in force');
  t.same([await status('/one'), await status('/two')], [200, 403], 'not even its good half is in force');
  t.equal(await sidecar.metric('outrider_config_last_reload_successful'), 0);
  t.equal(await sidecar.metric('outrider_config_reloads_total', { result: 'failure' }), 1);
  t.equal(await sidecar.metric('outrider_config_generation'), 1);
  for (const port of ['admin', 'health'] as const) {
    const { status, body } = await sidecar.get(port, '/healthz/ready?verbose');
    t.equal(status, 200, 'it serves on');
    const { config } = JSON.parse(body);
    t.match(config, { generation: 1, lastReloadSuccessful: false });
    t.match(config.faults[0].message, 'STRIKT');
  }

  t.test('and a good one after it is taken', async t => {
    await sidecar.configure(allow('/two'));
    t.same([await status('/one'), await status('/two')], [403, 200]);
    t.equal(await sidecar.metric('outrider_config_last_reload_successful'), 1);
    const { config } = JSON.parse((await sidecar.get('health', '/healthz/ready?verbose')).body);
    t.match(config, { generation: 2, lastReloadSuccessful: true, faults: [] });
  });
});

t.test('manifests that are gone are a bad reload too: no policy is not the empty policy', async t => {
  const { sidecar, status } = await start(t, allow('/one'));
  const { rmSync } = await import('node:fs');
  rmSync(sidecar.manifests as string, { recursive: true });
  sidecar.signal('SIGHUP');
  await sidecar.log.take(line => line.msg === 'configuration refused, the last good one stays in force');
  t.same([await status('/one'), await status('/two')], [200, 403]);
});

t.test('SIGHUP reads everything again, without waiting for a watch', async t => {
  const { sidecar, status } = await start(t, allow('/one'));
  sidecar.signal('SIGHUP');
  await sidecar.log.take(line => line.msg === 'reloading');
  await sidecar.log.take(line => line.msg === 'configuration replaced');
  t.equal(await status('/one'), 200);
});

t.test('the trust domain may change: peers that it no longer covers are closed', async t => {
  const aliased = (alias: string) => `
kind: MeshConfig
trustDomain: cluster.local
trustDomainAliases: [${alias}]
`;
  const partner = await testAuthority({ trustDomain: 'partner.example' });
  const pems = await testIdentity(partner, 'foo/guest');
  const own = await testIdentity(authority, 'foo/httpbin');
  const certs = temporaryIdentity(t, { ...own, rootPem: own.rootPem + partner.rootPem });
  const app = await startApp(t);
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests: aliased('partner.example') });
  const wire = await wireTls(t, sidecar.ports.inbound, pems);
  t.equal((await wire.ask(get('/'))).status, 200);
  await sidecar.configure(aliased('other.example'));
  t.equal(await wire.rest(), '');
  t.equal(await (await wireTls(t, sidecar.ports.inbound, pems)).rest(), '');
  t.equal(await sidecar.metric('outrider_tls_handshakes_total', { reason: 'foreign_trust_domain' }), 1);
});

t.test('the least TLS version follows the mesh config', async t => {
  const { sidecar, wire } = await start(t, 'kind: MeshConfig\n');
  const old = { maxVersion: 'TLSv1.2' } as const;
  const before = await wireTls(t, sidecar.ports.inbound, client, old);
  t.equal((await before.ask(get('/'))).status, 200);
  await sidecar.configure('kind: MeshConfig\nmeshMTLS: {minProtocolVersion: TLSV1_3}\n');
  await t.rejects(wireTls(t, sidecar.ports.inbound, client, old), { message: /version|alert|disconnected/ });
  t.equal(await sidecar.metric('outrider_tls_handshakes_total', { reason: 'tls_version' }), 1);
  t.equal((await wire.ask(get('/'))).status, 200, 'what stands goes on');
  t.equal((await (await wireTls(t, sidecar.ports.inbound, client)).ask(get('/'))).status, 200);
});

t.test('the access log follows the mesh config', async t => {
  const { sidecar, status } = await start(t, 'kind: MeshConfig\naccessLogFile: ""\n');
  await status('/silent');
  await sidecar.configure('kind: MeshConfig\naccessLogFile: /dev/stdout\naccessLogEncoding: TEXT\n');
  await status('/text');
  t.match(
    await sidecar.other.take(line => line.includes('/text')),
    /^\[\d{4}-.*Z\] "GET \/text HTTP\/1\.1" 200 - /,
  );
  await sidecar.configure('kind: MeshConfig\naccessLogFile: /dev/stdout\naccessLogEncoding: JSON\n');
  await status('/json');
  await sidecar.access.take(line => line.path === '/json');
  t.equal(sidecar.access.all.length, 1);
});
