import { once } from 'node:events';
import { type ConnectionOptions, createServer, type TLSSocket } from 'node:tls';
import t from 'tap';
import { createOriginator } from '../../src/net/tls.ts';
import { rawUris, testAuthority, testIdentity } from '../certificates.ts';
import { client, materialOf, received, spiffeJudge, TestServer } from './tls-peers.ts';

const authority = await testAuthority();
const serverPems = await testIdentity(authority, 'foo/server');
const clientPems = await testIdentity(authority, 'foo/sleep');
const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';
const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;

type Version = (typeof VERSIONS)[number];

function only(version: Version, more: ConnectionOptions = {}): ConnectionOptions {
  return { minVersion: version, maxVersion: version, ...more };
}

/** Every session that a client is offered on a connection, and the one that it could take from the socket itself. */
async function sessionsOf(socket: TLSSocket): Promise<Buffer[]> {
  const sessions: Buffer[] = [];
  socket.on('session', session => sessions.push(session));
  socket.on('secureConnect', () => {
    const own = socket.getSession();
    if (own) sessions.push(own);
  });
  await received(socket);
  return sessions;
}

for (const version of VERSIONS) {
  t.test(`no ${version} session is resumed, the client is judged each time`, async t => {
    let judgements = 0;
    const inner = spiffeJudge('client');
    const server = await TestServer.start(t, materialOf(serverPems), {
      judge: facts => {
        judgements += facts.der ? 1 : 0;
        return inner(facts);
      },
    });
    const first = client(t, server.port, clientPems, only(version));
    const sessions = sessionsOf(first);
    const outcome = await server.next();
    if (outcome.ok) outcome.socket.end('x');
    const kept = await sessions;
    t.ok(kept.length > 0, 'the client keeps what it is given');
    for (const session of kept) {
      const again = client(t, server.port, clientPems, only(version, { session }));
      const [next] = await Promise.all([server.next(), once(again, 'secureConnect')]);
      t.equal(again.isSessionReused(), false);
      t.equal(next.ok && next.socket.isSessionReused(), false);
      t.equal(next.ok && next.peer.id.uri, SLEEP);
    }
    t.equal(judgements, kept.length + 1, 'each with a certificate before the judge');
  });

  t.test(`a ${version} session of a client whose CA is gone does not get it in`, async t => {
    const server = await TestServer.start(t, materialOf(serverPems));
    const first = client(t, server.port, clientPems, only(version));
    const sessions = sessionsOf(first);
    const outcome = await server.next();
    if (outcome.ok) outcome.socket.end('x');
    const kept = await sessions;
    const next = await testAuthority();
    server.terminator.replace(materialOf(await testIdentity(next, 'foo/server'), '2'));
    for (const session of kept) {
      for (const pems of [clientPems, null]) {
        client(t, server.port, pems, only(version, { session }));
        t.equal(await server.nextWord(), pems ? 'untrusted' : 'no_certificate');
      }
    }
  });

  t.test(`a refused ${version} client holds nothing that resumes`, async t => {
    const server = await TestServer.start(t, materialOf(serverPems));
    const twoIds = await testIdentity(authority, 'foo/sleep', { mutate: rawUris(SLEEP, `${SLEEP}2`) });
    const socket = client(t, server.port, twoIds, only(version));
    const tickets: Buffer[] = [];
    socket.on('session', session => tickets.push(session));
    const sessions = sessionsOf(socket);
    t.equal(await server.nextWord(), 'many_uri_sans');
    const kept = await sessions;
    if (version === 'TLSv1.3') t.strictSame(tickets, [], 'no ticket left the server');
    for (const session of kept) {
      const again = client(t, server.port, twoIds, only(version, { session }));
      t.equal(await server.nextWord(), 'many_uri_sans');
      t.equal(again.isSessionReused() ?? false, false);
    }
  });
}

t.test('a TLS 1.2 client cannot renegotiate', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  const socket = client(t, server.port, clientPems, only('TLSv1.2'));
  await once(socket, 'secureConnect');
  const outcome = await server.next();
  const failed = once(socket, 'error');
  socket.renegotiate({}, () => {});
  const [error] = await failed;
  t.equal(error.code, 'ERR_SSL_NO_RENEGOTIATION');
  t.equal(server.outcomes.length, 1, 'and is not judged again');
  t.equal(outcome.ok, true);
});

for (const version of VERSIONS) {
  t.test(`the originator resumes no ${version} session of a server that would`, async t => {
    const server = createServer(
      {
        cert: serverPems.certChainPem,
        key: serverPems.keyPem,
        ca: serverPems.rootPem,
        requestCert: true,
        minVersion: version,
        maxVersion: version,
      },
      socket => {
        socket.on('error', () => {});
        reused.push(socket.isSessionReused());
        socket.end('x');
      },
    );
    const reused: boolean[] = [];
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    const { port } = server.address() as { port: number };
    let judgements = 0;
    const originator = createOriginator(materialOf(clientPems));
    const inner = spiffeJudge('server');
    for (let round = 0; round < 3; round += 1) {
      await new Promise<void>(resolve => {
        originator.connect(
          {
            host: '127.0.0.1',
            port,
            servername: 'server.foo',
            mode: 'ISTIO_MUTUAL',
            timeoutMs: 20_000,
            judge: facts => {
              judgements += facts.der ? 1 : 0;
              return inner(facts);
            },
          },
          (reason, socket) => {
            t.equal(reason, null);
            if (socket) void received(socket).then(() => resolve());
            socket?.on('end', () => socket.end());
          },
        );
      });
    }
    t.equal(judgements, 3);
    t.strictSame(reused, [false, false, false]);
  });
}
