/** Full mutual-TLS handshakes: TLS 1.3, P-256 certificates both ways, X25519, nothing resumed. */
import { withInstances } from '../bench.ts';
import { runLoad } from '../load.ts';
import type { Role } from '../peers/peer.ts';
import { type Case, sampleOf } from './case.ts';

const CONCURRENCY = 8;

export const HANDSHAKES_CASE: Case = {
  name: 'handshakes',
  what: 'full mutual-TLS 1.3 handshakes, 8 at a time, each connection closed after it',
  headlines: [{ metric: 'cpu', unit: 'µs CPU a handshake' }],
  rateUnit: 'handshakes',
  repeats: true,
  can: () => true,
  async measure(bench, peer) {
    const { warmupSeconds, seconds } = bench.effort;
    const role: Role = { direction: 'inbound', protocol: 'http', target: bench.origin.http };
    return withInstances(bench, peer, [role], async instances => {
      const port = instances[0]?.port ?? 0;
      const identity = bench.identities.client.folder;
      const job = { port, identity, concurrency: CONCURRENCY, warmupSeconds, seconds };
      const pids = instances.map(instance => instance.child.pid);
      return sampleOf(await runLoad({ program: 'handshakes.ts', job }, { pids, limitSeconds: seconds }));
    });
  },
};
