/** What HTTP/2 lets a server do that does not mean well, against a sidecar that asks it for something. */
import { createServer as createTcpServer } from 'node:net';
import t from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { END_HEADERS, END_STREAM, frame, settings } from '../h2-frame.ts';
import { H2Peer, h2Plain } from '../h2-peer.ts';
import type { Field } from '../hpack.ts';
import { data, get, headers, windowUpdate } from '../http/h2-case.ts';
import { listenUntilEnd } from '../peers.ts';
import { service } from '../proxy/services.ts';
import { startSidecar } from '../sidecar.ts';
import { flood, MAX_GROWTH, MAX_WAIT_MS, resident, startApp, Witness } from './h2-witness.ts';

t.setTimeout(120_000);

const CONTROL = ['h2_control_flood'];
const own = await testIdentity(await testAuthority(), 'foo/httpbin');

/** A server that turns on whoever asks it. */
interface Ambush {
  readonly name: string;
  readonly one: (i: number) => Buffer;
  readonly reasons: readonly string[];
}

const interim = headers(1, [[':status', '103']], END_HEADERS);
const AMBUSHES: readonly Ambush[] = [
  { name: 'SETTINGS', one: () => settings(), reasons: CONTROL },
  { name: 'PING', one: () => frame('PING', 0, 0, '12345678'), reasons: CONTROL },
  { name: 'WINDOW_UPDATE', one: () => windowUpdate(0, 1), reasons: CONTROL },
  { name: 'unknown frames', one: () => frame(0xbe, 0, 0), reasons: CONTROL },
  { name: 'interim responses', one: () => interim, reasons: ['h2_malformed', ...CONTROL] },
  {
    name: 'empty DATA',
    one: i => (i === 0 ? headers(1, [[':status', '200']], END_HEADERS) : data(1, '')),
    reasons: CONTROL,
  },
  {
    name: 'a field block without an end',
    one: i => (i === 0 ? frame('HEADERS', END_STREAM, 1) : frame('CONTINUATION', 0, 1, 'aaaa')),
    reasons: ['h2_continuation_flood'],
  },
  {
    name: 'a header list without an end',
    one: i =>
      headers(
        1,
        [[':status', '200'], ...(i === 0 ? Array<Field>(300).fill(['x-a', 'a'.repeat(20)]) : [])],
        END_HEADERS,
      ),
    reasons: ['h2_header_list_too_large', 'h2_malformed'],
  },
  {
    name: 'a push',
    one: () => frame('PUSH_PROMISE', END_HEADERS, 1, Buffer.alloc(4)),
    reasons: ['h2_protocol_error'],
  },
];

t.test('a service that turns on the sidecar fails its own requests and no others', async t => {
  let ambush: Ambush | null = null;
  const port = await listenUntilEnd(
    t,
    createTcpServer({ noDelay: true }, socket => {
      const peer: H2Peer = new H2Peer(socket, 'server');
      const serve = async (): Promise<void> => {
        const { stream } = await peer.take('HEADERS');
        const { one } = ambush as Ambush;
        if (stream === 1) await flood(peer, 100_000, one);
      };
      serve().catch(() => {});
    }),
  );
  const good = await startApp(t);
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    manifests:
      service({ host: 'bad.test', endpoints: [port], protocol: 'HTTP2', policy: 'tls: {mode: DISABLE}' }) +
      service({ host: 'app.test', endpoints: [good.port], policy: 'tls: {mode: DISABLE}' }),
    flags: ['--access-log', 'off'],
  });
  const { outbound } = sidecar.ports;
  for (const one of AMBUSHES) {
    ambush = one;
    const ended = async (): Promise<number> => {
      let sum = 0;
      for (const reason of one.reasons)
        sum += await sidecar.metric('outrider_http2_ended_total', { direction: 'outbound', reason });
      return sum;
    };
    const [counted, base] = [await ended(), resident(sidecar)];
    const witness = new Witness(await h2Plain(t, outbound), sidecar);
    const victim = await h2Plain(t, outbound);
    await witness.during(
      (async () => {
        victim.send(get(1, { ':authority': 'bad.test', ':method': 'POST' }));
        await victim.done(1);
      })().catch(error => witness.faults.push(String(error))),
    );
    const broken = victim.on(1).reset !== null;
    const seen = {
      faults: witness.faults,
      slow: witness.longestMs > MAX_WAIT_MS ? witness.longestMs : 0,
      grown: witness.peak - base > MAX_GROWTH ? witness.peak - base : 0,
      outcome: broken || [502, 503].includes(victim.status(1)) ? 'failed' : victim.describe(),
      counted: (await ended()) > counted,
    };
    t.same(seen, { faults: [], slow: 0, grown: 0, outcome: 'failed', counted: true }, one.name);
    victim.socket.destroy();
  }
  t.equal(await sidecar.metric('outrider_worker_restarts_total'), 0);
  t.same(sidecar.other.all, []);
});
