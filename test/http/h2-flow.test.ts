/** Windows of HTTP/2 (RFC 9113 5.2, 6.9) and the graceful end of a connection (6.8), frame by frame through a sidecar. */
import { createServer, type ServerResponse } from 'node:http';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { END_STREAM, PADDED, SETTING, settings } from '../h2-frame.ts';
import { type H2Peer, h2Plain, type PeerOptions } from '../h2-peer.ts';
import { listenUntilEnd } from '../peers.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';
import { data, get, lastData, post, windowUpdate } from './h2-case.ts';
import { startH2Loop } from './h2-loop.ts';

t.setTimeout(120_000);

const KIB = 1024;
/** RFC 9113 6.9.2. */
const FIRST_WINDOW = 65_535;
const LARGE = 300 * KIB;
const own = await testIdentity(await testAuthority(), 'foo/server');

interface Started {
  readonly sidecar: Sidecar;
  readonly held: ServerResponse[];
  dial(options?: PeerOptions): Promise<H2Peer>;
}

/** An app that answers with 300 KiB, takes what is sent to it, or holds its answer back. */
async function start(t: Test): Promise<Started> {
  const held: ServerResponse[] = [];
  const port = await listenUntilEnd(
    t,
    createServer((request, response) => {
      if (request.url === '/hold') held.push(response);
      else if (request.url === '/sink') {
        let bytes = 0;
        request.on('data', (piece: Buffer) => {
          bytes += piece.length;
        });
        request.on('end', () => response.end(String(bytes)));
      } else response.end(Buffer.alloc(LARGE, 'x'));
    }),
  );
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, own),
    app: port,
    flags: ['--access-log', 'off', '--protocol', `${port}=http`],
  });
  return { sidecar, held, dial: options => h2Plain(t, sidecar.ports.inbound, options) };
}

/** How much content came when nothing more comes. */
async function came(peer: H2Peer, stream: number, bytes: number): Promise<number> {
  await peer.until(() => peer.on(stream).body.length >= bytes, `${bytes} bytes of stream ${stream}`);
  await peer.settled();
  await peer.settled();
  return peer.on(stream).body.length;
}

const shared = await start(t);

t.test('a response takes what its window and that of the connection allow, to the byte', async t => {
  const peer = await shared.dial({ windows: false });
  peer.send(get(1));
  t.equal(await came(peer, 1, FIRST_WINDOW), FIRST_WINDOW);
  peer.send(windowUpdate(1, 10_000));
  t.equal(await came(peer, 1, FIRST_WINDOW), FIRST_WINDOW, 'the connection has none left');
  peer.send(windowUpdate(0, 1));
  t.equal(await came(peer, 1, FIRST_WINDOW + 1), FIRST_WINDOW + 1);
  peer.send(windowUpdate(0, 1_000_000));
  t.equal(await came(peer, 1, FIRST_WINDOW + 10_000), FIRST_WINDOW + 10_000, 'the stream has none left');
  peer.send(get(3));
  t.equal(await came(peer, 3, FIRST_WINDOW), FIRST_WINDOW, 'another stream has its own');
  peer.send(windowUpdate(1, LARGE), windowUpdate(3, LARGE));
  t.equal((await peer.done(1)).body.length, LARGE);
  t.equal((await peer.done(3)).body.length, LARGE);
  t.same(peer.faults, []);
});

t.test('SETTINGS change the windows of open streams, below zero too', async t => {
  const peer = await shared.dial({ windows: false, settings: [[SETTING.INITIAL_WINDOW_SIZE, 1_000]] });
  peer.send(windowUpdate(0, 10_000_000), get(1));
  t.equal(await came(peer, 1, 1_000), 1_000);
  peer.send(settings([SETTING.INITIAL_WINDOW_SIZE, 1_500]));
  t.equal(await came(peer, 1, 1_500), 1_500);
  peer.send(settings([SETTING.INITIAL_WINDOW_SIZE, 500]), windowUpdate(1, 1_000));
  t.equal(await came(peer, 1, 1_500), 1_500, 'it is at nothing again');
  peer.send(windowUpdate(1, 7));
  t.equal(await came(peer, 1, 1_507), 1_507);
  peer.send(settings([SETTING.INITIAL_WINDOW_SIZE, 0]), get(3));
  await peer.until(() => peer.status(3) === 200, 'a head, which needs no window');
  t.equal(await came(peer, 3, 0), 0);
  peer.send(settings([SETTING.INITIAL_WINDOW_SIZE, 2 ** 31 - 1 - 2_000]));
  t.equal((await peer.done(1)).body.length, LARGE);
  t.equal((await peer.done(3)).body.length, LARGE);
  t.same(peer.faults, []);
});

t.test('no frame is larger than the client takes, and none needs to be', async t => {
  const peer = await shared.dial({ settings: [[SETTING.MAX_FRAME_SIZE, 16_384]] });
  peer.send(get(1));
  await peer.done(1);
  t.ok(peer.frames.every(({ payload }) => payload.length <= 16_384));
});

t.test('streams share a connection that is short of window', async t => {
  const peer = await shared.dial({ windows: false, settings: [[SETTING.INITIAL_WINDOW_SIZE, LARGE]] });
  const ids = [1, 3, 5, 7];
  for (const id of ids) peer.send(get(id));
  await peer.until(() => ids.every(id => peer.status(id) === 200), 'the heads');
  const before = ids.map(id => peer.on(id).body.length);
  peer.send(windowUpdate(0, 16 * 16_384));
  const total = (): number => ids.reduce((sum, id) => sum + peer.on(id).body.length, 0);
  await peer.until(() => total() === FIRST_WINDOW + 16 * 16_384, 'what the window allows');
  for (const [i, id] of ids.entries())
    t.ok(peer.on(id).body.length - (before[i] ?? 0) >= 16_384, `stream ${id} got a share`);
  peer.send(windowUpdate(0, 4 * LARGE));
  for (const id of ids) t.equal((await peer.done(id)).body.length, LARGE);
});

