/** HTTP/1.1 at full load, inbound and outbound. */
import type { Bench } from '../bench.ts';
import { withInstances } from '../bench.ts';
import { runLoad } from '../load.ts';
import type { Instance } from '../peers/launch.ts';
import type { Role } from '../peers/peer.ts';
import type { ClosedLoopJob } from '../programs/closed-loop.ts';
import { LARGE_BYTES } from '../workload.ts';
import { runWrk } from '../wrk.ts';
import { type Case, type Headline, type Sample, sampleOf, takesHttp } from './case.ts';

export type Shape = Pick<ClosedLoopJob, 'path' | 'bodyBytes'>;

export const SMALL: Shape = { path: '/small', bodyBytes: 0 };
const LARGE_REPLY: Shape = { path: '/large', bodyBytes: 0 };
const LARGE_REQUEST: Shape = { path: '/upload', bodyBytes: LARGE_BYTES };
const HEADLINES: readonly Headline[] = [{ metric: 'cpu', unit: 'µs CPU a request' }];

export const HTTP_CASES: readonly Case[] = [
  inbound('h1-in', 'mutual TLS in, small replies', SMALL),
  inbound('h1-in-16k-reply', 'mutual TLS in, 16 KiB replies', LARGE_REPLY),
  inbound('h1-in-16k-request', 'mutual TLS in, 16 KiB request bodies', LARGE_REQUEST),
  outbound('h1-out', 'plaintext in, mutual TLS out, small replies', SMALL),
  outbound('h1-out-16k-reply', 'plaintext in, mutual TLS out, 16 KiB replies', LARGE_REPLY),
  outbound('h1-out-16k-request', 'plaintext in, mutual TLS out, 16 KiB request bodies', LARGE_REQUEST),
];

function inbound(name: string, what: string, shape: Shape): Case {
  return http(name, what, async (bench, peer) => {
    const role: Role = { direction: 'inbound', protocol: 'http', target: bench.origin.http };
    return withInstances(bench, peer, [role], instances =>
      fullLoad(bench, instances, { ...shape, identity: bench.identities.client.folder }),
    );
  });
}

function outbound(name: string, what: string, shape: Shape): Case {
  return http(name, what, async (bench, peer) => {
    const role: Role = { direction: 'outbound', protocol: 'http', target: bench.origin.https };
    return withInstances(bench, peer, [role], instances =>
      fullLoad(bench, instances, { ...shape, identity: null }),
    );
  });
}

function http(name: string, what: string, measure: Case['measure']): Case {
  return { name, what, headlines: HEADLINES, rateUnit: 'requests', repeats: true, can: takesHttp, measure };
}

/** The load goes to the first instance; plaintext load is wrk's where wrk is installed. */
export async function fullLoad(
  bench: Bench,
  instances: readonly Instance[],
  target: Shape & Pick<ClosedLoopJob, 'identity'> & Partial<ClosedLoopJob>,
): Promise<Sample> {
  const pids = instances.map(instance => instance.child.pid);
  const job: ClosedLoopJob = {
    connections: bench.effort.connections,
    warmupSeconds: bench.effort.warmupSeconds,
    seconds: bench.effort.seconds,
    requests: 0,
    port: instances[0]?.port ?? 0,
    ...target,
  };
  const load =
    bench.wrk && job.identity === null
      ? await runWrk({ command: bench.wrk, folder: bench.folder, job, pids })
      : await runLoad({ program: 'closed-loop.ts', job }, { pids, limitSeconds: job.seconds });
  return sampleOf(load);
}
