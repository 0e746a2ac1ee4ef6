import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import t from 'tap';
import { DEFAULT_TLS } from '../../src/net/tls-settings.ts';
import {
  KEY_USAGE,
  rawUris,
  testAuthority,
  testIdentity,
  testIntermediate,
  withExtension,
  withKeyUsage,
} from '../certificates.ts';
import { WRONG_CERTIFICATES } from '../wrong-certificates.ts';
import { client, materialOf, received, spiffeJudge, TestServer } from './tls-peers.ts';

const authority = await testAuthority();
const serverPems = await testIdentity(authority, 'foo/server');
const clientPems = await testIdentity(authority, 'foo/sleep');
const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';
const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;

t.test('a client with a good certificate gets in, and the facts tell how', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  for (const version of VERSIONS) {
    const socket = client(t, server.port, clientPems, {
      minVersion: version,
      maxVersion: version,
      servername: 'Outbound_.80_._.FOO.local',
    });
    const outcome = await server.next();
    if (!outcome.ok) return t.fail(outcome.reason);
    t.equal(outcome.peer.id.uri, SLEEP);
    t.match(outcome.facts, {
      der: null,
      authorizationError: null,
      tlsVersion: version,
      cipher: version === 'TLSv1.3' ? 'TLS_AES_128_GCM_SHA256' : 'ECDHE-ECDSA-AES128-GCM-SHA256',
      sni: 'outbound_.80_._.foo.local',
      alpn: null,
    });
    t.equal(outcome.raw.remotePort, socket.localPort, 'the accepted socket goes along');
    outcome.socket.end('hello');
    t.equal(await received(socket), 'hello');
  }
});

t.test('certificates that are right in less usual ways get in', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  const lower = await testIntermediate(await testIntermediate(authority, { name: 'upper' }), {
    name: 'lower',
  });
  const rights = [
    await testIdentity(lower, 'foo/sleep'),
    await testIdentity(authority, 'foo/sleep', { mutate: withExtension('2.5.29.15', null) }),
    await testIdentity(authority, 'foo/sleep', { mutate: withExtension('2.5.29.37', null) }),
    await testIdentity(authority, 'foo/sleep', {
      mutate: withKeyUsage(KEY_USAGE.digitalSignature, KEY_USAGE.keyEncipherment),
    }),
    await testIdentity(authority, 'foo/sleep', { subject: 'CN=admin', dnsNames: ['admin.foo'] }),
  ];
  for (const pems of rights) {
    client(t, server.port, pems);
    t.equal(await server.nextWord(), SLEEP);
  }
});

t.test('a chain of a dozen intermediates gets in, in any order and with strangers in between', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  let issuer = authority;
  for (let depth = 0; depth < 12; depth += 1)
    issuer = await testIntermediate(issuer, { name: `depth ${depth}` });
  const pems = await testIdentity(issuer, 'foo/sleep');
  const [leaf, ...others] = pems.certChainPem.split(/(?<=END CERTIFICATE-----\n)/);
  const stranger = (await testAuthority({ name: 'stranger' })).rootPem;
  const mixed = [leaf, ...others.reverse(), stranger, stranger].join('');
  for (const certChainPem of [pems.certChainPem, mixed]) {
    client(t, server.port, { ...pems, certChainPem });
    t.equal(await server.nextWord(), SLEEP);
  }
});

t.test('a certificate of 64 KB is refused, and costs nobody else anything', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  const uris = Array.from({ length: 1_500 }, (_, at) => `spiffe://cluster.local/ns/foo/sa/sleep-${at}`);
  const pems = await testIdentity(authority, 'foo/sleep', { mutate: rawUris(...uris) });
  client(t, server.port, pems);
  t.equal(await server.nextWord(), 'malformed_certificate');
  client(t, server.port, clientPems);
  t.equal(await server.nextWord(), SLEEP);
});

