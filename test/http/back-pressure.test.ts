/** Bounded memory whatever a body's size, however slow its reader: what waits to be written is counted, not guessed. */
import { createHash, randomBytes } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { connect as connectSecure, createServer as createSecureServer } from 'node:tls';
import t, { type Test } from 'tap';
import { Inlet } from '../../src/net/connect.ts';
import type { ProxiedRequest } from '../../src/proxy/request.ts';
import { testAuthority, testIdentity } from '../certificates.ts';
import { listenUntilEnd } from '../peers.ts';
import { startLoop } from './loop.ts';
import { MemorySocket } from './memory-socket.ts';
import { rawClient, response, startRawApp } from './raw-app.ts';
import { readResponses } from './strict-messages.ts';

const MIB = 1024 * 1024;
const BODY = 64 * MIB;
const PIECE = 64 * 1024;
/** 256 KiB before a source pauses, and what was on its way then. */
const BOUND = 512 * 1024;
const HOST = 'Host: app.test\r\n';

/** A client and an app in memory, joined by a loop. */
async function start(t: Test, { keep = false, inlet = null as Inlet | null, connect = true } = {}) {
  const [client, app] = [new MemorySocket({ keep }), new MemorySocket({ keep })];
  const opened: (() => void)[] = [];
  const loop = await startLoop(t, {
    open: done => {
      const open = (): void => done(null, { socket: app.socket, inlet });
      if (connect) open();
      else opened.push(open);
    },
  });
  loop.accept(client.socket);
  await turn();
  return { client, app, loop, opened };
}

/** Feeds `total` bytes into `from` as long as it is read; `onPause` lets the reader go on. @returns how often it paused */
async function pump(from: MemorySocket, total: number, onPause: () => void): Promise<number> {
  const piece = Buffer.alloc(PIECE, 'x');
  let pauses = 0;
  for (let fed = 0; fed < total; ) {
    for (; fed < total && !from.isPaused(); fed += PIECE) from.feed(piece);
    if (from.isPaused()) {
      pauses++;
      onPause();
    }
    await turn();
  }
  return pauses;
}

t.test('a request body of 64 MiB waits for its app, not in memory', async t => {
  const { client, app } = await start(t);
  client.feed(`POST /p HTTP/1.1\r\n${HOST}Content-Length: ${BODY}\r\n\r\n`);
  app.stop();
  const pauses = await pump(client, BODY, () => app.goOnce());
  app.go();
  await turn();
  t.ok(pauses > BODY / BOUND, `${pauses} pauses`);
  t.ok(app.mostQueued < BOUND, `${app.mostQueued} bytes waited at most`);
  t.ok(app.bytesWritten > BODY, `${app.bytesWritten} bytes arrived`);
});

t.test('a chunked request body too', async t => {
  const { client, app } = await start(t);
  client.feed(`POST /p HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${BODY.toString(16)}\r\n`);
  app.stop();
  t.ok((await pump(client, BODY, () => app.goOnce())) > 0);
  t.ok(app.mostQueued < BOUND, `${app.mostQueued} bytes waited at most`);
});

t.test('a request body whose app is not connected yet is held for 64 KiB, and then waited with', async t => {
  const { client, app, opened } = await start(t, { connect: false });
  client.feed(`POST /p HTTP/1.1\r\n${HOST}Content-Length: ${BODY}\r\n\r\n`);
  const pauses = await pump(client, BODY, () => {
    t.equal(opened.length, 1, 'before the connection is there');
    for (const open of opened.splice(0)) open();
  });
  t.equal(pauses, 1);
  await turn();
  t.ok(app.mostQueued < BOUND, `${app.mostQueued} bytes waited at most`);
  t.ok(app.bytesWritten > BODY);
});

t.test('a response of 64 MiB waits for its client, not in memory', async t => {
  const { client, app } = await start(t);
  client.stop();
  client.feed(`GET / HTTP/1.1\r\n${HOST}\r\n`);
  await turn();
  app.feed(`HTTP/1.1 200 OK\r\nContent-Length: ${BODY}\r\n\r\n`);
  const pauses = await pump(app, BODY, () => client.goOnce());
  client.go();
  await turn();
  t.ok(pauses > BODY / BOUND, `${pauses} pauses`);
  t.ok(client.mostQueued < BOUND, `${client.mostQueued} bytes waited at most`);
  t.ok(client.bytesWritten > BODY);
});

