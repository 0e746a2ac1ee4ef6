/**
 * What HTTP/2 lets a client do that does not mean well, against a sidecar as it comes: its connection or stream ends for
 * a reason that is counted, memory stays where it was, and others are served meanwhile.
 */
import t from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { ACK, END_HEADERS, END_STREAM, frame, SETTING, settings } from '../h2-frame.ts';
import { type H2Peer, h2Plain, type PeerOptions } from '../h2-peer.ts';
import { block, type Field, indexed, indexing } from '../hpack.ts';
import {
  type Changes,
  data,
  fieldsOf,
  get,
  headers,
  lastData,
  post,
  priority,
  reset,
  windowUpdate,
} from '../http/h2-case.ts';
import { startSidecar } from '../sidecar.ts';
import { flood, MAX_GROWTH, MAX_WAIT_MS, resident, startApp, Witness } from './h2-witness.ts';

t.setTimeout(240_000);

const own = await testIdentity(await testAuthority(), 'foo/httpbin');

interface Attack {
  readonly name: string;
  readonly peer?: PeerOptions;
  /** Done when the attacker is through, or cut off. */
  readonly run: (peer: H2Peer) => Promise<unknown>;
  /** The connection is closed by Outrider. */
  readonly ends?: boolean;
  /** One of them is counted, at least so often. */
  readonly reasons: readonly string[];
  readonly count?: number;
  /** At most so many of its requests reach the app. */
  readonly requests?: number;
}

/** Floods until it is cut off; a flood that goes through is no attack that was withstood. */
const endless =
  (one: (i: number) => Buffer, count = 100_000) =>
  async (peer: H2Peer): Promise<void> => {
    await flood(peer, count, one);
    // All that was sent is read, or the connection is over.
    await peer.settled().catch(() => {});
  };

const odd = (i: number): number => 2 * i + 1;
const hold = { ':path': '/hold' };
const RAPID = ['h2_rapid_reset', 'h2_control_flood'];
const CONTROL = ['h2_control_flood'];

/** Streams that Outrider itself is made to reset: as cheap for the client as resetting them (CVE-2025-8671). */
const madeReset = (name: string, one: (id: number) => Buffer[]): Attack => ({
  name: `streams that it makes us reset: ${name}`,
  run: endless(i => Buffer.concat(one(odd(i))), 10_000),
  ends: true,
  reasons: RAPID,
  requests: 3_000,
});

const malformed = (name: string, changes: Changes): Attack => ({
  name,
  run: async peer => {
    for (let i = 0; i < 50; i++) peer.send(get(odd(i), changes));
    for (let i = 0; i < 50; i++) await peer.done(odd(i));
  },
  reasons: ['h2_malformed'],
  count: 50,
  requests: 0,
});

