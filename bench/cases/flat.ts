/** Whether Outrider's memory stays where it is over a long run. */
import { withInstances } from '../bench.ts';
import { runLoad } from '../load.ts';
import type { Role } from '../peers/peer.ts';
import { median } from '../statistics.ts';
import { type Case, sampleOf } from './case.ts';

const SLOWEST_PER_SECOND = 1_000;

export const FLAT_CASE: Case = {
  name: 'rss-flat',
  what: 'growth of resident memory from the second quarter of a long run to its last (--flat-requests)',
  headlines: [{ metric: 'value', unit: '% growth' }],
  rateUnit: 'requests',
  repeats: false,
  can: peer => peer.name === 'outrider',
  async measure(bench, peer) {
    const role: Role = { direction: 'inbound', protocol: 'http', target: bench.origin.http };
    return withInstances(bench, peer, [role], async instances => {
      const job = {
        port: instances[0]?.port ?? 0,
        identity: bench.identities.client.folder,
        path: '/small',
        bodyBytes: 0,
        connections: bench.effort.connections,
        warmupSeconds: bench.effort.warmupSeconds,
        seconds: 0,
        requests: bench.effort.flatRequests,
      };
      const pids = instances.map(instance => instance.child.pid);
      const limitSeconds = job.requests / SLOWEST_PER_SECOND;
      const load = await runLoad({ program: 'closed-loop.ts', job }, { pids, limitSeconds });
      return { ...sampleOf(load), value: growthPercent(load.rssSeries) };
    });
  },
};

/** Median of the last quarter against the median of the second: the first quarter is still warming up. */
export function growthPercent(series: readonly number[]): number {
  const quarter = Math.floor(series.length / 4);
  if (quarter === 0) return Number.NaN;
  const early = median(series.slice(quarter, 2 * quarter));
  return (median(series.slice(-quarter)) / early - 1) * 100;
}