t.test('little is kept of a response that its client opens no window for', async t => {
  const port = await listenUntilEnd(
    t,
    createServer((_, response) => response.end(Buffer.alloc(LARGE, 'x'))),
  );
  const loop = await startH2Loop(t, port);
  const peer = await h2Plain(t, loop.port, { settings: [[SETTING.INITIAL_WINDOW_SIZE, 0]] });
  const ids = Array.from({ length: 20 }, (_, i) => 2 * i + 1);
  peer.send(...ids.map(id => get(id)));
  for (const id of ids) await peer.until(() => peer.status(id) === 200, `a head on ${id}`);
  await peer.settled();
  const kept = [...(loop.servers[0]?.streams.values() ?? [])].map(({ queuedBytes }) => queuedBytes);
  t.equal(kept.length, ids.length);
  t.ok(Math.max(...kept) <= 48 * KIB, `${Math.max(...kept)} bytes`);
  peer.send(windowUpdate(0, 2 ** 30), settings([SETTING.INITIAL_WINDOW_SIZE, 2 ** 30]));
  for (const id of ids) t.equal((await peer.done(id)).body.length, LARGE);
});

t.test('a request that keeps to the windows it is given goes through whole', async t => {
  const peer = await shared.dial();
  await peer.settled();
  let streamWindow = peer.peerSettings.get(SETTING.INITIAL_WINDOW_SIZE) ?? FIRST_WINDOW;
  let connectionWindow = FIRST_WINDOW;
  let read = 0;
  const take = (): void => {
    for (; read < peer.frames.length; read++) {
      const { type, stream, payload } = peer.frames[read]!;
      if (type !== 'WINDOW_UPDATE') continue;
      if (stream === 0) connectionWindow += payload.readUInt32BE(0);
      else streamWindow += payload.readUInt32BE(0);
    }
  };
  peer.send(post(1, { ':path': '/sink' }));
  const size = 24 * KIB * KIB;
  for (let sent = 0; sent < size; ) {
    await peer.until(() => {
      take();
      return streamWindow > 0 && connectionWindow > 0;
    }, 'a window');
    // A byte of length, and padding: all of it counts.
    const content = Math.min(
      15_000,
      size - sent,
      Math.max(1, Math.min(streamWindow, connectionWindow) - 101),
    );
    if (Math.min(streamWindow, connectionWindow) > 101) {
      peer.frame('DATA', PADDED, 1, Buffer.concat([Buffer.of(100), Buffer.alloc(content + 100)]));
      streamWindow -= content + 101;
      connectionWindow -= content + 101;
    } else {
      peer.send(data(1, Buffer.alloc(content)));
      streamWindow -= content;
      connectionWindow -= content;
    }
    sent += content;
  }
  peer.frame('DATA', END_STREAM, 1);
  t.equal((await peer.done(1)).body.toString(), String(size));
  t.same(peer.faults, []);
});

t.test('a request that sends more than its window is ended', async t => {
  const peer = await shared.dial();
  await peer.settled();
  const window = peer.peerSettings.get(SETTING.INITIAL_WINDOW_SIZE) ?? FIRST_WINDOW;
  peer.send(post(1, { ':path': '/hold' }));
  // The app takes nothing, but kernels hold some of it: far more than all of them.
  for (
    let sent = 0;
    sent < window + 32 * KIB * KIB && peer.on(1).reset === null && peer.ended === null;
    sent += 16_384
  ) {
    peer.send(data(1, Buffer.alloc(16_384)));
    if (peer.socket.writableNeedDrain) await new Promise(resolve => peer.socket.once('drain', resolve));
  }
  await peer.until(() => peer.on(1).reset !== null || peer.goaway !== null, 'its end', true);
  t.equal(peer.goaway?.code ?? peer.on(1).reset, 'FLOW_CONTROL_ERROR');
});

t.test('a sidecar that stops says so first, serves what was under way, and then closes', async t => {
  const { dial, held, sidecar } = await start(t);
  const peer = await dial();
  peer.send(get(1, { ':path': '/hold' }));
  await peer.settled();
  while (held.length === 0) await peer.settled();
  const stopped = sidecar.stop();
  await peer.take('GOAWAY');
  t.equal(peer.goaway?.code, 'NO_ERROR');
  held[0]?.end('late');
  const { body, ended } = await peer.done(1);
  t.same([body.toString(), ended], ['late', true]);
  await peer.closed();
  const last = peer.goaway;
  t.same([last?.code, last?.lastStream], ['NO_ERROR', 1]);
  t.match(await stopped, { code: 0 });
});

t.test('a request that was on its way when the sidecar said that it stops is served', async t => {
  const { dial, held, sidecar } = await start(t);
  const peer = await dial({ acks: false });
  peer.send(settings());
  peer.send(get(1, { ':path': '/hold' }));
  while (held.length === 0) await sidecar.metric('outrider_workers');
  const stopped = sidecar.stop();
  const { payload } = await peer.take('GOAWAY');
  t.equal(payload.readUInt32BE(0), 2 ** 31 - 1, 'no stream is refused yet');
  peer.send(post(3, { ':path': '/sink' }), lastData(3, 'abc'));
  t.equal((await peer.done(3)).body.toString(), '3');
  held[0]?.end('late');
  t.equal((await peer.done(1)).body.toString(), 'late');
  await peer.closed();
  t.match(await stopped, { code: 0 });
});
