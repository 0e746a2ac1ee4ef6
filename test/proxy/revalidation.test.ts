import t from 'tap';
import type { PeerIdentity, PeerRefusal } from '../../src/identity/peer.ts';
import { Expiries } from '../../src/proxy/expiries.ts';
import { type CloseReason, type Policed, Revalidation } from '../../src/proxy/revalidation.ts';

/** A clock that ticks when the test says so. */
class HandClock {
  now = 0;
  #items = new Set<{ deadline: number; onDeadline(): void }>();

  add(item: { deadline: number; onDeadline(): void }): void {
    this.#items.add(item);
  }

  delete(item: { deadline: number; onDeadline(): void }): void {
    this.#items.delete(item);
  }

  tick(ms = 250): void {
    this.now += ms;
    for (const item of this.#items) if (item.deadline <= this.now) item.onDeadline();
  }
}

class Connection implements Policed {
  readonly direction: 'inbound' | 'outbound';
  readonly heard: string[] = [];
  denied: CloseReason | null = null;

  constructor(direction: 'inbound' | 'outbound' = 'inbound') {
    this.direction = direction;
  }

  recheck(): CloseReason | null {
    return this.denied;
  }

  retire(reason: CloseReason): void {
    this.heard.push(reason);
  }

  destroy(): void {
    this.heard.push('destroyed');
  }
}

function peerOf(name: string, validUntil = Number.MAX_SAFE_INTEGER): PeerIdentity {
  return {
    id: { uri: `spiffe://cluster.local/${name}`, trustDomain: 'cluster.local' } as PeerIdentity['id'],
    notAfter: validUntil,
    validUntil,
    chain: [new Uint8Array(1)],
    hash: name,
    subject: '',
    serial: '01',
  };
}

function make(graceMs = 5_000) {
  const clock = new HandClock();
  const refused = new Map<string, PeerRefusal>();
  const holds = new Map<string, number>();
  const asked: string[] = [];
  const counted: string[] = [];
  const reports: object[] = [];
  const revalidation = new Revalidation({
    clock,
    graceMs,
    refusal: (peer, now) => {
      asked.push(peer.hash);
      return now > peer.validUntil ? 'expired' : (refused.get(peer.hash) ?? null);
    },
    holds: peer => holds.get(peer.hash) ?? peer.validUntil,
    count: (direction, reason) => counted.push(`${direction} ${reason}`),
    report: fields => reports.push(fields),
  });
  const open = (peer: PeerIdentity, connection = new Connection()): Connection => {
    revalidation.watch(peer, connection);
    return connection;
  };
  return { clock, refused, holds, asked, counted, reports, revalidation, open };
}

/** Waits for the walks that were begun. */
function rest(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, 0));
}

t.test('a peer is asked about once, however many connections it has', t => {
  const { revalidation, refused, asked, counted, reports, open } = make();
  const bad = [open(peerOf('bad')), open(peerOf('bad'), new Connection('outbound'))];
  const good = open(peerOf('good'));
  refused.set('bad', 'revoked');
  revalidation.identityChanged();
  t.same(asked, ['bad', 'good']);
  t.same([...bad.map(({ heard }) => heard), good.heard], [['revoked'], ['revoked'], []]);
  t.same(counted, ['inbound revoked', 'outbound revoked']);
  t.same(reports, [{ cause: 'identity', inbound: { revoked: 1 }, outbound: { revoked: 1 }, graceMs: 5_000 }]);
  t.end();
});

t.test('what is left is closed at the deadline, and what closed before is not', t => {
  const { clock, revalidation, refused, counted, open } = make(1_000);
  const peer = peerOf('bad');
  const [left, gone] = [open(peer), open(peer)];
  refused.set('bad', 'untrusted');
  revalidation.identityChanged();
  revalidation.unwatch(peer, gone);
  clock.tick(750);
  t.same(left.heard, ['untrusted']);
  revalidation.identityChanged();
  refused.clear();
  revalidation.identityChanged();
  clock.tick(250);
  t.same(left.heard, ['untrusted', 'destroyed'], 'once, and there is no way back');
  t.same(gone.heard, ['untrusted']);
  t.equal(counted.length, 2);
  t.end();
});

t.test('without grace it is closed at once', t => {
  const { revalidation, refused, open } = make(0);
  const connection = open(peerOf('bad'));
  refused.set('bad', 'untrusted');
  revalidation.identityChanged();
  t.same(connection.heard, ['untrusted', 'destroyed']);
  t.end();
});

t.test('policy is asked about each connection that it has a say in, those without a peer too', t => {
  const { revalidation, refused, counted, open } = make();
  const [plain, kept] = [new Connection(), new Connection()];
  const both = open(peerOf('bad'));
  plain.denied = 'mtls_required';
  both.denied = 'policy_denied';
  refused.set('bad', 'foreign_trust_domain');
  revalidation.configurationChanged([plain, kept, both]);
  t.same([plain.heard, kept.heard, both.heard], [['mtls_required'], [], ['foreign_trust_domain']]);
  t.same(counted, ['inbound foreign_trust_domain', 'inbound mtls_required']);
  t.end();
});

