import { randomBytes, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import { createServer, type TLSSocket, type TlsOptions } from 'node:tls';
import t, { type Test } from 'tap';
import type { PeerIdentity } from '../../src/identity/peer.ts';
import {
  createOriginator,
  type HandshakeFacts,
  type Judge,
  type OriginateOptions,
  type Originator,
} from '../../src/net/tls.ts';
import { type KeptSession, SessionStore } from '../../src/net/tls-sessions.ts';
import { DEFAULT_TLS } from '../../src/net/tls-settings.ts';
import { testAuthority, testIdentity, testIntermediate } from '../certificates.ts';
import { materialOf, spiffeJudge, TestServer } from './tls-peers.ts';

const authority = await testAuthority();
const serverPems = await testIdentity(await testIntermediate(authority), 'foo/server');
const clientPems = await testIdentity(authority, 'foo/sleep');
const SERVER = 'spiffe://cluster.local/ns/foo/sa/server';
const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;

type Version = (typeof VERSIONS)[number];

/** Settings of one version only. */
function only(version: Version) {
  return { ...DEFAULT_TLS, minVersion: version, maxVersion: version };
}

/** Believes by SPIFFE rules, and says why. */
const judge: Judge<PeerIdentity> = facts => {
  const verdict = spiffeJudge('server')(facts);
  return verdict.ok ? { ...verdict, proof: verdict.value } : verdict;
};

interface Result {
  readonly reason: string | null;
  readonly facts: HandshakeFacts | null;
  readonly value: PeerIdentity | null;
}

type To = Partial<OriginateOptions<PeerIdentity>> & { readonly port: number };

/** One connection that is read to its end. */
async function visit(originator: Originator, to: To): Promise<Result> {
  const { promise, resolve } = Promise.withResolvers<[Result, TLSSocket | null]>();
  originator.connect<PeerIdentity>(
    {
      host: '127.0.0.1',
      servername: 'server.foo',
      mode: 'ISTIO_MUTUAL',
      alpn: ['istio', 'h2'],
      timeoutMs: 20_000,
      expects: SERVER,
      judge,
      ...to,
    },
    (reason, socket, value, facts) => resolve([{ reason, value, facts }, socket]),
  );
  const [result, socket] = await promise;
  if (socket !== null) {
    socket.on('end', () => socket.end()).resume();
    if (!socket.closed) await once(socket, 'close');
  }
  return result;
}

function resumed({ reason, facts }: Result): boolean | string | null {
  return facts === null ? reason : facts.resumed;
}

/** A server that gives out sessions and ends each connection with a byte, after `before` is done with it. */
async function start(
  t: Test,
  { before, ...options }: TlsOptions & { before?: (socket: TLSSocket, nth: number) => boolean } = {},
): Promise<number> {
  let connections = 0;
  const server = createServer(
    {
      cert: serverPems.certChainPem,
      key: serverPems.keyPem,
      ca: serverPems.rootPem,
      requestCert: true,
      ALPNProtocols: ['h2', 'istio'],
      ...options,
    },
    socket => {
      socket.on('error', () => {});
      connections += 1;
      if (before?.(socket, connections) !== false) socket.end('x');
    },
  );
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

for (const version of VERSIONS) {
  const originate = () => createOriginator(materialOf(clientPems), only(version));

  t.test(
    `a ${version} session is used again, and its server judged again by what it once showed`,
    async t => {
      const seen: string[][] = [];
      const counting: Judge<PeerIdentity> = facts => {
        seen.push([facts.der!, ...facts.signers()].map(der => new X509Certificate(der).fingerprint256));
        return judge(facts);
      };
      const port = await start(t);
      const originator = originate();
      const first = await visit(originator, { port, judge: counting });
      t.match(first, { reason: null, facts: { resumed: false }, value: { id: { uri: SERVER } } });
      const { tlsVersion, cipher, group, alpn } = first.facts!;
      for (let round = 0; round < 3; round += 1) {
        const again = await visit(originator, { port, judge: counting });
        t.match(again, { reason: null, value: { id: { uri: SERVER } } });
        t.match(again.facts, {
          resumed: true,
          der: null,
          tlsVersion,
          cipher,
          group,
          alpn,
          authorizationError: null,
        });
      }
      t.equal(seen.length, 4);
      t.equal(seen[0]?.length, 2, 'the leaf and its signer');
      t.same(new Set(seen.map(String)).size, 1, 'the same certificates each time');
    },
  );

  t.test(`a ${version} session is offered where the same is expected only`, async t => {
    const port = await start(t);
    const elsewhere = await start(t);
    const originator = originate();
    const others: readonly (readonly [string, To])[] = [
      ['another address', { port: elsewhere }],
      ['another server name', { port, servername: 'other.foo' }],
      ['no server name', { port, servername: null }],
      ['another identity', { port, expects: 'spiffe://cluster.local/ns/foo/sa/other' }],
      ['other protocols', { port, alpn: ['h2'] }],
      ['another mode', { port, mode: 'MUTUAL' }],
      ['nothing said', { port, expects: undefined as never }],
    ];
    t.equal(resumed(await visit(originator, { port })), false);
    for (const [what, to] of others) t.equal(resumed(await visit(originator, to)), false, what);
    t.equal(resumed(await visit(originator, { port })), true, 'and here it is');
    t.equal(resumed(await visit(originate(), { port })), false, 'another originator has none');
  });

  t.test(`no ${version} session outlives the material that it was made with`, async t => {
    const port = await start(t);
    const originator = originate();
    for (const change of [materialOf(clientPems, '2'), materialOf(serverPems, '3')]) {
      await visit(originator, { port });
      t.equal(resumed(await visit(originator, { port })), true);
      originator.replace(change);
      t.equal(resumed(await visit(originator, { port })), false);
    }
    t.equal(resumed(await visit(originator, { port })), true);
    const stranger = await testAuthority();
    originator.replace({ ...materialOf(clientPems), rootPem: stranger.certPem });
    t.equal(resumed(await visit(originator, { port })), 'untrusted');
  });

  t.test(`no ${version} session is offered whose certificates are about to expire`, async t => {
    const brief = await testIdentity(authority, 'foo/server', { ttlMs: 55_000 });
    const port = await start(t, { cert: brief.certChainPem, key: brief.keyPem });
    const originator = originate();
    await visit(originator, { port });
    t.equal(resumed(await visit(originator, { port })), false);
  });

  t.test(`a judge that gives no proof has every ${version} handshake whole`, async t => {
    const port = await start(t);
    const originator = originate();
    for (let round = 0; round < 2; round += 1) {
      t.equal(resumed(await visit(originator, { port, judge: spiffeJudge('server') })), false);
    }
  });

  t.test(`a server that is refused leaves no ${version} session`, async t => {
    const port = await start(t);
    const originator = originate();
    const refusing: Judge<PeerIdentity> = () => ({ ok: false, reason: 'revoked' });
    t.equal(resumed(await visit(originator, { port, judge: refusing })), 'revoked');
    t.equal(resumed(await visit(originator, { port })), false);
  });

  t.test(`where the kept certificates are refused, the ${version} server shows what it has now`, async t => {
    const port = await start(t);
    const originator = originate();
    await visit(originator, { port });
    const judged: boolean[] = [];
    const wary: Judge<PeerIdentity> = facts => {
      judged.push(facts.resumed);
      return facts.resumed ? { ok: false, reason: 'expired' } : judge(facts);
    };
    t.equal(resumed(await visit(originator, { port, judge: wary })), false);
    t.strictSame(judged, [true, false]);
    const never: Judge<PeerIdentity> = facts => {
      judged.push(facts.resumed);
      return { ok: false, reason: 'revoked' };
    };
    t.equal(resumed(await visit(originator, { port, judge: never })), 'revoked');
    t.strictSame(judged.slice(2), [true, false], 'once more, no more');
    t.equal(resumed(await visit(originator, { port, judge: never })), 'revoked');
    t.strictSame(judged.slice(4), [false], 'and nothing is kept of it');
  });

  t.test(
    `a ${version} server that breaks off when a session is offered is asked once more without`,
    async t => {
      const port = await start(t);
      const offers: boolean[] = [];
      const gate = createTcpServer(async socket => {
        socket.on('error', () => {});
        const [hello] = (await once(socket, 'data')) as [Buffer];
        const offered = offers.length === 1;
        offers.push(offered);
        if (offered) socket.destroy();
        else pipeTo(port, socket, hello);
      });
      gate.listen(0, '127.0.0.1');
      await once(gate, 'listening');
      t.teardown(() => gate.close());
      const originator = originate();
      const to = { port: (gate.address() as AddressInfo).port };
      t.equal(resumed(await visit(originator, to)), false);
      t.equal(resumed(await visit(originator, to)), false, 'no failed connection');
      t.equal(offers.length, 3);
      t.equal(resumed(await visit(originator, to)), true, 'and the new session is used');
    },
  );

  t.test(
    `a ${version} server that only closes after it resumed is not offered that session again`,
    async t => {
      const port = await start(t, {
        before: (socket, nth) => {
          if (nth !== 2) return true;
          socket.destroy();
          return false;
        },
      });
      const originator = originate();
      t.equal(resumed(await visit(originator, { port })), false);
      t.equal(resumed(await visit(originator, { port })), true);
      t.equal(resumed(await visit(originator, { port })), false);
      t.equal(resumed(await visit(originator, { port })), true);
    },
  );

  t.test(`an opening that is given up while its ${version} session fails is aborted`, async t => {
    const port = await start(t);
    const originator = originate();
    await visit(originator, { port });
    const outcome = await new Promise(resolve => {
      const opening = originator.connect<PeerIdentity>(
        {
          host: '127.0.0.1',
          port,
          servername: 'server.foo',
          mode: 'ISTIO_MUTUAL',
          alpn: ['istio', 'h2'],
          timeoutMs: 20_000,
          expects: SERVER,
          judge: facts => {
            if (!facts.resumed) return judge(facts);
            setImmediate(() => opening.destroy());
            return { ok: false, reason: 'revoked' };
          },
        },
        resolve,
      );
    });
    t.equal(outcome, 'aborted');
  });

  t.test(`a terminator and an originator resume ${version}, each judging the other`, async t => {
    const server = await TestServer.start(t, materialOf(serverPems), {
      resumption: { secret: randomBytes(32), listener: 'inbound', allowed: () => true },
      agree: offered => offered[0] ?? null,
    });
    const originator = originate();
    for (const expected of [false, true, true]) {
      const visited = visit(originator, { port: server.port });
      const outcome = await server.next();
      if (outcome.ok) outcome.socket.end('x');
      t.match(outcome, { ok: true, facts: { resumed: expected }, peer: { id: { serviceAccount: 'sleep' } } });
      t.equal(resumed(await visited), expected);
    }
  });
}

t.test('a session of SIMPLE is good for the same roots', async t => {
  const port = await start(t, { requestCert: false });
  const originator = createOriginator(materialOf(clientPems));
  const simple = { port, mode: 'SIMPLE', roots: serverPems.rootPem } as const;
  t.equal(resumed(await visit(originator, simple)), false);
  t.equal(resumed(await visit(originator, simple)), true);
  const { certPem } = await testAuthority();
  t.equal(resumed(await visit(originator, { ...simple, roots: certPem })), 'untrusted');
});

/** The rest of a connection that began with `hello`. */
function pipeTo(port: number, socket: Socket, hello: Buffer): void {
  const through = new (socket.constructor as typeof Socket)({ allowHalfOpen: true });
  through.on('error', () => {});
  through.connect(port, '127.0.0.1');
  through.write(hello);
  socket.pipe(through).pipe(socket);
}

const NOW = 1_700_000_000_000;

function kept(validUntil = NOW + 3_600_000): KeptSession {
  return { session: randomBytes(8), proof: { chain: [], validUntil }, authorizationError: null };
}

t.test(
  'certificates that a session is kept with are handed from one connection to the next without a copy',
  async t => {
    const kept: Uint8Array[] = [];
    const keeping: Judge<PeerIdentity> = facts => {
      const verdict = spiffeJudge('server')(facts);
      const chain = [facts.der!, ...facts.signers()];
      kept.push(chain[0]!);
      return verdict.ok ? { ...verdict, proof: { chain, validUntil: verdict.value.validUntil } } : verdict;
    };
    const port = await start(t);
    const originator = createOriginator(materialOf(clientPems));
    for (let round = 0; round < 3; round += 1) {
      t.equal(resumed(await visit(originator, { port, judge: keeping })), round > 0);
    }
    // A small copy would lie in a slab of Node's, which the session would keep whole.
    t.equal(new Set(kept.map(der => der.buffer)).size, 1);
  },
);

t.test('a store gives a session until it is too old or its certificates nearly are', t => {
  const store = new SessionStore();
  const session = kept();
  store.keep('a', session, NOW);
  t.match(store.find('a', NOW + 299_999), session);
  t.equal(store.find('b', NOW), null);
  t.equal(store.find('a', NOW + 300_000), null);
  t.equal(store.size, 0, 'and lets it go');
  store.keep('a', kept(NOW + 100_000), NOW);
  t.ok(store.find('a', NOW + 40_000));
  t.equal(store.find('a', NOW + 40_001), null);
  t.end();
});

t.test('a store is bounded, and who comes often stays', t => {
  const store = new SessionStore();
  store.keep('often', kept(), NOW);
  for (let i = 0; i < 5_000; i += 1) {
    store.keep(`once ${i}`, kept(), NOW);
    if (i % 100 === 0) t.ok(store.find('often', NOW));
  }
  t.equal(store.size, 1_024);
  t.ok(store.find('often', NOW));
  t.end();
});

t.test('what is forgotten is that session, and no newer one', t => {
  const store = new SessionStore();
  const [old, next] = [kept(), kept()];
  store.keep('a', old, NOW);
  store.keep('a', next, NOW);
  store.forget('a', old);
  t.match(store.find('a', NOW), next);
  store.forget('a', next);
  t.equal(store.find('a', NOW), null);
  t.end();
});