const ATTACKS: readonly Attack[] = [
  {
    name: 'rapid reset: 10,000 streams opened and reset at once',
    run: endless(i => Buffer.concat([get(odd(i)), reset(odd(i))]), 10_000),
    ends: true,
    reasons: RAPID,
    requests: 3_000,
  },
  {
    name: 'rapid reset with content under way',
    run: endless(i => Buffer.concat([post(odd(i)), data(odd(i), 'a'), reset(odd(i))]), 10_000),
    ends: true,
    reasons: RAPID,
    requests: 3_000,
  },
  madeReset('by a window of nothing', id => [get(id, hold), windowUpdate(id, 0)]),
  madeReset('by a window that overflows', id => [get(id, hold), windowUpdate(id, 2 ** 31 - 1)]),
  madeReset('by content after the end', id => [get(id, hold), data(id, 'a')]),
  madeReset('by HEADERS after the end', id => [get(id, hold), get(id, hold)]),
  madeReset('by more content than was announced', id => [
    post(id, { ...hold, 'content-length': '1' }),
    data(id, 'ab'),
  ]),
  madeReset('by trailers that do not end it', id => [post(id, hold), headers(id, [['a', 'b']], END_HEADERS)]),
  madeReset('by malformed requests', id => [get(id, { connection: 'close' })]),
  {
    name: 'more streams than are allowed, again and again',
    run: endless(i => get(odd(i), hold), 10_000),
    ends: true,
    reasons: ['h2_refused_stream', ...RAPID],
    requests: 300,
  },
  {
    name: 'a field block without an end, in many frames',
    run: endless(i => (i === 0 ? frame('HEADERS', END_STREAM, 1) : frame('CONTINUATION', 0, 1, 'aaaa'))),
    ends: true,
    reasons: ['h2_continuation_flood'],
  },
  {
    name: 'a field block without an end, in empty frames',
    run: endless(i => (i === 0 ? frame('HEADERS', END_STREAM, 1) : frame('CONTINUATION', 0, 1))),
    ends: true,
    reasons: ['h2_continuation_flood'],
  },
  {
    name: 'a field block without an end, in large frames',
    run: endless(
      i =>
        i === 0 ? frame('HEADERS', END_STREAM, 1) : frame('CONTINUATION', 0, 1, Buffer.alloc(16_384, 'a')),
      10_000,
    ),
    ends: true,
    reasons: ['h2_continuation_flood'],
  },
  { name: 'SETTINGS', run: endless(() => settings()), ends: true, reasons: CONTROL },
  {
    name: 'SETTINGS that change every window',
    run: endless(i => settings([SETTING.INITIAL_WINDOW_SIZE, i % 2])),
    ends: true,
    reasons: CONTROL,
  },
  {
    name: 'acknowledged SETTINGS',
    run: endless(() => frame('SETTINGS', ACK, 0)),
    ends: true,
    reasons: CONTROL,
  },
  { name: 'PING', run: endless(() => frame('PING', 0, 0, '12345678')), ends: true, reasons: CONTROL },
  {
    name: 'PING acknowledged',
    run: endless(() => frame('PING', ACK, 0, '12345678')),
    ends: true,
    reasons: CONTROL,
  },
  {
    name: 'PRIORITY',
    run: endless(() => frame('PRIORITY', 0, 1, priority(0))),
    ends: true,
    reasons: CONTROL,
  },
  { name: 'unknown frames', run: endless(() => frame(0xbe, 0, 0)), ends: true, reasons: CONTROL },
  { name: 'WINDOW_UPDATE', run: endless(() => windowUpdate(0, 1)), ends: true, reasons: CONTROL },
  {
    name: 'empty DATA',
    run: endless(i => (i === 0 ? post(1) : data(1, ''))),
    ends: true,
    reasons: CONTROL,
  },
  {
    name: 'DATA of padding alone',
    run: endless(i => (i === 0 ? post(1) : frame('DATA', 0x08, 1, Buffer.from([0])))),
    ends: true,
    reasons: CONTROL,
  },
  {
    name: 'RST_STREAM of one stream',
    run: endless(i => (i === 0 ? get(1) : reset(1))),
    ends: true,
    reasons: CONTROL,
  },
  {
    name: 'HPACK bombs: one large entry, named a thousand times',
    run: endless(i => {
      const entry = indexing(['x-bomb', 'a'.repeat(3_900)]);
      const bomb = [
        block(fieldsOf()),
        ...(i === 0 ? [entry] : []),
        ...Array<Buffer>(i === 0 ? 1_000 : 11_000).fill(indexed(62)),
      ];
      return frame('HEADERS', END_HEADERS | END_STREAM, odd(i), Buffer.concat(bomb));
    }, 200),
    ends: true,
    reasons: ['h2_header_list_too_large'],
    count: 4,
    requests: 0,
  },
  {
    name: 'many small cookies',
    run: endless(i => {
      const bytes = block([...fieldsOf(), ...Array<Field>(5_000).fill(['cookie', ''])]);
      return Buffer.concat([
        frame('HEADERS', END_STREAM, odd(i), bytes.subarray(0, 16_000)),
        frame('CONTINUATION', 0, odd(i), bytes.subarray(16_000, 32_000)),
        frame('CONTINUATION', END_HEADERS, odd(i), bytes.subarray(32_000)),
      ]);
    }, 200),
    ends: true,
    reasons: ['h2_header_list_too_large'],
    count: 10,
    requests: 0,
  },
  {
    name: 'a header list over 60 KiB',
    run: async peer => {
      const bytes = block([...fieldsOf(), ...Array<Field>(8).fill(['x-large', 'a'.repeat(8_000)])]);
      const parts = [0, 1, 2, 3].map(i => bytes.subarray(i * 16_384, (i + 1) * 16_384));
      peer.send(
        ...parts.map((part, i) =>
          frame(
            i === 0 ? 'HEADERS' : 'CONTINUATION',
            (i === 0 ? 1 : 0) | (i === 3 ? END_HEADERS : 0),
            1,
            part,
          ),
        ),
      );
      await peer.done(1);
      if (peer.status(1) !== 431 && peer.on(1).reset === null) throw new Error(peer.describe());
    },
    reasons: ['h2_header_list_too_large'],
    requests: 0,
  },
  malformed('transfer-encoding', { 'transfer-encoding': 'chunked' }),
  malformed('connection', { connection: 'keep-alive' }),
  malformed('unknown pseudo-header fields', { ':evil': 'a' }),
  malformed('a path with a line in it', { ':path': '/ HTTP/1.1\r\nhost: evil' }),
  malformed('content-length without content', { ':method': 'POST', 'content-length': '5' }),
  {
    name: 'content-length unlike the content',
    run: async peer => {
      for (let i = 0; i < 100; i++)
        peer.send(post(odd(i), { 'content-length': i % 2 === 0 ? '1' : '3' }), lastData(odd(i), 'ab'));
      for (let i = 0; i < 100; i++) await peer.done(odd(i));
    },
    reasons: ['h2_malformed'],
    count: 100,
  },
  {
    name: 'streams whose window is nothing',
    peer: { settings: [[SETTING.INITIAL_WINDOW_SIZE, 0]] },
    run: async peer => {
      for (let i = 0; i < 250; i++) peer.send(get(odd(i), { ':path': '/large' }));
      await peer.until(() => peer.status(odd(249)) === 200);
      await peer.settled();
    },
    reasons: [],
  },
  {
    name: 'streams whose content is never taken: the connection has no window',
    peer: { windows: false },
    run: async peer => {
      for (let i = 0; i < 250; i++) peer.send(get(odd(i), { ':path': '/large' }));
      await peer.until(() => peer.status(odd(249)) === 200);
      await peer.settled();
    },
    reasons: [],
  },
  {
    name: 'a client that reads nothing, its windows wide open',
    peer: { settings: [[SETTING.INITIAL_WINDOW_SIZE, 2 ** 31 - 1]] },
    run: async peer => {
      peer.socket.pause();
      peer.send(windowUpdate(0, 2 ** 30));
      for (let i = 0; i < 250; i++) peer.send(get(odd(i), { ':path': '/large' }));
    },
    reasons: [],
  },
  {
    name: 'uploads to an app that reads nothing, up to every window',
    run: async peer => {
      const piece = Buffer.alloc(16_384);
      for (let i = 0; i < 60; i++) {
        peer.send(post(odd(i), hold));
        for (let n = 0; n < 15; n++) peer.send(data(odd(i), piece));
      }
      await peer.settled();
    },
    reasons: [],
  },
];

