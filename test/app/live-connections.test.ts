/** Open inbound connections whose client is not believed any more, or that policy would not let in any more. */
import { X509Certificate } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { type IdentityPems, temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { get, type Received, startApp, startTcpApp, type Wire, wirePlain, wireTls } from '../peers.ts';
import { startAuthorizer } from '../proxy/authorizer.ts';
import { OK, startGrpcAuthorizer } from '../proxy/grpc-authorizer.ts';
import { type Sidecar, type SidecarOptions, startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);
t.jobs = 2; // most of it is waiting for a deadline

const authority = await testAuthority();
const partner = await testAuthority({ trustDomain: 'partner.example' });
const client = await testIdentity(authority, 'foo/sleep');
const guest = await testIdentity(partner, 'foo/guest');
const ours = await testIdentity(authority, 'foo/httpbin');
/** It believes both authorities, as far as the mesh config has their trust domains. */
const own: IdentityPems = { ...ours, rootPem: ours.rootPem + partner.rootPem };

const FOREIGN = { direction: 'inbound', reason: 'foreign_trust_domain' };
const NEVER = ['--revalidation-grace-seconds', '3600'];
const AT_ONCE = ['--revalidation-grace-seconds', '0'];
const SOON = ['--revalidation-grace-seconds', '1'];

/** A mesh config that has the partner's trust domain, or not, and more. */
function mesh(trusted: boolean, ...documents: readonly (string | object)[]): string {
  const config = { kind: 'MeshConfig', trustDomainAliases: trusted ? ['partner.example'] : [] };
  return [config, ...documents]
    .map(document => (typeof document === 'string' ? document : JSON.stringify(document)))
    .join('\n---\n');
}

function policy(name: string, spec: object, kind = 'AuthorizationPolicy'): object {
  return { apiVersion: 'security.istio.io/v1', kind, metadata: { name, namespace: 'foo' }, spec };
}

function start(t: Test, app: number, flags: readonly string[], options: SidecarOptions = {}) {
  return startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app,
    manifests: mesh(true),
    ...options,
    flags: [...flags, ...(options.flags ?? [])],
  });
}

function closed(sidecar: Sidecar, labels: Record<string, string> = FOREIGN): Promise<number> {
  return sidecar.metric('outrider_connections_closed_total', labels);
}

/** An app that answers when it is told to, and what it was asked. */
async function heldApp(t: Test, begin: (response: ServerResponse, received: Received) => void = () => {}) {
  const asked: string[] = [];
  const open: ServerResponse[] = [];
  let wake = (): void => {};
  const app = await startApp(t, (received, response) => {
    asked.push(received.url);
    begin(response, received);
    open.push(response);
    wake();
  });
  return {
    port: app.port,
    asked,
    async until(count: number): Promise<void> {
      while (open.length < count) await new Promise<void>(resolve => (wake = resolve));
    },
    answerAll(): void {
      for (const response of open) response.end('whole');
    },
  };
}

/** One socket of a TCP app, and whether it broke. */
async function heldTcp(t: Test, greet: (socket: Socket) => void = socket => socket.pipe(socket)) {
  const { promise, resolve } = Promise.withResolvers<string>();
  const app = await startTcpApp(t, socket => {
    let how = 'end';
    socket.on('error', error => (how = (error as NodeJS.ErrnoException).code ?? 'error'));
    socket.once('close', () => resolve(how));
    greet(socket);
  });
  return { port: app.port, ended: promise };
}

async function echoes(wire: Wire, word: string): Promise<void> {
  wire.send(word);
  if ((await wire.take(word.length)).toString() !== word) throw new Error('another word came back');
}

