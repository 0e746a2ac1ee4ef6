/**
 * Generated exchanges from node:http2 to node:http2, directly and through Outrider: what arrives at either end is the
 * same. H2_RUNS and H2_SEED make it a longer hunt.
 */
import { once } from 'node:events';
import http2, { type ClientHttp2Session } from 'node:http2';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { listenUntilEnd } from '../peers.ts';
import { mutual, service } from '../proxy/services.ts';
import { startSidecar } from '../sidecar.ts';
import { ExchangeServer, exchange, exchanges, type SeenMessage, type SeenStream } from './h2-exchanges.ts';

t.setTimeout(180_000);

const RUNS = Number(process.env.H2_RUNS ?? 150);
const SEED = Number(process.env.H2_SEED ?? 20_261_130);
const authority = await testAuthority();
const own = await testIdentity(authority, 'foo/server');
const caller = await testIdentity(authority, 'foo/client');

/** Fields that a sidecar adds to what passes, as its documentation says. */
const ADDED =
  /^(?:x-request-id|x-forwarded-client-cert|x-forwarded-proto|x-forwarded-for|traceparent|x-envoy-.*|via|server)$/;

/** What never enters a table from here on, however it came. */
const SECRET = ['authorization', 'cookie', 'set-cookie'];

function comparable(seen: readonly SeenStream[]): SeenStream[] {
  const message = (one: SeenMessage): SeenMessage => ({
    ...one,
    fields: [
      ...one.fields.filter(([name]) => name !== 'te' && !ADDED.test(name)),
      ...one.fields.filter(([name]) => name === 'te'), // each hop says it anew, behind the others
    ],
    sensitive: one.sensitive.filter(name => !SECRET.includes(name)),
  });
  return seen.map(one => ({
    ...one,
    request: one.request && message(one.request),
    response: one.response && message(one.response),
  }));
}

async function connect(t: Test, port: number): Promise<ClientHttp2Session> {
  const session = http2.connect(`http://127.0.0.1:${port}`, { settings: { enablePush: false } });
  session.on('error', () => {});
  t.teardown(() => session.destroy());
  await once(session, 'connect');
  return session;
}

/** Both ways see the same, or the smallest exchange that they do not. */
async function compare(
  t: Test,
  direct: ClientHttp2Session,
  through: ClientHttp2Session,
  server: ExchangeServer,
) {
  let streams = 0;
  const property = fc.asyncProperty(exchanges, async plan => {
    const expected = comparable(await exchange(direct, server, plan));
    const found = comparable(await exchange(through, server, plan));
    streams += plan.length;
    for (const [i, one] of expected.entries()) {
      const [a, b] = [JSON.stringify(one), JSON.stringify(found[i])];
      if (a !== b) throw new Error(`stream ${i}: directly\n${clipped(a)}\nthrough Outrider\n${clipped(b)}`);
    }
  });
  const result = await fc.check(property, { numRuns: RUNS, seed: SEED, interruptAfterTimeLimit: 60_000 });
  const why = result.failed
    ? {
        counterexample: JSON.stringify(result.counterexample),
        seed: SEED,
        faults: String(result.errorInstance),
      }
    : null;
  t.same(why, null);
  t.ok(streams > RUNS, `${streams} streams`);
}

function clipped(text: string): string {
  return text.replaceAll(/(\d+:\d+;){9,}/g, found => `(${found.length} bytes)`);
}

t.test('inbound, to an app that speaks HTTP/2', async t => {
  const server = new ExchangeServer();
  const port = await listenUntilEnd(t, server.server);
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: port,
    flags: ['--access-log', 'off', '--protocol', `${port}=http2`],
  });
  await compare(t, await connect(t, port), await connect(t, sidecar.ports.inbound), server);
  t.same(sidecar.other.all, []);
});

t.test('outbound, to a service that speaks HTTP/2', async t => {
  const server = new ExchangeServer();
  const port = await listenUntilEnd(t, server.server);
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    manifests: service({
      host: 'app.test',
      endpoints: [port],
      protocol: 'HTTP2',
      policy: 'tls: {mode: DISABLE}',
    }),
    flags: ['--access-log', 'off'],
  });
  await compare(t, await connect(t, port), await connect(t, sidecar.ports.outbound), server);
  t.same(sidecar.other.all, []);
});

t.test('through a pair, mutual TLS between', async t => {
  const server = new ExchangeServer();
  const port = await listenUntilEnd(t, server.server);
  const near = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: port,
    flags: ['--access-log', 'off', '--protocol', `${port}=http2`],
  });
  const policy = mutual('spiffe://cluster.local/ns/foo/sa/server');
  const far = await startSidecar(t, {
    certs: temporaryIdentity(t, caller),
    manifests: service({ host: 'app.test', endpoints: [near.ports.inbound], protocol: 'HTTP2', policy }),
    flags: ['--access-log', 'off'],
  });
  await compare(t, await connect(t, port), await connect(t, far.ports.outbound), server);
  t.same([...near.other.all, ...far.other.all], []);
});
