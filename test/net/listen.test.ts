import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { type ListenOptions, listen } from '../../src/net/listen.ts';
import { listenUntilEnd } from '../peers.ts';

async function start(t: Test, options: Partial<ListenOptions> = {}) {
  const accepted: Socket[] = [];
  let overflows = 0;
  const arrivals: (() => void)[] = [];
  const listener = await listen({
    host: '127.0.0.1',
    port: 0,
    reusePort: true,
    maxConnections: 100,
    onConnection: socket => {
      accepted.push(socket);
      for (const wake of arrivals.splice(0)) wake();
    },
    onOverflow: () => overflows++,
    onFault: error => t.fail(error.message),
    ...options,
  });
  t.teardown(async () => {
    for (const socket of accepted) socket.destroy();
    await listener.close();
  });
  const acceptedIs = async (count: number): Promise<void> => {
    while (accepted.length < count) await new Promise<void>(resolve => arrivals.push(resolve));
  };
  return { listener, accepted, acceptedIs, overflows: () => overflows };
}

function dial(t: Test, port: number): Socket {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
  t.teardown(() => socket.destroy());
  return socket;
}

t.test('port 0 takes a free port, and several threads may share one', async t => {
  const first = await start(t);
  t.ok(first.listener.address.port > 0);
  const second = await start(t, { port: first.listener.address.port });
  t.equal(second.listener.address.port, first.listener.address.port);
});

t.test('an address that cannot be had is an error that names it', async t => {
  const port = await listenUntilEnd(t, createServer());
  await t.rejects(start(t, { port }), { message: `cannot listen on 127.0.0.1:${port}: EADDRINUSE` });
  await t.rejects(start(t, { host: '192.0.2.1' }), {
    message: /^cannot listen on 192\.0\.2\.1:0: EADDRNOTAVAIL/,
  });
});

t.test('accepted sockets keep half of them open, and an error of one throws nowhere', async t => {
  const { listener, accepted, acceptedIs } = await start(t);
  const client = dial(t, listener.address.port);
  await acceptedIs(1);
  const [socket] = accepted;
  client.end();
  socket!.resume();
  await once(socket!, 'end');
  socket!.end('still here');
  t.equal(String((await once(client, 'data'))[0]), 'still here');
  const broken = dial(t, listener.address.port);
  await acceptedIs(2);
  broken.resetAndDestroy();
  const error = await once(accepted[1]!.resume(), 'close').catch(
    (reason: NodeJS.ErrnoException) => reason.code,
  );
  t.equal(error, 'ECONNRESET', 'it was told, and the process lives');
});

t.test('above its connections more are reset and told of; room that is made is used', async t => {
  const { listener, accepted, acceptedIs, overflows } = await start(t, { maxConnections: 2 });
  const { port } = listener.address;
  dial(t, port);
  dial(t, port);
  await acceptedIs(2);
  const over = dial(t, port).resume();
  const [error] = (await once(over, 'error')) as [NodeJS.ErrnoException];
  t.equal(error.code, 'ECONNRESET');
  t.same([accepted.length, overflows()], [2, 1]);
  accepted[0]!.destroy();
  await once(accepted[0]!, 'close');
  dial(t, port);
  await acceptedIs(3);
  t.equal(overflows(), 1);
});

t.test('close takes no more, and leaves what was accepted alone', async t => {
  const { listener, accepted, acceptedIs } = await start(t);
  const client = dial(t, listener.address.port);
  await acceptedIs(1);
  const closed = listener.close();
  const late = dial(t, listener.address.port);
  const [error] = (await once(late, 'error')) as [NodeJS.ErrnoException];
  t.equal(error.code, 'ECONNREFUSED');
  client.write('ping');
  t.equal(String((await once(accepted[0]!, 'data'))[0]), 'ping');
  accepted[0]!.destroy();
  await closed;
});
