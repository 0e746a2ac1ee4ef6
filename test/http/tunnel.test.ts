/** Upgrade and CONNECT: when both sides agreed, bytes; before that, nothing that could be either. */
import t, { type Test } from 'tap';
import { type LoopOptions, startLoop } from './loop.ts';
import { rawClient, startRawApp } from './raw-app.ts';
import { statusOf, valuesOf } from './strict-messages.ts';

const HOST = 'Host: app.test\r\n';
const UPGRADE = `GET /chat HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`;
const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
const CONNECT = `CONNECT db.test:5432 HTTP/1.1\r\nHost: db.test:5432\r\n\r\n`;

async function start(t: Test, options: Omit<LoopOptions, 'app'> = {}) {
  const app = await startRawApp(t);
  const loop = await startLoop(t, { app: app.port, ...options });
  return { app, loop, client: await rawClient(t, loop.port) };
}

t.test('Upgrade: the 101 passes, then bytes both ways, half-closed one side after the other', async t => {
  const { app, loop, client } = await start(t);
  client.send(UPGRADE);
  const connection = await app.next();
  const request = await connection.request();
  t.same([valuesOf(request, 'connection'), valuesOf(request, 'upgrade')], [['Upgrade'], ['websocket']]);
  // The app's first bytes come with the 101.
  connection.send(`${SWITCH}welcome`);
  t.same((await client.answer()).line, 'HTTP/1.1 101 Switching Protocols');
  t.equal((await client.wire.take(7)).toString(), 'welcome');
  client.send('GET /not-a-request HTTP/1.1\r\n\r\n');
  t.equal((await connection.wire.take(31)).toString(), 'GET /not-a-request HTTP/1.1\r\n\r\n');
  client.socket.end('last words');
  t.equal(await connection.wire.rest(), 'last words');
  connection.socket.end('answer to them');
  t.equal(await client.wire.rest(), 'answer to them');
  await loop.until(({ closed }) => closed === 1);
  t.match(loop.finished, [{ status: 101 }]);
  t.equal(loop.clock.items.size, 0);
  t.equal(loop.destination.upstream.pool.open, 0);
});

t.test('Upgrade refused by the app is a response like any other', async t => {
  const { app, client } = await start(t);
  client.send(UPGRADE);
  const connection = await app.next();
  await connection.request();
  connection.answer('no');
  t.equal((await client.answer()).body, 'no');
  client.send(UPGRADE);
  t.equal((await connection.request()).line, 'GET /chat HTTP/1.1');
});

t.test('bytes sent before the 101 belong to nobody: 400, and the app hears none of them', async t => {
  const { app, client, loop } = await start(t);
  client.send(`${UPGRADE}GET /smuggled HTTP/1.1\r\n${HOST}\r\n`);
  const connection = await app.next();
  await connection.request();
  connection.send(SWITCH);
  const answer = await client.answer();
  t.same([statusOf(answer), answer.body], [400, 'bad request: bytes sent before the protocol switched']);
  t.equal(await client.wire.rest(), '');
  t.equal(await connection.wire.rest(), '');
  t.equal(app.connections.length, 1);
  t.match(loop.finished, [{ status: 400, flag: 'DPE' }]);
});

t.test('a request after an upgrade that the app answered with a response is a request', async t => {
  const { app, client } = await start(t);
  client.send(`${UPGRADE}GET /next HTTP/1.1\r\n${HOST}\r\n`);
  const connection = await app.next();
  await connection.request();
  connection.answer('no');
  t.equal((await client.answer()).body, 'no');
  t.equal((await connection.request()).line, 'GET /next HTTP/1.1');
});

t.test('a switch that was not offered is no switch', async t => {
  for (const [name, request, reply] of [
    ['to another protocol', UPGRADE, SWITCH.replace('websocket', 'irc')],
    ['to one that was offered and one that was not', UPGRADE, SWITCH.replace('websocket', 'websocket, irc')],
    ['to none', UPGRADE, 'HTTP/1.1 101 Switching Protocols\r\n\r\n'],
    [
      'without Connection: upgrade',
      UPGRADE,
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n',
    ],
    ['to h2c', UPGRADE.replace('websocket', 'h2c'), SWITCH.replace('websocket', 'h2c')],
  ] as const) {
    t.test(name, async t => {
      const { app, client } = await start(t);
      client.send(request);
      const connection = await app.next();
      await connection.request();
      connection.send(`${reply}EVIL`);
      t.equal(statusOf(await client.answer()), 502);
      await connection.wire.rest();
      client.socket.end();
      t.equal(await client.wire.rest(), '');
    });
  }
});

t.test('a switch before the end of the request is no switch either', async t => {
  const { app, client } = await start(t);
  const lines = 'Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n';
  client.send(`POST /chat HTTP/1.1\r\n${HOST}${lines}\r\n1`);
  const connection = await app.next();
  await connection.head();
  connection.send(SWITCH);
  t.equal(statusOf(await client.answer()), 502);
  await connection.wire.rest();
  client.send('\r\nx\r\n0\r\n\r\n');
  t.equal(await client.wire.rest(), '');
});

t.test('a request with a body may be upgraded when it is whole', async t => {
  const { app, client } = await start(t);
  const lines = 'Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n';
  client.send(`POST /chat HTTP/1.1\r\n${HOST}${lines}\r\nhello`);
  const connection = await app.next();
  t.equal((await connection.request()).body, 'hello');
  connection.send(`${SWITCH}welcome`);
  t.equal(statusOf(await client.answer()), 101);
  t.equal((await client.wire.take(7)).toString(), 'welcome');
});

