import { randomBytes } from 'node:crypto';
import type { ConnectionOptions } from 'node:tls';
import t, { type Test } from 'tap';
import type { PeerIdentity } from '../../src/identity/peer.ts';
import type { Resumption, TerminatorOptions } from '../../src/net/tls.ts';
import { DEFAULT_TLS } from '../../src/net/tls-settings.ts';
import { ticketOptions } from '../../src/net/tls-tickets.ts';
import { rawUris, testAuthority, testIdentity } from '../certificates.ts';
import {
  client,
  materialOf,
  type Outcome,
  received,
  spiffeJudge,
  type Teardown,
  TestServer,
} from './tls-peers.ts';

const authority = await testAuthority();
const serverPems = await testIdentity(authority, 'foo/server');
const clientPems = await testIdentity(authority, 'foo/sleep');
const otherAuthority = await testAuthority();
const otherPems = await testIdentity(otherAuthority, 'foo/server');
const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';
const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;
const secret = randomBytes(32);
const resumption: Resumption = { secret, listener: 'inbound', allowed: () => true };

type Version = (typeof VERSIONS)[number];

function start(t: Teardown, options: Partial<TerminatorOptions<PeerIdentity>> = {}): Promise<TestServer> {
  const agree = (offered: readonly string[]) => offered[0] ?? null;
  return TestServer.start(t, materialOf(serverPems), { resumption, agree, ...options });
}

interface Visit {
  readonly outcome: Outcome;
  /** What the client thinks. */
  readonly reused: boolean;
  /** The last session that the client was given. */
  readonly session: Buffer | undefined;
}

/** One connection that the server ends with a byte. */
async function visit(
  t: Teardown,
  server: TestServer,
  version: Version,
  { pems = clientPems, ...more }: ConnectionOptions & { pems?: typeof clientPems | null } = {},
): Promise<Visit> {
  const socket = client(t, server.port, pems, {
    minVersion: version,
    maxVersion: version,
    servername: 'server.foo',
    ALPNProtocols: ['istio', 'h2'],
    ...more,
  });
  let session: Buffer | undefined;
  let reused = false;
  socket.on('session', given => {
    session = given;
  });
  socket.on('secureConnect', () => {
    reused = socket.isSessionReused();
  });
  const closed = received(socket);
  const outcome = await server.next();
  if (outcome.ok) outcome.socket.end('x');
  await closed;
  return { reused, outcome, session };
}

/** A session of a first visit, which resumes: so that what follows shows something. */
async function goodSession(t: Test, server: TestServer, version: Version) {
  const { session } = await visit(t, server, version);
  const again = await visit(t, server, version, { session });
  t.ok(again.outcome.ok && again.outcome.facts.resumed, 'it resumes where nothing has changed');
  return session;
}

function resumed({ outcome }: Visit): boolean | string {
  return outcome.ok ? outcome.facts.resumed : outcome.reason;
}

