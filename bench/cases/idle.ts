/** What an open connection costs that does nothing: resident memory before and after, divided by the connections. */
import { setTimeout as pause } from 'node:timers/promises';
import { withInstances } from '../bench.ts';
import { runLoad } from '../load.ts';
import { memory } from '../measure.ts';
import type { Role } from '../peers/peer.ts';
import { type Case, takesHttp } from './case.ts';

const WARM_CONNECTIONS = 64;
const SETTLE_MS = 2_000; // buffers are given back and, in Node, a collection has had its chance
const LIMIT_SECONDS = 60;

export const IDLE_CASE: Case = {
  name: 'idle',
  what: 'idle mutual-TLS connections, each after one request; growth of resident memory',
  headlines: [{ metric: 'value', unit: 'KB a connection' }],
  rateUnit: 'connections',
  repeats: true,
  can: takesHttp,
  async measure(bench, peer) {
    const role: Role = { direction: 'inbound', protocol: 'http', target: bench.origin.http };
    return withInstances(bench, peer, [role], async instances => {
      const pids = instances.map(instance => instance.child.pid);
      const to = { port: instances[0]?.port ?? 0, identity: bench.identities.client.folder };
      const hold = (connections: number, whileOpen: () => Promise<void>) =>
        runLoad(
          { program: 'idle.ts', job: { ...to, connections } },
          { pids, limitSeconds: LIMIT_SECONDS, whileOpen },
        );
      await hold(WARM_CONNECTIONS, () => pause(0));
      await pause(SETTLE_MS);
      const before = memory(pids).rssMb;
      let after = before;
      await hold(bench.effort.idleConnections, async () => {
        await pause(SETTLE_MS);
        after = memory(pids).rssMb;
      });
      return { value: ((after - before) * 1000) / bench.effort.idleConnections, rss: after };
    });
  },
};