t.test(
  'HTTP of a peer whose trust domain went: what reached the app is answered, nothing else is begun',
  async t => {
    const app = await heldApp(t, (response, { url }) => {
      if (url === '/streamed') response.write('half, ');
      if (url === '/idle' || url === '/ours') response.end('ok');
    });
    const sidecar = await start(t, app.port, NEVER);
    const dial = (pems = guest) => wireTls(t, sidecar.ports.inbound, pems);
    const idle = await dial();
    t.equal((await idle.ask(get('/idle'))).status, 200);
    const ourOwn = await dial(client);
    t.equal((await ourOwn.ask(get('/ours'))).status, 200);
    const waiting = (await dial()).send(get('/waiting'));
    const pipelined = (await dial()).send(get('/first') + get('/second'));
    const streamed = (await dial()).send(get('/streamed'));
    await app.until(5);
    t.equal(
      (await streamed.until(bytes => (bytes.includes('half') ? bytes : null))).includes('close'),
      false,
    );
    const begun = (await dial()).send('GET /begun HTTP/1.1\r\nho');
    const silent = await dial();
    await sidecar.configure(mesh(false));

    t.equal(await idle.rest(), '', 'an idle connection closes at once');
    t.equal(await begun.rest(), '', 'so does one with half a head');
    t.equal(await silent.rest(), '', 'and one that said nothing yet');
    t.equal(await closed(sidecar), 6);
    t.match(await sidecar.log.take(line => line.msg === 'open connections end'), {
      level: 'warn',
      cause: 'configuration',
      inbound: { foreign_trust_domain: 6 },
      outbound: {},
    });
    app.answerAll();
    const reply = await waiting.reply();
    t.match({ status: reply.status, body: reply.body }, { status: 200, body: 'whole' });
    t.equal(reply.header('connection'), 'close');
    t.equal(await waiting.rest(), '');
    t.equal((await pipelined.reply()).body, 'whole');
    t.equal(await pipelined.rest(), '', 'what was read ahead is not begun');
    t.equal((await streamed.reply()).body, 'half, whole');
    t.equal(await streamed.rest(), '');
    t.equal((await ourOwn.ask(get('/ours'))).status, 200, 'others go on');
    t.same(app.asked.toSorted(), ['/first', '/idle', '/ours', '/ours', '/streamed', '/waiting']);
  },
);

t.test('a response that is not done by the deadline is broken off, and the log says why', async t => {
  const app = await heldApp(t, response => response.write('half, '));
  const sidecar = await start(t, app.port, SOON);
  const wire = (await wireTls(t, sidecar.ports.inbound, guest)).send(get('/endless'));
  await wire.until(bytes => (bytes.includes('half') ? bytes : null));
  await sidecar.configure(mesh(false));
  t.match(await wire.rest(), /half, \r\n$/, 'without its last chunk');
  const line = await sidecar.access.take(({ path }) => path === '/endless');
  t.match(line, { response_code: 200, response_flags: 'DC', response_code_details: 'foreign_trust_domain' });
});

t.test('a request that an authorizer is still asked about is denied', async t => {
  const app = await heldApp(t);
  const held = Promise.withResolvers<ServerResponse>();
  const guard = await startAuthorizer(t, (_, response) => held.resolve(response));
  const ask = policy('ask', { action: 'CUSTOM', provider: { name: 'guard' }, rules: [{}] });
  const manifests = (trusted: boolean): string =>
    mesh(trusted, ask).replace(
      '{',
      `{"extensionProviders": [{"name": "guard", "envoyExtAuthzHttp": {"service": "127.0.0.1", "port": ${guard.port}}}], `,
    );
  const sidecar = await start(t, app.port, NEVER, { manifests: manifests(true) });
  const wire = (await wireTls(t, sidecar.ports.inbound, guest)).send(get('/asked'));
  const response = await held.promise;
  await sidecar.configure(manifests(false));
  t.equal((await wire.reply()).status, 403);
  t.equal(await wire.rest(), '');
  response.end();
  t.match(await sidecar.access.take(({ path }) => path === '/asked'), {
    response_code_details: 'foreign_trust_domain',
  });
  t.same(app.asked, []);
});