for (const { name, client: reason, make } of WRONG_CERTIFICATES) {
  t.test(`a client with a certificate ${name} ${reason ? `is refused as ${reason}` : 'gets in'}`, async t => {
    const server = await TestServer.start(t, materialOf(serverPems));
    const pems = await make(authority);
    for (const version of VERSIONS) {
      const socket = client(t, server.port, pems, { minVersion: version, maxVersion: version });
      socket.on('secureConnect', () => socket.write('GET / HTTP/1.1\r\n\r\n'));
      const outcome = await server.next();
      if (reason === null) t.equal(outcome.ok, true);
      else {
        t.strictSame(outcome, { ok: false, reason, from: '127.0.0.1' });
        t.equal(await received(socket), '', 'it is closed and told nothing');
      }
    }
  });
}

t.test('a client without a certificate is refused on every version', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  for (const version of VERSIONS) {
    const socket = client(t, server.port, null, { minVersion: version, maxVersion: version });
    t.equal(await server.nextWord(), 'no_certificate');
    t.equal(await received(socket), '');
  }
});

t.test(
  'replaced material serves the next handshake; one under way finishes on what it began with',
  async t => {
    const other = await testAuthority({ name: 'next CA' });
    const next = await testIdentity(other, 'foo/server');
    const server = await TestServer.start(t, materialOf(serverPems));
    const early = client(t, server.port, clientPems);
    const earlySecure = once(early, 'secureConnect');
    await once(early, 'connect');
    await new Promise<void>(resolve => waitForRaw(server, resolve));
    server.terminator.replace(materialOf(next, '2'));
    const late = client(t, server.port, await testIdentity(other, 'foo/late'));
    const lateSecure = once(late, 'secureConnect');
    const words = [await server.nextWord(), await server.nextWord()].sort();
    t.strictSame(words, ['spiffe://cluster.local/ns/foo/sa/late', SLEEP]);
    await Promise.all([earlySecure, lateSecure]);
    t.equal(fingerprint(early.getPeerCertificate().raw), fingerprint(serverPems.certChainPem));
    t.equal(fingerprint(late.getPeerCertificate().raw), fingerprint(next.certChainPem));
    client(t, server.port, clientPems);
    t.equal(await server.nextWord(), 'untrusted', 'the old CA is out for new handshakes');
    const open = server.outcomes[0];
    t.equal(open?.ok && !open.socket.destroyed, true, 'and open connections live on');
  },
);

t.test('material that OpenSSL does not take leaves the old one in force', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  t.throws(() => server.terminator.replace(materialOf({ ...serverPems, keyPem: clientPems.keyPem })));
  t.throws(() => server.terminator.replace(materialOf({ ...serverPems, certChainPem: 'x' })));
  client(t, server.port, clientPems);
  t.equal(await server.nextWord(), SLEEP);
});

t.test('bundles without a certificate trust nobody, never the public roots', async t => {
  for (const rootPem of ['', 'garbage', '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n']) {
    const server = await TestServer.start(t, materialOf({ ...serverPems, rootPem }));
    client(t, server.port, clientPems);
    t.equal(await server.nextWord(), 'untrusted');
  }
});

t.test('a silent client is closed at the deadline, and so is one that sends a byte at a time', async t => {
  const server = await TestServer.start(t, materialOf(serverPems), { handshakeTimeoutMs: 150 });
  const silent = connectTcp(server.port, '127.0.0.1');
  t.strictSame(await server.next(), { ok: false, reason: 'handshake_timeout', from: '127.0.0.1' });
  t.equal(await received(silent), '');
  const slow = connectTcp(server.port, '127.0.0.1');
  slow.on('error', () => {});
  const hello = Buffer.from('16030100a5010000a10303', 'hex');
  let at = 0;
  const drip = setInterval(() => slow.write(hello.subarray(at, ++at)), 20);
  t.teardown(() => clearInterval(drip));
  t.strictSame(await server.next(), { ok: false, reason: 'handshake_timeout', from: '127.0.0.1' });
  if (!slow.closed) await new Promise(resolve => slow.once('close', resolve));
  t.ok(
    server.raws.every(raw => raw.destroyed),
    'the accepted sockets are gone too',
  );
});

