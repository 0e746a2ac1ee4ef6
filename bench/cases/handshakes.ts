/** Mutual-TLS handshakes: TLS 1.3, P-256 certificates both ways, X25519; whole ones, and resumed ones. */
import { type Bench, withInstances } from '../bench.ts';
import { runLoad } from '../load.ts';
import type { Peer, Role } from '../peers/peer.ts';
import { type Case, type Sample, sampleOf, takesHttp } from './case.ts';

const CONCURRENCY = 8;

const COMMON = {
  headlines: [{ metric: 'cpu', unit: 'µs CPU a handshake' }],
  rateUnit: 'handshakes',
  repeats: true,
} as const;

export const HANDSHAKES_CASE: Case = {
  ...COMMON,
  name: 'handshakes',
  what: 'full mutual-TLS 1.3 handshakes, 8 at a time, each connection closed after it',
  can: takesHttp,
  measure: (bench, peer) => shake(bench, peer, false),
};

export const RESUMED_CASE: Case = {
  ...COMMON,
  name: 'handshakes-resumed',
  what: 'the same, each resumed from the session of a first one and judged again',
  can: peer => peer.name === 'outrider', // the others are configured without tickets, to pay for whole handshakes
  measure: (bench, peer) => shake(bench, peer, true),
};

async function shake(bench: Bench, peer: Peer, resumed: boolean): Promise<Sample> {
  const { warmupSeconds, seconds } = bench.effort;
  const role: Role = { direction: 'inbound', protocol: 'http', target: bench.origin.http };
  return withInstances(bench, peer, [role], async instances => {
    const port = instances[0]?.port ?? 0;
    const identity = bench.identities.client.folder;
    const job = { port, identity, concurrency: CONCURRENCY, resumed, warmupSeconds, seconds };
    const pids = instances.map(instance => instance.child.pid);
    return sampleOf(await runLoad({ program: 'handshakes.ts', job }, { pids, limitSeconds: seconds }));
  });
}
