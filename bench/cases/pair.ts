/** HTTP/1.1 apps on both ends of two instances with mutual TLS between: HTTP/1.1 there, or HTTP/2. */
import { ask } from '../ask.ts';
import { type Bench, withInstances } from '../bench.ts';
import { connectionsTo } from '../connections.ts';
import type { Instance } from '../peers/launch.ts';
import type { Peer, Role } from '../peers/peer.ts';
import type { Case, Headline, Sample } from './case.ts';
import { timesOf } from './h2.ts';
import { fullLoad, SMALL } from './http.ts';

const MANY_CONNECTIONS = 1_000;
const COUNT_EVERY_MS = 100;
const CPU: Headline = { metric: 'cpu', unit: 'µs CPU a request' };

export const PAIR_CASE: Case = pair({
  name: 'h1-pair',
  what: 'plaintext in, HTTP/1.1 in mutual TLS between two instances, plaintext out',
  headlines: [CPU],
  measure: (bench, peer) => between(bench, peer, { multiplexed: false, work: loadOf(bench, {}) }),
});

export const HTTP2_PAIR_CASES: readonly Case[] = [
  pair({
    name: 'h2-pair',
    what: 'the same with HTTP/2 between the two (nginx: HTTP/1.1)',
    headlines: [CPU],
    measure: (bench, peer) =>
      between(bench, peer, { multiplexed: true, work: loadOf(bench, timesOf(bench)) }),
  }),
  pair({
    name: 'h2-pair-1000',
    what: 'the same with 1,000 app connections; the most mutual-TLS connections between the two at a time',
    headlines: [{ metric: 'value', unit: 'mutual-TLS connections' }, CPU],
    measure: (bench, peer) =>
      between(bench, peer, {
        multiplexed: true,
        work: async both => {
          const server = both[1]?.port ?? 0;
          let most = 0;
          const count = () => {
            most = Math.max(most, connectionsTo(server));
          };
          const timer = setInterval(count, COUNT_EVERY_MS);
          try {
            const sample = await loadOf(bench, { ...timesOf(bench), connections: MANY_CONNECTIONS })(both);
            return { ...sample, value: most };
          } finally {
            clearInterval(timer);
          }
        },
      }),
  }),
];

function pair(one: Pick<Case, 'name' | 'what' | 'headlines' | 'measure'>): Case {
  const can = (peer: Peer) => peer.can({ direction: 'outbound', protocol: 'http' });
  return { ...one, rateUnit: 'requests', repeats: true, can };
}

/** Launches both halves; `work` gets the one that the load goes to first. CPU and memory are those of both together. */
async function between(
  bench: Bench,
  peer: Peer,
  { multiplexed, work }: { multiplexed: boolean; work: (both: readonly Instance[]) => Promise<Sample> },
): Promise<Sample> {
  const near: Role = { direction: 'inbound', protocol: 'http', multiplexed, target: bench.origin.http };
  return withInstances(bench, peer, [near], ([server]) => {
    const far: Role = { direction: 'outbound', protocol: 'http', multiplexed, target: server?.port ?? 0 };
    return withInstances(bench, peer, [far], async ([client]) => {
      // One request first, so that HTTP/2 between the two is there when the load comes: HAProxy would open a connection for each.
      const answer = await ask({ port: client?.port ?? 0, path: SMALL.path, context: null });
      if (!answer.answered || answer.status !== 200) {
        throw new Error(`the pair does not answer: ${answer.answered ? answer.status : answer.reason}`);
      }
      return work([client, server].filter(instance => instance !== undefined));
    });
  });
}

function loadOf(
  bench: Bench,
  effort: { connections?: number; warmupSeconds?: number; seconds?: number },
): (both: readonly Instance[]) => Promise<Sample> {
  return both => fullLoad(bench, both, { ...SMALL, identity: null, ...effort });
}