t.test('what is not TLS, or breaks off, is refused with a word and closed', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  const cases: [first: string | Buffer, reason: string][] = [
    ['GET / HTTP/1.1\r\nhost: x\r\n\r\n', 'not_tls'],
    ['SSH-2.0-OpenSSH_9.2\r\n', 'not_tls'],
    [Buffer.alloc(64), 'not_tls'],
    [Buffer.from('15030100020128', 'hex'), 'tls_error'],
    [Buffer.concat([Buffer.from('1603010004', 'hex'), Buffer.alloc(4, 0xff)]), 'tls_error'],
    ['', 'connection_reset'],
    [Buffer.from('1603010200', 'hex'), 'connection_reset'],
  ];
  for (const [first, reason] of cases) {
    const raw = connectTcp(server.port, '127.0.0.1');
    raw.on('error', () => {});
    if (reason === 'connection_reset') raw.end(first);
    else raw.write(first);
    const outcome = await server.next();
    t.match(outcome, { ok: false, reason, from: '127.0.0.1' }, JSON.stringify(String(first)).slice(0, 40));
    if (!raw.closed) raw.resume();
    if (!raw.closed) await once(raw, 'close');
  }
  t.equal(server.outcomes.length, cases.length, 'one outcome each');
  t.ok(server.raws.every(raw => raw.destroyed));
});

t.test('old versions and foreign suites are refused with a word', async t => {
  const server = await TestServer.start(t, materialOf(serverPems), {
    tls: { ...DEFAULT_TLS, minVersion: 'TLSv1.3' },
  });
  client(t, server.port, clientPems, { maxVersion: 'TLSv1.2' });
  t.equal(await server.nextWord(), 'tls_version');
  const lower = await TestServer.start(t, materialOf(serverPems));
  client(t, lower.port, clientPems, {
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1.1',
    ciphers: 'DEFAULT@SECLEVEL=0',
  });
  t.equal(await lower.nextWord(), 'tls_version');
  client(t, lower.port, clientPems, { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' });
  t.equal(await lower.nextWord(), 'no_shared_cipher');
});

t.test('every usual group is served, the hybrid only to those who offer nothing else', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  const cases: [offered: string, agreed: string][] = [
    ['X25519', 'X25519'],
    ['P-256', 'prime256v1'],
    ['X25519MLKEM768', 'X25519MLKEM768'],
    ['X25519MLKEM768:X25519', 'X25519'],
    ['auto', 'X25519'],
  ];
  for (const [ecdhCurve, agreed] of cases) {
    const socket = client(t, server.port, clientPems, { ecdhCurve });
    if (agreed === 'X25519MLKEM768' || ecdhCurve !== 'X25519MLKEM768:X25519') {
      await once(socket, 'secureConnect');
      t.match(socket.getEphemeralKeyInfo(), { name: agreed }, ecdhCurve);
    }
    t.equal(await server.nextWord(), SLEEP, ecdhCurve);
  }
});

t.test('without a say on ALPN none is negotiated and no offer aborts', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  const socket = client(t, server.port, clientPems, { ALPNProtocols: ['istio-peer-exchange', 'istio'] });
  await once(socket, 'secureConnect');
  t.equal(socket.alpnProtocol, false);
  t.match(await server.next(), { ok: true, facts: { alpn: null, offered: [] } });
});

t.test('the protocols offered are known, the one agreed on too, on every version', async t => {
  const asked: (readonly string[])[] = [];
  const server = await TestServer.start(t, materialOf(serverPems), {
    agree: (offered, raw) => {
      asked.push(offered);
      t.ok(server.raws.includes(raw), 'about the accepted socket');
      return offered.find(name => name !== 'istio-peer-exchange') ?? null;
    },
  });
  const cases: [offered: string[], agreed: string | null][] = [
    [['istio-http/1.1', 'istio', 'http/1.1'], 'istio-http/1.1'],
    [['istio-peer-exchange', 'istio'], 'istio'],
    [['postgresql'], 'postgresql'],
    [[], null],
  ];
  for (const [offered, agreed] of cases) {
    for (const version of VERSIONS) {
      asked.length = 0;
      const socket = client(t, server.port, clientPems, {
        minVersion: version,
        maxVersion: version,
        ...(offered.length > 0 && { ALPNProtocols: offered }),
      });
      await once(socket, 'secureConnect');
      t.equal(socket.alpnProtocol, agreed ?? false);
      t.match(await server.next(), { ok: true, facts: { alpn: agreed, offered } });
      t.strictSame(asked, offered.length > 0 ? [offered] : [], 'one who offers nothing is not asked about');
    }
  }
});