t.test('every attack is withstood by the sidecar as it comes', async t => {
  const app = await startApp(t);
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: app.port,
    flags: ['--access-log', 'off', '--protocol', `${app.port}=http`],
  });
  const { inbound } = sidecar.ports;
  const ended = async (reasons: readonly string[]): Promise<number> => {
    let sum = 0;
    for (const reason of reasons)
      sum += await sidecar.metric('outrider_http2_ended_total', { direction: 'inbound', reason });
    return sum;
  };
  const warm = new Witness(await h2Plain(t, inbound), sidecar);
  for (let i = 0; i < 3_000; i++) await warm.ask();
  for (const attack of ATTACKS) {
    const [counted, requests, base] = [await ended(attack.reasons), app.requests(), resident(sidecar)];
    const witness = new Witness(await h2Plain(t, inbound), sidecar);
    const attacker = await h2Plain(t, inbound, attack.peer);
    await witness.during(attack.run(attacker).catch(error => witness.faults.push(String(error))));
    const reached = app.requests() - requests - witness.answers;
    const seen = {
      faults: witness.faults,
      slow: witness.longestMs > MAX_WAIT_MS ? witness.longestMs : 0,
      grown: witness.peak - base > MAX_GROWTH ? witness.peak - base : 0,
      ended: attack.ends === true && attacker.ended === null ? attacker.describe() : 'right',
      uncounted: Math.max(
        0,
        (attack.reasons.length === 0 ? 0 : (attack.count ?? 1)) - ((await ended(attack.reasons)) - counted),
      ),
      reached: reached > (attack.requests ?? Number.POSITIVE_INFINITY) ? reached : 0,
    };
    t.same(seen, { faults: [], slow: 0, grown: 0, ended: 'right', uncounted: 0, reached: 0 }, attack.name);
    attacker.socket.destroy();
  }
  t.equal(await sidecar.metric('outrider_worker_restarts_total'), 0);
  t.same(sidecar.other.all, []);
  t.same(
    sidecar.log.all.filter(line => line.level === 'error'),
    [],
  );
});

