import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { parseWorkloadEndpoint } from '../../src/config/workload-endpoint.ts';
import { Backoff } from '../../src/identity/backoff.ts';
import type { IdentityFault } from '../../src/identity/identity-fault.ts';
import type { IdentityGeneration } from '../../src/identity/svid.ts';
import { type WorkloadApiOptions, WorkloadApiSource } from '../../src/identity/workload-api.ts';
import { temporaryFolder, testAuthority, testCrl, testIdentity, testIntermediate } from '../certificates.ts';
import { derOf, startWorkloadApi, svidOf, WorkloadApiServer } from '../workload-api-server.ts';

t.setTimeout(60_000);

const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';
const WEB = 'spiffe://cluster.local/ns/foo/sa/web';
const authority = await testAuthority();
const pems = await testIdentity(authority, SLEEP);
const sleep = svidOf(SLEEP, pems);
const web = svidOf(WEB, await testIdentity(authority, WEB));

async function next(spiffeId = SLEEP) {
  return svidOf(spiffeId, await testIdentity(authority, spiffeId));
}

/** A source whose events can be waited for. */
class Asking {
  readonly generations: IdentityGeneration[] = [];
  readonly failures: IdentityFault[] = [];
  readonly recoveries: string[] = [];
  readonly warnings: (readonly [string, unknown])[] = [];
  readonly source: WorkloadApiSource;
  #waiting: (() => void)[] = [];

  constructor(t: Test, address: string, options: Partial<WorkloadApiOptions> = {}) {
    const endpoint = parseWorkloadEndpoint(address);
    if (endpoint === null) throw new Error(address);
    this.source = new WorkloadApiSource({
      endpoint,
      spiffeId: null,
      firstPauseMs: 1,
      longestPauseMs: 20,
      warn: (message, details) => this.warnings.push([message, details]),
      onGeneration: generation => this.#note(() => this.generations.push(generation)),
      onFailure: fault => this.#note(() => this.failures.push(fault)),
      onRecovery: fault => this.#note(() => this.recoveries.push(fault.reason)),
      ...options,
    });
    t.teardown(() => this.source.close());
  }

