import { once } from 'node:events';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { createServer, type TlsOptions } from 'node:tls';
import t from 'tap';
import { judgeServer } from '../../src/identity/server-name.ts';
import {
  createOriginator,
  type HandshakeFacts,
  type Judge,
  type OriginateOptions,
  type Originator,
} from '../../src/net/tls.ts';
import { DEFAULT_TLS } from '../../src/net/tls-settings.ts';
import { type IdentityPems, testAuthority, testIdentity } from '../certificates.ts';
import { WRONG_CERTIFICATES } from '../wrong-certificates.ts';
import { materialOf, received, spiffeJudge, type Teardown, TestServer } from './tls-peers.ts';

const authority = await testAuthority();
const serverPems = await testIdentity(authority, 'foo/server', { dnsNames: ['server.foo', '*.wild.foo'] });
const clientPems = await testIdentity(authority, 'foo/sleep');
const SERVER = 'spiffe://cluster.local/ns/foo/sa/server';

type Result =
  | { reason: string }
  | { reason: null; value: unknown; facts: HandshakeFacts; socket: import('node:tls').TLSSocket };

function open<P>(
  t: Teardown,
  originator: Originator,
  options: Partial<OriginateOptions<P>> & { port: number; judge: Judge<P> },
): Promise<Result> {
  const { promise, resolve } = Promise.withResolvers<Result>();
  const socket = originator.connect<P>(
    { host: '127.0.0.1', servername: null, mode: 'ISTIO_MUTUAL', timeoutMs: 20_000, ...options },
    (reason, socket, value, facts) => {
      resolve(reason === null ? { reason, value, facts: facts!, socket: socket! } : { reason });
    },
  );
  t.teardown(() => socket.destroy());
  return promise;
}

interface Seen {
  bytes: string;
  port: number;
}

/** A TLS server that notes whatever application bytes reach it. */
async function listen(t: Teardown, pems: IdentityPems, options: TlsOptions = {}): Promise<Seen> {
  const seen: Seen = { bytes: '', port: 0 };
  const server = createServer(
    { cert: pems.certChainPem, key: pems.keyPem, requestCert: true, rejectUnauthorized: false, ...options },
    socket => {
      socket.on('error', () => {});
      socket.on('data', chunk => {
        seen.bytes += chunk;
        socket.write(chunk);
      });
      t.teardown(() => socket.destroy());
    },
  );
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  seen.port = (server.address() as AddressInfo).port;
  return seen;
}

t.test('a peer with the right identity is connected, and the facts tell how', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  const originator = createOriginator(materialOf(clientPems));
  const judge = spiffeJudge('server');
  const result = await open(t, originator, { port: server.port, judge, servername: 'outbound_.80_._.foo' });
  t.match(result, {
    reason: null,
    value: { id: { uri: SERVER } },
    facts: { tlsVersion: 'TLSv1.3', cipher: 'TLS_AES_128_GCM_SHA256', alpn: null, der: null },
  });
  t.match(await server.next(), {
    ok: true,
    peer: { id: { uri: 'spiffe://cluster.local/ns/foo/sa/sleep' } },
    facts: { sni: 'outbound_.80_._.foo' },
  });
});

for (const { name, server: reason, make } of WRONG_CERTIFICATES) {
  t.test(
    `a server with a certificate ${name} ${reason ? `is refused as ${reason}` : 'is believed'}`,
    async t => {
      const server = await listen(t, await make(authority));
      const originator = createOriginator(materialOf(clientPems));
      const result = await open(t, originator, { port: server.port, judge: spiffeJudge('server') });
      t.equal(result.reason, reason);
      t.equal(server.bytes, '', 'no byte was sent');
    },
  );
}

t.test('the judge has the last word on a server that any chain would believe', async t => {
  const server = await listen(t, serverPems);
  const originator = createOriginator(materialOf(clientPems));
  const judge = () => ({ ok: false, reason: 'unexpected_identity' }) as const;
  for (let round = 0; round < 3; round += 1) {
    t.strictSame(await open(t, originator, { port: server.port, judge }), { reason: 'unexpected_identity' });
  }
  const broken = () => {
    throw new Error('bug');
  };
  t.strictSame(await open(t, originator, { port: server.port, judge: broken }), { reason: 'judge_failed' });
});

t.test('replaced material is presented and trusted by the next connection', async t => {
  const next = await testAuthority({ name: 'next CA' });
  const server = await TestServer.start(t, materialOf(serverPems));
  const judge = spiffeJudge('server');
  const originator = createOriginator(materialOf(clientPems));
  t.equal((await open(t, originator, { port: server.port, judge })).reason, null);
  originator.replace(materialOf(await testIdentity(next, 'foo/sleep'), '2'));
  t.equal((await open(t, originator, { port: server.port, judge })).reason, 'untrusted');
  t.throws(() => originator.replace(materialOf({ ...clientPems, keyPem: serverPems.keyPem })));
});

t.test('an onread buffer takes the place of data events', async t => {
  const server = await listen(t, serverPems);
  const originator = createOriginator(materialOf(clientPems));
  const buffer = Buffer.alloc(65_536);
  const { promise, resolve } = Promise.withResolvers<string>();
  const callback = (bytes: number) => {
    resolve(buffer.toString('latin1', 0, bytes));
    return true;
  };
  const result = await open(t, originator, {
    port: server.port,
    judge: spiffeJudge('server'),
    onread: { buffer, callback },
  });
  if (result.reason !== null) return t.fail(result.reason);
  result.socket.write('echo');
  t.equal(await promise, 'echo');
});