t.test('h2c is not offered to the app, other protocols beside it are', async t => {
  for (const [offer, seen] of [
    ['h2c', []],
    ['H2C, websocket', ['websocket']],
    ['h2, h2c/1.0, IRC/6.9', ['IRC/6.9']],
  ] as const) {
    const { app, client } = await start(t);
    client.send(
      `GET / HTTP/1.1\r\n${HOST}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: ${offer}\r\nHTTP2-Settings: AAMA\r\n\r\n`,
    );
    const request = await (await app.next()).request();
    t.same(valuesOf(request, 'upgrade'), seen, offer);
    t.same(valuesOf(request, 'connection'), seen.length === 0 ? [] : ['Upgrade']);
    t.same(valuesOf(request, 'http2-settings'), []);
  }
});

t.test('Upgrade without its Connection option, and from HTTP/1.0, is no offer', async t => {
  for (const head of [
    `GET / HTTP/1.1\r\n${HOST}Upgrade: websocket\r\n\r\n`,
    `GET / HTTP/1.0\r\n${HOST}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n`,
  ]) {
    const { app, client } = await start(t);
    client.send(head);
    t.same(valuesOf(await (await app.next()).request(), 'upgrade'), []);
  }
});

t.test('CONNECT that the app serves', async t => {
  t.test('2xx opens the tunnel, and what came with it is the tunnel’s', async t => {
    const { app, client, loop } = await start(t);
    client.send(CONNECT);
    const connection = await app.next();
    t.equal((await connection.request()).line, 'CONNECT db.test:5432 HTTP/1.1');
    connection.send('HTTP/1.1 200 Connected\r\n\r\nserver speaks first');
    t.equal((await client.answer('CONNECT')).line, 'HTTP/1.1 200 Connected');
    t.equal((await client.wire.take(19)).toString(), 'server speaks first');
    client.send('client');
    t.equal((await connection.wire.take(6)).toString(), 'client');
    client.socket.resetAndDestroy();
    await connection.wire.rest();
    await loop.until(({ closed }) => closed === 1);
  });

  t.test('a body in the answer that opens it is a fault', async t => {
    for (const line of ['Content-Length: 5', 'Transfer-Encoding: chunked']) {
      const { app, client } = await start(t);
      client.send(CONNECT);
      const connection = await app.next();
      await connection.request();
      connection.send(`HTTP/1.1 200 OK\r\n${line}\r\n\r\nhello`);
      t.equal(statusOf(await client.answer()), 502, line);
    }
  });

  t.test('any other answer ends the connection: what follows could be the tunnel’s', async t => {
    const { app, client } = await start(t);
    client.send(CONNECT);
    const connection = await app.next();
    await connection.request();
    connection.send('HTTP/1.1 405 No\r\nContent-Length: 2\r\n\r\nno');
    const answer = await client.answer();
    t.same([statusOf(answer), answer.body, valuesOf(answer, 'connection')], [405, 'no', ['close']]);
    client.send(`GET /smuggled HTTP/1.1\r\n${HOST}\r\n`);
    t.equal(await client.wire.rest(), '');
    t.equal(app.connections.length, 1);
  });
});

t.test('CONNECT that Outrider serves', async t => {
  t.test('is answered with 200 when the other side is connected, and then bytes', async t => {
    const { app, client, loop } = await start(t, { ownConnect: true });
    client.send(CONNECT);
    const connection = await app.next();
    t.equal((await client.answer('CONNECT')).line, 'HTTP/1.1 200 OK');
    client.socket.end('query');
    t.equal(await connection.wire.rest(), 'query');
    connection.socket.end('result');
    t.equal(await client.wire.rest(), 'result');
    await loop.until(({ closed }) => closed === 1);
    t.match(loop.finished, [{ status: 200 }]);
  });

  t.test('that cannot be connected is answered with 503 and closed', async t => {
    const { client } = await start(t, {
      onRequest: request => request.exchange.reply('connect_failed', 'ECONNREFUSED', ''),
    });
    client.send(CONNECT);
    const answer = await client.answer('CONNECT');
    t.same([statusOf(answer), valuesOf(answer, 'connection')], [503, ['close']]);
    t.equal(await client.wire.rest(), '');
  });
});

for (const [name, options] of [
  ['Outrider', { ownConnect: true }],
  ['the app', {}],
] as const) {
  t.test(`bytes behind a CONNECT to ${name} that is not answered yet: 400, sent to nobody`, async t => {
    const { client, loop } = await start(t, options);
    client.send(`${CONNECT}GET /smuggled HTTP/1.1\r\n${HOST}\r\n`);
    const answer = await client.answer();
    t.same([statusOf(answer), answer.body], [400, 'bad request: bytes sent before the tunnel was open']);
    t.equal(await client.wire.rest(), '');
    client.socket.end();
    await loop.until(({ closed }) => closed === 1);
    t.match(loop.finished, [{ status: 400, flag: 'DPE' }]);
  });
}

t.test('a client that goes while its CONNECT is being connected leaves nothing behind', async t => {
  const { app, client, loop } = await start(t, { ownConnect: true });
  client.send(CONNECT);
  await loop.until(({ sockets }) => (sockets[0]?.bytesRead ?? 0) > 0);
  client.socket.resetAndDestroy();
  await loop.until(({ closed }) => closed === 1);
  t.equal(await (await app.next()).wire.rest(), '');
  t.equal(loop.clock.items.size, 0);
});