  #note(push: () => void): void {
    push();
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async until(reached: () => boolean): Promise<void> {
    while (!reached()) await new Promise<void>(resolve => this.#waiting.push(resolve));
  }

  untilGeneration(count: number): Promise<void> {
    return this.until(() => this.generations.length >= count);
  }

  untilFailure(reason: string): Promise<void> {
    return this.until(() => this.failures.at(-1)?.reason === reason);
  }
}

t.test('the first answer is in force when the start is over', async t => {
  const server = await startWorkloadApi(t, { svids: [sleep] });
  const { source, generations, failures } = new Asking(t, server.target);
  await source.start();
  t.same(failures, []);
  t.match(generations, [{ generation: 1, id: SLEEP, trustDomain: 'cluster.local', crlPem: null }]);
  t.equal(derOf(generations[0]!.certChainPem).compare(sleep.x509Svid), 0);
  t.equal(derOf(generations[0]!.keyPem).compare(sleep.x509SvidKey), 0);
  t.equal(derOf(generations[0]!.rootPem).compare(sleep.bundle), 0);
  t.equal(source.current, generations[0]);
});

t.test('each new answer of the stream comes into force, the same one again does not', async t => {
  const server = await startWorkloadApi(t, { svids: [sleep] });
  const asking = new Asking(t, server.target);
  await asking.source.start();
  for (let count = 2; count <= 5; count++) {
    const answer = { svids: [await next()] };
    server.say(answer);
    await asking.untilGeneration(count);
    server.say(answer);
  }
  t.same(
    asking.generations.map(({ generation }) => generation),
    [1, 2, 3, 4, 5],
  );
  t.equal(server.asked, 1, 'by one stream');
});

t.test('a chain with an intermediate is taken apart', async t => {
  const below = await testIntermediate(authority);
  const server = await startWorkloadApi(t, { svids: [svidOf(SLEEP, await testIdentity(below, SLEEP))] });
  const { source } = new Asking(t, server.target);
  await source.start();
  t.equal(source.current?.chain.length, 2);
  t.equal(source.current?.roots.length, 1);
});

t.test('while the server is away the last good identity stays, and it is asked until it is back', async t => {
  const server = await startWorkloadApi(t, { svids: [sleep] });
  const asking = new Asking(t, server.target);
  const { source } = asking;
  await source.start();
  server.stop();
  await asking.untilFailure('workload_api_away');
  t.equal(source.current?.generation, 1);
  t.equal(source.lastFailure?.reason, 'workload_api_away');
  const asked = server.asked;
  await server.start();
  await server.whenAsked(asked + 1);
  await asking.until(() => asking.recoveries.length > 0);
  t.same(asking.recoveries, ['workload_api_away']);
  t.equal(source.lastFailure, null);
  server.say({ svids: [await next()] });
  await asking.untilGeneration(2);
  t.equal(source.lastFailure, null);
});

t.test('a stream that ends is begun again; the same identity is no new one', async t => {
  const server = await startWorkloadApi(t, { svids: [sleep] });
  const asking = new Asking(t, server.target);
  await asking.source.start();
  for (let round = 0; round < 3; round++) {
    const { asked } = server;
    server.hangUp();
    await server.whenAsked(asked + 1);
  }
  await asking.source.reload();
  t.equal(asking.generations.length, 1);
  t.equal(asking.source.lastFailure, null);
  t.match(asking.failures[0], { reason: 'workload_api_away', message: /ended the stream/ });
});

t.test('a socket that is not there yet is tried again, and said once', async t => {
  const path = `${temporaryFolder(t)}/late.sock`;
  const asking = new Asking(t, `unix://${path}`);
  await asking.source.start();
  t.match(asking.failures, [{ reason: 'workload_api_away', file: `unix://${path}`, message: /ENOENT/ }]);
  for (let round = 0; round < 3; round++) await asking.source.reload();
  t.equal(asking.failures.length, 1);
  const server = new WorkloadApiServer(`unix:${path}`, { svids: [sleep] });
  await server.start();
  t.teardown(() => server.stop());
  await asking.untilGeneration(1);
});

t.test('over TCP too', async t => {
  const server = new WorkloadApiServer('127.0.0.1:0', { svids: [sleep] });
  const port = await server.start();
  t.teardown(() => server.stop());
  const { source } = new Asking(t, `tcp://127.0.0.1:${port}`);
  await source.start();
  t.equal(source.current?.id, SLEEP);
});

const { keyPem } = await testIdentity(authority, SLEEP);
const stranger = await testAuthority();
const expired = await testIdentity(authority, SLEEP, { ttlMs: -1_000 });
const empty = Buffer.alloc(0);

/** Answers that must not come into force: name, answer, reason, message. */
const REFUSED: readonly [string, Parameters<WorkloadApiServer['say']>[0], string, RegExp][] = [
  ['an empty message', empty, 'no_svid', /has no SVID/],
  ['no SVID', { svids: [] }, 'no_svid', /has no SVID/],
  ['bytes that are no message', Buffer.from('0aff', 'hex'), 'bad_response', /no X509SVIDResponse/],
  ['a nested message that is too long', Buffer.from('0a030a05ff', 'hex'), 'bad_response', /X509SVIDResponse/],
  ['a wire type that there is not', Buffer.from('0f', 'hex'), 'bad_response', /no X509SVIDResponse/],
  [
    'certificates that are no DER',
    { svids: [{ ...sleep, x509Svid: Buffer.from('x') }] },
    'bad_response',
    /DER/,
  ],
  [
    'DER that is no certificate',
    { svids: [{ ...sleep, x509Svid: Buffer.from('3000', 'hex') }] },
    'bad_certificate',
    /: x509_svid: /,
  ],
  [
    'a key that is none',
    { svids: [{ ...sleep, x509SvidKey: Buffer.from('3000', 'hex') }] },
    'bad_key',
    /svid_key/,
  ],
  [
    'the key of another certificate',
    { svids: [svidOf(SLEEP, { ...pems, keyPem })] },
    'key_mismatch',
    /: x509_svid_key: does not belong to the first certificate of x509_svid;/,
  ],
  ['an expired certificate', { svids: [svidOf(SLEEP, expired)] }, 'expired', /expired/],
  [
    'roots that did not issue it',
    { svids: [{ ...sleep, bundle: derOf(stranger.rootPem) }] },
    'untrusted',
    /does not lead to bundle/,
  ],
  [
    'the certificate of another ID',
    { svids: [{ ...web, spiffeId: SLEEP }] },
    'bad_response',
    /names .*sleep.* and sends a certificate of .*web/,
  ],
  [
    'a revocation list that is none',
    { svids: [sleep], crl: [Buffer.from('3000', 'hex')] },
    'bad_crl',
    /: crl: /,
  ],
  ['no spiffe_id', { svids: [{ ...sleep, spiffeId: '' }] }, 'bad_response', /no spiffe_id/],
  ['no x509_svid', { svids: [{ ...sleep, x509Svid: empty }] }, 'bad_response', /no x509_svid;/],
  ['no x509_svid_key', { svids: [{ ...sleep, x509SvidKey: empty }] }, 'bad_response', /no x509_svid_key/],
  ['no bundle', { svids: [{ ...sleep, bundle: empty }] }, 'bad_response', /no bundle/],
];

for (const [name, answer, reason, message] of REFUSED) {
  t.test(`${name} is refused, and the last good identity stays`, async t => {
    const server = await startWorkloadApi(t, { svids: [sleep] });
    const asking = new Asking(t, server.target);
    await asking.source.start();
    server.say(answer);
    await asking.untilFailure(reason);
    t.match(asking.failures, [{ reason, message, file: server.target }]);
    t.notMatch(asking.failures[0]?.message, '\n');
    t.equal(asking.source.current?.generation, 1);
    server.say({ svids: [await next()] });
    await asking.untilGeneration(2);
    t.equal(asking.source.lastFailure, null);
    t.equal(asking.failures.length, 1, 'said once');
  });
}

t.test('what cannot be used for TLS is refused', async t => {
  const server = await startWorkloadApi(t, { svids: [sleep] });
  const dryRun = (): void => {
    throw new Error('no such curve');
  };
  const { source, failures } = new Asking(t, server.target, { dryRun });
  await source.start();
  t.match(failures, [{ reason: 'unusable', file: server.target, message: /no such curve/ }]);
  t.equal(source.current, null);
});

t.test('of several SVIDs the first is taken, or the one that is named', async t => {
  const server = await startWorkloadApi(t, { svids: [sleep, web] });
  const first = new Asking(t, server.target);
  const named = new Asking(t, server.target, { spiffeId: WEB });
  const unknown = new Asking(t, server.target, { spiffeId: `${WEB}2` });
  for (const { source } of [first, named, unknown]) await source.start();
  t.equal(first.source.current?.id, SLEEP);
  t.equal(named.source.current?.id, WEB);
  t.equal(unknown.source.current, null);
  t.match(unknown.failures, [
    { reason: 'svid_not_found', message: /only of "spiffe.*sleep", "spiffe.*web"/ },
  ]);
  server.say({ svids: [sleep, await next(WEB)] });
  await named.untilGeneration(2);
  t.equal(first.generations.length, 1, 'the other one is no new identity');
});

t.test('a server that does not answer is said so, and its answer is still taken', async t => {
  const server = await startWorkloadApi(t, null);
  const asking = new Asking(t, server.target, { silentMs: 50 });
  await asking.source.start();
  t.match(asking.failures, [{ reason: 'workload_api_silent', file: server.target }]);
  t.equal(asking.source.current, null);
  server.say({ svids: [sleep] });
  await asking.untilGeneration(1);
  t.equal(asking.source.lastFailure, null);
  t.equal(server.asked, 1);
});

t.test('who has no identity yet asks again; what is registered later comes into force', async t => {
  const server = await startWorkloadApi(t, { code: status.PERMISSION_DENIED, details: 'no identity issued' });
  const asking = new Asking(t, server.target);
  await asking.source.start();
  t.match(asking.failures, [{ reason: 'workload_api_denied', message: /no identity issued/ }]);
  await server.whenAsked(4);
  t.equal(asking.failures.length, 1, 'said once');
  server.say({ svids: [sleep] });
  await asking.untilGeneration(1);
});

for (const code of [status.INVALID_ARGUMENT, status.UNIMPLEMENTED]) {
  t.test(`after ${status[code]} it is not asked again until somebody wants it`, async t => {
    const server = await startWorkloadApi(t, { code, details: 'no' });
    const asking = new Asking(t, server.target);
    await asking.source.start();
    t.match(asking.failures, [{ reason: 'workload_api_refused' }]);
    await new Asking(t, server.target).source.start(); // longer than the pause would be
    t.equal(server.asked, 2, 'once by each');
    server.say({ svids: [sleep] });
    await asking.source.reload();
    t.equal(asking.source.current?.id, SLEEP);
  });
}

t.test('bundles of other trust domains stand beside the own one, each for its own trust domain', async t => {
  const federatedBundles = {
    'spiffe://other.example': derOf(stranger.rootPem),
    'spiffe://cluster.local': derOf(stranger.rootPem),
    'spiffe://broken.example': Buffer.from('x'),
    'spiffe://leaf.example': sleep.x509Svid,
    'spiffe://empty.example': Buffer.alloc(0),
    'spiffe://__proto__': derOf(stranger.rootPem),
    'https://nobody.example': derOf(stranger.rootPem),
  };
  const server = await startWorkloadApi(t, { svids: [sleep], federatedBundles });
  const asking = new Asking(t, server.target);
  await asking.source.start();
  const { rootPem, federated, trustEpoch } = asking.source.current!;
  t.equal(derOf(rootPem).compare(sleep.bundle), 0, 'the own roots only');
  t.strictSame(
    Object.entries(federated).map(([domain, pem]) => [domain, pem !== '']),
    [
      ['__proto__', true],
      ['broken.example', false],
      ['empty.example', false],
      ['leaf.example', false],
      ['other.example', true],
    ],
  );
  const unusable = ['https://nobody.example', 'spiffe://broken.example', 'spiffe://empty.example'];
  t.match(asking.warnings, [
    [/federated bundles that cannot be used/, { trustDomains: [...unusable, 'spiffe://leaf.example'] }],
  ]);
  server.say({
    svids: [sleep],
    federatedBundles: { ...federatedBundles, 'spiffe://new.example': sleep.bundle },
  });
  await asking.untilGeneration(2);
  t.not(asking.source.current!.trustEpoch, trustEpoch);
  t.equal(asking.warnings.length, 1, 'said once');
});

t.test('revocation lists come with the identity and go with it', async t => {
  const list = await testCrl(authority, ['01']);
  const server = await startWorkloadApi(t, { svids: [sleep], crl: [derOf(list)] });
  const asking = new Asking(t, server.target);
  await asking.source.start();
  t.equal(derOf(asking.source.current!.crlPem!).compare(derOf(list)), 0);
  server.say({ svids: [sleep] });
  await asking.untilGeneration(2);
  t.equal(asking.source.current?.crlPem, null);
});

t.test('a source that is closed says nothing more, at whatever moment', async t => {
  const server = await startWorkloadApi(t, { svids: [sleep] });
  const early = new Asking(t, server.target);
  const started = early.source.start();
  early.source.close();
  await started;
  await early.source.reload();
  const late = new Asking(t, server.target);
  await late.source.start();
  late.source.close();
  const watching = new Asking(t, server.target);
  await watching.source.start();
  server.say({ svids: [await next()] });
  await watching.untilGeneration(2);
  t.same([early.generations, early.failures], [[], []]);
  t.equal(late.generations.length, 1);
  t.same(late.failures, []);
});

t.test('pauses double up to the longest, with jitter, and start over', async t => {
  const low = new Backoff({ firstMs: 1_000, longestMs: 30_000, random: () => 0 });
  const high = new Backoff({ firstMs: 1_000, longestMs: 30_000, random: () => 1 });
  const rounds = Array.from({ length: 7 }, () => [low.next(), high.next()].map(Math.round));
  t.same(rounds, [
    [800, 1200],
    [1600, 2400],
    [3200, 4800],
    [6400, 9600],
    [12800, 19200],
    [24000, 36000],
    [24000, 36000],
  ]);
  low.reset();
  t.equal(low.next(), 800);
});
