import { X509Certificate } from 'node:crypto';
import { setTimeout as pace } from 'node:timers/promises';
import t, { type Test } from 'tap';
import {
  type IdentityPems,
  temporaryFolder,
  temporaryIdentity,
  testAuthority,
  testIdentity,
  writeIdentityFolder,
} from '../certificates.ts';
import {
  type IdentityWriter,
  renameOver,
  rewriteInPlace,
  swapDataLink,
  writeTorn,
} from '../identity-writers.ts';
import { deadPort, get, startApp, valuesOf, type Wire, wirePlain, wireTls } from '../peers.ts';
import { mutual, service } from '../proxy/services.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';

t.setTimeout(240_000);
t.jobs = 4; // most of a rotation is waiting for the writer to rest

const ROTATIONS = 100;
const HTTPBIN = 'spiffe://cluster.local/ns/foo/sa/httpbin';
const authority = await testAuthority();
const client = await testIdentity(authority, 'foo/sleep');

const WRITERS: readonly (readonly [string, IdentityWriter])[] = [
  ['a swap of ..data', swapDataLink],
  ['a rename over each file', renameOver],
  ['a rewrite in place', rewriteInPlace],
  ['torn writes with pauses', writeTorn],
];

function serialOf(pems: IdentityPems): string {
  return new X509Certificate(pems.certChainPem).serialNumber;
}

/** One sidecar under load, in and out, and which of its certificates may be seen now. */
class Rotating {
  readonly failures: string[] = [];
  readonly seen = new Set<string>();
  requests = 0;
  handshakes = 0;
  /** Serials in the order in which they were written. */
  readonly #serials: string[] = [];
  /** The newest that is in force everywhere. */
  #inForce = 0;
  #over = false;
  readonly #t: Test;
  readonly #sidecar: Sidecar;
  readonly #loops: Promise<void>[];

  constructor(t: Test, sidecar: Sidecar, first: string) {
    this.#t = t;
    this.#sidecar = sidecar;
    this.#serials.push(first);
    this.#loops = [this.#load(() => this.#keptInbound()), this.#load(() => this.#newInbound())];
    this.#loops.push(this.#load(() => this.#keptOutbound()));
    t.teardown(() => this.end());
  }

  /** Writes one identity and waits until every worker has it. */
  async rotate(dir: string, write: IdentityWriter, pems: IdentityPems): Promise<void> {
    const serial = serialOf(pems);
    this.#serials.push(serial);
    await write(dir, pems);
    await this.#sidecar.log.take(line => line.msg === 'certificates replaced' && line.serial === serial);
    await this.#sidecar.metric('outrider_workers');
    this.#inForce = this.#serials.length - 1;
    const wire = await this.#dial();
    if (presented(wire) !== serial) this.failures.push(`${presented(wire)} right after ${serial}`);
    await this.#ask(wire, get('/first'));
    wire.socket.destroy();
  }

  async end(): Promise<void> {
    this.#over = true;
    await Promise.all(this.#loops);
  }

  async #load(turn: () => Promise<void>): Promise<void> {
    while (!this.#over && this.failures.length < 20) {
      await turn().catch(error => this.failures.push(String(error)));
      await pace(5); // how dense the load is; nothing waits for it
    }
  }

  #kept: Wire | null = null;
  async #keptInbound(): Promise<void> {
    this.#kept ??= await this.#dial();
    await this.#ask(this.#kept, get('/kept'));
  }

  /** The certificate in force, or one that is on its way: the one before the newest in force is too old. */
  async #newInbound(): Promise<void> {
    const oldest = Math.max(0, this.#inForce - 1);
    const wire = await this.#dial();
    const serial = presented(wire);
    this.seen.add(serial);
    this.handshakes++;
    if (!this.#serials.slice(oldest).includes(serial)) this.failures.push(`${serial} is too old`);
    await this.#ask(wire, get('/new'));
    wire.socket.destroy();
  }

  #out: Wire | null = null;
  async #keptOutbound(): Promise<void> {
    this.#out ??= await wirePlain(this.#t, this.#sidecar.ports.outbound);
    await this.#ask(this.#out, get('/out').replace('app.example', 'self.foo'));
  }

  async #ask(wire: Wire, request: string): Promise<void> {
    const reply = await wire.ask(request);
    this.requests++;
    if (reply.status !== 200) this.failures.push(reply.body);
    else if (valuesOf(reply.received(), 'x-forwarded-client-cert').length !== 1)
      this.failures.push(reply.body);
  }

  #dial(): ReturnType<typeof wireTls> {
    return wireTls({ teardown: () => {} }, this.#sidecar.ports.inbound, client);
  }
}