t.test('offered protocols are negotiated', async t => {
  const server = await listen(t, serverPems, { ALPNProtocols: ['h2', 'istio'] });
  const originator = createOriginator(materialOf(clientPems));
  const judge = spiffeJudge('server');
  t.match(await open(t, originator, { port: server.port, judge, alpn: ['istio', 'http/1.1'] }), {
    reason: null,
    facts: { alpn: 'istio' },
  });
  t.match(await open(t, originator, { port: server.port, judge, alpn: ['x'] }), { reason: 'no_shared_alpn' });
});

t.test('every failure has one word and leaves nothing open', async t => {
  const judge = spiffeJudge('server');
  const originator = createOriginator(materialOf(clientPems), { ...DEFAULT_TLS, minVersion: 'TLSv1.3' });
  const closed = createTcpServer().listen(0, '127.0.0.1');
  await once(closed, 'listening');
  const { port: closedPort } = closed.address() as AddressInfo;
  closed.close();
  await once(closed, 'close');
  t.equal((await open(t, originator, { port: closedPort, judge })).reason, 'connection_refused');
  t.equal(
    (await open(t, originator, { port: closedPort, judge, host: 'no-such-host.invalid' })).reason,
    'host_not_found',
  );

  const talk = async (onConnection: (socket: import('node:net').Socket) => void) => {
    const server = createTcpServer(socket => {
      socket.on('error', () => {});
      t.teardown(() => socket.destroy());
      onConnection(socket);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    return (server.address() as AddressInfo).port;
  };
  const silent = await talk(() => {});
  t.equal((await open(t, originator, { port: silent, judge, timeoutMs: 100 })).reason, 'handshake_timeout');
  const plain = await talk(socket => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  t.equal((await open(t, originator, { port: plain, judge })).reason, 'not_tls');
  const hangsUp = await talk(socket => socket.destroy());
  t.equal((await open(t, originator, { port: hangsUp, judge })).reason, 'connection_reset');
  const old = await listen(t, serverPems, { maxVersion: 'TLSv1.2' });
  t.equal((await open(t, originator, { port: old.port, judge })).reason, 'tls_version');
  const aborted = new Promise<string | null>(resolve => {
    const socket = originator.connect(
      { host: '127.0.0.1', port: silent, servername: null, mode: 'ISTIO_MUTUAL', timeoutMs: 20_000, judge },
      reason => resolve(reason),
    );
    socket.destroy();
  });
  t.equal(await aborted, 'aborted');
});

t.test('an IP address is not sent as SNI', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  const originator = createOriginator(materialOf(clientPems));
  const judge = spiffeJudge('server');
  await open(t, originator, { port: server.port, judge, servername: '127.0.0.1' });
  t.match(await server.next(), { ok: true, facts: { sni: null } });
});

t.test('SIMPLE presents no certificate and believes a host name or a listed SAN', async t => {
  const presented: boolean[] = [];
  const server = await TestServer.start(t, materialOf(serverPems), {
    judge: facts => {
      presented.push(facts.der !== null);
      return { ok: false, reason: 'seen' };
    },
  });
  const originator = createOriginator(materialOf(clientPems));
  const cases: [host: string | null, sans: string[], expected: string | null][] = [
    ['server.foo', [], null],
    ['SERVER.foo', [], null],
    ['a.wild.foo', [], null],
    ['a.b.wild.foo', [], 'wrong_host_name'],
    ['other.foo', [], 'wrong_host_name'],
    ['127.0.0.1', [], 'wrong_host_name'],
    ['::1', [], 'wrong_host_name'],
    ['other.foo', ['server.foo'], null],
    ['other.foo', ['nobody.foo', SERVER], null],
    ['server.foo', ['nobody.foo'], 'unexpected_identity'],
    ['server.foo', [`${SERVER}2`], 'unexpected_identity'],
  ];
  for (const [host, subjectAltNames, expected] of cases) {
    const judge = (facts: HandshakeFacts) =>
      judgeServer({ ...facts, host, subjectAltNames, insecureSkipVerify: false, now: Date.now() });
    const result = await open(t, originator, {
      port: server.port,
      judge,
      mode: 'SIMPLE',
      roots: authority.rootPem,
    });
    t.equal(result.reason, expected, `${host} ${subjectAltNames}`);
  }
  t.notOk(presented.includes(true), 'no client certificate');
});

t.test('SIMPLE without roots of its own trusts the operating system, not the mesh', async t => {
  const server = await listen(t, serverPems);
  const originator = createOriginator(materialOf(clientPems));
  const judge = (insecureSkipVerify: boolean) => (facts: HandshakeFacts) =>
    judgeServer({ ...facts, host: 'server.foo', subjectAltNames: [], insecureSkipVerify, now: Date.now() });
  const options = { port: server.port, mode: 'SIMPLE' } as const;
  t.equal((await open(t, originator, { ...options, judge: judge(false) })).reason, 'untrusted');
  t.equal((await open(t, originator, { ...options, judge: judge(true) })).reason, null, 'insecureSkipVerify');
});

t.test('half-close goes both ways', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  const originator = createOriginator(materialOf(clientPems));
  const result = await open(t, originator, { port: server.port, judge: spiffeJudge('server') });
  if (result.reason !== null) return t.fail(result.reason);
  const outcome = await server.next();
  if (!outcome.ok) return t.fail(outcome.reason);
  outcome.socket.end('early end');
  let answer = '';
  result.socket.on('data', chunk => {
    answer += chunk;
  });
  await once(result.socket, 'end');
  t.equal(answer, 'early end');
  result.socket.end('still here');
  t.equal(await received(outcome.socket), 'still here');
});