t.test('handshakes at the same time do not mix up what was offered', async t => {
  const server = await TestServer.start(t, materialOf(serverPems), { agree: offered => offered[0] ?? null });
  const sockets = Array.from({ length: 20 }, (_, at) =>
    client(t, server.port, clientPems, { ALPNProtocols: [`protocol-${at}`, 'istio'] }),
  );
  for (const _ of sockets) {
    const outcome = await server.next();
    if (!outcome.ok) return t.fail(outcome.reason);
    const at = sockets.findIndex(socket => socket.localPort === outcome.raw.remotePort);
    t.strictSame(outcome.facts.offered, [`protocol-${at}`, 'istio']);
  }
});

t.test('a client that offers nothing that is agreed to is told so', async t => {
  const server = await TestServer.start(t, materialOf(serverPems), { agree: () => null });
  for (const version of VERSIONS) {
    const socket = client(t, server.port, clientPems, {
      minVersion: version,
      maxVersion: version,
      ALPNProtocols: ['h2'],
    });
    const error = await new Promise<NodeJS.ErrnoException>(resolve => socket.once('error', resolve));
    t.equal(error.code, 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL');
    t.strictSame(await server.next(), { ok: false, reason: 'no_shared_alpn', from: '127.0.0.1' });
  }
});

t.test('half-close goes both ways', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  const socket = client(t, server.port, clientPems);
  socket.end('question');
  const outcome = await server.next();
  if (!outcome.ok) return t.fail(outcome.reason);
  let question = '';
  outcome.socket.on('data', chunk => {
    question += chunk;
  });
  await once(outcome.socket, 'end');
  t.equal(question, 'question');
  outcome.socket.end('answer after your end');
  t.equal(await received(socket), 'answer after your end');
});

t.test('bytes that were read before accept are put back and count', async t => {
  const server = new TestServer(materialOf(serverPems));
  t.teardown(() => server.terminator.close());
  const { createServer } = await import('node:net');
  const sniffing = createServer(raw => {
    raw.on('error', () => {});
    raw.once('readable', () => {
      const first = raw.read() as Buffer;
      raw.unshift(first);
      server.terminator.accept(raw);
    });
  }).listen(0, '127.0.0.1');
  await once(sniffing, 'listening');
  t.teardown(() => sniffing.close());
  const socket = client(t, (sniffing.address() as { port: number }).port, clientPems);
  const outcome = await server.next();
  t.equal(outcome.ok, true);
  if (outcome.ok) outcome.socket.end('x');
  t.equal(await received(socket), 'x');
});

t.test('a judge that throws refuses', async t => {
  const judge = () => {
    throw new Error('bug');
  };
  const server = await TestServer.start(t, materialOf(serverPems), { judge });
  client(t, server.port, clientPems);
  t.equal(await server.nextWord(), 'judge_failed');
});

t.test('the judge sees the certificate of the peer and of nobody else', async t => {
  const seen: string[] = [];
  const inner = spiffeJudge('client');
  const server = await TestServer.start(t, materialOf(serverPems), {
    judge: facts => {
      seen.push(fingerprint(facts.der ?? ''));
      return inner(facts);
    },
  });
  client(t, server.port, clientPems);
  await server.next();
  t.strictSame(seen, [fingerprint(clientPems.certChainPem)]);
});

t.test('close ends handshakes under way and takes no more', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  const silent = connectTcp(server.port, '127.0.0.1');
  await new Promise<void>(resolve => waitForRaw(server, resolve));
  server.terminator.close();
  t.equal(await received(silent), '');
  const late = connectTcp(server.port, '127.0.0.1');
  late.on('error', () => {});
  t.equal(await received(late), '');
  t.strictSame(server.outcomes, [], 'nobody is told of refusals that closing made');
});

function waitForRaw(server: TestServer, then: () => void): void {
  if (server.raws.length > 0) then();
  else setImmediate(waitForRaw, server, then);
}

function fingerprint(certificate: Buffer | string): string {
  return new X509Certificate(certificate).fingerprint256;
}