t.test('bytes go on until the deadline, then both sides see that they were cut', async t => {
  const app = await heldTcp(t);
  const tcp = ['--protocol', `${app.port}=tcp`];
  const sidecar = await start(t, app.port, SOON, { flags: tcp });
  const wire = await wireTls(t, sidecar.ports.inbound, guest);
  await echoes(wire, 'before');
  await sidecar.configure(mesh(false));
  t.equal(await closed(sidecar), 1, 'counted when its end begins');
  await echoes(wire, 'after');
  t.equal(await wire.rest(), '');
  t.equal(await app.ended, 'ECONNRESET');
  t.match(await sidecar.access.take(line => line.bytes_received === 11), {
    connection_termination_details: 'foreign_trust_domain',
    bytes_sent: 11,
    direction: 'inbound',
  });
  t.equal(await closed(sidecar), 1);
});

t.test('without grace they end at once', async t => {
  const app = await heldTcp(t);
  const sidecar = await start(t, app.port, AT_ONCE, { flags: ['--protocol', `${app.port}=tcp`] });
  const wire = await wireTls(t, sidecar.ports.inbound, guest);
  await echoes(wire, 'before');
  await sidecar.configure(mesh(false));
  t.equal(await wire.rest(), '');
  t.equal(await app.ended, 'ECONNRESET');
});

t.test('a protocol that was switched to ends at the deadline too', async t => {
  const app = await heldTcp(t, socket => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n');
      socket.pipe(socket);
    });
  });
  const sidecar = await start(t, app.port, SOON);
  const wire = await wireTls(t, sidecar.ports.inbound, guest);
  wire.send(get('/chat', 'connection: upgrade', 'upgrade: echo'));
  t.equal((await wire.reply()).status, 101);
  await sidecar.configure(mesh(false));
  await echoes(wire, 'after');
  t.equal(await wire.rest(), '');
  t.match(await sidecar.access.take(({ path }) => path === '/chat'), {
    connection_termination_details: 'foreign_trust_domain',
  });
});

t.test('policy that denies what is open now', async t => {
  const deny = (rule: object): object => policy('deny', { action: 'DENY', rules: [rule] });
  const labels = { direction: 'inbound', reason: 'policy_denied' };

  t.test('TCP: it ends at the deadline, by the name of the policy', async t => {
    const app = await heldTcp(t);
    const sidecar = await start(t, app.port, SOON, { flags: ['--protocol', `${app.port}=tcp`] });
    const wire = await wireTls(t, sidecar.ports.inbound, client);
    await echoes(wire, 'before');
    const named = deny({ from: [{ source: { principals: ['cluster.local/ns/foo/sa/sleep'] } }] });
    await sidecar.configure(mesh(true, named));
    await echoes(wire, 'after');
    t.equal(await wire.rest(), '');
    t.match(await sidecar.access.take(line => line.bytes_received === 11), {
      connection_termination_details: 'rbac_access_denied_matched_policy[ns[foo]-policy[deny]-rule[0]]',
      policy: 'foo/deny',
      policy_decision: 'deny',
    });
    t.equal(await closed(sidecar, labels), 1);
  });

  t.test('an upgraded connection: by the request that opened it', async t => {
    const app = await heldTcp(t, socket => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n');
        socket.pipe(socket);
      });
    });
    const sidecar = await start(t, app.port, SOON);
    const wire = await wireTls(t, sidecar.ports.inbound, client);
    wire.send(get('/chat', 'connection: upgrade', 'upgrade: echo'));
    t.equal((await wire.reply()).status, 101);
    await sidecar.configure(mesh(true, deny({ to: [{ operation: { paths: ['/other'] } }] })));
    await echoes(wire, 'another path is denied');
    await sidecar.configure(mesh(true, deny({ to: [{ operation: { paths: ['/chat'] } }] })));
    t.equal(await wire.rest(), '');
    t.match(await sidecar.access.take(({ path }) => path === '/chat'), {
      connection_termination_details: 'rbac_access_denied_matched_policy[ns[foo]-policy[deny]-rule[0]]',
      policy_decision: 'deny',
    });
    t.equal(await closed(sidecar, labels), 1);
  });
});

