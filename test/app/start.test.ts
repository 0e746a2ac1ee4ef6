import { rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  type IdentityPems,
  temporaryFolder,
  temporaryIdentity,
  testAuthority,
  testIdentity,
  writeIdentityFolder,
} from '../certificates.ts';
import { deadPort, get, listenUntilEnd, startApp, wirePlain, wireTls } from '../peers.ts';
import { type Sidecar, spawnSidecar, startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const own = await testIdentity(authority, 'foo/httpbin');
const client = await testIdentity(authority, 'foo/sleep');

t.test('the ready line names every port, the identity and its end', async t => {
  const sidecar = await startSidecar(t, { certs: temporaryIdentity(t, own) });
  const line = sidecar.log.all.find(({ msg }) => msg === 'ready');
  const address = /^127\.0\.0\.1:[1-9]\d*$/;
  t.match(line, {
    inbound: address,
    outbound: address,
    admin: address,
    health: address,
    telemetry: address,
    id: 'spiffe://cluster.local/ns/foo/sa/httpbin',
    notAfter: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
  });
  t.same(new Set(Object.values(sidecar.ports)).size, 5);
  t.same(await sidecar.get('health', '/healthz/ready'), { status: 200, body: 'LIVE\n' });
});

t.test('denials that the access log has no room to explain are warned of', async t => {
  const flags = ['--explain-denials', '--access-log', 'text'];
  const sidecar = await startSidecar(t, { certs: temporaryIdentity(t, own), flags });
  t.match(await sidecar.log.take(({ level }) => level === 'warn'), {
    msg: /JSON access log only: add --access-log json$/,
    accessLog: 'text',
  });
  const json = await startSidecar(t, { certs: temporaryIdentity(t, own), flags: ['--explain-denials'] });
  t.same(
    json.log.all.filter(({ level }) => level === 'warn'),
    [],
  );
});

for (const listener of ['inbound', 'outbound', 'admin', 'health', 'telemetry']) {
  t.test(`a port in use is one line and exit code 1: ${listener}`, async t => {
    const port = await listenUntilEnd(t, createServer());
    const sidecar = spawnSidecar(t, {
      certs: temporaryIdentity(t, own),
      flags: [`--${listener}`, `127.0.0.1:${port}`, '--workers', '2'],
    });
    t.same(await sidecar.exited, { code: 1, signal: null });
    t.same(sidecar.other.all, []);
    t.equal(sidecar.log.all.length, 1);
    t.match(sidecar.log.all[0], { level: 'error', msg: /EADDRINUSE/ });
    t.match(sidecar.log.all[0]?.msg, `127.0.0.1:${port}`);
  });
}

t.test('so is one of an egress listener', async t => {
  const port = await listenUntilEnd(t, createServer());
  const sidecar = spawnSidecar(t, {
    certs: temporaryIdentity(t, own),
    manifests: `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: foo}
spec: {egress: [{port: {number: ${port}, protocol: TCP, name: db}, hosts: [foo/db.foo]}]}
`,
  });
  t.same(await sidecar.exited, { code: 1, signal: null });
  t.match(sidecar.log.all.at(-1), { level: 'error', msg: new RegExp(`127\\.0\\.0\\.1:${port}: EADDRINUSE`) });
});

t.test('manifests with faults are a line each and exit code 1, before a port is bound', async t => {
  const inbound = await deadPort();
  const sidecar = spawnSidecar(t, {
    certs: temporaryIdentity(t, own),
    manifests:
      'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec: {mtls: {mode: STRIKT}}\n' +
      '---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: b}\nspec: {jwtRules: [{}]}\n',
    flags: ['--inbound', `127.0.0.1:${inbound}`],
  });
  t.same(await sidecar.exited, { code: 1, signal: null });
  const errors = sidecar.log.all.filter(line => line.level === 'error');
  t.match(errors, [
    { msg: /manifests\.yaml:4:\d+ error .*STRIKT/ },
    { msg: /manifests\.yaml:\d+:\d+ error / },
  ]);
});

/** Starts where no identity is yet; the ports are known before. */
async function startWithout(
  t: Test,
  certs: string,
): Promise<{ sidecar: Sidecar; inbound: number; health: number }> {
  const app = await startApp(t);
  const [inbound, health] = [await deadPort(), await deadPort()];
  const sidecar = spawnSidecar(t, {
    certs,
    app: app.port,
    flags: ['--inbound', `127.0.0.1:${inbound}`, '--health', `127.0.0.1:${health}`],
  });
  return { sidecar, inbound, health };
}

t.test('without an identity the port does not accept; with one, however late, it does', async t => {
  const certs = temporaryFolder(t);
  rmSync(certs, { recursive: true });
  const { sidecar, inbound, health } = await startWithout(t, certs);
  const line = await sidecar.log.take(({ msg }) => msg === 'no identity yet');
  t.match(line, { level: 'warn', reason: /./, detail: /./ });
  await t.rejects(wirePlain(t, inbound), { code: 'ECONNREFUSED' });
  const ready = await fetch(`http://127.0.0.1:${health}/healthz/ready`);
  t.equal(ready.status, 503);
  t.match(await ready.text(), line.detail as string);
  const live = await fetch(`http://127.0.0.1:${health}/healthz/live`);
  t.equal(live.status, 200);
  writeIdentityFolder(certs, own);
  await sidecar.ready;
  t.equal((await (await wireTls(t, inbound, client)).ask(get('/'))).status, 200);
});

/** What stands in the folder, and the line that names it. */
const FAULTS: readonly (readonly [
  string,
  (dir: string) => void | Promise<void>,
  file: RegExp,
  detail: RegExp,
])[] = [
  ['no key', dir => rmSync(join(dir, 'key.pem')), /key\.pem$/, /./],
  ['no roots', dir => rmSync(join(dir, 'root-cert.pem')), /root-cert\.pem$/, /./],
  ['an empty chain', dir => writeFileSync(join(dir, 'cert-chain.pem'), ''), /cert-chain\.pem$/, /./],
  ['garbage', dir => writeFileSync(join(dir, 'cert-chain.pem'), 'garbage'), /cert-chain\.pem$/, /./],
  [
    'the key of another',
    async dir => replace(dir, { keyPem: (await testIdentity(authority, 'foo/httpbin')).keyPem }),
    /key\.pem$/,
    /match|belong/,
  ],
  [
    'roots of another authority',
    async dir => replace(dir, { rootPem: (await testAuthority()).rootPem }),
    /./,
    /root/,
  ],
  [
    'an expired certificate',
    async dir =>
      replace(
        dir,
        await testIdentity(authority, 'foo/httpbin', { notBefore: Date.now() - 9e6, ttlMs: -60_000 }),
      ),
    /cert-chain\.pem$/,
    /expired/,
  ],
  [
    'no SPIFFE ID',
    async dir => replace(dir, await testIdentity(authority, 'https://example.org/')),
    /cert-chain\.pem$/,
    /SPIFFE/i,
  ],
];

function replace(dir: string, pems: Partial<IdentityPems>): void {
  writeIdentityFolder(dir, { ...own, ...pems });
}

for (const [name, spoil, file, detail] of FAULTS) {
  t.test(`certificates with a fault are one line that says which file and what: ${name}`, async t => {
    const certs = temporaryIdentity(t, own);
    await spoil(certs);
    const { sidecar, inbound } = await startWithout(t, certs);
    const line = await sidecar.log.take(({ msg }) => msg === 'no identity yet');
    t.match(line, { file, detail });
    t.notMatch(line.detail as string, /PRIVATE|\n/);
    await t.rejects(wirePlain(t, inbound), { code: 'ECONNREFUSED' });
    writeIdentityFolder(certs, own);
    await sidecar.ready;
    t.equal(sidecar.log.all.filter(({ msg }) => msg === 'no identity yet').length, 1);
    t.equal((await (await wireTls(t, inbound, client)).ask(get('/'))).status, 200);
  });
}

t.test('SIGTERM ends it while it waits for an identity', async t => {
  const { sidecar } = await startWithout(t, temporaryFolder(t));
  await sidecar.log.take(({ msg }) => msg === 'no identity yet');
  t.same(await sidecar.stop(), { code: 0, signal: null });
});

t.test('SIGTERM ends it at any moment of its start, and never leaves its app behind', async t => {
  for (let i = 0; i < 6; i++) {
    const health = await deadPort();
    const sidecar = spawnSidecar(t, {
      certs: temporaryIdentity(t, own),
      flags: ['--health', `127.0.0.1:${health}`, '--workers', '2'],
      command: [process.execPath, '-e', 'setInterval(() => {}, 1000)'],
    });
    await answers(sidecar, health);
    sidecar.signal('SIGTERM');
    const { code } = await sidecar.exited;
    const started = sidecar.log.all.some(({ msg }) => msg === 'the app ended');
    t.equal(code, started ? 143 : 0);
  }
});

/** Waits until the health port answers, which it does before the sidecar is ready. */
async function answers(sidecar: Sidecar, port: number): Promise<void> {
  while (sidecar.child.exitCode === null && sidecar.child.signalCode === null) {
    const answer = await fetch(`http://127.0.0.1:${port}/healthz/live`).catch(() => null);
    await answer?.text();
    if (answer !== null) return;
  }
}
