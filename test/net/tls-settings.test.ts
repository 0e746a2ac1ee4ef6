import { once } from 'node:events';
import { type ConnectionOptions, createServer, type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { createOriginator } from '../../src/net/tls.ts';
import { complyEverywhere } from '../../src/net/tls-defaults.ts';
import { groupOfNumber } from '../../src/net/tls-group.ts';
import {
  DEFAULT_TLS,
  groupList,
  sameTls,
  type TlsSettings,
  tlsSettings,
} from '../../src/net/tls-settings.ts';
import { testAuthority, testIdentity } from '../certificates.ts';
import { client, materialOf, spiffeJudge, TestServer } from './tls-peers.ts';

const authority = await testAuthority();
const serverPems = await testIdentity(authority, 'foo/server');
const clientPems = await testIdentity(authority, 'foo/sleep');
const NOTHING_SAID = { minVersion: 'TLSv1.2', cipherSuites: null, groups: null } as const;

/** What a terminator with these settings agrees on with a client of these options; null = no handshake. */
async function accepted(t: Test, tls: TlsSettings, options: ConnectionOptions) {
  const server = await TestServer.start(t, materialOf(serverPems), { tls });
  client(t, server.port, clientPems, options);
  const outcome = await server.next();
  if (!outcome.ok) return outcome.reason;
  const { tlsVersion, cipher, group } = outcome.facts;
  return { tlsVersion, cipher, group };
}

/** The same of an originator and a server of these options. */
async function offered(t: Test, tls: TlsSettings, options: { ecdhCurve?: string; maxVersion?: 'TLSv1.2' }) {
  const server = createServer(
    { cert: serverPems.certChainPem, key: serverPems.keyPem, ...options },
    (socket: TLSSocket) => socket.on('error', () => {}),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as { port: number };
  const to = { host: '127.0.0.1', port, servername: null, mode: 'ISTIO_MUTUAL', timeoutMs: 20_000 } as const;
  return new Promise(resolve => {
    createOriginator(materialOf(clientPems), tls).connect(
      { ...to, judge: spiffeJudge('server') },
      (reason, socket, _value, facts) => {
        t.teardown(() => socket?.destroy());
        resolve(
          facts === null
            ? reason
            : { tlsVersion: facts.tlsVersion, cipher: facts.cipher, group: facts.group },
        );
      },
    );
  });
}

const V12 = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const;
const V13 = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' } as const;

t.test('inbound, the group is the first of ours that the client has', async t => {
  const groups: [offers: string, group: string][] = [
    ['X25519MLKEM768:X25519:P-256', 'X25519MLKEM768'],
    ['P-256:X25519:X25519MLKEM768', 'X25519MLKEM768'],
    ['*X25519:*X25519MLKEM768', 'X25519MLKEM768'],
    ['P-384:X25519', 'X25519'],
    ['P-256', 'P-256'],
  ];
  for (const [ecdhCurve, group] of groups) {
    const expected = { tlsVersion: 'TLSv1.3', cipher: 'TLS_AES_128_GCM_SHA256', group };
    t.same(await accepted(t, DEFAULT_TLS, { ...V13, ecdhCurve }), expected, ecdhCurve);
  }
  t.equal(await accepted(t, DEFAULT_TLS, { ...V13, ecdhCurve: 'P-384' }), 'no_shared_group');
});

t.test('TLS 1.2 has its groups, or none with a key exchange by RSA', async t => {
  const ciphers = 'ECDHE-ECDSA-AES256-GCM-SHA384';
  const agreed = await accepted(t, DEFAULT_TLS, { ...V12, ecdhCurve: 'P-256', ciphers });
  t.same(agreed, { tlsVersion: 'TLSv1.2', cipher: ciphers, group: 'P-256' });
  t.same([0, 0x1d, 0x1e].map(groupOfNumber), ['none', 'X25519', 'other']);
});

t.test('outbound, the hybrid comes first and a server without it needs no second hello', async t => {
  const expected = { tlsVersion: 'TLSv1.3' };
  t.match(await offered(t, DEFAULT_TLS, {}), { ...expected, group: 'X25519MLKEM768' });
  t.match(await offered(t, DEFAULT_TLS, { ecdhCurve: 'X25519' }), { ...expected, group: 'X25519' });
  t.match(await offered(t, DEFAULT_TLS, { ecdhCurve: 'P-256' }), { ...expected, group: 'P-256' });
  t.match(await offered(t, DEFAULT_TLS, { maxVersion: 'TLSv1.2' }), {
    tlsVersion: 'TLSv1.2',
    group: 'X25519',
  });
  t.equal(groupList(DEFAULT_TLS.groups), '*X25519MLKEM768/*X25519:P-256');
  t.equal(groupList(['P-384', 'X25519']), '*P-384:X25519');
  t.equal(groupList(['X25519MLKEM768']), '*X25519MLKEM768');
});

t.test('what the mesh config wishes is what is negotiated', async t => {
  const suites = ['ECDHE-ECDSA-CHACHA20-POLY1305'];
  const tls = tlsSettings({ minVersion: 'TLSv1.2', cipherSuites: suites, groups: ['P-384', 'P-256'] }, null);
  t.same(await accepted(t, tls, V12), { tlsVersion: 'TLSv1.2', cipher: suites[0], group: 'P-384' });
  t.match(await accepted(t, tls, V13), { cipher: 'TLS_AES_128_GCM_SHA256', group: 'P-384' });
  t.equal(await accepted(t, tls, { ...V12, ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }), 'no_shared_cipher');
  t.equal(await accepted(t, tls, { ...V13, ecdhCurve: 'X25519' }), 'no_shared_group');
  const newest = tlsSettings({ ...NOTHING_SAID, minVersion: 'TLSv1.3' }, null);
  t.equal(await accepted(t, newest, V12), 'tls_version');
});

t.test('pqc leaves TLS 1.3 with the hybrid, whatever the mesh config says', async t => {
  const wanted = { minVersion: 'TLSv1.2', cipherSuites: ['AES128-SHA'], groups: ['X25519'] } as const;
  const tls = tlsSettings(wanted, 'pqc');
  t.match(await accepted(t, tls, V13), { tlsVersion: 'TLSv1.3', group: 'X25519MLKEM768' });
  t.equal(await accepted(t, tls, V12), 'tls_version');
  t.equal(await accepted(t, tls, { ecdhCurve: 'X25519:P-256' }), 'no_shared_group');
  t.type(await accepted(t, tls, { ciphers: 'TLS_CHACHA20_POLY1305_SHA256' }), 'string');
  t.match(await offered(t, tls, {}), { group: 'X25519MLKEM768' });
  t.type(await offered(t, tls, { ecdhCurve: 'X25519' }), 'string', 'no server is believed without it');
});

t.test('fips-140-2 leaves TLS 1.2, AES-GCM and P-256', async t => {
  const tls = tlsSettings({ ...NOTHING_SAID, minVersion: 'TLSv1.3', groups: ['X25519'] }, 'fips-140-2');
  t.same(await accepted(t, tls, {}), {
    tlsVersion: 'TLSv1.2',
    cipher: 'ECDHE-ECDSA-AES128-GCM-SHA256',
    group: 'P-256',
  });
  t.equal(await accepted(t, tls, V13), 'tls_version');
  t.type(await accepted(t, tls, { ecdhCurve: 'X25519' }), 'string');
  t.type(await accepted(t, tls, { ciphers: 'ECDHE-ECDSA-CHACHA20-POLY1305' }), 'string');
  const suites = ['ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-ECDSA-AES256-GCM-SHA384'];
  const filtered = tlsSettings({ ...NOTHING_SAID, cipherSuites: suites }, 'fips-140-2');
  t.match(await accepted(t, filtered, {}), { cipher: suites[1] });
  t.match(await offered(t, tls, {}), { tlsVersion: 'TLSv1.2', group: 'P-256' });
});

t.test('fips-140-3 leaves AES-GCM with P-256 or P-384', async t => {
  const tls = tlsSettings(NOTHING_SAID, 'fips-140-3');
  t.match(await accepted(t, tls, V13), { cipher: 'TLS_AES_128_GCM_SHA256', group: 'P-256' });
  t.match(await accepted(t, tls, { ...V13, ecdhCurve: 'P-384' }), { group: 'P-384' });
  t.match(await accepted(t, tls, V12), { cipher: 'ECDHE-ECDSA-AES128-GCM-SHA256', group: 'P-256' });
  t.type(await accepted(t, tls, { ...V13, ciphers: 'TLS_CHACHA20_POLY1305_SHA256' }), 'string');
  t.equal(await accepted(t, tls, { ...V13, ecdhCurve: 'X25519MLKEM768:X25519' }), 'no_shared_group');
});

t.test('a policy holds outside of the mesh too, where the mesh config says nothing', async t => {
  t.equal(tlsSettings(null, null), DEFAULT_TLS);
  t.ok(sameTls(tlsSettings(NOTHING_SAID, null), DEFAULT_TLS));
  t.ok(sameTls(tlsSettings(null, 'pqc'), tlsSettings(NOTHING_SAID, 'pqc')));
  t.notOk(sameTls(tlsSettings(null, 'fips-140-2'), tlsSettings(null, 'fips-140-3')));
});

t.test('handshakes after a replacement negotiate what it says', async t => {
  const server = await TestServer.start(t, materialOf(serverPems));
  client(t, server.port, clientPems, V12);
  t.equal((await server.next()).ok, true);
  server.terminator.replace(materialOf(serverPems), tlsSettings(null, 'pqc'));
  client(t, server.port, clientPems, V12);
  t.equal(await server.nextWord(), 'tls_version');
  server.terminator.replace(materialOf(serverPems, '2'));
  client(t, server.port, clientPems, V12);
  t.equal(await server.nextWord(), 'tls_version', 'new material keeps them');
});

t.test('connections that say nothing of TLS are restricted too', async t => {
  complyEverywhere(null);
  complyEverywhere('fips-140-2'); // the last test: it holds for the whole process
  const server = await TestServer.start(t, materialOf(serverPems));
  client(t, server.port, clientPems);
  t.match(await server.next(), { facts: { tlsVersion: 'TLSv1.2', group: 'P-256' } });
});
