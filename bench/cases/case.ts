/** What a case is: a job for a peer, measured once a round, and the numbers that it gives. */
import type { AttackName } from '../attacks.ts';
import type { Bench } from '../bench.ts';
import type { LoadResult } from '../load.ts';
import type { Peer } from '../peers/peer.ts';

/** Every number that a case can give. `cpu` is per unit of work in the headline's unit; `value` is what it says there. */
export type Metric =
  | 'cpu'
  | 'rate'
  | 'p50'
  | 'p99'
  | 'addedP50'
  | 'addedP99'
  | 'rss'
  | 'peak'
  | 'value'
  | 'grown'
  | `under ${AttackName}`;
export type Sample = Readonly<Partial<Record<Metric, number>>>;

/** The number that a case is about; smaller is better in all of them. */
export interface Headline {
  readonly metric: Metric;
  /** Printed after the number: `µs CPU a request`. */
  readonly unit: string;
}

export interface Case {
  readonly name: string;
  /** One line for a reader of the table. */
  readonly what: string;
  readonly headlines: readonly Headline[];
  /** What `rate` counts. */
  readonly rateUnit: string;
  /** Every round, or in the first only. */
  readonly repeats: boolean;
  can(peer: Peer): boolean;
  measure(bench: Bench, peer: Peer): Promise<Sample>;
}

/** Whether the peer takes HTTP/1.1 inbound: what most cases need. */
export function takesHttp(peer: Peer): boolean {
  return peer.can({ direction: 'inbound', protocol: 'http' });
}

/** CPU microseconds, rate, latencies and memory of one load, per unit of work. */
export function sampleOf(load: LoadResult): Sample {
  return {
    cpu: load.cpuMicros / load.count,
    rate: load.count / load.seconds,
    p50: load.p50Ms,
    p99: load.p99Ms,
    rss: load.memory.rssMb,
    peak: load.memory.peakMb,
  };
}
