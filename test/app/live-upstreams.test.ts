/** Open outbound connections whose server is not believed any more. */
import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { deadPort, get, startApp, startTlsPeer, type Wire, wirePlain } from '../peers.ts';
import { mutual, service } from '../proxy/services.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);
t.jobs = 2; // most of it is waiting for a certificate to end

const LIFE_MS = 9_000; // longer than a start on a busy machine and what is done before the end
const authority = await testAuthority();
const own = await testIdentity(authority, 'foo/httpbin');
const HELD = 'spiffe://cluster.local/ns/foo/sa/held';
const EXPIRED = { direction: 'outbound', reason: 'expired' };

/** Where one HTTP service, one TCP service and one egress port lead to a server whose certificate ends soon. */
async function start(t: Test, grace: number) {
  const held: TLSSocket[] = [];
  let wake = (): void => {};
  const notBefore = Date.now();
  const pems = await testIdentity(authority, 'foo/held', { now: notBefore, notBefore, ttlMs: LIFE_MS });
  const server = await startTlsPeer(t, pems, socket => {
    socket.on('data', (chunk: Buffer) => {
      if (chunk.includes('/now')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
      else if (chunk.includes('/switch')) {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n');
      } else if (chunk.includes('/held')) {
        held.push(socket);
        wake();
      } else socket.write(chunk);
    });
  });
  const egress = await deadPort();
  const at = { endpoints: [server.port], policy: mutual(HELD) };
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: (await startApp(t)).port,
    flags: ['--revalidation-grace-seconds', String(grace)],
    manifests: `kind: MeshConfig
${service({ host: 'held.foo', ...at })}
${service({ host: 'db.foo', port: 5432, protocol: 'TCP', ...at })}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: foo}
spec:
  egress:
    - port: {number: ${egress}, protocol: TCP, name: db}
      bind: 127.0.0.1
      hosts: [foo/db.foo]
    - hosts: ['./*']
`,
  });
  const app = () => wirePlain(t, sidecar.ports.outbound);
  return {
    sidecar,
    server,
    egress,
    app,
    notAfter: new X509Certificate(pems.certChainPem).validToDate.getTime(),
    tunnel: async (): Promise<Wire> => {
      const wire = await app();
      if ((await wire.connect('db.foo:5432')).status !== 200) throw new Error('no tunnel');
      await echoes(wire, 'tunnel');
      return wire;
    },
    /** Waits until the server has so many requests that it does not answer by itself. */
    until: async (count: number): Promise<readonly TLSSocket[]> => {
      while (held.length < count) await new Promise<void>(resolve => (wake = resolve));
      return held;
    },
  };
}

function to(path: string, ...lines: readonly string[]): string {
  return get(path, ...lines).replace('app.example', 'held.foo');
}

async function echoes(wire: Wire, word: string): Promise<void> {
  wire.send(word);
  if ((await wire.take(word.length)).toString() !== word) throw new Error('another word came back');
}

/** Waits until the walk after the end is done. */
async function ended(sidecar: Sidecar): Promise<object> {
  return sidecar.log.take(line => line.msg === 'open connections end');
}

t.test(
  'the moment at which a server certificate ends: what is asked is answered, nothing else is',
  async t => {
    const { sidecar, server, app, tunnel, until, notAfter } = await start(t, 3_600);
    const [idle, waiting] = [await app(), await app()];
    waiting.send(to('/held'));
    const [held] = await until(1);
    t.equal((await idle.ask(to('/now'))).status, 200);
    const bytes = await tunnel();
    t.equal(server.open(), 3);
    const line = await ended(sidecar);
    t.equal(Date.now() - notAfter < 1_000, true, 'within a second');
    t.match(line, { level: 'warn', cause: 'expiry', inbound: {}, outbound: { expired: 3 } });
    t.equal(await sidecar.metric('outrider_connections_closed_total', EXPIRED), 3);
    while (server.open() > 2) await sidecar.metric('outrider_workers');
    const refused = await idle.ask(to('/now'));
    t.match({ status: refused.status, body: refused.body }, { status: 503, body: /expired$/ });
    await echoes(bytes, 'until the deadline');
    held?.write('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole');
    t.equal((await waiting.reply()).body, 'whole');
    t.equal((await waiting.ask(to('/now'))).status, 503, 'the connection is not used again');
  },
);

t.test('at the deadline the rest is cut', async t => {
  const { sidecar, egress, app, tunnel, until } = await start(t, 1);
  const waiting = (await app()).send(to('/held'));
  const streamed = (await app()).send(to('/held/streamed'));
  for (const socket of await until(2)) {
    if (socket === (await until(2))[1]) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf');
  }
  const switched = (await app()).send(to('/switch', 'connection: upgrade', 'upgrade: echo'));
  t.equal((await switched.reply()).status, 101);
  const bytes = await tunnel();
  const direct = await wirePlain(t, egress);
  await echoes(direct, 'egress');
  t.match(await ended(sidecar), { outbound: { expired: 5 } });
  await echoes(direct, 'once more');
  const outcomes = [waiting.reply().then(({ status }) => status), streamed.rest()];
  t.same((await Promise.all(outcomes)).toSorted(), [
    503,
    'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf',
  ]);
  t.equal(await bytes.rest(), '');
  t.equal(await switched.rest(), '');
  t.equal(await direct.rest(), '');
  t.not(direct.ended, 'end', 'visibly');
  for (const bytesReceived of [6, 15]) {
    const line = await sidecar.access.take(({ bytes_received }) => bytes_received === bytesReceived);
    t.match(line, { connection_termination_details: 'expired', direction: 'outbound' });
  }
  t.equal(await sidecar.metric('outrider_connections_closed_total', EXPIRED), 5);
});

t.test('a protocol that is switched to after the end is cut at once', async t => {
  const { sidecar, app, until } = await start(t, 3_600);
  const wire = (await app()).send(to('/held', 'connection: upgrade', 'upgrade: echo'));
  const [held] = await until(1);
  await ended(sidecar);
  held?.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nbytes');
  t.notMatch(await wire.rest(), /bytes/);
  t.match(await sidecar.access.take(({ path }) => path === '/held'), {
    connection_termination_details: 'expired',
  });
});
