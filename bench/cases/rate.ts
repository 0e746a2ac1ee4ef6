/** A fixed, modest rate: what the proxy adds to the latency of the app itself, measured right before it. */
import { withInstances } from '../bench.ts';
import { runLoad } from '../load.ts';
import type { Role } from '../peers/peer.ts';
import type { OpenLoopJob } from '../programs/open-loop.ts';
import { type Case, sampleOf, takesHttp } from './case.ts';

const RATE = 1_000;
const CONNECTIONS = 16;

export const RATE_CASE: Case = {
  name: 'h1-rate',
  what: '1,000 requests/s on 16 connections, mutual TLS in; latency added to asking the app directly in plaintext',
  headlines: [
    { metric: 'addedP50', unit: 'ms added p50' },
    { metric: 'addedP99', unit: 'ms added p99' },
  ],
  rateUnit: 'requests',
  repeats: true,
  can: takesHttp,
  async measure(bench, peer) {
    const { warmupSeconds, seconds } = bench.effort;
    const load = { rate: RATE, connections: CONNECTIONS, warmupSeconds, seconds };
    const ask = (job: OpenLoopJob, pids: readonly number[]) =>
      runLoad({ program: 'open-loop.ts', job }, { pids, limitSeconds: seconds });
    const direct = await ask({ ...load, port: bench.origin.http, identity: null }, []);
    const role: Role = { direction: 'inbound', protocol: 'http', target: bench.origin.http };
    return withInstances(bench, peer, [role], async instances => {
      const port = instances[0]?.port ?? 0;
      const job = { ...load, port, identity: bench.identities.client.folder };
      const through = await ask(
        job,
        instances.map(instance => instance.child.pid),
      );
      return {
        ...sampleOf(through),
        addedP50: through.p50Ms - direct.p50Ms,
        addedP99: through.p99Ms - direct.p99Ms,
      };
    });
  },
};
