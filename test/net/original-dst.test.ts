import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { originalDst } from '../../src/net/original-dst.ts';
import { descriptorOf, socketOptions } from '../../src/net/socket-options.ts';

const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SOCK_STREAM = 1;

/** One accepted connection to `host`, from `from`. */
async function accepted(t: Tap, host: string, from: string): Promise<Socket> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const client = connect((server.address() as AddressInfo).port, from).on('error', () => {});
  const [socket] = (await once(server, 'connection')) as [Socket];
  t.teardown(() => {
    client.destroy();
    socket.destroy();
    server.close();
  });
  return socket;
}

type Tap = { teardown(fn: () => unknown): unknown };

t.test('a connection that nobody redirected was going to its local address', async t => {
  const rows = [
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '::1'],
    ['::', '127.0.0.1'],
  ] as const;
  for (const capture of ['redirect', 'tproxy'] as const) {
    const ask = originalDst(capture);
    for (const [host, from] of rows) {
      const socket = await accepted(t, host, from);
      t.same(ask?.(socket), { host: from, port: socket.localPort }, `${capture} ${host}`);
    }
  }
});

t.test('a closed connection was going nowhere', async t => {
  const socket = await accepted(t, '127.0.0.1', '127.0.0.1');
  socket.destroy();
  await once(socket, 'close');
  t.equal(descriptorOf(socket), -1);
  t.equal(originalDst('redirect')?.(socket), null);
});

t.test('options are read and written, and what is none is refused', async t => {
  const options = socketOptions();
  const socket = await accepted(t, '127.0.0.1', '127.0.0.1');
  const into = Buffer.alloc(4);
  t.equal(options?.read(descriptorOf(socket), SOL_SOCKET, SO_TYPE, into), true);
  t.equal(into.readInt32LE(), SOCK_STREAM);
  t.equal(options?.read(descriptorOf(socket), SOL_SOCKET, 9_999, into), false);
  t.equal(options?.write(descriptorOf(socket), SOL_SOCKET, 9_999, 1), false);
  t.equal(options?.read(-1, SOL_SOCKET, SO_TYPE, into), false);
});

t.test('it is loaded in a worker, and says nothing on standard error', async t => {
  const door = new URL('../../src/net/socket-options.ts', import.meta.url).href;
  const worker = new Worker(
    `import(${JSON.stringify(door)}).then(m => require('node:worker_threads').parentPort.postMessage(m.socketOptions()?.by))`,
    { eval: true, stderr: true },
  );
  let said = '';
  worker.stderr.on('data', chunk => {
    said += chunk;
  });
  const [by] = (await once(worker, 'message')) as [string];
  await once(worker, 'exit');
  t.match(by, /^(?:node:ffi|koffi)$/);
  t.equal(said, '');
});