function presented(wire: Awaited<ReturnType<typeof wireTls>>): string {
  return wire.socket.getPeerX509Certificate()?.serialNumber ?? 'none';
}

/** A sidecar whose outbound side also reaches its own inbound one, over mutual TLS. */
async function startSelf(t: Test, certs: string): Promise<Sidecar> {
  const app = await startApp(t);
  const inbound = await deadPort();
  return startSidecar(t, {
    certs,
    app: app.port,
    manifests: `kind: MeshConfig${service({ host: 'self.foo', endpoints: [inbound], policy: mutual(HTTPBIN) })}`,
    flags: ['--inbound', `127.0.0.1:${inbound}`, '--workers', '2', '--access-log', 'off'],
  });
}

for (const [name, write] of WRITERS) {
  t.test(
    `${ROTATIONS} rotations by ${name} under load: no request fails, no certificate is wrong`,
    async t => {
      const certs = temporaryFolder(t);
      const first = await testIdentity(authority, 'foo/httpbin');
      await write(certs, first);
      const sidecar = await startSelf(t, certs);
      const rotating = new Rotating(t, sidecar, serialOf(first));
      for (let i = 0; i < ROTATIONS; i++)
        await rotating.rotate(certs, write, await testIdentity(authority, 'foo/httpbin'));
      await rotating.end();
      t.same(rotating.failures, []);
      t.ok(rotating.seen.size > ROTATIONS / 2, `${rotating.seen.size} certificates seen`);
      t.comment(`${rotating.requests} requests, ${rotating.handshakes} handshakes`);
      t.equal(await sidecar.metric('outrider_certificate_reloads_total'), ROTATIONS);
      t.equal(await sidecar.metric('outrider_worker_restarts_total'), 0);
      t.equal(await sidecar.metric('outrider_tls_handshakes_total', { result: 'failure' }), 0);
    },
  );
}

t.test('the authority is exchanged under load, in three steps, and no request fails', async t => {
  const next = await testAuthority();
  const both = authority.rootPem + next.rootPem;
  const own = await testIdentity(authority, 'foo/httpbin');
  const certs = temporaryIdentity(t, own);
  const sidecar = await startSelf(t, certs);
  const rotating = new Rotating(t, sidecar, serialOf(own));
  const steps = [
    { ...(await testIdentity(authority, 'foo/httpbin')), rootPem: both },
    { ...(await testIdentity(next, 'foo/httpbin')), rootPem: both },
  ];
  for (const pems of steps) await rotating.rotate(certs, renameOver, pems);
  await rotating.end();
  t.same(rotating.failures, []);
  const moved = await testIdentity(next, 'foo/sleep');
  const last = await testIdentity(next, 'foo/httpbin');
  writeIdentityFolder(certs, last);
  await sidecar.log.take(line => line.serial === serialOf(last));
  await sidecar.metric('outrider_workers');
  t.equal((await (await wireTls(t, sidecar.ports.inbound, moved)).ask(get('/'))).status, 200);
  t.equal(await (await wireTls(t, sidecar.ports.inbound, client)).rest(), '', 'the old authority is out');
});

t.test('a bad rotation keeps the last good certificate, and says so once', async t => {
  const own = await testIdentity(authority, 'foo/httpbin');
  const certs = temporaryIdentity(t, own);
  const sidecar = await startSelf(t, certs);
  writeIdentityFolder(certs, { ...own, keyPem: client.keyPem });
  const line = await sidecar.log.take(
    ({ msg }) => msg === 'certificates refused, the last good ones stay in force',
  );
  t.match(line, { level: 'warn', file: /key\.pem$/, reason: /./, detail: /./ });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  t.equal(presented(wire), serialOf(own));
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
