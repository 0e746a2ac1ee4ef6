import t from 'tap';
import { identityFault } from '../../src/identity/identity-fault.ts';
import { IdentityInForce } from '../../src/identity/in-force.ts';
import type { IdentityFiles } from '../../src/identity/svid.ts';
import { type IdentityPems, testAuthority, testIdentity } from '../certificates.ts';

const authority = await testAuthority();

function filesOf({ certChainPem, keyPem, rootPem }: IdentityPems): IdentityFiles {
  return { certChain: Buffer.from(certChainPem), key: Buffer.from(keyPem), root: Buffer.from(rootPem) };
}

/** What was said, in order, and dry runs that end when they are told to. */
function slow() {
  const said: string[] = [];
  const runs: PromiseWithResolvers<void>[] = [];
  const inForce = new IdentityInForce({
    place: 'here',
    events: {
      dryRun: () => {
        const run = Promise.withResolvers<void>();
        runs.push(run);
        return run.promise;
      },
      onGeneration: ({ generation }) => said.push(`generation ${generation}`),
      onFailure: ({ reason }) => said.push(reason),
      onRecovery: ({ reason }) => said.push(`no more ${reason}`),
    },
  });
  return { inForce, said, runs };
}

const [first, second] = await Promise.all(
  ['foo/sleep', 'foo/sleep'].map(async name => filesOf(await testIdentity(authority, name))),
);

t.test('what is said while a dry run lasts takes effect after it, in order', async t => {
  const { inForce, said, runs } = slow();
  const offers = [inForce.offer(first!, 'a'), inForce.offer(second!, 'b')];
  const away = inForce.fail(identityFault('here', 'workload_api_away', 'is away; wait'));
  await new Promise(setImmediate);
  t.same([said, runs.length], [[], 1], 'one dry run at a time, and nothing before it ends');
  runs[0]!.resolve();
  t.equal(await offers[0], true);
  runs[1]!.resolve();
  t.equal(await offers[1], true);
  await away;
  t.same(said, ['generation 1', 'generation 2', 'workload_api_away']);
  t.match(inForce.lastFailure, { reason: 'workload_api_away' }, 'the fault that came last is the last');
  t.equal(await inForce.offer(second!, 'b'), true);
  t.same(said.at(-1), 'no more workload_api_away');
});

t.test('a dry run that fails late leaves the identity before it in force', async t => {
  const { inForce, said, runs } = slow();
  const good = inForce.offer(first!, 'a');
  await new Promise(setImmediate);
  runs[0]!.resolve();
  await good;
  const bad = inForce.offer(second!, 'b');
  await new Promise(setImmediate);
  runs[1]!.reject(new Error('a server that meets it says no'));
  t.equal(await bad, false);
  t.same(said, ['generation 1', 'unusable']);
  t.match(inForce.lastFailure, { file: 'here', message: /says no/ });
  t.equal(inForce.current?.generation, 1);
});

t.test('a dry run that ends after the close puts nothing in force', async t => {
  const { inForce, said, runs } = slow();
  const offer = inForce.offer(first!, 'a');
  await new Promise(setImmediate);
  inForce.close();
  runs[0]!.resolve();
  t.equal(await offer, false);
  t.equal(inForce.current, null);
  t.same(said, []);
});
