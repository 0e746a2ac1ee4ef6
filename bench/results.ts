/** What a run found: every sample of every round, and their medians. The shape of results/latest.json. */
import type { Effort } from './bench.ts';
import type { Headline, Metric, Sample } from './cases/case.ts';
import type { Machine } from './machine.ts';
import type { PeerName } from './peers/peer.ts';
import { median } from './statistics.ts';

export interface Results {
  /** ISO 8601. */
  readonly startedAt: string;
  readonly machine: Machine;
  readonly peers: readonly { readonly name: PeerName; readonly version: string }[];
  /** What loads plaintext listeners. */
  readonly plaintextLoad: 'wrk' | 'autocannon';
  /** What loads HTTP/2, null when nothing does. */
  readonly http2Load: string | null;
  readonly effort: Effort;
  /** Share of the machine's CPU, 0..1, that processes which the bench did not start took while it measured. */
  readonly strangers: number;
  readonly cases: readonly CaseResult[];
}

export interface CaseResult {
  readonly name: string;
  readonly what: string;
  readonly headlines: readonly Headline[];
  readonly rateUnit: string;
  /** In the order of the peers above; a peer that cannot do the case is absent. */
  readonly peers: readonly PeerResult[];
}

export interface PeerResult {
  readonly peer: PeerName;
  readonly rounds: readonly Sample[];
  readonly medians: Sample;
  /** Rounds that failed, with their reason. */
  readonly failures: readonly string[];
}

/** Per metric the median over the rounds that have it. */
export function mediansOf(rounds: readonly Sample[]): Sample {
  const metrics = new Set(rounds.flatMap(round => Object.keys(round) as Metric[]));
  const medians: Partial<Record<Metric, number>> = {};
  for (const metric of metrics) {
    const values = rounds.flatMap(round => round[metric] ?? []).filter(value => Number.isFinite(value));
    if (values.length > 0) medians[metric] = median(values);
  }
  return medians;
}

/** One median; undefined when the case, the peer or the metric was not measured. */
export function medianOf(
  results: Pick<Results, 'cases'>,
  name: string,
  peer: PeerName,
  metric: Metric,
): number | undefined {
  const found = results.cases.find(one => one.name === name);
  return found?.peers.find(one => one.peer === peer)?.medians[metric];
}