t.test('nothing is asked until a certificate ends, and then about its peer alone', t => {
  const { clock, asked, reports, open } = make();
  const past = Math.floor(Date.now() / 1_000) * 1_000 - 1_000;
  const other = open(peerOf('other', past + 3_600_000));
  clock.tick();
  t.same(asked, []);
  const connection = open(peerOf('late', past));
  clock.tick();
  t.same(asked, ['late']);
  t.same([connection.heard, other.heard], [['expired'], []]);
  t.match(reports, [{ cause: 'expiry', inbound: { expired: 1 } }]);
  clock.tick();
  t.same(asked, ['late']);
  t.end();
});

t.test('a server outside the mesh ages, and no trust is asked about it', t => {
  const { clock, asked, revalidation } = make();
  const past = Math.floor(Date.now() / 1_000) * 1_000 - 1_000;
  const [old, skipped] = [new Connection('outbound'), new Connection('outbound')];
  revalidation.watch({ id: null, uri: '', validUntil: past }, old);
  revalidation.watch({ id: null, uri: '', validUntil: Number.POSITIVE_INFINITY }, skipped);
  clock.tick();
  revalidation.identityChanged();
  t.same([old.heard, skipped.heard, asked], [['expired'], [], []]);
  t.end();
});

t.test('one leaf that came with newer signers lives as long as they', t => {
  const { clock, asked, open } = make();
  const past = Math.floor(Date.now() / 1_000) * 1_000 - 1_000;
  const first = open(peerOf('leaf', past));
  open(peerOf('leaf', past + 3_600_000));
  clock.tick();
  t.same([first.heard, asked], [[], []]);
  t.end();
});

t.test('what ends before a certificate does is asked about then, by the trust of that moment', t => {
  const { clock, asked, holds, refused, revalidation, open } = make();
  const past = Math.floor(Date.now() / 1_000) * 1_000 - 1_000;
  const future = past + 3_600_000;
  const connection = open(peerOf('leaf', future));
  holds.set('leaf', past);
  revalidation.identityChanged();
  t.same([asked.splice(0), connection.heard], [['leaf'], []]);
  holds.set('leaf', future);
  clock.tick();
  t.same([asked.splice(0), connection.heard], [['leaf'], []], 'its list was replaced in time');
  holds.set('leaf', past);
  revalidation.identityChanged();
  refused.set('leaf', 'crl_expired');
  clock.tick();
  t.same(connection.heard, ['crl_expired']);
  t.end();
});

t.test('10,000 connections of 10,000 peers do not hold up other work', async t => {
  const { revalidation, refused, open } = make();
  const connections: Connection[] = [];
  for (let i = 0; i < 10_000; i++) {
    connections.push(open(peerOf(`peer-${i}`)));
    refused.set(`peer-${i}`, 'untrusted');
  }
  busy(connections, 0.01);
  let turns = 0;
  const other = (): void => {
    turns++;
    if (connections.at(-1)?.heard.length === 0) setImmediate(other);
  };
  setImmediate(other);
  revalidation.identityChanged();
  t.equal(connections[0]?.heard.length, 1, 'it begins at once');
  t.equal(connections.at(-1)?.heard.length, 0);
  while (connections.at(-1)?.heard.length === 0) await rest();
  t.equal(
    connections.every(({ heard }) => heard.length === 1),
    true,
  );
  t.equal(turns > 10, true, `${turns} turns of the loop in between`);
});

/** Each takes so long to retire, as closing a socket does. */
function busy(connections: readonly Connection[], ms: number): void {
  for (const connection of connections) {
    const { retire } = connection;
    connection.retire = reason => {
      for (const until = performance.now() + ms; performance.now() < until; );
      retire.call(connection, reason);
    };
  }
}

t.test('changes one upon the other are walked once more, not once each', async t => {
  const { revalidation, asked, open } = make();
  const count = 3_000;
  for (let i = 0; i < count; i++) open(peerOf(`peer-${i}`));
  busyAsked(asked);
  revalidation.identityChanged();
  for (let i = 0; i < 20; i++) revalidation.identityChanged();
  while (asked.length < 2 * count) await rest();
  await rest();
  t.equal(asked.length, 2 * count);
});

/** Each question takes 10 µs, so that a walk takes several slices. */
function busyAsked(asked: string[]): void {
  const push = asked.push.bind(asked);
  asked.push = (...items) => {
    for (const until = performance.now() + 0.01; performance.now() < until; );
    return push(...items);
  };
}

t.test('what falls due is taken once; what was deleted, never', t => {
  const expiries = new Expiries<string>();
  t.same(expiries.take(Number.MAX_SAFE_INTEGER), []);
  expiries.add(5_000, 'b');
  expiries.add(2_000, 'a');
  expiries.add(2_000, 'c');
  expiries.add(Number.POSITIVE_INFINITY, 'never');
  expiries.delete(2_000, 'c');
  t.same([expiries.take(2_000), expiries.take(2_001), expiries.take(2_002)], [[], ['a'], []]);
  t.same([expiries.take(5_000), expiries.take(9_000), expiries.take(9_999)], [[], ['b'], []]);
  t.end();
});

t.test('a connection that changed hands after its peer was refused ends', t => {
  const { revalidation, refused, counted } = make();
  const [tunnel, other] = [new Connection('outbound'), new Connection('outbound')];
  refused.set('bad', 'revoked');
  revalidation.adopt(peerOf('bad'), tunnel);
  revalidation.adopt(peerOf('good'), other);
  revalidation.identityChanged();
  t.same([tunnel.heard, other.heard], [['revoked'], []]);
  t.same(counted, ['outbound revoked']);
  t.end();
});
