/** From starting the program to its first answer over mutual TLS. */
import { setTimeout as pause } from 'node:timers/promises';
import { ask, tlsContext } from '../ask.ts';
import type { Bench } from '../bench.ts';
import { memory } from '../measure.ts';
import { accepts, spawnPeer } from '../peers/launch.ts';
import type { Peer, Role } from '../peers/peer.ts';
import { median } from '../statistics.ts';
import { type Case, type Sample, takesHttp } from './case.ts';

const LIMIT_MS = 20_000;
const POLL_MS = 1;

export const START_CASE: Case = {
  name: 'start',
  what: 'start of the process to its first answer over mutual TLS, median of the runs',
  headlines: [{ metric: 'value', unit: 'ms' }],
  rateUnit: 'starts',
  repeats: true,
  can: takesHttp,
  async measure(bench, peer) {
    const runs: { ms: number; rss: number }[] = [];
    while (runs.length < bench.effort.startRuns) runs.push(await startOnce(bench, peer));
    const sample: Sample = { value: median(runs.map(run => run.ms)), rss: median(runs.map(run => run.rss)) };
    return sample;
  },
};

async function startOnce(bench: Bench, peer: Peer): Promise<{ ms: number; rss: number }> {
  const role: Role = { direction: 'inbound', protocol: 'http', target: bench.origin.http };
  const context = tlsContext(bench.identities.client.root, bench.identities.client);
  const startedAt = performance.now();
  const instance = await spawnPeer(peer, role, bench);
  try {
    for (;;) {
      if (await accepts(instance.port)) {
        const answer = await ask({ port: instance.port, path: '/small', context });
        if (answer.answered && answer.status === 200) break;
      }
      const late = performance.now() - startedAt > LIMIT_MS;
      if (late || instance.child.process.exitCode !== null) {
        throw new Error(`no answer after the start: ${instance.child.output()}`);
      }
      await pause(POLL_MS);
    }
    return { ms: performance.now() - startedAt, rss: memory([instance.child.pid]).rssMb };
  } finally {
    await instance.stop();
  }
}