for (const version of VERSIONS) {
  t.test(`a ${version} client comes back on any thread, is judged again, and the facts hold`, async t => {
    const judged: boolean[] = [];
    const inner = spiffeJudge('client');
    const judge: TerminatorOptions<PeerIdentity>['judge'] = facts => {
      judged.push(facts.der !== null);
      return inner(facts);
    };
    const [one, other] = [await start(t, { judge }), await start(t, { judge })];
    const first = await visit(t, one, version);
    t.equal(resumed(first), false);
    for (const server of [one, other, one]) {
      const again = await visit(t, server, version, { session: first.session });
      t.equal(again.reused, true);
      const { outcome } = again;
      if (!outcome.ok || !first.outcome.ok) throw new Error('refused');
      t.equal(outcome.peer.id.uri, SLEEP);
      const { signers, der, ...facts } = outcome.facts;
      const sni = version === 'TLSv1.2' ? null : 'server.foo';
      const { tlsVersion, cipher, group, alpn, offered } = first.outcome.facts;
      t.match(facts, {
        resumed: true,
        tlsVersion,
        cipher,
        group,
        alpn,
        offered,
        sni,
        authorizationError: null,
      });
    }
    t.strictSame(judged, [true, true, true, true], 'each time with the certificate');
  });

  t.test(
    `a ${version} session that shows no certificate is no better than a handshake without one`,
    async t => {
      const server = await start(t, { judge: facts => spiffeJudge('client')(facts) });
      const first = await visit(t, server, version, { pems: null });
      t.equal(resumed(first), 'no_certificate');
      t.equal(first.session, undefined, 'no ticket left');
    },
  );

  t.test(`a refused ${version} client holds nothing that gets it in`, async t => {
    const server = await start(t);
    const pems = await testIdentity(authority, 'foo/sleep', { mutate: rawUris(SLEEP, `${SLEEP}2`) });
    const first = await visit(t, server, version, { pems });
    t.equal(resumed(first), 'many_uri_sans');
    t.equal(first.session, undefined, 'no ticket left');
    const stranger = await testIdentity(otherAuthority, 'foo/sleep');
    const second = await visit(t, server, version, { pems: stranger });
    t.equal(resumed(second), 'untrusted');
    t.equal(second.session, undefined, 'no ticket left');
  });

  const changes: readonly (readonly [string, (server: TestServer) => void, string])[] = [
    [
      'root',
      ({ terminator }) => terminator.replace({ ...materialOf(serverPems), rootPem: otherPems.rootPem }),
      'untrusted',
    ],
    ['epoch', ({ terminator }) => terminator.replace(materialOf(serverPems, '2')), SLEEP],
    [
      'own certificate',
      ({ terminator }) => terminator.replace({ ...materialOf(otherPems), rootPem: serverPems.rootPem }),
      SLEEP,
    ],
    [
      'settings',
      ({ terminator }) =>
        terminator.replace(materialOf(serverPems), { ...DEFAULT_TLS, groups: ['X25519', 'P-256'] }),
      SLEEP,
    ],
  ];
  for (const [what, change, word] of changes) {
    t.test(`after a change of ${what} a ${version} ticket is worth nothing`, async t => {
      const server = await start(t);
      const session = await goodSession(t, server, version);
      change(server);
      const { outcome } = await visit(t, server, version, { session });
      t.equal(outcome.ok ? outcome.facts.resumed : false, false);
      t.equal(outcome.ok ? outcome.peer.id.uri : outcome.reason, word);
    });
  }

  t.test(`a change that is taken back makes old ${version} tickets good again`, async t => {
    const server = await start(t);
    const session = await goodSession(t, server, version);
    server.terminator.replace(materialOf(serverPems, '2'));
    server.terminator.replace(materialOf(serverPems));
    t.equal(resumed(await visit(t, server, version, { session })), true);
  });

  const strangers: readonly (readonly [string, Partial<TerminatorOptions<PeerIdentity>>])[] = [
    ['another listener', { resumption: { ...resumption, listener: 'other' } }],
    ['another process', { resumption: { ...resumption, secret: randomBytes(32) } }],
    ['a listener that gives out no tickets', { resumption: { ...resumption, allowed: () => false } }],
  ];
  for (const [who, options] of strangers) {
    t.test(`a ${version} ticket is worth nothing at ${who}`, async t => {
      const session = await goodSession(t, await start(t), version);
      const stranger = await start(t, options);
      const there = await visit(t, stranger, version, { session });
      t.equal(resumed(there), false);
    });
  }
}

t.test('where tickets are not allowed, what is given out does not resume', async t => {
  for (const version of VERSIONS) {
    const server = await start(t, { resumption: { ...resumption, allowed: () => false } });
    const { session } = await visit(t, server, version);
    t.equal(resumed(await visit(t, server, version, { session })), false);
  }
});

/** OpenSSL's own client asks for the name that the session was made for; another client may ask for any. */
function renamed(session: Buffer | undefined, from: string, to: string): Buffer {
  const copy = Buffer.from(session ?? '');
  copy.write(to, copy.indexOf(from), 'latin1');
  return copy;
}

for (const version of VERSIONS) {
  t.test(`a ${version} client that asks for another name when it resumes`, async t => {
    const server = await start(t);
    const { session } = await visit(t, server, version, { servername: 'first.foo' });
    const other = renamed(session, 'first.foo', 'other.foo');
    const { outcome } = await visit(t, server, version, { session: other, servername: 'other.foo' });
    const sni = version === 'TLSv1.2' ? null : 'other.foo';
    t.match(outcome, { ok: true, facts: { resumed: true, sni } }, 'TLS 1.3 says which, TLS 1.2 says none');
  });
}

t.test('keys come from the secret and the epoch, and say nothing of either', t => {
  const material = materialOf(serverPems);
  const options = ticketOptions(resumption, material, DEFAULT_TLS);
  t.same(ticketOptions(resumption, material, DEFAULT_TLS), options, 'the same on every thread');
  t.equal((options.ticketKeys as Buffer).length, 48);
  t.equal(options.sessionIdContext?.length, 32);
  t.equal(options.sessionTimeout, 300);
  t.notSame(ticketOptions({ ...resumption, listener: 'x' }, material, DEFAULT_TLS), options);
  t.notOk((options.ticketKeys as Buffer).includes(secret.subarray(0, 8)));
  t.end();
});