t.test('whoever leaves a field block open, or takes nothing, is given up in time', async t => {
  const app = await startApp(t);
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: app.port,
    flags: [
      '--access-log',
      'off',
      '--protocol',
      `${app.port}=http`,
      '--header-timeout-ms',
      '500',
      '--idle-timeout-ms',
      '1000',
    ],
  });
  const { inbound } = sidecar.ports;
  const open = await h2Plain(t, inbound);
  await open.settled();
  open.send(frame('HEADERS', END_STREAM, 1, block(fieldsOf())));
  const cut = await h2Plain(t, inbound);
  await cut.settled();
  cut.send(get(1).subarray(0, 20));
  const dead = (await h2Plain(t, inbound, { settings: [[SETTING.INITIAL_WINDOW_SIZE, 0]] })).send(
    get(1, { ':path': '/large' }),
  );
  for (const peer of [open, cut]) {
    await peer.closed();
    t.equal(peer.goaway?.code, 'ENHANCE_YOUR_CALM');
  }
  await dead.until(() => dead.on(1).reset !== null || dead.ended !== null, 'the end of the stream', true);
  const counts = async (reason: string): Promise<number> =>
    sidecar.metric('outrider_http2_ended_total', { direction: 'inbound', reason });
  t.equal(await counts('h2_header_timeout'), 2);
  t.equal(await counts('h2_stalled'), 1);
});

t.test('a stream without a window ends when its client sends no more', async t => {
  const app = await startApp(t);
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: app.port,
    flags: ['--access-log', 'off', '--protocol', `${app.port}=http`],
  });
  const peer = await h2Plain(t, sidecar.ports.inbound, { settings: [[SETTING.INITIAL_WINDOW_SIZE, 0]] });
  peer.send(get(1, { ':path': '/large' }), get(3, { ':path': '/large' }));
  await peer.until(() => peer.status(1) === 200 && peer.status(3) === 200, 'both heads');
  peer.socket.end();
  await peer.closed();
  // The connection ends with the last of them.
  t.equal(peer.on(1).reset, 'CANCEL');
  t.equal(
    await sidecar.metric('outrider_http2_ended_total', { direction: 'inbound', reason: 'h2_stalled' }),
    2,
  );
});