t.test('a response out of one read buffer that is used again and again arrives as it was', async t => {
  const inlet = new Inlet();
  const { client, app } = await start(t, { keep: true, inlet });
  client.feed(`GET / HTTP/1.1\r\n${HOST}\r\n`);
  await turn();
  const total = 4 * MIB;
  const wanted = createHash('sha256');
  const readBuffer = Buffer.alloc(PIECE);
  const read = (bytes: Buffer): void => {
    bytes.copy(readBuffer);
    inlet.receive?.(readBuffer.subarray(0, bytes.length), true);
    readBuffer.fill('!');
  };
  client.stop();
  read(Buffer.from(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n`));
  for (let sent = 0; sent < total; ) {
    const body = Buffer.alloc(30_000, String(sent));
    wanted.update(body);
    read(Buffer.concat([Buffer.from('7530\r\n'), body, Buffer.from('\r\n')]));
    sent += body.length;
    if (app.isPaused()) client.goOnce();
    await turn();
  }
  read(Buffer.from('0\r\n\r\n'));
  client.go();
  await turn();
  const { messages, rest } = readResponses(client.text, ['GET'], false);
  t.same([messages.length, messages[0]?.complete, rest], [1, true, '']);
  t.equal(
    createHash('sha256')
      .update(messages[0]?.body ?? '', 'latin1')
      .digest('hex'),
    wanted.digest('hex'),
  );
});

/** Pipelines GETs until the loop reads no more. @returns how many */
async function flood(client: MemorySocket, most: number): Promise<number> {
  let sent = 0;
  for (; sent < most && !client.isPaused(); sent += 10) {
    client.feed(Array.from({ length: 10 }, (_, i) => `GET /${sent + i} HTTP/1.1\r\n${HOST}\r\n`).join(''));
    for (let i = 0; i < 12; i++) await turn();
  }
  return sent;
}

/** An app that answers every request with 10 kB, a turn later. */
function startMemoryApp(): MemorySocket {
  const app = new MemorySocket();
  app.onWrite = () => setImmediate(() => app.feed(response('a'.repeat(10_000))));
  return app;
}

t.test('answers to pipelined requests do not pile up before a client that reads none of them', async t => {
  const deny = (request: ProxiedRequest): void => request.exchange.reply('policy_denied', '', '');
  for (const [name, options] of [
    ['the app’s', {}],
    ['our own', { onRequest: deny }],
  ] as const) {
    t.test(`${name} answers`, async t => {
      const [client, app] = [new MemorySocket(), startMemoryApp()];
      const loop = await startLoop(t, {
        open: done => done(null, { socket: app.socket, inlet: null }),
        ...options,
      });
      loop.accept(client.socket);
      client.stop();
      await turn();
      const sent = await flood(client, 20_000);
      t.ok(sent < 20_000, `the loop stopped reading after ${sent} requests`);
      t.ok(client.mostQueued < BOUND, `${client.mostQueued} bytes waited at most`);
      // Its reader goes on: every request that was sent is answered, in order.
      client.go();
      await loop.until(({ finished }) => finished.length === sent);
      const methods = Array.from({ length: sent }, () => 'GET');
      t.equal(readResponses(client.text, methods, false).messages.length, sent);
      client.feed(`GET /after HTTP/1.1\r\n${HOST}\r\n`);
      await loop.until(({ finished }) => finished.length === sent + 1);
    });
  }
});

t.test('requests pipelined behind a slow one are read ahead for 64 KiB, and no further', async t => {
  const { client, app, loop } = await start(t);
  client.feed(`GET /slow HTTP/1.1\r\n${HOST}\r\n`);
  await turn();
  let ahead = 0;
  for (; ahead < BODY && !client.isPaused(); ahead += 1_000)
    client.feed(`GET / HTTP/1.1\r\n${HOST}X: ${'x'.repeat(960)}\r\n\r\n`);
  t.ok(ahead <= 80_000, `${ahead} bytes`);
  app.feed(response('slow'));
  await turn();
  t.equal(loop.finished.length, 1);
  await turn();
  t.equal(client.isPaused(), false, 'the next one is on its way');
});

t.test(
  'over real sockets: the app stops, the client is stopped; the app goes on, all of it arrives',
  async t => {
    const app = await startRawApp(t);
    const loop = await startLoop(t, { app: app.port });
    const client = await rawClient(t, loop.port);
    client.send(`POST /p HTTP/1.1\r\n${HOST}Content-Length: ${BODY}\r\n\r\n`);
    const connection = await app.next();
    await connection.head();
    connection.socket.removeAllListeners('data').pause();
    const piece = Buffer.alloc(MIB, 'x');
    for (let sent = 0; sent < BODY; sent += MIB) client.socket.write(piece);
    await loop.until(({ sockets }) => sockets[0]?.isPaused() === true);
    t.ok(loop.sockets[0] && loop.sockets[0].bytesRead < BODY);
    let received = 0;
    const all = new Promise<void>(resolve => {
      connection.socket.on('data', (bytes: Buffer) => {
        received += bytes.length;
        if (received === BODY) resolve();
      });
    });
    connection.socket.resume();
    await all;
    connection.answer('thanks');
    t.equal((await client.answer()).body, 'thanks');
  },
);

t.test(
  'over TLS, to a client that stops and goes, a response out of the read buffer arrives as it was',
  async t => {
    const app = await startRawApp(t);
    const loop = await startLoop(t, { app: app.port });
    const { certChainPem, keyPem } = await testIdentity(await testAuthority(), 'foo/server');
    const server = createSecureServer({ cert: certChainPem, key: keyPem, noDelay: true }, socket =>
      loop.accept(socket),
    );
    const port = await listenUntilEnd(t, server);
    const client = connectSecure({ host: '127.0.0.1', port, rejectUnauthorized: false });
    t.teardown(() => client.destroy());
    client.write(`GET / HTTP/1.0\r\n${HOST}\r\n`);
    const connection = await app.next();
    await connection.request();
    const sent = createHash('sha256');
    connection.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (let i = 0; i < 200; i++) {
      const body = randomBytes(1 + ((i * 7_919) % 120_000));
      sent.update(body);
      connection.send(`${body.length.toString(16)}\r\n`).socket.write(body);
      connection.send('\r\n');
    }
    connection.send('0\r\n\r\n');
    const pieces: Buffer[] = [];
    for await (const piece of client) {
      pieces.push(piece as Buffer);
      if (pieces.length % 100 === 0) await turn();
    }
    const all = Buffer.concat(pieces);
    const received = createHash('sha256').update(all.subarray(all.indexOf('\r\n\r\n') + 4));
    t.equal(received.digest('hex'), sent.digest('hex'));
  },
);
