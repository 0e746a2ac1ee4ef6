import { once } from 'node:events';
import { createServer, type TLSSocket } from 'node:tls';
import fc from 'fast-check';
import t from 'tap';
import { readSession, sessionFactsOf } from '../../src/net/tls-peer-certificate.ts';
import { testAuthority, testIdentity, testIntermediate } from '../certificates.ts';
import { client, type Teardown } from './tls-peers.ts';

const authority = await testAuthority();
const serverPems = await testIdentity(authority, 'foo/server');

/** The server's side of a connection on which the client presented `pems`. */
async function serverSide(
  t: Teardown,
  pems: typeof serverPems | null,
  version: 'TLSv1.2' | 'TLSv1.3',
): Promise<TLSSocket> {
  const server = createServer({
    cert: serverPems.certChainPem,
    key: serverPems.keyPem,
    requestCert: true,
    rejectUnauthorized: false,
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const secure = once(server, 'secureConnection');
  const { port } = server.address() as { port: number };
  client(t, port, pems, { minVersion: version, maxVersion: version });
  const [socket] = (await secure) as [TLSSocket];
  socket.on('error', () => {});
  t.teardown(() => {
    socket.destroy();
    server.close();
  });
  return socket;
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  t.test(`reads the certificate that Node reads, on ${version}`, async t => {
    const deep = await testIntermediate(authority);
    const large = Array.from({ length: 300 }, (_, at) => `host-${at}.some.where.example.org`);
    for (const pems of [
      await testIdentity(authority, 'foo/sleep'),
      await testIdentity(deep, 'foo/sleep'),
      await testIdentity(authority, 'foo/sleep', { dnsNames: large }),
    ]) {
      const socket = await serverSide(t, pems, version);
      const expected = socket.getPeerX509Certificate()?.raw;
      t.ok(expected && expected.length > 300);
      t.same(sessionFactsOf(socket).der, expected);
      const session = socket.getSession();
      t.same(session && readSession(session).der, expected, 'from the session, not from the fallback');
    }
    t.equal(sessionFactsOf(await serverSide(t, null, version)).der, null);
  });
}

t.test('the copy holds nothing else of the session, whose secret is wiped', async t => {
  const socket = await serverSide(t, await testIdentity(authority, 'foo/sleep'), 'TLSv1.3');
  const session = socket.getSession()!;
  socket.getSession = () => session;
  const der = sessionFactsOf(socket).der!;
  t.equal(der.length, socket.getPeerX509Certificate()!.raw.length);
  t.not(der.buffer, session.buffer);
  t.ok(session.every(byte => byte === 0));
});

t.test('what is no session is null, never an exception', async t => {
  const socket = await serverSide(t, await testIdentity(authority, 'foo/sleep'), 'TLSv1.3');
  const session = socket.getSession()!;
  const accepted: number[] = [];
  for (let length = 0; length < session.length; length += 1) {
    if (readSession(session.subarray(0, length)).der !== null) accepted.push(length);
  }
  t.strictSame(accepted, []);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), bytes => {
      const { der, group } = readSession(Buffer.from(bytes));
      return (der === null || der.length <= bytes.length) && Number.isInteger(group);
    }),
  );
});
