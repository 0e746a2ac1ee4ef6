/** Contexts of older generations: they serve whoever began with them, and are gone after that. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import type { TLSSocket } from 'node:tls';
import t from 'tap';
import { createOriginator, type OriginateOptions, type Originator } from '../../src/net/tls.ts';
import { testAuthority, testIdentity } from '../certificates.ts';
import { client, materialOf, spiffeJudge, TestServer } from './tls-peers.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const serverPems = await testIdentity(authority, 'foo/server');
const clientPems = await testIdentity(authority, 'foo/sleep');
const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';
const MIB = 1_048_576;

function connected(originator: Originator, port: number, more: Partial<OriginateOptions<unknown>> = {}) {
  return new Promise<TLSSocket | string>(resolve => {
    const judge = spiffeJudge('server');
    const options = {
      host: '127.0.0.1',
      port,
      servername: null,
      mode: 'ISTIO_MUTUAL',
      timeoutMs: 20_000,
    } as const;
    originator.connect({ ...options, judge, ...more }, (reason, socket) => resolve(socket ?? reason ?? ''));
  });
}

t.test('a handshake that began before a new generation finishes on its own', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  const listener = createServer(raw => {
    server.terminator.accept(raw);
    server.terminator.replace(materialOf(serverPems, '2'));
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.teardown(() => listener.close());
  const { port } = listener.address() as AddressInfo;
  for (let round = 0; round < 3; round += 1) {
    client(t, port, clientPems);
    t.equal(await server.nextWord(), SLEEP);
  }
});

t.test(
  'a connection that began before a new generation is made, also by a name with several addresses',
  async t => {
    const server = await TestServer.start(t, materialOf(serverPems));
    const originator = createOriginator(materialOf(clientPems));
    for (const host of ['127.0.0.1', 'localhost']) {
      const made = connected(originator, server.port, { host });
      originator.replace(materialOf(clientPems, host));
      t.equal(await server.nextWord(), SLEEP);
      const socket = await made;
      if (typeof socket === 'string') t.fail(socket);
      else socket.destroy();
    }
  },
);

t.test('a closed originator makes what began, and nothing after it', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  const originator = createOriginator(materialOf(clientPems));
  const made = connected(originator, server.port);
  originator.close();
  t.throws(() => void originator.connect({ mode: 'ISTIO_MUTUAL' } as OriginateOptions<unknown>, () => {}), {
    message: 'the originator is closed',
  });
  const socket = await made;
  t.not(typeof socket, 'string');
  if (typeof socket !== 'string') socket.destroy();
});

t.test('generations leave no memory behind', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  const originator = createOriginator(materialOf(clientPems));
  const generations = async (from: number, to: number): Promise<number> => {
    for (let at = from; at < to; at += 1) {
      server.terminator.replace(materialOf(serverPems, String(at)));
      originator.replace(materialOf(clientPems, String(at)));
      const [outcome, socket] = await Promise.all([server.next(), connected(originator, server.port)]);
      if (outcome.ok) outcome.socket.destroy();
      if (typeof socket !== 'string') socket.destroy();
      server.raws.length = 0;
      server.outcomes.fill(outcome);
    }
    return process.memoryUsage.rss() / MIB;
  };
  const before = await generations(0, 150);
  const growth = (await generations(150, 650)) - before;
  t.ok(growth < 40, `500 generations, ${Math.round(growth)} MiB; 60 and more when their contexts stay`);
});