t.test('an authorizer that only the new configuration names is asked about open TCP connections', async t => {
  let allow = true;
  let heard = (): void => {};
  const guard = await startGrpcAuthorizer(t, () => {
    heard();
    return allow ? OK : { status: { code: 7 } };
  });
  const asked = (): Promise<void> => new Promise(resolve => (heard = resolve));
  const app = await heldTcp(t);
  const custom = policy('ask', { action: 'CUSTOM', provider: { name: 'guard' }, rules: [{}] });
  const manifests = (timeout: string, ...more: readonly object[]): string => {
    const envoyExtAuthzGrpc = { service: '127.0.0.1', port: guard.port, timeout };
    const config = { kind: 'MeshConfig', extensionProviders: [{ name: 'guard', envoyExtAuthzGrpc }] };
    return [config, ...more].map(document => JSON.stringify(document)).join('\n---\n');
  };
  const flags = ['--protocol', `${app.port}=tcp`];
  const sidecar = await start(t, app.port, SOON, { flags, manifests: manifests('8s') });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  await echoes(wire, 'before');
  const first = asked();
  await sidecar.configure(manifests('8s', custom));
  await first;
  t.match(guard.checks[0]?.attributes.source, { principal: 'spiffe://cluster.local/ns/foo/sa/sleep' });
  // Its answer has to be in before the next configuration, which would else be asked about, too.
  while ((await sidecar.metric('outrider_ext_authz_answers_total')) === 0);
  await echoes(wire, 'it said yes');
  const strict = policy('strict', { mtls: { mode: 'STRICT' } }, 'PeerAuthentication');
  await sidecar.configure(manifests('8s', custom, strict));
  await echoes(wire, 'still');
  t.equal(guard.checks.length, 1, 'what it said holds while it is configured as it was');
  allow = false;
  await sidecar.configure(manifests('9s', custom));
  t.equal(await wire.rest(), '');
  t.match(await sidecar.access.take(line => line.upstream_host !== null), {
    connection_termination_details: 'ext_authz_denied',
    policy: 'foo/ask',
    policy_decision: 'deny',
  });
  t.equal(await closed(sidecar, { direction: 'inbound', reason: 'policy_denied' }), 1);
});

t.test('plaintext on a port that became STRICT', async t => {
  const app = await heldApp(t, (response, { url }) => {
    if (url === '/idle') response.end('ok');
  });
  const sidecar = await start(t, app.port, NEVER);
  const idle = await wirePlain(t, sidecar.ports.inbound);
  t.equal((await idle.ask(get('/idle'))).status, 200);
  const waiting = (await wirePlain(t, sidecar.ports.inbound)).send(get('/waiting'));
  await app.until(2);
  const strict = policy('strict', { mtls: { mode: 'STRICT' } }, 'PeerAuthentication');
  await sidecar.configure(mesh(true, strict));
  t.equal(await idle.rest(), '');
  app.answerAll();
  t.equal((await waiting.reply()).header('connection'), 'close');
  t.equal(await waiting.rest(), '');
  t.equal(await closed(sidecar, { direction: 'inbound', reason: 'mtls_required' }), 2);
});

t.test('the moment at which a certificate ends', async t => {
  const app = await heldTcp(t);
  const now = Date.now();
  const short = await testIdentity(authority, 'foo/short', { now, notBefore: now, ttlMs: 8_000 });
  const sidecar = await start(t, app.port, AT_ONCE, { flags: ['--protocol', `${app.port}=tcp`] });
  const wire = await wireTls(t, sidecar.ports.inbound, short);
  const other = await wireTls(t, sidecar.ports.inbound, client);
  await echoes(wire, 'before');
  await echoes(other, 'other');
  t.equal(await wire.rest(), '');
  const lateMs = Date.now() - new X509Certificate(short.certChainPem).validToDate.getTime();
  t.equal(lateMs > 0 && lateMs < 1_000, true, `${lateMs} ms after it`);
  t.match(await sidecar.access.take(line => line.bytes_received === 6), {
    connection_termination_details: 'expired',
  });
  t.match(await sidecar.log.take(line => line.msg === 'open connections end'), {
    cause: 'expiry',
    inbound: { expired: 1 },
  });
  t.equal(await closed(sidecar, { direction: 'inbound', reason: 'expired' }), 1);
  await echoes(other, 'others go on');
});
